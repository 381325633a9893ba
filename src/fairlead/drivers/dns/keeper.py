"""Holds the resolver's sockets open while the agent is away, so that questions wait in the kernel instead of being refused.

A process of its own, small enough to be forgotten: it reads no socket that it holds and knows nothing of DNS, so that there is nothing
in it to fail or to update. It runs as a script without the rest of the program: only the standard library may be imported here.
"""

from __future__ import annotations

import array
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    Held: TypeAlias = tuple[bytes, list[int]]

MOST = 64
"""Descriptors that may be held."""
_MESSAGE_BYTES = 4096


def exchange(connection: socket.socket, held: Held) -> Held | None:
    """Do what a client wants and return what is held from now on; None: nothing is wanted any more, end."""
    connection.settimeout(5)
    data, descriptors = receive(connection)
    if data == b"take":
        send(connection, *held)
        return held
    if data == b"end":
        connection.send(b"ok")
        return None
    if not data:
        return held
    old = held[1]
    send(connection, b"ok", [])
    for descriptor in old:
        socket.close(descriptor)
    return data, descriptors


def send(connection: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    """Send data and descriptors as one message."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([data or b"none"], rights)


def receive(connection: socket.socket) -> Held:
    """Return data and descriptors of one message."""
    numbers = array.array("i")
    data, ancillary, _, _ = connection.recvmsg(_MESSAGE_BYTES, socket.CMSG_SPACE(MOST * numbers.itemsize))
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
    return data, list(numbers)


def serve(listener: socket.socket) -> None:
    """Serve clients, one after the other, until one says that it is over."""
    held: Held | None = (b"", [])
    while held is not None:
        connection, _ = listener.accept()
        try:
            held = exchange(connection, held)
        except OSError:
            pass
        finally:
            connection.close()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
