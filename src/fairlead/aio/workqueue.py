"""A queue of keys to reconcile: coalescing, one worker per key at a time, back-off for keys that fail.

The asyncio counterpart of client-go's rate-limited work queue. A key that is added while it is being handled is handled once more
afterwards, so that no change is ever lost and none is handled twice in parallel.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """Keys that wait for work. Must be used from one event loop."""

    def __init__(self, *, first_delay_s: float = 0.005, most_delay_s: float = 30.0) -> None:
        self._first_delay_s = first_delay_s
        self._most_delay_s = most_delay_s
        self._ready: deque[K] = deque()
        self._queued: set[K] = set()
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        # The time is kept here because uvloop gives a handle without one for delays below a millisecond.
        self._timers: dict[K, tuple[float, asyncio.Handle]] = {}
        self._wakeup = asyncio.Event()

    def __repr__(self) -> str:
        return f"<WorkQueue ready={len(self._ready)} active={len(self._active)} delayed={len(self._timers)}>"

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """Queue `key` unless it is queued already; a key in work is queued again when its work is done."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.append(key)
            self._wakeup.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Queue `key` in `delay_s` seconds; of several delays for one key the earliest counts."""
        if delay_s <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        waiting = self._timers.get(key)
        if waiting is not None:
            if waiting[0] <= due:
                return
            waiting[1].cancel()
        self._timers[key] = due, loop.call_at(due, self._on_timer, key)

    def add_rate_limited(self, key: K) -> None:
        """Queue `key` after a delay that doubles with each failure since the last `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(self._first_delay_s * 2 ** min(failures, 30), self._most_delay_s))

    def failures(self, key: K) -> int:
        """Return how often `key` failed since the last `forget`."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """Reset the back-off of `key`."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for a key and take it into work; `done` must follow."""
        while not self._ready:
            self._wakeup.clear()
            await self._wakeup.wait()
        key = self._ready.popleft()
        self._queued.discard(key)
        self._active.add(key)
        return key

    def done(self, key: K) -> None:
        """Declare the work on `key` finished."""
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def run(self, handler: Callable[[K], Awaitable[None]], *, workers: int = 4) -> None:
        """Handle keys forever with `workers` tasks; a handler that raises is logged and its key tried again with back-off."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(handler))

    async def _work(self, handler: Callable[[K], Awaitable[None]]) -> None:
        while True:
            key = await self.get()
            try:
                await handler(key)
            except Exception as error:
                # A defect shows its traceback once; its repetitions are one line each.
                first = self.failures(key) == 0
                log.warning("work failed", extra={"key": key, "error": repr(error)}, exc_info=first)
                self.add_rate_limited(key)
            else:
                self.forget(key)
            finally:
                self.done(key)

    def _on_timer(self, key: K) -> None:
        del self._timers[key]
        self.add(key)
