"""Takes an Ingress's annotations one by one; what was not taken at the end, or is no value, becomes a remark."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from fairlead.model.gateway.annotations.wishes import Remark

T = TypeVar("T")
D = TypeVar("D")

_LONGEST = 16_384
_GUARDS = re.compile(
    r"auth|allow|deny|white|black|secur|tls|ssl|cert|client|waf|modsec|snippet|config-|acl|limit|oauth|source-range"
)
"""Names of annotations that may guard something, as far as names tell."""


class Reader:
    """The annotations of one dialect that an Ingress has."""

    def __init__(self, prefix: str, given: Mapping[str, str]) -> None:
        self._prefix = prefix
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

    def note(self, name: str, message: str, fix: str = "") -> None:
        """Note that an annotation has no effect."""
        self._given.pop(name, None)
        self.notes.append(Remark(self._prefix + name, message, fix))

    def finish(self, *, idle: Collection[str], refused: Mapping[str, str]) -> None:
        """Say what becomes of the rest.

        `idle` names what changes no answer, `refused` what is not supported with what to do instead. Of names that nobody knows those
        that may guard something are refused.
        """
        for name in sorted(self._given):
            if name in refused:
                self.refuse(name, "is not supported", refused[name])
            elif name in idle:
                self.note(name, "has no effect: the proxy needs no such setting")
            elif _GUARDS.search(name):
                self.refuse(name, "is not known, and may guard something")
            else:
                self.note(name, "is not known and has no effect")
