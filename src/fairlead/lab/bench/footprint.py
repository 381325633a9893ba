"""What a lab weighs: its processes and their memory, read from /proc. It must never change anything.

Memory is the proportional set size: pages that several processes share count once in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fairlead.lab import fabric
from fairlead.lab.home import MARK, LabHome
from fairlead.lab.processes import namespace_inodes


class Footprint(NamedTuple):
    """Processes of a lab and their memory; `pod_` and `pods_` are the share of what runs inside of pods."""

    processes: int
    pod_processes: int
    memory_mb: float
    pods_mb: float


def footprint(home: LabHome) -> Footprint:
    """Weigh the lab now. Costs a millisecond per process."""
    pods = [name for name in fabric.existing(home) if name.startswith(home.namespace("pod-"))]
    inodes = set(namespace_inodes(pods).values())
    found = list(_weights(home, inodes))
    inside = [kb for kb, in_pod in found if in_pod]
    return Footprint(len(found), len(inside), sum(kb for kb, _ in found) / 1024, sum(inside) / 1024)


def _weights(home: LabHome, inodes: set[int]) -> Iterator[tuple[int, bool]]:
    """Yield (kilobytes, whether in a pod) of each process of the lab; one that ends meanwhile is left out."""
    mark = f"{MARK}={home.folder}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            in_pod = (entry / "ns/net").stat().st_ino in inodes
            if in_pod or mark in (entry / "environ").read_bytes().split(b"\0"):
                yield _pss_kb((entry / "smaps_rollup").read_text()), in_pod
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def _pss_kb(rollup: str) -> int:
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
