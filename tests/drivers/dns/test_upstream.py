"""Forwarding against resolvers of our own on loopback, polite ones and wicked ones."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from tests.drivers.dns.test_protocol import ZONES

from fairlead.drivers.dns import upstream, wire
from fairlead.drivers.dns.protocol import Forward, respond
from fairlead.drivers.dns.upstream import Resolver, Upstream

Behavior = Callable[[dns.message.Message, str], list[bytes]]


class Server(asyncio.DatagramProtocol):
    """A resolver that does what `behavior` says, over UDP and TCP on one port."""

    def __init__(self, behavior: Behavior) -> None:
        self.behavior = behavior
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def reply(self, packet: bytes, how: str) -> list[bytes]:
        question = dns.message.from_wire(packet)
        self.asked.append(f"{how} {question.question[0].name.to_text().lower()}")
        return self.behavior(question, how)

    def datagram_received(self, data: bytes, addr: object) -> None:
        for each in self.reply(data, "udp"):
            self.transport.sendto(each, addr)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            length = int.from_bytes(await reader.readexactly(2), "big")
            for each in self.reply(await reader.readexactly(length), "tcp"):
                writer.write(len(each).to_bytes(2, "big") + each)
        writer.close()


@contextlib.asynccontextmanager
async def serving(behavior: Behavior) -> AsyncIterator[tuple[Server, Upstream]]:
    loop = asyncio.get_running_loop()
    for _ in range(20):
        server = Server(behavior)
        transport, _ = await loop.create_datagram_endpoint(lambda server=server: server, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        try:
            stream = await asyncio.start_server(server.connected, "127.0.0.1", port)
        except OSError:
            transport.close()
            continue
        try:
            yield server, Upstream("127.0.0.1", port)
        finally:
            stream.close()
            transport.close()
        return


def answer(question: dns.message.Message, *records: str, rcode: int = 0, tc: bool = False) -> bytes:
    message = dns.message.make_response(question)
    message.set_rcode(rcode)
    message.answer = [dns.rrset.from_text(question.question[0].name, 60, "IN", "A", each) for each in records]
    message.flags |= dns.flags.TC if tc else 0
    return message.to_wire()


def polite(question: dns.message.Message, how: str) -> list[bytes]:
    return [answer(question, "192.0.2.1")]


def silent(question: dns.message.Message, how: str) -> list[bytes]:
    return []


def failing(question: dns.message.Message, how: str) -> list[bytes]:
    return [answer(question, rcode=dns.rcode.SERVFAIL)]


async def ask(resolver: Resolver, name: str = "example.com", **options: object) -> dns.message.Message:
    packet = dns.message.make_query(name, "A", **options).to_wire()
    forward = respond(wire.parse_query(packet), ZONES, random.Random(0), limit=1232, recursion=True)
    assert isinstance(forward, Forward)
    reply = resolver.quick(forward, limit=1232)
    if isinstance(reply, Forward):
        reply = await resolver.answer(reply, limit=1232)
    return dns.message.from_wire(reply, raise_on_truncation=False)


def said(message: dns.message.Message) -> str:
    return " ".join([dns.rcode.to_text(message.rcode()), *(str(item) for rrset in message.answer for item in rrset)])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "_NEXT_AFTER_S", 0.2)
    monkeypatch.setattr(upstream, "_DEADLINE_S", 1.0)


async def test_asks_once_and_remembers() -> None:
    async with serving(polite) as (server, where):
        resolver = Resolver([where])
        assert said(await ask(resolver)) == said(await ask(resolver, "EXAMPLE.com")) == "NOERROR 192.0.2.1"
        assert server.asked == ["udp example.com."]


async def test_the_same_question_is_under_way_only_once() -> None:
    async with serving(polite) as (server, where):
        resolver = Resolver([where])
        replies = await asyncio.gather(*(ask(resolver) for _ in range(20)))
        assert {said(reply) for reply in replies} == {"NOERROR 192.0.2.1"}
        assert len({reply.id for reply in replies}) > 1
        assert len(server.asked) == 1


@pytest.mark.parametrize("first", [silent, failing])
async def test_the_next_server_answers_for_one_that_does_not(first: Behavior) -> None:
    async with serving(first) as (_, bad), serving(polite) as (_, good):
        assert said(await ask(Resolver([bad, good]))) == "NOERROR 192.0.2.1"


async def test_a_server_that_refuses_connections_is_passed_over_at_once_and_shunned() -> None:
    async with serving(polite) as (server, good):
        async with serving(polite) as (_, gone):
            pass
        resolver = Resolver([gone, good])
        assert said(await ask(resolver, "a.example")) == "NOERROR 192.0.2.1"
        assert gone in resolver._shunned
        assert said(await ask(resolver, "b.example")) == "NOERROR 192.0.2.1"
        assert server.asked == ["udp a.example.", "udp b.example."]


async def test_nobody_answers() -> None:
    async with serving(silent) as (_, where):
        reply = await ask(Resolver([where]), use_edns=0)
        assert said(reply) == "SERVFAIL"
        assert reply.extended_errors()[0].code == 22


async def test_while_nobody_answers_clients_do_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "_HOPELESS_DEADLINE_S", 0.05)
    async with serving(silent) as (_, where):
        resolver = Resolver([where])
        assert said(await ask(resolver)) == "SERVFAIL"
        async with asyncio.timeout(0.5):
            assert said(await ask(resolver, "b.example")) == "SERVFAIL"
        await resolver.close()


async def test_without_upstreams_names_outside_are_refused_and_aliases_fail() -> None:
    resolver = Resolver([])
    reply = await ask(resolver, use_edns=0)
    assert said(reply) == "REFUSED"
    assert "example.com. is outside of the cluster" in reply.extended_errors()[0].text
    assert said(await ask(resolver, "outside.default.svc.cluster.local")) == "SERVFAIL api.example.com."


async def test_a_cut_answer_is_fetched_over_tcp() -> None:
    def cut(question: dns.message.Message, how: str) -> list[bytes]:
        return [answer(question, tc=True) if how == "udp" else answer(question, *(f"192.0.2.{n}" for n in range(60)))]

    async with serving(cut) as (server, where):
        assert len((await ask(Resolver([where]), use_edns=0, payload=1232)).answer[0]) == 60
        assert server.asked == ["udp example.com.", "tcp example.com."]


async def test_an_alias_is_followed_outside() -> None:
    async with serving(polite) as (server, where):
        reply = await ask(Resolver([where]), "outside.default.svc.cluster.local")
        assert [rrset.to_text() for rrset in reply.answer] == [
            "outside.default.svc.cluster.local. 5 IN CNAME api.example.com.",
            "api.example.com. 60 IN A 192.0.2.1",
        ]
        assert server.asked == ["udp api.example.com."]


def forged(change: Callable[[dns.message.Message], None]) -> Behavior:
    """Send a forged answer and then the true one."""

    def behave(question: dns.message.Message, how: str) -> list[bytes]:
        false = dns.message.from_wire(answer(question, "203.0.113.66"))
        change(false)
        return [false.to_wire(), answer(question, "192.0.2.1")]

    return behave


def _other_id(message: dns.message.Message) -> None:
    message.id ^= 1


def _other_name(message: dns.message.Message) -> None:
    message.question[0].name = dns.name.from_text("bank.example.")


def _other_type(message: dns.message.Message) -> None:
    message.question[0].rdtype = dns.rdatatype.AAAA


def _a_question(message: dns.message.Message) -> None:
    message.flags &= ~dns.flags.QR


def _other_spelling(message: dns.message.Message) -> None:
    message.question[0].name = dns.name.Name([label.swapcase() for label in message.question[0].name.labels])


@pytest.mark.parametrize("change", [_other_id, _other_name, _other_type, _a_question])
async def test_answers_to_other_questions_are_not_believed(change: Callable[[dns.message.Message], None]) -> None:
    async with serving(forged(change)) as (_, where):
        assert said(await ask(Resolver([where]))) == "NOERROR 192.0.2.1"


async def test_a_misspelled_answer_is_asked_again_over_tcp() -> None:
    def behave(question: dns.message.Message, how: str) -> list[bytes]:
        return forged(_other_spelling)(question, how) if how == "udp" else polite(question, how)

    async with serving(behave) as (server, where):
        assert said(await ask(Resolver([where]))) == "NOERROR 192.0.2.1"
        assert [each.split()[0] for each in server.asked] == ["udp", "tcp"]


async def test_garbage_is_survived() -> None:
    def behave(question: dns.message.Message, how: str) -> list[bytes]:
        good = answer(question, "192.0.2.1")
        return [b"", b"\0" * 5, good[:-3]]

    async with serving(behave) as (_, bad), serving(polite) as (_, good):
        assert said(await ask(Resolver([bad, good]))) == "NOERROR 192.0.2.1"


async def test_what_may_be_outstanding_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "_MOST_OUTSTANDING", 2)
    async with serving(silent) as (_, where):
        resolver = Resolver([where])
        tasks = [asyncio.create_task(ask(resolver, f"{n}.example")) for n in range(2)]
        await asyncio.sleep(0)
        assert said(await ask(resolver, "3.example")) == "SERVFAIL"
        await asyncio.gather(*tasks)
        await resolver.close()


async def test_questions_without_recursion_are_not_forwarded() -> None:
    async with serving(polite) as (server, where):
        assert said(await ask(Resolver([where]), flags=0)) == "REFUSED"
        assert server.asked == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", Upstream("192.0.2.1", 53)),
        ("192.0.2.1:5353", Upstream("192.0.2.1", 5353)),
        ("fd00::1", Upstream("fd00::1", 53)),
        ("[fd00::1]:5353", Upstream("fd00::1", 5353)),
    ],
)
def test_upstreams_are_read(text: str, expected: Upstream) -> None:
    assert Upstream.parse(text) == expected


@pytest.mark.parametrize("text", ["", "resolver", "192.0.2.1:0", "192.0.2.1:99999", "[fd00::1]:x"])
def test_what_is_no_upstream_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Upstream.parse(text)
