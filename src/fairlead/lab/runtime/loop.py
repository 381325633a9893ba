"""The event loop of a pod's init: descriptors, children's deaths, and messages to peers that must never block it.

Deliberately small instead of asyncio: hundreds of copies of it live on one machine, and each touched page costs memory in each.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable

from fairlead.lab.runtime import wire

_BACKLOG_BYTES = 16 << 20


class Loop:
    """Calls back for readable or writable descriptors and for exited children."""

    def __init__(self, on_exit: Callable[[int, int], None]) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._on_exit = on_exit
        self._wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.add(self._wake_read, select.EPOLLIN, self._reap)

    def add(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Watch a descriptor; the handler gets the epoll event bits."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Watch for other events."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Stop watching; call it before the descriptor is closed. Unknown descriptors are ignored."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run(self) -> None:
        """Serve forever."""
        while True:
            for fd, events in self._epoll.poll():
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(events)

    def _reap(self, _events: int) -> None:
        try:
            os.read(self._wake_read, 512)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._on_exit(pid, os.waitstatus_to_exitcode(status))


class Peer:
    """One connection to the init. Messages to a peer that does not read pile up to a bound, then it is cut off."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_message: Callable[[Peer, wire.Message], None],
        on_close: Callable[[Peer], None],
    ) -> None:
        sock.setblocking(False)
        self._loop, self._sock = loop, sock
        self._on_message, self._on_close = on_message, on_close
        self._decoder = wire.Decoder()
        self._unsent = bytearray()
        self._open = True
        loop.add(sock.fileno(), select.EPOLLIN, self._ready)

    def send(self, message: wire.Message) -> None:
        """Queue a message and send what fits; a closed peer ignores it."""
        if not self._open:
            return
        self._unsent += wire.encode(message)
        self._flush()
        if len(self._unsent) > _BACKLOG_BYTES:
            self.close()

    def close(self) -> None:
        """Hang up."""
        if self._open:
            self._open = False
            self._loop.remove(self._sock.fileno())
            self._decoder.close()
            self._sock.close()
            self._on_close(self)

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
            del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._loop.change(self._sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0))

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if not self._open or not events & ~select.EPOLLOUT:
            return
        try:
            messages = wire.receive(self._sock, self._decoder)
        except BlockingIOError:
            return
        except wire.Closed:
            self.close()
            return
        for message in messages:
            self._on_message(self, message)
