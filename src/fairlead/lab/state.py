"""Reading and freezing the topology of a lab, and the lock that lets one command at a time change it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

import msgspec

from fairlead.base.errors import UserError
from fairlead.lab.home import LabHome
from fairlead.lab.topology import Topology


def load(home: LabHome) -> Topology | None:
    """Return the topology of the lab, or None if there is no such lab; raises UserError for a damaged file."""
    try:
        return msgspec.json.decode(home.topology.read_bytes(), type=Topology)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise UserError(f"{home.topology} is damaged: {error}", fix=f"fairlead down --name {home.name}") from error


def require(home: LabHome) -> Topology:
    """Return the topology of the lab; raises UserError if there is no such lab."""
    topology = load(home)
    if topology is None:
        raise UserError(f"there is no lab named {home.name!r}", fix=f"start it with `fairlead up --name {home.name}`")
    return topology


def save(home: LabHome, topology: Topology) -> None:
    """Freeze the topology; from here on the lab exists."""
    scratch = home.topology.with_suffix(".new")
    scratch.write_bytes(msgspec.json.format(msgspec.json.encode(topology), indent=2) + b"\n")
    scratch.replace(home.topology)


@contextlib.contextmanager
def locked(home: LabHome) -> Iterator[None]:
    """Hold the lab's lock; raises UserError when another `up` or `down` holds it. Creates the lab's folder."""
    home.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.folder.mkdir(exist_ok=True, mode=0o700)
    descriptor = os.open(home.folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(
            f"another command is starting or stopping lab {home.name!r}", fix="wait until it ends"
        ) from None
    finally:
        os.close(descriptor)
