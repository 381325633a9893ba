"""A single-threaded event loop for small programs that are forked by the hundred: responders, and the init of each pod.

Instead of asyncio, because each copy must stay within a few hundred kilobytes of memory of its own. Only the standard library, because
the agnhost stand-in also runs it under a bare interpreter.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import time
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Loop:
    """Calls back for descriptors, timers, signals and other threads until it is stopped."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._signals: dict[int, Callable[[], None]] = {}
        self._posted: list[Callable[[], None]] = []
        self._code: int | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.add(self._wake_read, READ, self._woken)

    def add(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Watch a descriptor; the handler gets the epoll event bits."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Watch for other events."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Stop watching, before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def later(self, delay_s: float, work: Callable[[], None]) -> None:
        """Call once after a delay."""
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._count), work))

    def on_signal(self, number: int, work: Callable[[], None]) -> None:
        """Call from the loop, not from the signal handler."""
        self._signals[number] = work
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(number, lambda *_: None)

    def on_child(self, work: Callable[[int, int], None]) -> None:
        """Call for each child that ends, with its process id and its exit code (negative: the signal)."""
        self.on_signal(signal.SIGCHLD, lambda: _reap(work))

    def post(self, work: Callable[[], None]) -> None:
        """Call from the loop's thread; the only method that other threads may use."""
        self._posted.append(work)
        os.write(self._wake_write, b"\0")

    def stop(self, code: int) -> None:
        """Make `run` return the code."""
        self._code = code

    def run(self) -> int:
        """Serve until stopped; returns the exit code."""
        while self._code is None:
            for fd, events in self._epoll.poll(self._wait_s()):
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(events)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
        return self._code

    def close(self) -> None:
        """Release the loop's own descriptors."""
        signal.set_wakeup_fd(-1)
        self._epoll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wait_s(self) -> float:
        if not self._timers:
            return -1
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _woken(self, _events: int) -> None:
        try:
            numbers = os.read(self._wake_read, 4096)
        except BlockingIOError:
            return
        for number in set(numbers):
            work = self._signals.get(number)
            if work is not None:
                work()
        posted, self._posted = self._posted, []
        for work in posted:
            work()


def _reap(work: Callable[[int, int], None]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        work(pid, os.waitstatus_to_exitcode(status))
