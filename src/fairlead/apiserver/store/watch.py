"""One reader of changes: what matches its selection, in order, up to a bound.

A reader that does not keep up is cut off; it must never hold the others up or grow without limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fairlead.apiserver.store.records import Change, EventType
from fairlead.apiserver.store.selection import Selection


class Watcher:
    """A bounded queue of the changes that concern one reader. Created by `Store.watch`."""

    def __init__(self, members: set[Watcher], selection: Selection, *, limit: int) -> None:
        self._members = members
        self._selection = selection
        self._limit = limit
        self._pending: deque[tuple[EventType, Change]] = deque()
        self._wakeup: asyncio.Future[None] | None = None
        self.overflown = False
        self.stopped = False
        self.on_overflow: Callable[[], object] | None = None

    def __repr__(self) -> str:
        return f"<Watcher pending={len(self._pending)} overflown={self.overflown}>"

    @property
    def idle(self) -> bool:
        """Whether everything that was offered has been taken."""
        return not self._pending

    def offer(self, change: Change) -> None:
        """Queue `change` if it concerns this reader. What enters or leaves the selection is told as added or deleted."""
        type = self._selection.classify(change)
        if type is None:
            return
        if len(self._pending) >= self._limit:
            self.overflown = True
            self.stop()
            if self.on_overflow is not None:
                self.on_overflow()
            return
        self._pending.append((type, change))
        self._wake()

    def stop(self) -> None:
        """End the watch: the reader gets what is queued (nothing after an overflow) and then the end."""
        self.stopped = True
        self._members.discard(self)
        if self.overflown:
            self._pending.clear()
        self._wake()

    def close(self) -> None:
        """Leave the store."""
        self._members.discard(self)
        self._pending.clear()

    async def wait(self, timeout_s: float | None) -> list[tuple[EventType, Change]]:
        """Return what is queued, waiting for the first; empty after `timeout_s` or when stopped."""
        if not self._pending and not self.stopped:
            loop = asyncio.get_running_loop()
            self._wakeup = loop.create_future()
            timer = loop.call_later(timeout_s, self._wake) if timeout_s is not None else None
            try:
                await self._wakeup
            finally:
                self._wakeup = None
                if timer is not None:
                    timer.cancel()
        taken = list(self._pending)
        self._pending.clear()
        return taken

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)
