"""Sockets of the resolver: datagrams and connections in, responses out. No meaning lives here.

Sockets are bound long before they are read, so that a question that comes while the agent starts waits in the kernel instead of being
refused. Everything that a client can make us hold is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Sequence

from fairlead.drivers.dns import batch, wire
from fairlead.drivers.dns.admission import Held
from fairlead.drivers.dns.batch import Batch, packed_host, parse_address
from fairlead.drivers.dns.handover import Keeper
from fairlead.drivers.dns.protocol import Forward
from fairlead.drivers.dns.responder import Responder, Statistics
from fairlead.drivers.dns.sockets import MOST_CONNECTIONS, Sockets, open_sockets

log = logging.getLogger(__name__)

_BATCHES_PER_TURN = 4
_MOST_FORWARDS = 2048
_MOST_CONNECTIONS = MOST_CONNECTIONS
_MOST_PIPELINED = 32
_IDLE_S = 10.0


class DnsServer:
    """Answers on some addresses, over UDP and TCP, what `responder` says."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._sockets: Sockets | None = None
        self._batches: list[Batch] = []
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._forwards = 0

    def __repr__(self) -> str:
        state = "answering" if self._servers else "waiting"
        return f"<DnsServer {state} {self.statistics()}>"

    def statistics(self) -> Statistics:
        """Return the counters."""
        return self._responder.statistics()

    def open(self, addresses: Sequence[str], port: int, keeper: Keeper | None = None) -> None:
        """Bind sockets, or get them from `keeper`, without reading them; raises OSError and then has none."""
        self._sockets = open_sockets(addresses, port, keeper)

    async def run(self) -> None:
        """Start answering, first what an earlier process left; a second call does nothing."""
        if self._servers or self._sockets is None:
            return
        for sock in self._sockets.streams:
            self._servers.append(await asyncio.start_server(self._connected, sock=sock))
        loop = asyncio.get_running_loop()
        memory = self._sockets.journal.memory
        left_over = self._sockets.left_over()
        for index, sock in enumerate(self._sockets.datagrams):
            self._batches.append(Batch(sock, memory, index * batch.BYTES))
        self._responder.renew()
        for index, packet, address in left_over:
            reply = self._respond(packet, address, index)
            if reply is not None:
                _send(self._sockets.datagrams[index], reply, address)
        for index, each in enumerate(self._batches):
            loop.add_reader(each.sock.fileno(), self._readable, each, index)

    async def close(self) -> None:
        """Stop answering and close everything. A keeper goes on holding the sockets and what is not answered yet."""
        loop = asyncio.get_running_loop()
        for each in self._batches:
            loop.remove_reader(each.sock.fileno())
            each.close()
        self._batches.clear()
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sockets is not None:
            self._sockets.close()
            self._sockets = None

    def _readable(self, each: Batch, index: int) -> None:
        self._responder.renew()
        for _ in range(_BATCHES_PER_TURN):
            count = each.receive()
            if count:
                self._answer(each, index, count)
            if count < batch.SLOTS:
                return

    def _answer(self, each: Batch, index: int, count: int) -> None:
        """Answer the packets of a batch. The hot path: a microsecond for a question that came before."""
        begin = time.perf_counter()
        kept = self._responder.images.kept
        memory, replies, lengths, reply_lengths = each.memory, each.replies, each.lengths, each.reply_lengths
        family = each.is_ipv6
        start, out, unsent, elsewhere = each.data_at, 0, 0, 0
        for slot in range(count):
            length = lengths[slot]
            image = kept.get(memory[start + 2 : start + length])
            if image is not None:
                reply, tally = image
                tally[family] += 1
                size = len(reply) + 2
                replies[out : out + 2] = memory[start : start + 2]
                replies[out + 2 : out + size] = reply
                reply_lengths[slot] = size
            else:
                answer = self._respond(memory[start : start + length], each.address(slot), index)
                if answer is None:
                    each.send(unsent, slot)
                    unsent = slot + 1
                    elsewhere += 1
                else:
                    each.answer(slot, answer)
            start += batch.SLOT_BYTES
            out += batch.SLOT_BYTES
        each.send(unsent, count)
        each.done()
        self._responder.meters.durations["cluster"].observe(time.perf_counter() - begin, count - elsewhere)

    def _respond(self, packet: bytes, address: bytes, index: int) -> bytes | None:
        reply = self._responder.respond(packet, packed_host(address), stream=False)
        if isinstance(reply, Forward | Held):
            self._forward(reply, packet, address, index)
            return None
        return reply

    def _forward(self, pending: Forward | Held, packet: bytes, address: bytes, index: int) -> None:
        if self._forwards >= _MOST_FORWARDS or self._sockets is None:
            # The client asks again; an answer now would only tell it to give up.
            self._responder.dropped += 1
            return
        self._forwards += 1
        begin = time.perf_counter()
        sock, journal = self._sockets.datagrams[index], self._sockets.journal
        slot = journal.remember(index, packet, address)

        async def work() -> None:
            try:
                _send(sock, await self._responder.answer(pending, packed_host(address), stream=False), address)
                journal.answered(slot)
                self._responder.meters.durations["forward"].observe(time.perf_counter() - begin)
            finally:
                self._forwards -= 1

        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
        host = _peer(writer)

        async def later(pending: Forward | Held) -> None:
            try:
                _write(writer, await self._responder.answer(pending, host, stream=True))
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
                self._responder.renew()
                reply = self._responder.respond(packet, host, stream=True)
                if isinstance(reply, Forward | Held):
                    group.create_task(later(reply))
                    continue
                room.release()
                if reply is None:
                    break
                _write(writer, reply)
                async with asyncio.timeout(_IDLE_S):
                    await writer.drain()
        async with asyncio.timeout(_IDLE_S):
            await writer.drain()


def _peer(writer: asyncio.StreamWriter) -> bytes:
    name = writer.get_extra_info("peername")
    text = str(name[0]).partition("%")[0] if name else "0.0.0.0"
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def _write(writer: asyncio.StreamWriter, reply: bytes) -> None:
    writer.write(len(reply).to_bytes(2, "big") + reply)


def _send(sock: socket.socket, reply: bytes, address: bytes) -> None:
    # A full buffer or an unreachable client costs one answer, which UDP clients ask for again.
    with contextlib.suppress(OSError):
        sock.sendto(reply, parse_address(address))


assert wire.UDP_BYTES <= batch.SLOT_BYTES
