"""Serves counters as text for Prometheus. It must never hold a request: what is counted is made into text when asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping

log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_MOST_HEADER_BYTES = 8192
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@contextlib.asynccontextmanager
async def serve(port: int, pages: Mapping[str, Callable[[], str]]) -> AsyncIterator[int]:
    """Serve each path of `pages` on `port` of every address; yields the port, 0 when it is taken, which is logged."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer(head, pages))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(connected, None, port, limit=_MOST_HEADER_BYTES)
    except OSError as error:
        log.warning("metrics not served", extra={"port": port, "error": str(error)})
        yield 0
        return
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _answer(head: bytes, pages: Mapping[str, Callable[[], str]]) -> bytes:
    words = head.split(b"\r\n", 1)[0].split()
    method, target = (words[0], words[1].decode("latin-1").partition("?")[0]) if len(words) == 3 else (b"", "")
    page = pages.get(target)
    if method not in (b"GET", b"HEAD"):
        status, text = "405 Method Not Allowed", "only GET is served here\n"
    elif page is None:
        status, text = "404 Not Found", f"served here: {', '.join(pages)}\n"
    else:
        status, text = "200 OK", page()
    body = text.encode()
    head_out = f"HTTP/1.1 {status}\r\nContent-Type: {_TEXT}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head_out.encode() + (b"" if method == b"HEAD" else body)
