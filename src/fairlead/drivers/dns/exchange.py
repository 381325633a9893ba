"""One question to one other resolver, over UDP and, when the answer was cut or misspelled, over TCP.

Each question has a socket, a port, an id and a spelling of the name of its own (RFC 5452, draft 0x20), so that an answer cannot be
forged from off the path.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import struct

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.cache import Question, Response, understand

_DNS_PORT = 53
_chance = random.SystemRandom()


class Upstream(msgspec.Struct, frozen=True):
    """Where another resolver listens."""

    address: str
    port: int = _DNS_PORT

    @classmethod
    def parse(cls, text: str) -> Upstream:
        """Return the server that `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT` means; raises ValueError."""
        host, port = text, str(_DNS_PORT)
        if text.startswith("["):
            host, _, rest = text[1:].partition("]")
            port = rest.removeprefix(":") or port
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        if not 0 < int(port) < 65536:
            raise ValueError(f"{text}: {port} is no port")
        return cls(str(ipaddress.ip_address(host)), int(port))


async def ask(server: Upstream, question: Question) -> Response:
    """Return the server's answer; raises OSError, EOFError, IndexError or struct.error. The caller sets the deadline."""
    packet = question_packet(question)
    received = await _over_udp(server, packet)
    if received is None or wire.HEADER.unpack_from(received)[1] & wire.TC:
        received = await _over_tcp(server, packet)
    return understand(received)


def question_packet(question: Question) -> bytes:
    """Return a query with a random id and a random spelling."""
    name, kind, dnssec, unchecked = question
    spelled = bytes(byte ^ 0x20 if 97 <= byte <= 122 and _chance.getrandbits(1) else byte for byte in name)
    flags = wire.RD | (wire.CD if unchecked else 0)
    header = wire.HEADER.pack(_chance.getrandbits(16), flags, 1, 0, 0, 1)
    return header + spelled + struct.pack(">HH", kind, wire.IN) + wire.option_record(dnssec=dnssec)


class _Exchange(asyncio.DatagramProtocol):
    """One question over UDP: completes with the first datagram that answers it, with None when one answers it misspelled."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self.result: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        match = _answers(self._packet, data)
        if match is not None and not self.result.done():
            self.result.set_result(data if match else None)

    def error_received(self, exc: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(exc)


async def _over_udp(server: Upstream, packet: bytes) -> bytes | None:
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(
        lambda: _Exchange(packet), remote_addr=(server.address, server.port)
    )
    try:
        transport.sendto(packet)
        return await exchange.result
    finally:
        transport.close()


async def _over_tcp(server: Upstream, packet: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server.address, server.port)
    try:
        writer.write(len(packet).to_bytes(2, "big") + packet)
        received = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        if _answers(packet, received) is None:
            raise OSError("the server answered another question")
        return received
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _answers(question: bytes, packet: bytes) -> bool | None:
    """Return True when `packet` answers `question`, False when all but the name's spelling is right, None when it does not."""
    end = len(question) - len(wire.option_record())
    if len(packet) < end or packet[:2] != question[:2] or not packet[2] & 0x80 or packet[4:6] != b"\0\1":
        return None
    if packet[wire.HEADER.size : end] == question[wire.HEADER.size : end]:
        return True
    return False if packet[wire.HEADER.size : end].lower() == question[wire.HEADER.size : end].lower() else None
