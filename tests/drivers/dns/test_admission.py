"""No client is told of an address before it is permitted."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Collection, Mapping

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.drivers.dns.test_upstream import polite, serving

from fairlead.drivers.dns import responder as responders
from fairlead.drivers.dns import wire
from fairlead.drivers.dns.admission import Held, Told, told
from fairlead.drivers.dns.overlay import overlay
from fairlead.drivers.dns.protocol import Forward
from fairlead.drivers.dns.responder import Responder
from fairlead.drivers.dns.upstream import Resolver
from fairlead.drivers.dns.zone import Zones, record_set

CLIENT = bytes((10, 244, 1, 2))


def response(name: str, *records: str, kind: str = "A") -> bytes:
    """A response with these records in its answer section, compressed."""
    message = dns.message.make_response(dns.message.make_query(name, kind))
    for record in records:
        owner, ttl, type_, data = record.split()
        message.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", type_, data))
    return message.to_wire()


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


CASES: dict[str, tuple[bytes, list[str], dict[str, int]]] = {
    "an address": (response("a.example.", "a.example. 60 A 192.0.2.1"), ["a.example"], {"192.0.2.1": 60}),
    "both families": (
        response("a.example.", "a.example. 60 A 192.0.2.1", "a.example. 5 AAAA 2001:db8::1"),
        ["a.example"],
        {"192.0.2.1": 60, "2001:db8::1": 5},
    ),
    "whatever case": (response("A.eXample.", "a.EXAMPLE. 60 A 192.0.2.1"), ["a.example"], {"192.0.2.1": 60}),
    "a chain of aliases": (
        response("a.example.", "a.example. 60 CNAME b.example.", "b.example. 60 CNAME c.test.", "c.test. 9 A 192.0.2.1"),
        ["a.example", "b.example", "c.test"],
        {"192.0.2.1": 9},
    ),
    "a chain in any order": (
        response("a.example.", "b.example. 9 A 192.0.2.1", "a.example. 60 CNAME b.example."),
        ["a.example", "b.example"],
        {"192.0.2.1": 9},
    ),
    "records of a name that nobody asked for": (
        response("a.example.", "a.example. 60 A 192.0.2.1", "bank.example. 60 A 192.0.2.66"),
        ["a.example"],
        {"192.0.2.1": 60},
    ),
    "aliases in a circle": (
        response("a.example.", "a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example."), [], {},
    ),
    "no address": (response("a.example.", 'a.example. 60 TXT "x"', kind="TXT"), [], {}),
    "nothing": (response("a.example."), [], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_an_answer_tells(case: str) -> None:
    packet, names, addresses = CASES[case]
    expected = Told(tuple(map(wire.name, names)), {packed(each): ttl for each, ttl in addresses.items()})
    assert told(packet) == expected


def test_a_name_that_points_to_itself_is_no_name() -> None:
    packet = wire.HEADER.pack(1, wire.QR, 1, 1, 0, 0) + b"\1a\0\0\1\0\1" + b"\xc0\x13\0\1\0\1\0\0\0\1\0\4\1\2\3\4"
    with pytest.raises(IndexError):
        told(packet)


@given(st.binary(max_size=80), st.integers(0, 3))
def test_no_bytes_confuse_it(noise: bytes, count: int) -> None:
    try:
        found = told(wire.HEADER.pack(1, wire.QR, 1, count, 0, 0) + noise)
    except (IndexError, struct.error):
        return
    assert all(len(address) <= len(noise) for address in found.addresses)


class Gate:
    """Permits what it is told to, when it is told to; says what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[str]]] = []
        self.absent: list[str] = []
        self.permitted: set[tuple[bytes, bytes]] = set()
        self.called, self.open = asyncio.Event(), asyncio.Event()
        self.error: OSError | None = None

    def nothing(self, name: bytes) -> None:
        self.absent.append(wire.text(name))

    def permits(self, names: Collection[bytes], addresses: Mapping[bytes, int]) -> bool:
        return all((name, address) in self.permitted for name in names for address in addresses)

    async def permit(self, names: Collection[bytes], addresses: Mapping[bytes, int]) -> None:
        self.asked.append(
            ([wire.text(each) for each in names], [str(ipaddress.ip_address(each)) for each in addresses])
        )
        self.called.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.permitted |= {(name, address) for name in names for address in addresses}


