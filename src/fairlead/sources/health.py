"""Asks places over and over whether they are well, and says when the answer changes.

A place that answers is well at once; one that does not, twice in a row if the caller wants nothing else, is not: within 2 s, however it died. What is asked is the caller's
choice. It must never ask faster than the machine can bear: with many places the period grows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

Check: TypeAlias = tuple[str, int]
"""An address and the port on which it is asked."""

_PERIOD_S = 0.5
_TIMEOUT_S = 0.5
_MOST_PER_S = 400


class Health:
    """`healthy` holds the checks that succeed, `failing` those that do not; `on_change` is called whenever either differs.

    In neither is what has failed, but not often enough to say so.
    """

    def __init__(
        self, on_change: Callable[[], None], ask: Callable[[Check], Awaitable[bool]], *, tolerated: int = 1
    ) -> None:
        """`tolerated` is how many failures in a row mean nothing."""
        self.healthy: frozenset[Check] = frozenset()
        self.failing: frozenset[Check] = frozenset()
        self._on_change = on_change
        self._ask = ask
        self._tolerated = tolerated
        self._wanted: frozenset[Check] = frozenset()
        self._failures: dict[Check, int] = {}
        self._wake = asyncio.Event()

    def watch(self, checks: Iterable[Check]) -> None:
        """Ask these from now on."""
        wanted = frozenset(checks)
        if wanted - self._wanted:
            self._wake.set()
        self._wanted = wanted

    async def run(self) -> None:
        """Ask forever."""
        while True:
            self._wake.clear()
            begin = time.monotonic()
            wanted = self._wanted
            answers = await asyncio.gather(*(self._ask(check) for check in wanted))
            for check, good in zip(wanted, answers, strict=True):
                self._failures[check] = 0 if good else self._failures.get(check, 0) + 1
            self._failures = {check: count for check, count in self._failures.items() if check in wanted}
            good_now = {check for check, count in self._failures.items() if count == 0}
            failing = frozenset(check for check, count in self._failures.items() if count > self._tolerated)
            spared = self.healthy & self._failures.keys() - failing
            healthy = frozenset(good_now | spared)
            if (healthy, failing) != (self.healthy, self.failing):
                self.healthy, self.failing = healthy, failing
                self._on_change()
            period = max(_PERIOD_S, len(wanted) / _MOST_PER_S)
            try:
                async with asyncio.timeout(max(0.05, begin + period - time.monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                continue


async def serves(check: Check) -> bool:
    """Tell whether a GET of /healthz is answered with 200 in time."""
    address, port = check
    writer = None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(f"GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
            return status.split()[1:2] == [b"200"]
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


async def lives(check: Check) -> bool:
    """Tell whether a node's kernel answers, whoever listens: a refused connection is an answer."""
    writer = None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection(*check)
            return True
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
