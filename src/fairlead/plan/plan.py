"""The Plan: one node's whole desired state, as one immutable value.

Everything that Fairlead does follows from a Plan: drivers make the kernel equal to it, `fairlead plan` prints it, `explain` walks it.
`Plan.empty()` is uninstall. It must never hold anything that is not derived from a snapshot, so that equal worlds give equal plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from fairlead.plan.tables import TABLES, Key, Origin, Row, key_of

_NOTHING: Mapping[Key, Row] = MappingProxyType({})


class Delta(msgspec.Struct, frozen=True):
    """Which rows differ from an earlier plan of the same compiler: lets a driver skip comparing everything."""

    since: int
    """`serial` of that plan."""
    keys: Mapping[str, frozenset[Key]]
    """Table → keys that were added, changed or removed; may name a key whose row is the same again."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Table name → key → row, with the API objects behind each row.

    A table that is absent is empty. `origins` maps (table, key) → the objects that caused the row.
    """

    node: str
    revision: str
    """The resourceVersion (or other revision) of the world that this plan was compiled from."""
    tables: Mapping[str, Mapping[Key, Row]]
    origins: Mapping[tuple[str, Key], tuple[Origin, ...]] = {}
    serial: int = 0
    """Counts the plans of one compiler; 0 for a plan that was made otherwise."""
    delta: Delta | None = None

    @classmethod
    def empty(cls, node: str) -> Plan:
        """Return the plan under which `node` holds nothing of ours."""
        return cls(node=node, revision="", tables={})

    def table(self, name: str) -> Mapping[Key, Row]:
        """Return the rows of table `name` by key; raises KeyError for a name that no table has."""
        if name not in TABLES:
            raise KeyError(name)
        return self.tables.get(name, _NOTHING)


def changes(old: Plan, new: Plan, table: str) -> Iterator[tuple[Key, Row | None, Row | None]]:
    """Yield (key, old row, new row) of each row of a table that differs between two plans; None where there is none.

    Costs time proportional to the differences when `new` follows `old` directly, else to the rows of both tables.
    """
    before, after = old.table(table), new.table(table)
    if before is after:
        return
    keys: Iterable[Key]
    if new.delta is not None and new.delta.since == old.serial and old.serial:
        keys = new.delta.keys.get(table, ())
    else:
        keys = before.keys() | after.keys()
    for key in keys:
        was, now = before.get(key), after.get(key)
        if was is not now and was != now:
            yield key, was, now


def index(rows: Iterable[Row]) -> dict[Key, Row]:
    """Return `rows` by key; raises ValueError when two different rows share a key."""
    table: dict[Key, Row] = {}
    for row in rows:
        key = key_of(row)
        if table.setdefault(key, row) != row:
            raise ValueError(f"two rows for key {key}: {table[key]} and {row}")
    return table
