"""Takes an Ingress's annotations one by one; what was not taken at the end, or is no value, becomes a remark."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.known import Table, find
from fairlead.model.gateway.annotations.wishes import Remark, Wishes

T = TypeVar("T")
D = TypeVar("D")

_LONGEST = 16_384
_GUARDS = re.compile(
    r"auth|allow|deny|white|black|secur|tls|ssl|cert|client|waf|modsec|snippet|config-|acl|limit|oauth|source-range"
)
"""Names of annotations that may guard something, as far as names tell."""


class Reader:
    """The annotations of one dialect that an Ingress has."""

    def __init__(self, prefix: str, given: Mapping[str, str], table: Table) -> None:
        self._prefix = prefix
        self._table = table
        self._given = dict(given)
        self.refusals: list[Remark] = []
        self.notes: list[Remark] = []

    def __repr__(self) -> str:
        return f"<Reader {self._prefix} {sorted(self._given)}>"

    def has(self, name: str) -> bool:
        """Tell whether an annotation is given and was not taken yet."""
        return name in self._given

    def take(self, name: str, parse: Callable[[str], T], default: D) -> T | D:
        """Return an annotation's value; what `parse` raises ValueError for is refused."""
        text = self._given.pop(name, None)
        if text is None:
            return default
        try:
            if len(text) > _LONGEST:
                raise ValueError(f"longer than {_LONGEST} characters")
            return parse(text.strip())
        except ValueError as error:
            self.refuse(name, str(error))
            return default

    def refuse(self, name: str, message: str, fix: str = "") -> None:
        """Note that an annotation cannot be honored, and that nothing may be served without it."""
        self._given.pop(name, None)
        self.refusals.append(Remark(self._prefix + name, message, fix))

    def note(self, name: str, message: str) -> None:
        """Note that an annotation has no effect."""
        self.notes.append(Remark(self._prefix + name, message))

    def finish(self, wishes: Wishes) -> Wishes:
        """Return the wishes with what is to be said of the annotations, also of those that nobody took.

        Of names that the table does not have those that may guard something are refused.
        """
        for name in sorted(self._given):
            known = find(self._table, name)
            if known is not None and known.state == "refused":
                if not (known.switch and values.is_off(self._given[name])):
                    self.refuse(name, "is not supported", known.words)
            elif known is not None:
                self.note(name, f"has no effect: {known.words}")
            elif _GUARDS.search(name):
                self.refuse(name, "is not known, and may guard something")
            else:
                self.note(name, "is not known and has no effect")
        return msgspec.structs.replace(wishes, refusals=tuple(self.refusals), notes=tuple(self.notes))
