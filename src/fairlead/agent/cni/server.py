"""The agent's Unix socket: reads framed requests, has them answered, writes the reply. No meaning lives here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from fairlead.agent.attachments import AttachmentStore
from fairlead.agent.cni import framing
from fairlead.agent.cni.ports import Inspector, PodNetwork
from fairlead.agent.cni.protocol import MOST_BYTES
from fairlead.agent.cni.service import CniService, Reply

log = logging.getLogger(__name__)

Verb: TypeAlias = Callable[[Mapping[str, str], bytes], Awaitable[Reply]]
"""Answers (arguments, body) of one request."""

_READ_TIMEOUT_S = 10.0
_BACKLOG = 512
_MOST_CONNECTIONS = 256
_SUN_PATH_BYTES = 107


@contextlib.asynccontextmanager
async def serve(
    socket_path: Path,
    store: AttachmentStore,
    network: PodNetwork,
    inspector: Inspector,
    *,
    verbs: Mapping[str, Verb] | None = None,
) -> AsyncIterator[CniService]:
    """Answer on `socket_path` while the context lasts; requests under way are finished on exit. Raises OSError.

    `verbs` adds other requests to the same socket (`status`, …). Only this user may connect. A socket that an earlier process left
    is replaced in one step.
    """
    service = CniService(store, network, inspector)
    table: dict[str, Verb] = {**(verbs or {}), "cni": service.answer}
    limit = asyncio.Semaphore(_MOST_CONNECTIONS)
    running: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            async with limit:
                await _answer(reader, writer, table)
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(connected, sock=_listen(socket_path), backlog=_BACKLOG)
    try:
        yield service
    finally:
        server.close()
        await asyncio.gather(*running, return_exceptions=True)
        socket_path.unlink(missing_ok=True)


async def call(socket_path: Path, verb: str, arguments: Mapping[str, str], body: bytes = b"") -> tuple[int, bytes]:
    """Return (exit code, output) of one request to an agent; raises OSError, framing.FrameError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with _short(socket_path) as address:
        sock.connect(address)
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    try:
        writer.write(framing.request(verb, arguments, body))
        return framing.parse_reply(await reader.read(-1))
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, verbs: Mapping[str, Verb]) -> None:
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            line = await reader.readuntil(b"\n")
            if line.startswith(b"GET "):
                await reader.readuntil(b"\r\n\r\n")
                await _answer_http(line, writer, verbs)
                return
            header = framing.parse_header(line, MOST_BYTES + 1)
            arguments = framing.parse_arguments(await reader.readexactly(header.arguments_bytes))
            body = await reader.readexactly(header.body_bytes)
        verb = verbs.get(header.verb)
        if verb is None:
            raise framing.FrameError(f"unknown request {header.verb!r}; known are {', '.join(sorted(verbs))}")
        reply = await verb(arguments, body)
    except (framing.FrameError, asyncio.LimitOverrunError) as error:
        reply = Reply(2, str(error).encode())
    except (TimeoutError, asyncio.IncompleteReadError):
        return
    with contextlib.suppress(ConnectionError):
        writer.write(framing.reply(reply.exit_code, reply.output))
        await writer.drain()


async def _answer_http(line: bytes, writer: asyncio.StreamWriter, verbs: Mapping[str, Verb]) -> None:
    """Answer `GET /VERB` for tools that speak HTTP; only requests without arguments can be asked so."""
    verb = verbs.get(line.split()[1].decode(errors="replace").lstrip("/")) if len(line.split()) > 1 else None
    reply = await verb({}, b"") if verb is not None else Reply(1, b'{"error": "no such path"}')
    head = f"HTTP/1.1 {'404 Not Found' if verb is None else '200 OK'}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(reply.output)}\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(ConnectionError):
        writer.write(head.encode() + reply.output)
        await writer.drain()


def _listen(path: Path) -> socket.socket:
    """Return a socket that listens at `path`; bound beside it and renamed, so that there is no moment without one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}")
    temporary.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        with _short(temporary) as address:
            sock.bind(address)
        sock.listen(_BACKLOG)
        temporary.rename(path)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield an address of `path` that fits into sun_path, which holds 107 bytes."""
    if len(os.fsencode(path)) <= _SUN_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
