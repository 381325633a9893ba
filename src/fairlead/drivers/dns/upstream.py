"""Asks other resolvers what this cluster does not know, and believes only answers to what was asked.

Each try has a socket, a port, an id and a spelling of the name of its own (RFC 5452, draft 0x20), so that an answer cannot be forged
from off the path. Slow servers are raced by the next one; what is asked already is not asked twice. Nothing here waits without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import struct
import time
from collections.abc import Callable, Sequence

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.cache import Cache, Question, Response, readdress, understand
from fairlead.drivers.dns.protocol import Forward, failure

_DEADLINE_S = 4.0
"""Less than the five seconds after which resolvers ask again."""
# When none of them answered lately, a client is better served by a quick failure than by a late one.
_HOPELESS_DEADLINE_S = 1.0
_NEXT_AFTER_S = 0.5
_SHUN_S = 5.0
_MOST_OUTSTANDING = 1024
_DNS_PORT = 53
_FINAL = (wire.NOERROR, wire.NXDOMAIN)


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


class Resolver:
    """Forwards questions to `servers`, in that order while they answer."""

    def __init__(
        self, servers: Sequence[Upstream], *, cache: Cache | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._servers = list(servers)
        self._clock = clock
        self._shunned: dict[Upstream, float] = {}
        self._running: dict[Question, asyncio.Task[Response | None]] = {}
        self._chance = random.SystemRandom()
        self.cache = cache if cache is not None else Cache()

    def __repr__(self) -> str:
        return f"<Resolver servers={len(self._servers)} outstanding={len(self._running)} cached={len(self.cache)}>"

    @property
    def available(self) -> bool:
        """Return whether there is anybody to ask."""
        return bool(self._servers)

    def quick(self, forward: Forward, *, limit: int) -> bytes | None:
        """Return the response if it needs nobody: from the cache, or a refusal; None when `answer` must be awaited."""
        query = forward.query
        if not self._servers:
            why = (
                wire.EDE_NOT_AUTHORITATIVE,
                f"{wire.text(forward.name)} is outside of the cluster and there is no upstream resolver",
            )
            if forward.chain:
                return wire.answer(query, wire.SERVFAIL, answers=forward.chain, limit=limit, why=why)
            return failure(query, limit=limit, recursion=False, why=why, rcode=wire.REFUSED)
        if not query.flags & wire.RD:
            return failure(
                query,
                limit=limit,
                recursion=True,
                why=(wire.EDE_NOT_AUTHORITATIVE, "recursion not desired"),
                rcode=wire.REFUSED,
            )
        question = _question(forward)
        kept = self.cache.get(question, self._clock())
        if kept is not None:
            return _join(kept, forward, limit=limit)
        if len(self._running) >= _MOST_OUTSTANDING and question not in self._running:
            return failure(query, limit=limit, recursion=True, why=(0, "too many questions outstanding"))
        return None

    async def answer(self, forward: Forward, *, limit: int) -> bytes:
        """Return the response; SERVFAIL when no server answers within four seconds."""
        question = _question(forward)
        task = self._running.get(question)
        if task is None:
            task = self._running[question] = asyncio.create_task(self._resolve(question))
            task.add_done_callback(lambda _: self._running.pop(question, None))
        response = await asyncio.shield(task)
        if response is None:
            why = (wire.EDE_NO_REACHABLE, "no upstream resolver answers")
            return failure(forward.query, limit=limit, recursion=True, why=why)
        return _join(response.packet, forward, limit=limit)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resolve(self, question: Question) -> Response | None:
        last: Response | None = None
        try:
            async with asyncio.timeout(_HOPELESS_DEADLINE_S if self._hopeless() else _DEADLINE_S):
                last = await self._race(question)
        except TimeoutError:
            pass
        if last is not None:
            self.cache.put(question, last, self._clock())
        return last

    def _hopeless(self) -> bool:
        now = self._clock()
        return all(self._shunned.get(server, 0.0) > now for server in self._servers)

    async def _race(self, question: Question) -> Response | None:
        """Ask the first server, and each next one when that fails or is slow; the first final answer wins."""
        waiting = sorted(self._servers, key=lambda server: self._shunned.get(server, 0.0) > self._clock())
        waiting += waiting
        tries: set[asyncio.Task[Response | None]] = set()
        spare: Response | None = None
        try:
            while waiting or tries:
                if waiting:
                    tries.add(asyncio.create_task(self._try(waiting.pop(0), question)))
                done, tries = await asyncio.wait(
                    tries, timeout=_NEXT_AFTER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    response = task.result()
                    if response is not None and response.flags & 0xF in _FINAL:
                        return response
                    spare = response or spare
            return spare
        finally:
            for task in tries:
                task.cancel()
            await asyncio.gather(*tries, return_exceptions=True)

    async def _try(self, server: Upstream, question: Question) -> Response | None:
        try:
            async with asyncio.timeout(_DEADLINE_S / 2):
                response = await self._ask(server, question)
        except (TimeoutError, OSError, IndexError, struct.error, EOFError):
            self._shunned[server] = self._clock() + _SHUN_S
            return None
        self._shunned.pop(server, None)
        return response

    async def _ask(self, server: Upstream, question: Question) -> Response:
        packet = self._question_packet(question)
        received = await _over_udp(server, packet)
        if received is None or wire.HEADER.unpack_from(received)[1] & wire.TC:
            received = await _over_tcp(server, packet)
        return understand(received)

    def _question_packet(self, question: Question) -> bytes:
        name, kind, dnssec, unchecked = question
        spelled = bytes(byte ^ 0x20 if 97 <= byte <= 122 and self._chance.getrandbits(1) else byte for byte in name)
        flags = wire.RD | (wire.CD if unchecked else 0)
        header = wire.HEADER.pack(self._chance.getrandbits(16), flags, 1, 0, 0, 1)
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


def _question(forward: Forward) -> Question:
    return forward.name, forward.query.type, forward.query.dnssec, bool(forward.query.flags & wire.CD)


def _join(packet: bytes, forward: Forward, *, limit: int) -> bytes:
    """Return the response: the aliases of this cluster, then what the resolver said."""
    if not forward.chain:
        return readdress(packet, forward.query, limit=limit)
    # Only aliases that lead out of the cluster come here, so the codec is not loaded by an agent that has none.
    import dns.exception
    import dns.message

    try:
        message = dns.message.from_wire(packet, ignore_trailing=True)
    except dns.exception.DNSException as error:
        why = (wire.EDE_NO_REACHABLE, f"the upstream resolver's answer cannot be read: {error}")
        return failure(forward.query, limit=limit, recursion=True, why=why)

    def owner(rrset: dns.rrset.RRset) -> bytes:
        packed = rrset.name.to_wire() or b"\0"
        # The spelling that we asked with is nobody else's business.
        return forward.name if packed.lower() == forward.name else packed

    def flat(section: Sequence[dns.rrset.RRset]) -> list[bytes]:
        return [
            wire.record(owner(rrset), rrset.rdtype, rrset.ttl, rdata.to_wire() or b"")
            for rrset in section
            for rdata in rrset
        ]

    return wire.answer(
        forward.query,
        message.rcode(),
        answers=[*forward.chain, *flat(message.answer)],
        authority=flat(message.authority),
        limit=limit,
        recursion=True,
    )
