"""A program executed in a container, or the container's own streams while somebody is attached to them.

The kubelet's side of the streams: descriptors in, chunks out, with back-pressure down to the program. Ends when the program ends,
even if something it left behind still holds its output open.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Awaitable, Callable

_CHUNK = 1 << 16
_QUEUED_CHUNKS = 16

STDOUT, STDERR = 1, 2


class ExecSession:
    """Streams, size and exit code of one program. `read` may be called by one task at a time."""

    def __init__(
        self,
        *,
        outputs: dict[int, int],
        stdin: int | None,
        console: int | None,
        on_kill: Callable[[], Awaitable[None]],
        on_resize: Callable[[int, int], Awaitable[None]] | None = None,
    ) -> None:
        """`outputs` maps descriptors to channels; all descriptors belong to the session from now on."""
        self._loop = asyncio.get_running_loop()
        self._outputs, self._stdin, self._console = outputs, stdin, console
        self._on_kill, self._on_resize = on_kill, on_resize
        self._queue: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._paused = False
        for fd in outputs:
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._readable, fd)
        if stdin is not None:
            os.set_blocking(stdin, False)

    async def read(self) -> tuple[int, bytes] | None:
        """The next chunk with its channel (1 stdout, also of a terminal; 2 stderr), None at the end."""
        item = await self._queue.get()
        if item is None:
            self._queue.put_nowait(None)
        elif self._paused and self._queue.qsize() <= _QUEUED_CHUNKS // 2:
            self._paused = False
            for fd in self._outputs:
                self._loop.add_reader(fd, self._readable, fd)
        return item

    async def write(self, data: bytes) -> None:
        """Give input to the program, waiting until it takes it; input for a program that reads no more is dropped."""
        while data and self._stdin is not None:
            try:
                data = data[os.write(self._stdin, data) :]
            except BlockingIOError:
                await self._writable(self._stdin)
            except OSError:
                self.close_stdin()

    def close_stdin(self) -> None:
        """End of input: EOF on a pipe, Ctrl-D on a terminal."""
        if self._stdin is None:
            return
        if self._stdin == self._console:
            try:
                os.write(self._stdin, b"\x04")
            except OSError:
                pass
        else:
            self._loop.remove_writer(self._stdin)
            os.close(self._stdin)
        self._stdin = None

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters; without a terminal nothing happens."""
        if self._on_resize is not None:
            await self._on_resize(width, height)
        elif self._console is not None:
            fcntl.ioctl(self._console, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def wait(self) -> int:
        """The exit code (128 + signal when a signal ended it)."""
        return await asyncio.shield(self._exit)

    async def kill(self) -> None:
        """Kill the program; ending an attachment leaves the container alone. Releases the streams."""
        await self._on_kill()
        self.release()

    def set_exit(self, code: int) -> None:
        """Called by the runtime once the program has ended."""
        if not self._exit.done():
            self._exit.set_result(code)
        if not self._paused:
            self._finish()

    def release(self) -> None:
        """Give up all descriptors; what was read already can still be fetched."""
        if self._stdin is not None and self._stdin != self._console:
            self._loop.remove_writer(self._stdin)
            os.close(self._stdin)
        self._stdin = None
        for fd in list(self._outputs):
            self._close_output(fd)

    def _readable(self, fd: int) -> None:
        if self._take(fd) and self._queue.qsize() >= _QUEUED_CHUNKS:
            self._paused = True
            for other in self._outputs:
                self._loop.remove_reader(other)

    def _take(self, fd: int) -> bool:
        """Queue one chunk; False when nothing is there now or ever."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            if self._exit.done():
                self._close_output(fd)
            return False
        except OSError:  # EIO: the last process closed the terminal
            data = b""
        if not data:
            self._close_output(fd)
            return False
        self._queue.put_nowait((self._outputs[fd], data))
        return True

    def _finish(self) -> None:
        """After the exit: everything written before it is in the pipes already."""
        for fd in list(self._outputs):
            while fd in self._outputs and self._take(fd):
                if self._queue.qsize() >= _QUEUED_CHUNKS:
                    return  # goes on as an ordinary reader; the first empty read then ends it
        if not self._outputs:
            self.release()

    def _close_output(self, fd: int) -> None:
        if self._outputs.pop(fd, None) is None:
            return
        self._loop.remove_reader(fd)
        if fd == self._console:
            self._console = self._stdin = None
        os.close(fd)
        if not self._outputs:
            self._queue.put_nowait(None)

    async def _writable(self, fd: int) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_writer(fd, wake)
        try:
            await ready
        finally:
            self._loop.remove_writer(fd)
