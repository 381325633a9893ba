"""Sockets of the resolver: datagrams and connections in, responses out. No meaning lives here.

Sockets are bound long before they are read, so that a question that comes while the agent starts waits in the kernel instead of being
refused. Everything that a client can make us hold is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Iterable

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.images import Images
from fairlead.drivers.dns.protocol import Forward, respond
from fairlead.drivers.dns.upstream import Resolver
from fairlead.drivers.dns.zone import Zones

log = logging.getLogger(__name__)

_DATAGRAMS_PER_TURN = 64
_DATAGRAM_BYTES = 4096
_RECEIVE_BUFFER_BYTES = 1 << 20
_MOST_FORWARDS = 2048
_MOST_CONNECTIONS = 256
_MOST_PIPELINED = 32
_IDLE_S = 10.0
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78


class Statistics(msgspec.Struct, frozen=True):
    """What the server did since it was made."""

    questions: int
    malformed: int
    dropped: int
    """Questions beyond what may be outstanding."""


class DnsServer:
    """Answers on some addresses, over UDP and TCP, from `zones` and `resolver`."""

    def __init__(self, zones: Zones, resolver: Resolver) -> None:
        self._zones = zones
        self._resolver = resolver
        self._chance = random.Random()
        self._images = Images()
        self._datagram_sockets: list[socket.socket] = []
        self._stream_sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._forwards = 0
        self._questions = self._malformed = self._dropped = 0

    def __repr__(self) -> str:
        state = "answering" if self._servers else "waiting"
        return f"<DnsServer {state} sockets={len(self._datagram_sockets)} {self.statistics()}>"

    def statistics(self) -> Statistics:
        """Return the counters."""
        return Statistics(self._questions, self._malformed, self._dropped)

    def open(self, addresses: Iterable[str], port: int) -> None:
        """Bind sockets without reading them; raises OSError and then has none."""
        try:
            for address in addresses:
                self._datagram_sockets.append(_bind(address, port, socket.SOCK_DGRAM))
                self._stream_sockets.append(_bind(address, port, socket.SOCK_STREAM))
        except OSError:
            self._close_sockets()
            raise

    async def run(self) -> None:
        """Start answering; a second call does nothing."""
        if self._servers:
            return
        for sock in self._stream_sockets:
            self._servers.append(await asyncio.start_server(self._connected, sock=sock))
        loop = asyncio.get_running_loop()
        for sock in self._datagram_sockets:
            loop.add_reader(sock.fileno(), self._readable, sock)

    async def close(self) -> None:
        """Stop answering and close everything."""
        loop = asyncio.get_running_loop()
        for sock in self._datagram_sockets:
            loop.remove_reader(sock.fileno())
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for sock in (*self._datagram_sockets, *self._stream_sockets):
            sock.close()
        self._datagram_sockets.clear()
        self._stream_sockets.clear()

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(_DATAGRAMS_PER_TURN):
            try:
                packet, client = sock.recvfrom(_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.debug("dns socket error", extra={"error": str(error)})
                return
            reply = self._respond(packet, None)
            if isinstance(reply, Forward):
                self._forward(reply, sock, client)
            elif reply is not None:
                _send(sock, reply, client)

    def _respond(self, packet: bytes, stream_limit: int | None) -> bytes | Forward | None:
        """Return the response if there is one at once, None for what must not be answered."""
        self._questions += 1
        if stream_limit is None and (known := self._images.get(packet, self._zones.serial)) is not None:
            return known
        try:
            query = wire.parse_query(packet)
        except wire.Malformed as malformed:
            self._malformed += 1
            return malformed.reply
        limit = stream_limit or min(query.udp_bytes, wire.UDP_BYTES)
        reply = respond(query, self._zones, self._chance, limit=limit, recursion=self._resolver.available)
        if isinstance(reply, Forward):
            return self._resolver.quick(reply, limit=limit) or reply
        if stream_limit is None:
            self._images.keep(packet, reply)
        return reply

    def _forward(self, forward: Forward, sock: socket.socket, client: object) -> None:
        if self._forwards >= _MOST_FORWARDS:
            # The client asks again; an answer now would only tell it to give up.
            self._dropped += 1
            return
        self._forwards += 1

        async def work() -> None:
            try:
                limit = min(forward.query.udp_bytes, wire.UDP_BYTES)
                _send(sock, await self._resolver.answer(forward, limit=limit), client)
            finally:
                self._forwards -= 1

        self._start(asyncio.create_task(work()))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) - self._forwards <= _MOST_CONNECTIONS:
                await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer pipelined questions, each as soon as its answer is known (RFC 7766)."""
        room = asyncio.Semaphore(_MOST_PIPELINED)

        async def later(forward: Forward) -> None:
            try:
                reply = await self._resolver.answer(forward, limit=wire.TCP_BYTES)
                writer.write(len(reply).to_bytes(2, "big") + reply)
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    async with asyncio.timeout(_IDLE_S):
                        length = int.from_bytes(await reader.readexactly(2), "big")
                        packet = await reader.readexactly(length)
                        await room.acquire()
                except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
                    break
                reply = self._respond(packet, wire.TCP_BYTES)
                if isinstance(reply, Forward):
                    group.create_task(later(reply))
                    continue
                room.release()
                if reply is None:
                    break
                writer.write(len(reply).to_bytes(2, "big") + reply)
                async with asyncio.timeout(_IDLE_S):
                    await writer.drain()
        async with asyncio.timeout(_IDLE_S):
            await writer.drain()

    def _start(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _bind(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # A successor may bind before its predecessor ends.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_MOST_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address} port {port}: {error.strerror}") from error
    return sock


def _send(sock: socket.socket, reply: bytes, client: object) -> None:
    # A full buffer or an unreachable client costs one answer, which UDP clients ask for again.
    with contextlib.suppress(OSError):
        sock.sendto(reply, client)  # type: ignore[call-overload]
