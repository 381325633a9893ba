"""What patches must know of a kind: how lists and maps merge."""

from __future__ import annotations

from typing import Protocol


class PatchSchema(Protocol):
    """The merge rules of one field, and of the fields below it (for a list: of its items)."""

    merge_key: str | None
    strategies: frozenset[str]

    def field(self, name: str) -> PatchSchema:
        """Return the rules of a field below."""


class _Plain:
    merge_key: str | None = None
    strategies: frozenset[str] = frozenset()

    def field(self, name: str) -> PatchSchema:
        """Return itself: nothing below merges specially either."""
        return self


PLAIN: PatchSchema = _Plain()
"""The rules where nothing is known: maps merge, lists are replaced."""


def of(schema: PatchSchema | None) -> PatchSchema:
    """Return `schema`, or PLAIN for None."""
    return PLAIN if schema is None else schema
