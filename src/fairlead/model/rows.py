"""What a part of the model hands to `compile`: rows, each with the objects that caused it, and diagnostics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import msgspec

from fairlead.base.diagnostics import Diagnostic
from fairlead.plan.tables import Key, Origin, Row, key_of


class Rows(msgspec.Struct, frozen=True):
    """Table → key → row, and what was wrong with the inputs."""

    tables: Mapping[str, Mapping[Key, Row]] = {}
    origins: Mapping[tuple[str, Key], tuple[Origin, ...]] = {}
    diagnostics: tuple[Diagnostic, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[tuple[str, Row]], origins: Iterable[Origin]) -> Rows:
        """Return rows, each with its table, that have their causes in common."""
        tables: dict[str, dict[Key, Row]] = {}
        causes: dict[tuple[str, Key], tuple[Origin, ...]] = {}
        sources = tuple(origins)
        for table, row in rows:
            key = key_of(row)
            tables.setdefault(table, {})[key] = row
            causes[table, key] = sources
        return cls(cast("Mapping[str, Mapping[Key, Row]]", tables), causes)


class RowsBuilder:
    """Collects rows of one part; the first of several rows with one key wins and the others are reported."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[Key, Row]] = {}
        self._origins: dict[tuple[str, Key], tuple[Origin, ...]] = {}
        self._diagnostics: list[Diagnostic] = []

    def add(self, table: str, row: Row, *origins: Origin) -> None:
        """Add a row that `origins` caused."""
        key = key_of(row)
        known = self._tables.setdefault(table, {}).setdefault(key, row)
        at = (table, key)
        if known is row or known == row:
            earlier = self._origins.get(at)
            # Almost every row has one cause, and pods by the hundred bring ten rows each.
            several = earlier is not None or len(origins) > 1
            self._origins[at] = tuple(sorted({*(earlier or ()), *origins})) if several else origins
            return
        self.report(
            Diagnostic(
                object=origins[0] if origins else "",
                message=f"{' '.join(map(str, key))} is claimed by {', '.join(self._origins[at])} already",
            )
        )

    def report(self, *diagnostics: Diagnostic) -> None:
        """Add diagnostics."""
        self._diagnostics += diagnostics

    def rows(self) -> Rows:
        """Return what was collected."""
        return Rows(self._tables, self._origins, tuple(self._diagnostics))


def keys(rows: Iterable[Rows]) -> frozenset[tuple[str, Key]]:
    """Return (table, key) of all rows."""
    return frozenset((table, key) for each in rows for table, part in each.tables.items() for key in part)
