"""Reads our group of the kernel's packet log: a socket that one process of a namespace can have."""

from __future__ import annotations

import errno
import os
import socket

from fairlead.observe import nflog
from fairlead.observe.nflog import Logged

_NETFILTER = 12
_RECEIVE_BYTES = 1 << 20
_DATAGRAM_BYTES = 1 << 17
_MOST_AT_ONCE = 64


class FlowLog:
    """The log of the namespace that the calling thread is in."""

    def __init__(self) -> None:
        """Join the group; raises OSError: EBUSY when another process has it, others when the kernel has no such log."""
        self.lost = 0
        """How often messages were lost because nobody read them in time."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            self._socket.bind((0, 0))
            self._socket.send(nflog.binding(nflog.GROUP))
            while (code := nflog.refusal(self._socket.recv(_DATAGRAM_BYTES))) is None:
                pass
            if code:
                raise OSError(code, f"packet log group {nflog.GROUP}: {os.strerror(code)}")
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def __repr__(self) -> str:
        return f"<FlowLog group={nflog.GROUP} lost={self.lost}>"

    def fileno(self) -> int:
        """Return the descriptor, which is readable when there is something to read."""
        return self._socket.fileno()

    def read(self) -> list[Logged]:
        """Return what has come, without waiting; the rest comes with the next call. Raises OSError when the socket is unusable."""
        found: list[Logged] = []
        for _ in range(_MOST_AT_ONCE):
            try:
                found += nflog.logged(self._socket.recv(_DATAGRAM_BYTES))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost += 1
        return found

    def close(self) -> None:
        """Leave the group."""
        self._socket.close()
