"""Makes the resolver's sockets, or takes over those of an earlier process."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence

import msgspec

from fairlead.drivers.dns.handover import Keeper
from fairlead.drivers.dns.journal import Journal

MOST_CONNECTIONS = 256
_RECEIVE_BUFFER_BYTES = 4 << 20
"""Questions of some thousand pods for a second: as long as a restart may take."""
_IP_FREEBIND, _IPV6_FREEBIND, _SO_RCVBUFFORCE = 15, 78, 33


class Sockets(msgspec.Struct, frozen=True):
    """One datagram and one stream socket for each address, and the memory of what is under way."""

    datagrams: tuple[socket.socket, ...]
    streams: tuple[socket.socket, ...]
    journal: Journal

    def left_over(self) -> list[tuple[int, bytes, bytes]]:
        """Return (index of the datagram socket, packet, socket address) of what an earlier process did not answer, and forget it."""
        return self.journal.left_over([sock.family == socket.AF_INET6 for sock in self.datagrams])

    def close(self) -> None:
        """Close everything of this process."""
        for sock in (*self.datagrams, *self.streams):
            sock.close()
        self.journal.close()


def open_sockets(addresses: Sequence[str], port: int, keeper: Keeper | None = None) -> Sockets:
    """Return listening sockets, with `keeper` those that it holds, and let it hold what is new. Raises OSError."""
    taken = keeper.take(addresses, port) if keeper is not None else None
    if taken is not None:
        *descriptors, memory = taken
        found = [socket.socket(fileno=each) for each in descriptors]
        datagrams, streams = found[: len(addresses)], found[len(addresses) :]
        journal = Journal(len(addresses), memory)
    else:
        datagrams, streams = _make(addresses, port)
        journal = Journal(len(addresses))
    sockets = Sockets(tuple(datagrams), tuple(streams), journal)
    if keeper is not None and taken is None:
        try:
            keeper.give(
                addresses, port, [*(each.fileno() for each in (*datagrams, *streams)), sockets.journal.descriptor]
            )
        except OSError:
            sockets.close()
            raise
    return sockets


def _make(addresses: Sequence[str], port: int) -> tuple[list[socket.socket], list[socket.socket]]:
    made: list[socket.socket] = []
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            made += [_bind(address, port, kind) for address in addresses]
    except OSError:
        for sock in made:
            sock.close()
        raise
    return made[: len(addresses)], made[len(addresses) :]


def _bind(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # A successor that gets no sockets from a keeper may bind before its predecessor ends.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(MOST_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno, f"cannot listen on {address} port {port}: {os.strerror(error.errno or 0)}"
        ) from error
    return sock
