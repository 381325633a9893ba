"""What becomes of each annotation that the other controllers document, as data: the readers, the Events and docs/migrate-ingress.md say the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

State: TypeAlias = Literal["honored", "warned", "refused"]


class Known(msgspec.Struct, frozen=True):
    """What becomes of an annotation."""

    state: State
    words: str
    """What it becomes; why it has no effect; or what to write instead."""
    switch: bool = False
    """Refused unless its value says that it is off."""


Table: TypeAlias = Mapping[str, Known]
"""Name without its prefix → what becomes of it. A part of a name that is a number stands as `n`."""
_NUMBER = re.compile(r"(?<=[.-])[0-9]{1,3}(?=[.-]|$)")


def honored(words: str, *names: str) -> dict[str, Known]:
    """Return annotations that mean something here."""
    return dict.fromkeys(names, Known("honored", words))


def warned(words: str, *names: str) -> dict[str, Known]:
    """Return annotations without which the same is answered."""
    return dict.fromkeys(names, Known("warned", words))


def refused(words: str, *names: str, switch: bool = False) -> dict[str, Known]:
    """Return annotations without which requests would be open, or mean something else."""
    return dict.fromkeys(names, Known("refused", words, switch))


def find(table: Table, name: str) -> Known | None:
    """Return what becomes of an annotation, None where nobody knows it."""
    return table.get(name) or table.get(_NUMBER.sub("n", name))
