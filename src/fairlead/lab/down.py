"""Taking a lab down under its lock, and finding the labs that there are."""

from __future__ import annotations

import contextlib
import os

from fairlead.base.errors import UserError
from fairlead.lab import state, teardown
from fairlead.lab.home import LabHome, fairlead_home


def labs() -> list[str]:
    """Return the names of the labs of this FAIRLEAD_HOME, sorted."""
    folder = fairlead_home()
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def stop(name: str) -> teardown.Removed:
    """Remove lab `name` without a trace; raises UserError without root or while another command works on it."""
    home = LabHome.of(name)
    if os.geteuid() != 0:
        raise UserError("removing a lab needs root", fix="run it with sudo or as root")
    with state.locked(home):
        removed = teardown.remove(home)
    with contextlib.suppress(OSError):
        # The last lab takes the folder of all labs with it.
        home.folder.parent.rmdir()
    return removed
