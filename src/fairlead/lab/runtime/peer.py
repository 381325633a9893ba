"""Messages between a pod's init and its peers, which must never block it."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from fairlead.lab.loop import Loop
from fairlead.lab.runtime import wire

_BACKLOG_BYTES = 16 << 20


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
