"""The standard streams of one container, as its pod's init holds them: pipes or a terminal, the log, and who is attached.

Reading never waits for anybody: a slow attached client loses its connection, never the container its output.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import time
from collections.abc import Iterable

from fairlead.lab.loop import Loop
from fairlead.lab.runtime.crilog import CriLog, LineFramer

_CHUNK = 1 << 16
_DRAIN_BYTES = 4 << 20


class Streams:
    """Output pumps, input, log and attached clients of one attempt."""

    def __init__(self, loop: Loop, log: CriLog) -> None:
        self._loop, self._log = loop, log
        self._outputs: dict[int, LineFramer] = {}
        self._input: int | None = None
        self._console = False
        self._attached: dict[str, list[int]] = {"stdout": [], "stderr": []}
        self._sources: list[int] = []
        self._waiters: set[int] = set()
        self._input_once = False

    def add_output(self, fd: int, stream: str) -> None:
        """Pump the pipe end `fd` to the log as `stream` (stdout or stderr)."""
        self._outputs[fd] = LineFramer(stream)
        os.set_blocking(fd, False)
        self._loop.add(fd, select.EPOLLIN, lambda _events: self._pump(fd, stream, _CHUNK))

    def set_input(self, fd: int, once: bool) -> None:
        """Keep the write end of the container's stdin; `once` closes it when the first attached client ends its input."""
        os.set_blocking(fd, False)
        self._input, self._input_once = fd, once

    def set_console(self, fd: int) -> None:
        """Use a terminal's master for output and input."""
        self._input, self._console = fd, True
        self.add_output(fd, "stdout")

    def attach(self, stdin: int | None, stdout: int | None, stderr: int | None) -> None:
        """Copy further output to the given descriptors and input from them; owns and closes them."""
        for stream, fd in (("stdout", stdout), ("stderr", stderr)):
            if fd is not None:
                os.set_blocking(fd, False)
                self._attached[stream].append(fd)
        if stdin is not None:
            os.set_blocking(stdin, False)
            self._sources.append(stdin)
            self._loop.add(stdin, select.EPOLLIN, lambda _events: self._copy_input(stdin))

    def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size; without a terminal nothing happens."""
        if self._console and self._input is not None:
            fcntl.ioctl(self._input, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def finish(self) -> None:
        """Log what is left in the pipes, end the attached clients' streams and release everything."""
        for fd, framer in list(self._outputs.items()):
            stream = "stdout" if self._console else framer.stream
            self._pump(fd, stream, _DRAIN_BYTES)
            self._log.write(framer.flush(time.time_ns()))
            self._close_output(fd)
        if self._input is not None:
            self._close_input()
        for fd in list(self._waiters):
            self._drop_waiter(fd)
        for fd in self._sources:
            self._loop.remove(fd)
        _close([*self._sources, *self._attached["stdout"], *self._attached["stderr"]])
        self._sources.clear()
        self._attached = {"stdout": [], "stderr": []}
        self._log.close()

    def _pump(self, fd: int, stream: str, budget: int) -> None:
        while budget > 0 and fd in self._outputs:
            try:
                data = os.read(fd, min(budget, _CHUNK))
            except BlockingIOError:
                return
            except OSError:  # EIO: the last process closed the terminal
                data = b""
            if not data:
                self._log.write(self._outputs[fd].flush(time.time_ns()))
                self._close_output(fd)
                return
            budget -= len(data)
            self._log.write(self._outputs[fd].frame(data, time.time_ns()))
            self._copy_output(stream, data)

    def _copy_output(self, stream: str, data: bytes) -> None:
        for fd in list(self._attached[stream]):
            try:
                complete = os.write(fd, data) == len(data)
            except OSError:
                complete = False
            if not complete:
                self._attached[stream].remove(fd)
                os.close(fd)

    def _copy_input(self, source: int) -> None:
        if self._input is not None and not _writable(self._input):
            self._pause(source, self._input)
            return
        try:
            data = os.read(source, select.PIPE_BUF)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            if data and self._input is not None:
                os.write(self._input, data)
                return
        except OSError:
            pass
        self._loop.remove(source)
        self._sources.remove(source)
        os.close(source)
        if self._input_once and self._input is not None:
            self._close_input()

    def _pause(self, source: int, full: int) -> None:
        """Read no more from `source` until the program has read from its stdin."""
        self._loop.remove(source)
        waiter = os.dup(full)  # the terminal's own descriptor is watched for output already
        self._waiters.add(waiter)

        def resume(_events: int) -> None:
            self._drop_waiter(waiter)
            if source in self._sources:
                self._loop.add(source, select.EPOLLIN, lambda _events: self._copy_input(source))

        self._loop.add(waiter, select.EPOLLOUT, resume)

    def _drop_waiter(self, waiter: int) -> None:
        self._waiters.discard(waiter)
        self._loop.remove(waiter)
        os.close(waiter)

    def _close_input(self) -> None:
        if self._input is not None and not self._console:
            os.close(self._input)
        self._input = None

    def _close_output(self, fd: int) -> None:
        if self._outputs.pop(fd, None) is not None:
            self._loop.remove(fd)
            os.close(fd)
            if self._console:
                self._input = None


def _writable(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    return bool(poller.poll(0))


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
