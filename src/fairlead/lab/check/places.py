"""Where probes start and end: pods, nodes and the internet, each a network namespace with its addresses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Family = Literal[4, 6]
FAMILIES: tuple[Family, Family] = (4, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place of the lab's network. `addresses` maps family → address, where it has one."""

    name: str
    node: str
    netns: Path
    addresses: dict[Family, str]
    mtu_bytes: int = 0
    """MTU of its interface; 0 where it does not matter."""


def family_of(address: str) -> Family:
    """Return 6 for an IPv6 address, else 4."""
    return 6 if ":" in address else 4
