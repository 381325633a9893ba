"""Requests without a pause, some on connections that stay and some on new ones, and what came of each. HTTP/1.1 by hand: no client repeats any.

As a script: `ADDRESS PORT HOST KEEPING` (how many connections stay), until the input ends; prints what came of them as JSON. So it runs in any network namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from types import TracebackType

_ANSWER_S = 30.0
_POLL_S = 0.01


async def until(condition: Callable[[], bool], timeout_s: float = _ANSWER_S) -> None:
    """Wait until a condition holds; raises TimeoutError."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        await asyncio.sleep(_POLL_S)


class Load:
    """Asks `host` by POST and GET in turn while it is entered; `failed` counts what was no answer with status 200.

    `slowest_s` is how long a request waited at most for its answer, or for the end of its connection.
    """

    def __init__(
        self,
        port: int,
        host: str,
        *,
        address: str = "127.0.0.1",
        keeping: int = 4,
        new: int = 4,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._at = (address, port, host)
        self._tls = tls
        self._plan = (keeping, new)
        self._methods = itertools.cycle(("POST", "GET"))
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.good = 0
        self.failed: Counter[str] = Counter()
        self.slowest_s = 0.0

    async def __aenter__(self) -> Load:
        keeping, new = self._plan
        self._tasks = [asyncio.create_task(self._ask(keep=at < keeping)) for at in range(keeping + new)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Wait until as many more requests were answered."""
        wanted = self.good + count
        await until(lambda: self.good >= wanted or bool(self.failed))

    async def _ask(self, *, keep: bool) -> None:
        while not self._stop.is_set():
            try:
                await self._connection(keep=keep)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.failed[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def _timed(self) -> AsyncIterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)

    async def _connection(self, *, keep: bool) -> None:
        address, port, host = self._at
        name = host if self._tls is not None else None
        reader, writer = await asyncio.open_connection(address, port, ssl=self._tls, server_hostname=name)
        try:
            going = True
            while going and not self._stop.is_set():
                end = "" if keep else "Connection: close\r\n"
                method = next(self._methods)
                writer.write(f"{method} / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{end}\r\n".encode())
                async with asyncio.timeout(_ANSWER_S), self._timed():
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
                    body = await reader.readexactly(int(length.partition(":")[2]))
                status = head.partition("\r\n")[0]
                if " 200 " in status:
                    self.good += 1
                else:
                    self.failed[f"{method}: {status} {body[:160].decode(errors='replace')}"] += 1
                going = keep and "connection: close" not in head
        finally:
            writer.transport.abort()


async def main(address: str, port: int, host: str, keeping: int) -> None:
    """Ask until the input ends."""
    async with Load(port, host, address=address, keeping=keeping, new=2) as load:
        await asyncio.to_thread(sys.stdin.read)
    print(json.dumps({"good": load.good, "failed": load.failed, "slowest_s": load.slowest_s}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
