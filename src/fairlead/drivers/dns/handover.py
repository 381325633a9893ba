"""Gives the resolver's sockets to the keeper and gets them back: what makes a restart, or a kill -9, lose no question.

The keeper is started when there is none, in a session of its own, and outlives whoever started it. In a container it ends with the
agent's container; then it has to run in one of its own (`fairlead dns-keeper`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from fairlead.drivers.dns import journal, keeper

log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0


class Held(msgspec.Struct, frozen=True):
    """What the keeper holds: for each address a datagram and a stream socket, and last the journal."""

    addresses: tuple[str, ...]
    port: int
    version: int = journal.VERSION


class Keeper:
    """The keeper behind the Unix socket at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, addresses: Sequence[str], port: int) -> list[int] | None:
        """Return descriptors of the sockets for these addresses, None when there are none; starts no keeper."""
        try:
            with self._connected() as connection:
                connection.send(b"take")
                data, descriptors = keeper.receive(connection)
        except OSError:
            return None
        try:
            held = msgspec.json.decode(data, type=Held)
        except msgspec.DecodeError:
            held = None
        if held == Held(tuple(addresses), port) and len(descriptors) == 2 * len(addresses) + 1:
            return list(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def give(self, addresses: Sequence[str], port: int, descriptors: Sequence[int]) -> None:
        """Let the keeper hold these, in place of what it holds; starts one when there is none. Raises OSError."""
        try:
            self._give(addresses, port, descriptors)
        except OSError:
            self._start()
            self._give(addresses, port, descriptors)

    def end(self) -> None:
        """End the keeper, if there is one: nothing is to be held any more."""
        with contextlib.suppress(OSError), self._connected() as connection:
            connection.send(b"end")
            connection.recv(16)

    def _give(self, addresses: Sequence[str], port: int, descriptors: Sequence[int]) -> None:
        with self._connected() as connection:
            keeper.send(connection, msgspec.json.encode(Held(tuple(addresses), port)), descriptors)
            if connection.recv(16) != b"ok":
                raise OSError(f"{self._path}: the keeper of sockets refuses")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection, self._short() as path:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(path)
            yield connection

    def _start(self) -> None:
        with listen(self._path) as listener:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, str(listener.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,
                cwd="/",
            )
        # It outlives this process; nobody here will wait for it, and Popen must not complain.
        process.returncode = 0
        log.info("keeper of dns sockets started", extra={"pid": process.pid})

    @contextlib.contextmanager
    def _short(self) -> Iterator[str]:
        with short_path(self._path) as path:
            yield path


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name for the Unix socket `path` that is short enough for the kernel (108 bytes), however deep its folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """Return a socket that listens for clients of the keeper at `path`; raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        with short_path(path) as name:
            listener.bind(name)
        path.chmod(0o600)
        listener.listen(8)
    except OSError:
        listener.close()
        raise
    return listener
