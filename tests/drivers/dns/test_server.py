"""The server's sockets on loopback: datagrams, connections, limits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import dns.message
import pytest
from tests.drivers.dns.test_protocol import cluster
from tests.drivers.dns.test_upstream import polite, serving

from fairlead.drivers.dns import server as server_module
from fairlead.drivers.dns.responder import Responder
from fairlead.drivers.dns.server import DnsServer
from fairlead.drivers.dns.upstream import Resolver

WEB = "web.default.svc.cluster.local"


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        number: int = sock.getsockname()[1]
        return number


@pytest.fixture
async def server(port: int) -> AsyncIterator[DnsServer]:
    made = DnsServer(Responder(cluster(), Resolver([])))
    made.open(["127.0.0.1", "::1"], port)
    yield made
    await made.close()


async def over_udp(port: int, packet: bytes, address: str = "127.0.0.1") -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect((address, port))
        sock.send(packet)
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 65535), 2)


async def over_tcp(port: int, *packets: bytes) -> list[bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(len(packet).to_bytes(2, "big") + packet for packet in packets))
    replies = [await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")) for _ in packets]
    writer.close()
    return replies


def query(name: str = WEB, kind: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()


def first(packet: bytes) -> str:
    return str(dns.message.from_wire(packet).answer[0][0])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_udp(server: DnsServer, port: int, address: str) -> None:
    await server.run()
    assert first(await over_udp(port, query(), address)) == "10.96.0.20"


async def test_questions_wait_until_there_are_records(server: DnsServer, port: int) -> None:
    early = asyncio.create_task(over_udp(port, query()))
    await asyncio.sleep(0.05)
    assert not early.done()
    await server.run()
    assert first(await early) == "10.96.0.20"


async def test_tcp_answers_many_questions_of_one_connection(server: DnsServer, port: int) -> None:
    await server.run()
    packets = [query() for _ in range(100)]
    replies = await over_tcp(port, *packets)
    assert {reply[:2] for reply in replies} == {packet[:2] for packet in packets}


async def test_a_forwarded_question_does_not_hold_up_the_next_one(port: int) -> None:
    async with serving(lambda question, how: []) as (_, where):
        made = DnsServer(Responder(cluster(), Resolver([where])))
        made.open(["127.0.0.1"], port)
        await made.run()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for packet in (query("slow.example"), query()):
                writer.write(len(packet).to_bytes(2, "big") + packet)
            length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 2), "big")
            assert first(await reader.readexactly(length)) == "10.96.0.20"
            writer.close()
        finally:
            await made.close()


async def test_forwards_over_udp(port: int) -> None:
    async with serving(polite) as (_, where):
        made = DnsServer(Responder(cluster(), Resolver([where])))
        made.open(["127.0.0.1"], port)
        await made.run()
        try:
            assert first(await over_udp(port, query("example.com"))) == "192.0.2.1"
        finally:
            await made.close()


async def test_nonsense_does_no_harm(server: DnsServer, port: int) -> None:
    await server.run()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for packet in (b"", b"x", query()[:20], b"\xff" * 4000, query()[:2] + b"\x81\x80" + query()[4:]):
            sock.sendto(packet, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    writer.write_eof()
    await reader.read(-1)
    writer.close()
    assert first(await over_udp(port, query())) == "10.96.0.20"
    assert server.statistics().malformed == 5


async def test_idle_and_surplus_connections_are_closed(
    server: DnsServer, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_IDLE_S", 0.2)
    monkeypatch.setattr(server_module, "_MOST_CONNECTIONS", 3)
    await server.run()
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    assert [await reader.read(-1) for reader, _ in connections] == [b""] * 5
    for _, writer in connections:
        writer.close()
    assert len(await over_tcp(port, query())) == 1


async def test_a_taken_port_is_named(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", port))
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
            DnsServer(Responder(cluster(), Resolver([]))).open(["127.0.0.1"], port)
