"""The stream between API server and kubelet: one connection, numbered channels.

A frame is one byte of channel, four bytes of length (big-endian) and the payload. The kubelet's end speaks the same
(`fairlead.lab.kubelet`); errors before the stream are ordinary HTTP answers.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

STDIN, STDOUT, STDERR, EXIT, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
MOST_FRAME_BYTES = 1 << 20
_MOST_ERROR_BYTES = 64 << 10
_TIMEOUT_S = 30


class Refused(Exception):
    """The kubelet did not open the stream."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Stream:
    """An open connection to a kubelet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next frame as (channel, payload), or None when the kubelet has ended the stream."""
        try:
            channel, length = struct.unpack(">BI", await self.reader.readexactly(5))
            if length > MOST_FRAME_BYTES:
                return None
            return channel, await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def write(self, channel: int, payload: bytes) -> None:
        """Send one frame; a kubelet that has gone is not an error here, `read` tells it."""
        self.writer.write(struct.pack(">BI", channel, len(payload)) + payload)
        try:
            await self.writer.drain()
        except ConnectionError:
            pass

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, OSError):
            pass


async def connect(socket: Path, path: str, query: Sequence[tuple[str, str]]) -> Stream:
    """Open a stream at the kubelet that listens on `socket`; raises Refused with its words."""
    target = f"{path}?{urlencode(query)}" if query else path
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            writer.write(
                f"POST {target} HTTP/1.1\r\nHost: kubelet\r\nConnection: Upgrade\r\n"
                f"Upgrade: fairlead-stream\r\nContent-Length: 0\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            code = int(head.split(b" ", 2)[1])
            if code == 101:
                return Stream(reader, writer)
            message = (await reader.read(_MOST_ERROR_BYTES)).decode(errors="replace").strip()
            writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise Refused(500, f"error dialing the kubelet: {error}") from error
    raise Refused(code, message or f"the kubelet answered {code}")
