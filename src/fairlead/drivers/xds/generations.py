"""Which processes are the proxy's, in a file that only root writes: the newest serves, those before it finish what they began.

A process is known by its number and its start time, so that a number that was given anew is not taken for it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec


class Generation(msgspec.Struct, frozen=True):
    """One process. It writes itself down before it becomes the proxy (`launch`), so that none is ever unknown."""

    pid: int
    started: str
    config: str
    """Digest of program and bootstrap."""
    epoch: int
    """How many processes handed their sockets on before."""
    base: int
    """What the processes that handed on to each other have in common: Envoy's base id."""

    @property
    def alive(self) -> bool:
        """Tell whether it runs."""
        return started(self.pid) == self.started


def read(path: Path) -> tuple[Generation, ...]:
    """Return what was written down, the newest last; nothing when there is no record."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Generation, ...])
    except (OSError, msgspec.DecodeError):
        return ()


def first_base() -> int:
    """Return a base id that nobody else has: it names shared memory, which is the machine's."""
    # Envoy multiplies it by ten.
    return secrets.randbits(28)


def forget(known: Iterable[Generation]) -> None:
    """Remove the memory that generations shared: they are gone, and a process that is killed leaves it."""
    for base in {each.base for each in known}:
        # HotRestartImpl: ten epochs of one base.
        Path(f"/dev/shm/envoy_shared_memory_{base * 10}").unlink(missing_ok=True)


def started(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks since boot; None when it is gone or waits to be reaped (proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in ("Z", "X"):
        _reap(pid)
        return None
    return fields[19]


def _reap(pid: int) -> None:
    """Take note of the end of a child of ours; whose child it is otherwise takes care of it."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
