"""Entering network namespaces, and making sockets inside them without leaving one's own.

A socket belongs for ever to the namespace in which it was made, so a thread that enters, makes the socket and ends is enough.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fairlead.lab.runtime import kernel

T = TypeVar("T")


def enter(namespace: Path) -> None:
    """Move the calling thread into the network namespace at `namespace`; raises OSError."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.setns(descriptor, kernel.CLONE_NEWNET)
    finally:
        os.close(descriptor)


def within(namespace: Path, action: Callable[[], T]) -> T:
    """Run `action` in a thread that has entered the network namespace at `namespace`, and return its result.

    Raises OSError if the namespace cannot be entered, or whatever `action` raises.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            enter(namespace)
            results.append(action())
        except BaseException as error:
            errors.append(error)

    # A thread of its own that ends: no other code can ever run in the foreign namespace.
    thread = threading.Thread(target=run, name=f"in {namespace.name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def make_socket(namespace: Path, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    """Return a new socket that belongs to the network namespace at `namespace`."""
    return within(namespace, lambda: socket.socket(family, kind))
