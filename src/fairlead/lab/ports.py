"""Choosing a lab's ports on the host when several labs come up at once.

A port that is free now may be another lab's a moment later, so a choice is announced by an abstract Unix socket named for it: the
kernel gives each name once, and takes it back with the process. It must never keep a port from anybody but another lab.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from fairlead.base.errors import UserError

FIRST = 6443
_COUNT = 100


@contextmanager
def chosen(first: int = FIRST) -> Iterator[int]:
    """Give the first port from `first` on that nobody listens on and no lab has chosen; others avoid it as long as the block lasts."""
    for port in range(first, first + _COUNT):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
            try:
                mark.bind(f"\0fairlead-api-port-{port}")
            except OSError:
                continue
            if _is_free(port):
                yield port
                return
    raise UserError(f"no free port from {first} to {first + _COUNT - 1} on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
