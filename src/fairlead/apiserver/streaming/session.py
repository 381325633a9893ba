"""A SPDY session over a pipe: streams with their headers, and their bytes by queue."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fairlead.apiserver.streaming.spdy import (
    MOST_STREAMS,
    Data,
    Pinged,
    Spdy,
    SpdyError,
    StreamOpened,
    StreamReset,
    WentAway,
)
from fairlead.apiserver.streaming.transport import Pipe

_QUEUED_CHUNKS = 64


class SpdyStream:
    """One stream that the client opened."""

    def __init__(self, session: SpdySession, number: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._session = session
        self._number = number
        self._received: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_CHUNKS)
        self._ended = False

    async def read(self) -> bytes:
        """Return the next bytes, or nothing when the client has ended the stream."""
        if self._ended and self._received.empty():
            return b""
        data = await self._received.get()
        if not data:
            self._ended = True
        return data

    async def write(self, data: bytes, *, fin: bool = False) -> None:
        """Send `data`; with `fin`, our last."""
        await self._session.send_data(self._number, data, fin=fin)

    async def feed(self, data: bytes, *, fin: bool) -> None:
        """Take bytes of the client; waits while the queue is full, which holds the client back."""
        if data:
            await self._received.put(data)
        if fin:
            await self._received.put(b"")

    def end(self) -> None:
        """Let readers see the end, whatever is queued."""
        self._ended = True
        if self._received.empty():
            self._received.put_nowait(b"")


class SpdySession:
    """Reads a pipe until it ends and hands out the streams that the client opens."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._spdy = Spdy()
        self._streams: dict[int, SpdyStream] = {}
        self._opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue()

    async def run(self) -> None:
        """Serve until the client goes or breaks the protocol."""
        try:
            while data := await self._pipe.read():
                for event in self._spdy.receive(data):
                    await self._handle(event)
        except SpdyError:
            await self._pipe.write(self._spdy.go_away())
        finally:
            for stream in self._streams.values():
                stream.end()
            self._opened.put_nowait(None)

    async def accept(self) -> SpdyStream | None:
        """Return the next stream that the client opens, or None when the session has ended."""
        return await self._opened.get()

    async def send_data(self, number: int, data: bytes, *, fin: bool) -> None:
        """Send bytes on a stream."""
        await self._pipe.write(self._spdy.data(number, data, fin=fin))

    async def close(self) -> None:
        """End the session in order."""
        await self._pipe.write(self._spdy.go_away())

    async def _handle(self, event: StreamOpened | Data | StreamReset | Pinged | WentAway) -> None:
        match event:
            case StreamOpened(number, headers, fin):
                if self._opened.qsize() >= MOST_STREAMS:
                    raise SpdyError(f"{MOST_STREAMS} streams opened that nobody takes")
                stream = SpdyStream(self, number, headers)
                self._streams[number] = stream
                await self._pipe.write(self._spdy.reply(number))
                if fin:
                    # A stream the client will not write to, as all that it only reads.
                    await stream.feed(b"", fin=True)
                self._opened.put_nowait(stream)
            case Data(number, payload, fin):
                if (known := self._streams.get(number)) is not None:
                    await known.feed(payload, fin=fin)
            case StreamReset(number):
                if (known := self._streams.pop(number, None)) is not None:
                    known.end()
            case Pinged(ident):
                await self._pipe.write(self._spdy.ping(ident))
            case WentAway():
                pass
