"""Removing a lab, whole or half-dead, without a trace.

Works from what the machine shows (processes, namespaces, mounts), not from what a lab remembers, so that it works after any crash. Running it
on nothing is no error.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fairlead.drivers.xds import generations
from fairlead.drivers.xds.process import RECORD
from fairlead.lab import fabric
from fairlead.lab.home import LabHome
from fairlead.lab.processes import kill_all, namespace_inodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What `remove` took away, in numbers."""

    processes: int
    namespaces: int
    mounts: int

    def as_dict(self) -> dict[str, int]:
        """Return the numbers by name, for `-o json`."""
        return dataclasses.asdict(self)


def remove(home: LabHome) -> Removed:
    """Kill the lab's processes, delete its namespaces and mounts, and its folder. Repeatable."""
    names = sorted(fabric.existing(home))
    processes = kill_all(home, namespace_inodes(names))
    for record in home.folder.glob(f"nodes/*/agent/envoy/**/{RECORD}"):
        generations.forget(generations.read(record))
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        # A name whose mount was lost is left as an empty file.
        Path("/run/netns", name).unlink(missing_ok=True)
    mounts = _unmount_below(home.folder)
    if home.folder.exists():
        shutil.rmtree(home.folder)
    return Removed(processes=processes, namespaces=len(names), mounts=mounts)


def _unmount_below(folder: Path) -> int:
    count = 0
    for point in reversed(_mount_points()):
        if point == str(folder) or point.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", point], stdin=subprocess.DEVNULL, capture_output=True, check=False)
            count += 1
    return count


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    # Blanks in paths are written as octal escapes.
    return [line.split()[4].encode().decode("unicode_escape") for line in lines]
