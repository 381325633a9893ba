"""Every kubectl of this machine, by version."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

UNPACKED = Path(sys.prefix) / "kubectl-debian/usr/bin/kubectl"
"""Debian's program where another one is installed; `make` unpacks it."""
_FOLDERS = (*map(Path, os.get_exec_path()), Path("/usr/lib/google-cloud-sdk/bin"))


@functools.cache
def installed() -> dict[str, Path]:
    """Return the programs by version such as `1.33`, and as `PATH` the one that a shell would run."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted(folder.glob("kubectl.1.*")) if folder.is_dir() else ():
            found.setdefault(path.name.removeprefix("kubectl."), path)
    usual = shutil.which("kubectl")
    if usual:
        found["PATH"] = Path(usual)
    for path in (UNPACKED, *([Path(usual)] if usual else ())):
        if path.exists():
            found.setdefault(version_of(path), path)
    return found


def version_of(program: Path) -> str:
    """Return what a program says of itself, such as `1.33`."""
    said = subprocess.run([program, "version", "--client", "-o", "json"], capture_output=True, check=True)
    client = json.loads(said.stdout)["clientVersion"]
    return f"{client['major']}.{client['minor'].rstrip('+')}"


def by_age() -> dict[str, Path]:
    """Return the programs whose version is known, oldest first."""
    known = {version: path for version, path in installed().items() if version != "PATH"}
    return dict(sorted(known.items(), key=lambda each: tuple(map(int, each[0].split(".")))))
