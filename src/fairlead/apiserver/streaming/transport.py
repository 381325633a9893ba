"""The client's side of a stream as a pipe of bytes: a raw connection after an upgrade, or binary WebSocket messages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from aiohttp import WSMsgType, web

_HELD_BYTES = 1 << 20


class Pipe(Protocol):
    """A reliable connection of bytes."""

    async def read(self) -> bytes:
        """Return the next bytes, or nothing at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send `data`; returns when the peer's window allows more. Does nothing once the peer has gone."""
        ...


class RawPipe(asyncio.Protocol):
    """The connection of an HTTP request after `101 Switching Protocols`.

    The server library knows no upgrade but WebSocket, so the transport is taken over. The library's protocol is told when
    the connection ends, which ends its bookkeeping for it.
    """

    def __init__(self, transport: asyncio.Transport, former: asyncio.BaseProtocol) -> None:
        self._transport = transport
        self._former = former
        self._reader = asyncio.StreamReader(limit=_HELD_BYTES)
        # Who sends faster than the other side reads is held back.
        self._reader.set_transport(transport)
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = False

    @classmethod
    async def take_over(cls, request: web.Request, headers: Mapping[str, str]) -> tuple[RawPipe, web.StreamResponse]:
        """Answer `request` with 101 and `headers`, and return its connection and the response for the library."""
        response = web.StreamResponse(status=101, headers={"Connection": "Upgrade", **headers})
        # No check of the class: the TLS transports of other event loops are none of asyncio's.
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        pipe = cls(transport, transport.get_protocol())
        # Nothing may arrive for the library's parser once the client has seen the 101.
        transport.set_protocol(pipe)
        await response.prepare(request)
        response.force_close()
        return pipe, response

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._reader.feed_data(data)

    def eof_received(self) -> bool:
        """Take the end of the client's bytes; our side stays open."""
        self._reader.feed_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        self._lost = True
        self._reader.feed_eof()
        self._writable.set()
        self._former.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hold writers back."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._writable.set()

    async def read(self) -> bytes:
        """Return the next bytes, or nothing at the end."""
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        """Send `data`; returns when the peer's window allows more."""
        if not self._lost:
            self._transport.write(data)
            await self._writable.wait()


class WebSocketPipe:
    """Bytes carried by the binary messages of a WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """Return the next bytes, or nothing at the end."""
        while (message := await self._socket.receive()).type is WSMsgType.BINARY:
            # An empty message, as kubectl sends for an empty last frame, is no end.
            if message.data:
                return bytes(message.data)
        return b""

    async def write(self, data: bytes) -> None:
        """Send `data`."""
        try:
            await self._socket.send_bytes(data)
        except ConnectionError:
            pass
