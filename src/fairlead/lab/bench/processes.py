"""The servers and clients of a benchmark as processes: where they run, and what they use by /proc."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def pinned(index: int) -> Callable[[], None]:
    """Return what keeps a new process (`preexec_fn`) on one processor; indexes wrap around where there are fewer."""
    processors = sorted(os.sched_getaffinity(0))
    chosen = {processors[index % len(processors)]}
    return lambda: os.sched_setaffinity(0, chosen)


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def resident_mb(pid: int | str = "self") -> float:
    """Return the memory that a process has in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
