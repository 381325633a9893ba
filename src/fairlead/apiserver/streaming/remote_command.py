"""exec and attach: the client's standard streams joined to a command in a container."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from aiohttp import WSMsgType, web

from fairlead.apiserver.streaming.kubelet_stream import CLOSE, EXIT, RESIZE, STDERR, STDIN, STDOUT, Stream
from fairlead.apiserver.streaming.session import SpdySession, SpdyStream

V5 = "v5.channel.k8s.io"
WEBSOCKET_PROTOCOLS = (V5, "v4.channel.k8s.io")
SPDY_PROTOCOLS = ("v4.channel.k8s.io",)

_CHANNELS: Mapping[str, int] = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": EXIT, "resize": RESIZE}
_OPENING_TIMEOUT_S = 30


class Client(Protocol):
    """The end that kubectl holds: frames with the channel numbers of the kubelet's stream."""

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next (channel, payload), CLOSE with the number of a channel that ended, or None when it has gone."""
        ...

    async def write(self, channel: int, payload: bytes) -> None:
        """Send bytes of a channel."""
        ...


async def join(client: Client, kubelet: Stream) -> None:
    """Carry frames both ways until the command has ended or the client has gone."""

    async def upward() -> None:
        while (frame := await client.read()) is not None:
            await kubelet.write(*frame)

    async def downward() -> None:
        while (frame := await kubelet.read()) is not None:
            await client.write(*frame)
            if frame[0] == EXIT:
                return

    tasks = [asyncio.create_task(upward()), asyncio.create_task(downward())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await kubelet.close()


class WebSocketClient:
    """v4 and v5.channel.k8s.io: the first byte of each binary message is the channel."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next (channel, payload), or None."""
        while True:
            message = await self._socket.receive()
            if message.type is not WSMsgType.BINARY:
                return None
            if message.data:
                return message.data[0], message.data[1:]

    async def write(self, channel: int, payload: bytes) -> None:
        """Send bytes of a channel."""
        try:
            await self._socket.send_bytes(bytes([channel]) + payload)
        except ConnectionError:
            pass


class SpdyClient:
    """One SPDY stream per channel, named by its header `streamtype`."""

    def __init__(self, streams: Mapping[int, SpdyStream]) -> None:
        self._streams = streams
        self._frames: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(64)
        self._readers = [
            asyncio.create_task(self._pump(channel, streams[channel]))
            for channel in (STDIN, RESIZE)
            if channel in streams
        ]

    @classmethod
    async def accept(cls, session: SpdySession, wanted: frozenset[str]) -> SpdyClient | None:
        """Wait until the client has opened the `wanted` streams; None if it goes or takes longer than 30 s."""
        streams: dict[int, SpdyStream] = {}
        try:
            async with asyncio.timeout(_OPENING_TIMEOUT_S):
                while len(streams) < len(wanted):
                    stream = await session.accept()
                    if stream is None:
                        return None
                    kind = stream.headers.get("streamtype", "")
                    if kind in wanted:
                        streams[_CHANNELS[kind]] = stream
        except TimeoutError:
            return None
        return cls(streams)

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next (channel, payload), or None."""
        return await self._frames.get()

    async def write(self, channel: int, payload: bytes) -> None:
        """Send bytes of a channel; the exit status ends every stream."""
        if channel in self._streams:
            await self._streams[channel].write(payload, fin=channel == EXIT)
        if channel == EXIT:
            for other in (STDOUT, STDERR):
                if other in self._streams:
                    await self._streams[other].write(b"", fin=True)

    async def close(self) -> None:
        """Stop reading."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def gone(self) -> None:
        """Let `read` tell that the client has gone."""
        if not self._frames.full():
            self._frames.put_nowait(None)

    async def _pump(self, channel: int, stream: SpdyStream) -> None:
        while data := await stream.read():
            await self._frames.put((channel, data))
        if channel == STDIN:
            await self._frames.put((CLOSE, bytes([STDIN])))


def wanted_streams(query: Mapping[str, str]) -> frozenset[str]:
    """Return the stream types that a SPDY client opens for the options of its request."""
    tty = is_true(query.get("tty"))
    wanted = {"error"}
    wanted |= {name for name in ("stdin", "stdout") if is_true(query.get(name))}
    if is_true(query.get("stderr")) and not tty:
        wanted.add("stderr")
    if tty:
        wanted.add("resize")
    return frozenset(wanted)


def is_true(value: str | None) -> bool:
    """Tell whether a query parameter is set, as the API server reads booleans."""
    return value is not None and value.lower() in ("1", "true", "t")
