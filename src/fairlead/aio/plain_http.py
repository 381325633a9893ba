"""Answers to GET on a TCP port, each connection closed after its answer: enough for health checks and metrics, and light.

It must never serve anything large or anything that changes something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from inspect import isawaitable
from typing import TypeAlias

import msgspec

_TIMEOUT_S = 5.0
_MOST_LINES = 100


class Answer(msgspec.Struct, frozen=True):
    """What is answered to one request."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {}


_NOT_ALLOWED = Answer(405, b"method not allowed\n", headers={"Allow": "GET, HEAD"})

Answerer: TypeAlias = Callable[[str], Answer | Awaitable[Answer]]
"""Returns the answer to a path, at once or after a while."""


async def listen(port: int, answer: Answerer, *, host: str | None = None) -> asyncio.Server:
    """Return a server that calls `answer` with each path that is asked for, on every address by default; raises OSError."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                method, path = await _request(reader)
                found = answer(path) if method in ("GET", "HEAD") else _NOT_ALLOWED
                writer.write(_encode(method, await found if isawaitable(found) else found))
                await writer.drain()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(connected, host, port, reuse_address=True)


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Return (method, path without a query); the headers say nothing that matters here."""
    method, target, _ = (await reader.readline()).decode("ascii").split(" ", 2)
    for _ in range(_MOST_LINES):
        if not (await reader.readline()).strip():
            break
    return method, target.partition("?")[0]


def _encode(method: str, found: Answer) -> bytes:
    lines = [
        f"HTTP/1.1 {found.status} {HTTPStatus(found.status).phrase}",
        f"Content-Type: {found.content_type}",
        f"Content-Length: {len(found.body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in found.headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else found.body)
