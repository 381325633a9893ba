"""Where a lab keeps its state: every path below FAIRLEAD_HOME, in one place.

The folder of a lab is the lab: what is not recorded there did not happen, and removing it is the last step of `down`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from fairlead.base.errors import UserError

MARK = "FAIRLEAD_LAB"
"""Environment variable that every process of a lab carries; its value is the lab's folder."""

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,14}[a-z0-9])?")


def fairlead_home() -> Path:
    """Return the folder of all labs: $FAIRLEAD_HOME, or ~/.fairlead."""
    return Path(os.environ.get("FAIRLEAD_HOME") or Path.home() / ".fairlead").absolute()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabHome:
    """The paths of one lab."""

    name: str
    folder: Path

    @classmethod
    def of(cls, name: str) -> LabHome:
        """Return the paths of lab `name`, whether or not it exists; raises UserError for an impossible name."""
        if not _NAME.fullmatch(name):
            raise UserError(
                f"--name {name!r} is not a lab name",
                fix="use 1 to 16 lower-case letters, digits and hyphens, not beginning or ending with a hyphen",
            )
        return cls(name=name, folder=fairlead_home() / name)

    @property
    def topology(self) -> Path:
        """Return the file that holds the lab's frozen topology; it exists if and only if the lab does."""
        return self.folder / "lab.json"

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Return the folder of keys and certificates."""
        return self.folder / "pki"

    @property
    def run(self) -> Path:
        """Return the folder of process records."""
        return self.folder / "run"

    @property
    def log(self) -> Path:
        """Return the folder of the components' logs."""
        return self.folder / "log"

    @property
    def apiserver(self) -> Path:
        """Return the folder of the API server's database."""
        return self.folder / "apiserver"

    def node(self, name: str) -> Path:
        """Return the folder of node `name`."""
        return self.folder / "nodes" / name

    def namespace(self, *parts: str) -> str:
        """Return the name of one of the lab's network namespaces, for example `fl-lab-node-1`."""
        return "-".join(("fl", self.name, *parts))

    @property
    def namespace_prefix(self) -> str:
        """Return what the names of all of the lab's network namespaces begin with."""
        return f"fl-{self.name}-"