def zones() -> Zones:
    found = Zones("cluster.local", ("10.96.0.0/16",), ("10.244.0.0/16",), ("10.96.0.10",))
    found.put(wire.name("web.default.svc.cluster.local"), record_set(wire.A, 5, [packed("10.96.0.20")]))
    found.put(wire.name("out.default.svc.cluster.local"), record_set(wire.CNAME, 5, [wire.name("www.example")]))
    found.put(wire.name("own.default.svc.cluster.local"), record_set(wire.CNAME, 5, [wire.name("db.example")]))
    return found


def query(name: str, kind: str = "A") -> bytes:
    return dns.message.make_query(name, kind).to_wire()


def rcode(reply: bytes) -> int:
    return reply[3] & 0xF


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("www.example.", ["www.example."]),
        ("out.default.svc.cluster.local.", ["out.default.svc.cluster.local.", "www.example."]),
    ],
    ids=["itself", "behind an alias of the cluster"],
)
async def test_an_answer_of_others_waits(name: str, names: list[str], stream: bool) -> None:
    gate = Gate()
    async with serving(polite) as (_, server):
        found = Responder(zones(), Resolver([server]), admission=gate)
        pending = found.respond(query(name), CLIENT, stream=stream)
        assert isinstance(pending, Forward)
        task = asyncio.create_task(found.answer(pending, CLIENT, stream=stream))
        await gate.called.wait()
        assert gate.asked == [(names, ["192.0.2.1"])]
        assert not task.done()
        gate.open.set()
        assert rcode(await task) == wire.NOERROR
        # From the cache, and permitted already: at once.
        assert isinstance(found.respond(query(name), CLIENT, stream=stream), bytes)
        # From the cache, and not permitted any more.
        gate.permitted.clear()
        held = found.respond(query(name), CLIENT, stream=stream)
        assert isinstance(held, Held)
        assert rcode(await found.answer(held, CLIENT, stream=stream)) == wire.NOERROR
        await found.resolver.close()


async def test_what_cannot_be_permitted_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responders, "_PATIENCE_S", 0.05)
    gate = Gate()
    async with serving(polite) as (_, server):
        found = Responder(zones(), Resolver([server]), admission=gate)
        pending = found.respond(query("www.example."), CLIENT, stream=False)
        assert isinstance(pending, Forward)
        for error in (None, OSError("no room")):
            if error is not None:
                gate.error = error
                gate.open.set()
            reply = await found.answer(pending, CLIENT, stream=False)
            assert rcode(reply) == wire.SERVFAIL
            assert packed("192.0.2.1") not in reply
        assert found.meters.unpermitted == 2
        await found.resolver.close()


async def test_the_operator_s_hosts_are_of_the_world_outside_and_the_cluster_is_not() -> None:
    gate = Gate()
    gate.open.set()
    found = Responder(zones(), Resolver([]), admission=gate)
    found.overlay = overlay({"db.example": ["192.0.2.7"]}, {}, {})
    for name in ("db.example.", "own.default.svc.cluster.local."):
        for _ in range(2):
            gate.permitted.clear()
            held = found.respond(query(name), CLIENT, stream=False)
            assert isinstance(held, Held), name
            assert packed("192.0.2.7") in await found.answer(held, CLIENT, stream=False)
    gate.asked.clear()
    for _ in range(2):
        assert isinstance(found.respond(query("web.default.svc.cluster.local."), CLIENT, stream=False), bytes)
    assert gate.asked == []


async def test_that_there_is_no_name_is_noted() -> None:
    gate = Gate()

    def nobody(question: dns.message.Message, how: str) -> list[bytes]:
        reply = dns.message.make_response(question)
        reply.set_rcode(dns.rcode.NXDOMAIN)
        return [reply.to_wire()]

    async with serving(nobody) as (_, server):
        found = Responder(zones(), Resolver([server]), admission=gate)
        pending = found.respond(query("no.example."), CLIENT, stream=False)
        assert isinstance(pending, Forward)
        assert rcode(await found.answer(pending, CLIENT, stream=False)) == wire.NXDOMAIN
        assert (gate.absent, gate.asked) == (["no.example."], [])
        await found.resolver.close()
