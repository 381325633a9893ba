"""Clients of an API server, as many as asked for: a program of its own, `python -m fairlead.lab.bench.api_load JOB`.

JOB is a `Job` as JSON; what it found is printed as a `Found`. Each client is one connection with one request under way. Answers are
counted and hardly read, so that the asking side costs less than any answering side.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec
import uvloop

_EVENT = b'{"type":"ADDED"'
_GIVE_UP_S = 120.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: `writes` requests by `writers`, seen by `watchers` of `path`; without writes, GET `path` `reads` times.

    An `@` in `body` becomes eight digits that no other request has, from `first` on. `pki` is the folder of the client's certificate.
    """

    port: int
    pki: str
    path: str
    reads: int = 0
    writes: int = 0
    writers: int = 0
    watchers: int = 0
    write_path: str = ""
    body: str = ""
    first: int = 0


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What it took: seconds from the first request to the last answer or event, and of each read."""

    seconds: float
    reads_s: tuple[float, ...] = ()


class _Client(asyncio.Protocol):
    """One connection: a request, its answer, the next one."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._done = done
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._missing = -1
        self._began = 0.0
        self.taken_s: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Take a part of the answer; behind its end send the next request."""
        if self._missing < 0:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end])
            if head[9:10] != b"2":
                self._fail(RuntimeError(bytes(self._buffer[:500]).decode(errors="replace")))
                return
            self._missing = _length(head) - (len(self._buffer) - end - 4)
            self._buffer.clear()
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._missing = -1
            self.taken_s.append(time.perf_counter() - self._began)
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail when there was more to do."""
        self._fail(exc or ConnectionError("the server closed the connection"))

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


class _Watcher(asyncio.Protocol):
    """One watch: counts events until it has seen as many as it shall."""

    def __init__(self, request: bytes, wanted: int, ready: asyncio.Future[None], done: asyncio.Future[None]) -> None:
        self._request = request
        self._wanted = wanted
        self._ready = ready
        self._done = done
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to watch."""
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count."""
        if not self._ready.done():
            self._ready.set_result(None)
        # An event that lies in two pieces counts once: the rest is one byte shorter than what is looked for.
        data = self._rest + data
        self._wanted -= data.count(_EVENT)
        self._rest = data[-len(_EVENT) + 1 :]
        if self._wanted <= 0 and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail when there was more to see."""
        for future in (self._ready, self._done):
            if not future.done():
                future.set_exception(exc or ConnectionError("the server cut off a watch"))


async def run(job: Job) -> Found:
    """Do the job; raises OSError, RuntimeError for a refused request, TimeoutError when it takes minutes."""
    async with asyncio.timeout(_GIVE_UP_S):
        if not job.writes:
            return await _read(job)
        seen = await _watch(job)
        requests = _writes(job)
        begin = time.perf_counter()
        writers = [await _client(job, requests) for _ in range(job.writers)]
        await asyncio.gather(*[done for _, done in writers], *seen)
        return Found(seconds=time.perf_counter() - begin)


async def _read(job: Job) -> Found:
    client, done = await _client(job, iter([_request("GET", job.path)] * job.reads))
    await done
    return Found(seconds=sum(client.taken_s), reads_s=tuple(client.taken_s))


async def _watch(job: Job) -> list[asyncio.Future[None]]:
    """Open the watches and return what ends when each has seen everything."""
    loop = asyncio.get_running_loop()
    ready: list[asyncio.Future[None]] = [loop.create_future() for _ in range(job.watchers)]
    seen: list[asyncio.Future[None]] = [loop.create_future() for _ in range(job.watchers)]
    request = _request("GET", job.path)

    for began, done in zip(ready, seen, strict=True):
        watcher = _Watcher(request, job.writes, began, done)
        await loop.create_connection(lambda one=watcher: one, "127.0.0.1", job.port, ssl=_tls(job))  # type: ignore[misc]
    await asyncio.gather(*ready)
    return seen


async def _client(job: Job, requests: Iterator[bytes]) -> tuple[_Client, asyncio.Future[None]]:
    """Return a connected client at work and what ends when there are no more requests."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    client = _Client(requests, done)
    await loop.create_connection(lambda: client, "127.0.0.1", job.port, ssl=_tls(job))
    return client, done


def _writes(job: Job) -> Iterator[bytes]:
    for number in range(job.first, job.first + job.writes):
        yield _request("POST", job.write_path, job.body.replace("@", f"{number:08}"))


def _request(method: str, path: str, body: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
    return f"{head}\r\n{body}".encode()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise RuntimeError("an answer without a length")


def _tls(job: Job) -> ssl.SSLContext:
    folder = Path(job.pki)
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    return context


if __name__ == "__main__":
    print(msgspec.json.encode(uvloop.run(run(msgspec.json.decode(sys.argv[1], type=Job)))).decode())
