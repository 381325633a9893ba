"""Frames between API server and kubelet, and the status in which a command's end is told. Pure but for reading from a stream.

A frame is one byte of channel, four bytes of length (big-endian) and the payload.
"""

from __future__ import annotations

import asyncio
import json
import struct

STDIN, STDOUT, STDERR, EXIT, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
MOST_FRAME_BYTES = 1 << 20
_HEADER = struct.Struct(">BI")


def frame(channel: int, payload: bytes) -> bytes:
    """Return the bytes of one or, for a long payload, several frames."""
    if len(payload) <= MOST_FRAME_BYTES:
        return _HEADER.pack(channel, len(payload)) + payload
    pieces = [payload[at : at + MOST_FRAME_BYTES] for at in range(0, len(payload), MOST_FRAME_BYTES)]
    return b"".join(_HEADER.pack(channel, len(piece)) + piece for piece in pieces)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes] | None:
    """Return (channel, payload), None when the peer has ended the stream or broken the format."""
    try:
        channel, length = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if length > MOST_FRAME_BYTES:
            return None
        return channel, await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def exit_status(code: int) -> bytes:
    """Return the metav1.Status of a command that ended with `code`, as the kubelet words it."""
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: command terminated with exit code {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    ).encode()


def failure_status(message: str) -> bytes:
    """Return the metav1.Status of a command that could not be run at all."""
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "reason": "InternalError",
            "message": f"Internal error occurred: {message}",
            "code": 500,
        }
    ).encode()
