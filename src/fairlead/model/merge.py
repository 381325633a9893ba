"""The rows of many services as one set of tables, changed in place of being built anew.

A row usually has one owner. Where several services claim one key, the result depends on who claims it and never on the order of
events: names are merged, of virtual ports the first service by name wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.base.diagnostics import Diagnostic
from fairlead.model.dns import merged
from fairlead.model.rows import Rows
from fairlead.plan.tables import DnsRecords, Key, Origin, Row
from fairlead.world.events import ObjectKey

_At = tuple[str, Key]


class MergedRows:
    """Tables of many owners. A table that was handed out is never changed: the next change copies it first."""

    def __init__(self) -> None:
        self._parts: dict[ObjectKey, Rows] = {}
        self._faulty: dict[ObjectKey, Rows] = {}
        """The parts with diagnostics: few, whatever the number of parts."""
        self._contested: dict[_At, set[ObjectKey]] = {}
        self._owner: dict[_At, ObjectKey] = {}
        self._tables: dict[str, dict[Key, Row]] = {}

    def owners(self) -> frozenset[ObjectKey]:
        """Return those who have rows or diagnostics."""
        return frozenset(self._parts)

    def tables(self) -> Mapping[str, Mapping[Key, Row]]:
        """Return the merged tables; they stay as they are."""
        return dict(self._tables)

    def update(self, parts: Mapping[ObjectKey, Rows | None]) -> Mapping[str, frozenset[Key]]:
        """Replace the rows of some owners (None: remove) and return the keys whose rows changed, by table."""
        # In the order in which rows were made: all of a cluster's are more than a processor's cache holds.
        touched: dict[_At, None] = {}
        for owner, new in parts.items():
            old = self._parts.pop(owner, None)
            self._faulty.pop(owner, None)
            before, after = _places(old), _places(new)
            for at in before.keys() - after.keys():
                self._release(owner, at)
            touched |= before
            touched |= after
            if new is not None:
                self._parts[owner] = new
                if new.diagnostics:
                    self._faulty[owner] = new
                for at in after:
                    self._claim(owner, at)
        return self._rewrite(touched)

    def origins(self) -> dict[_At, tuple[Origin, ...]]:
        """Return what caused each row. Costs time proportional to all rows."""
        found: dict[_At, tuple[Origin, ...]] = {}
        for owner, part in self._parts.items():
            for at, origins in part.origins.items():
                if at[0] == "dns_records" or self._first(at) == owner:
                    found[at] = tuple(sorted({*found.get(at, ()), *origins}))
        return found

    def diagnostics(self) -> list[Diagnostic]:
        """Return what is wrong with single services, and which claim what another has."""
        found = [each for part in self._faulty.values() for each in part.diagnostics]
        for (table, key), owners in self._contested.items():
            # Addresses of load balancers may be shared by services of different ports.
            if table in ("dns_records", "service_addresses"):
                continue
            first, *others = sorted(owners)
            for namespace, name in others:
                found.append(
                    Diagnostic(
                        object=f"Service/{namespace}/{name}",
                        field="spec.clusterIPs",
                        message=f"{' '.join(map(str, key))} belongs to Service/{first[0]}/{first[1]} already",
                    )
                )
        return found

    def _claim(self, owner: ObjectKey, at: _At) -> None:
        current = self._owner.setdefault(at, owner)
        if current != owner:
            self._contested.setdefault(at, {current}).add(owner)

    def _release(self, owner: ObjectKey, at: _At) -> None:
        rivals = self._contested.get(at)
        if rivals is None:
            del self._owner[at]
            return
        rivals.discard(owner)
        if len(rivals) == 1:
            del self._contested[at]
        self._owner[at] = min(rivals)

    def _first(self, at: _At) -> ObjectKey:
        return min(self._contested.get(at, (self._owner[at],)))

    def _row(self, at: _At) -> Row | None:
        table, key = at
        if at not in self._contested:
            owner = self._owner.get(at)
            return self._parts[owner].tables[table][key] if owner is not None else None
        rows = [self._parts[owner].tables[table][key] for owner in sorted(self._contested[at])]
        return merged(row for row in rows if isinstance(row, DnsRecords)) if table == "dns_records" else rows[0]

    def _rewrite(self, touched: Iterable[_At]) -> Mapping[str, frozenset[Key]]:
        changed: dict[str, set[Key]] = {}
        fresh: dict[str, dict[Key, Row]] = {}
        for at in touched:
            table, key = at
            row = self._row(at)
            if self._tables.get(table, {}).get(key) == row:
                continue
            changed.setdefault(table, set()).add(key)
            if table not in fresh:
                fresh[table] = dict(self._tables.get(table, {}))
            if row is None:
                del fresh[table][key]
            else:
                fresh[table][key] = row
        self._tables |= fresh
        return {table: frozenset(keys) for table, keys in changed.items()}


def _places(part: Rows | None) -> dict[_At, None]:
    return {(table, key): None for table, rows in part.tables.items() for key in rows} if part is not None else {}
