"""The servers and clients of a benchmark as processes: where they run, and what they use."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path

SERVERS, CLIENTS = 0, 1
"""Indexes of the processors of what is measured, and of what makes the load."""
_LIBC = ctypes.CDLL(None)


@contextlib.contextmanager
def on(index: int) -> Iterator[None]:
    """Start whatever is started meanwhile on one processor, by the affinity that it inherits; indexes wrap around where there are fewer."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[index % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_s(pid: int) -> float:
    """Return the processor time that a process and its threads have used, in seconds, to the nanosecond.

    Raises OSError when there is no such process. See clock_getcpuclockid(3).
    """
    clock = ctypes.c_int()
    if error := _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def resident_mb(pid: int | str = "self") -> float:
    """Return the memory that a process has in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
