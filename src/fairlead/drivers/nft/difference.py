"""What has to be said to the kernel so that the elements it holds become those of a plan.

`Elements` is what the kernel holds, as far as known. `Difference` collects deletions and additions for one transaction, together with
what will be known once that transaction is in force; nothing is believed before. It must do no I/O.

Cost: `collect` without a plan to compare with, and after a table changed its length, grows with the table; otherwise one changed
row costs its own elements plus 30 ns for each row of the table, and nothing when the caller names the changed keys.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import compress, zip_longest
from operator import is_not

from fairlead.drivers.nft import elements, wire
from fairlead.drivers.nft.structure import DROPPED, LAYOUTS, LOCAL_INDEX, NAME, pick_parts
from fairlead.drivers.protocol import Failure
from fairlead.plan.plan import Plan
from fairlead.plan.tables import (
    ClusterAddress,
    Key,
    LocalPort,
    LocalRange,
    NatExemption,
    PodSource,
    RestrictedPort,
    Row,
    ServiceAddress,
    ServiceMasquerade,
    ServicePort,
    SourceRange,
    UntrackedPort,
    key_of,
)

MEMBERS = (
    "pod_sources",
    "cluster_addresses",
    "service_addresses",
    "untracked_ports",
    "service_masquerades",
    "restricted_ports",
    "source_ranges",
)
INTERVALS = ("nat_exemptions", "local_ranges")
TABLES = (*MEMBERS, *INTERVALS, *elements.PORTS)


class Elements:
    """What the sets and maps of a node hold."""

    def __init__(self) -> None:
        self.members: dict[str, set[bytes]] = {f"{name}{v}": set() for name in MEMBERS for v in "46"}
        """Set → keys."""
        self.intervals: dict[str, set[elements.Interval]] = {f"{name}{v}": set() for name in INTERVALS for v in "46"}
        """Set → intervals."""
        self.services: dict[str, dict[bytes, bytes]] = {table: {} for table in elements.PORTS}
        """Plan table → service key → number of its pick, then its endpoints one after another, in the order of their indexes."""
        self.strays: dict[str, list[bytes]] = {}
        """Map → keys that belong to no complete service: to be deleted before anything else."""
        self.muddled: set[str] = set()
        """Interval sets whose elements make no sense: to be emptied before anything else."""

    def __repr__(self) -> str:
        sizes = {name: len(keys) for name, keys in self.members.items() if keys}
        return f"<Elements {sizes} services={len(self.services['service_ports'])} strays={sum(map(len, self.strays.values()))}>"

    @classmethod
    def of(cls, listed: Mapping[str, Iterable[tuple[bytes, bytes, int]]]) -> Elements:
        """Return what the kernel's lists of (key, data, flags) by set mean."""
        found = cls()
        for name, members in found.members.items():
            # Of a range the last key is listed beside the first; members have no data otherwise.
            members.update(key + last for key, last, _ in listed.get(name, ()))
        for name in found.intervals:
            pairs = elements.paired((key, bool(flags & wire.INTERVAL_END)) for key, _, flags in listed.get(name, ()))
            if pairs is None:
                found.muddled.add(name)
            else:
                found.intervals[name] = pairs
        for version in "46":
            for maps in elements.PORTS.values():
                found._add_services(maps, version, listed)
        return found

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yield (plan table, row) of everything; prefixes are merged into the fewest that cover the same addresses."""
        for name, keys in self.members.items():
            for key in sorted(keys):
                yield elements.row_of_member(name, key)
        for name, found in self.intervals.items():
            for prefix in elements.prefixes(found):
                yield name[:-1], elements.row_of_prefix(name[:-1], prefix)
        for table, services in self.services.items():
            maps = elements.PORTS[table]
            for key, value in sorted(services.items()):
                yield table, elements.row_of_service(maps, key, elements.as_number(value[:4]), value[4:])

    def _add_services(
        self, maps: elements.PortMaps, version: str, listed: Mapping[str, Iterable[tuple[bytes, bytes, int]]]
    ) -> None:
        picks, targets, sticky = f"{maps.picks}{version}", f"endpoints{version}", f"{maps.sticky}{version}"
        by_service = _by_index(maps, listed.get(targets, ()))
        identities = _by_index(maps, listed.get(f"identities{version}", ()))
        kept: dict[bytes, dict[bytes, bytes]] = {}
        for key, data, _ in listed.get(sticky, ()):
            kept.setdefault(key[:-4], {})[key[-4:]] = data
        for key, data, _ in listed.get(picks, ()):
            found = by_service.get(key, {})
            number = elements.as_number(data)
            count, affinity_s, _ = pick_parts(number)
            endpoints = [found[index] for index in sorted(found)]
            whole = sorted(found) == list(range(0 if number == DROPPED else count))
            wanted = _sticky(endpoints) if affinity_s else {}
            known = identities.get(key, {})
            if (
                whole
                and kept.get(key, {}) == wanted
                and known == ({n: elements.identity(each) for n, each in enumerate(endpoints)} if affinity_s else {})
            ):
                self.services[maps.table][key] = data + b"".join(endpoints)
                for rest in (by_service, identities, kept):
                    rest.pop(key, None)
            else:
                self.strays.setdefault(picks, []).append(key)
        for name, by_index in ((targets, by_service), (f"identities{version}", identities)):
            for key, found in by_index.items():
                self.strays.setdefault(name, []).extend(key + maps.index(index) for index in found)
        for key, some in kept.items():
            self.strays.setdefault(sticky, []).extend(key + each for each in some)


def _by_index(maps: elements.PortMaps, listed: Iterable[tuple[bytes, bytes, int]]) -> dict[bytes, dict[int, bytes]]:
    found: dict[bytes, dict[int, bytes]] = {}
    for key, data, _ in listed:
        index = elements.as_number(key[-4:])
        if (index >= LOCAL_INDEX) == maps.local:
            found.setdefault(key[:-4], {})[index - maps.first] = data
    return found


def _sticky(endpoints: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return identity → endpoint; the smallest endpoint has an identity that several share."""
    return {elements.identity(each): each for each in sorted(endpoints, reverse=True)}


class Difference:
    """Deletions and additions of one transaction, and what they make true."""

    def __init__(self, known: Elements) -> None:
        self._known = known
        self.deletions: dict[str, list[bytes]] = {}
        self.additions: dict[str, list[bytes]] = {}
        self.emptied: list[str] = list(known.muddled)
        self.changed = len(known.muddled) + sum(map(len, known.strays.values()))
        """How many rows, and elements that stand for none, are added, changed or removed."""
        self.counts: set[int] = set()
        """Picks that service ports get."""
        self.failures: list[Failure] = []
        self._members: list[tuple[set[bytes], bytes, bool]] = []
        self._services: list[tuple[str, bytes, bytes | None]] = []
        self._intervals: dict[str, set[elements.Interval]] = {}
        for name, keys in known.strays.items():
            self._delete(name, keys)

    def __bool__(self) -> bool:
        return bool(self.deletions or self.additions or self.emptied)

    def messages(self, family: int) -> list[wire.Message]:
        """Return the messages: deletions first, so that a changed value is a deletion and an addition of one key."""
        found = [
            wire.Message(wire.DELSETELEM, family, wire.text(1, NAME) + wire.text(2, name)) for name in self.emptied
        ]
        for name, encoded in self.deletions.items():
            found += wire.element_messages(wire.DELSETELEM, family, NAME, name, encoded)
        for name, encoded in self.additions.items():
            found += wire.element_messages(wire.NEWSETELEM, family, NAME, name, encoded)
        return found

    def settle(self) -> None:
        """Take into the known elements that the transaction is in force."""
        known = self._known
        known.strays = {}
        known.muddled = set()
        for members, key, present in self._members:
            if present:
                members.add(key)
            else:
                members.discard(key)
        known.intervals |= self._intervals
        for table, key, value in self._services:
            if value is None:
                known.services[table].pop(key, None)
            else:
                known.services[table][key] = value

    def set_members(self, table: str, old: Iterable[Row], new: Iterable[Row]) -> None:
        """Replace the members for rows `old` by those for rows `new`."""
        gone = self._encoded(table, old, quiet=True)
        wanted = self._encoded(table, new)
        for version in "46":
            name = f"{table}{version}"
            self._change_members(name, remove=gone[version] - wanted[version], add=wanted[version])

    def set_all_members(self, table: str, rows: Iterable[Row]) -> None:
        """Make the members those for `rows`, whatever they are."""
        wanted = self._encoded(table, rows)
        for version in "46":
            name = f"{table}{version}"
            self._change_members(name, remove=self._known.members[name] - wanted[version], add=wanted[version])

    def set_intervals(self, table: str, rows: Iterable[Row]) -> None:
        """Make the intervals those that cover the prefixes of `rows`, whatever they are."""
        found = [row.prefix for row in rows if isinstance(row, NatExemption | LocalRange)]
        wanted, problems = elements.intervals(found)
        self.failures += [Failure(table, (prefix,), error) for prefix, error in problems]
        for version, goal in wanted.items():
            name = f"{table}{version}"
            known = self._known.intervals[name]
            if goal == known:
                continue
            layout = LAYOUTS[name]
            if removed := sorted(known - goal):
                self.deletions.setdefault(name, []).extend(layout.bounds(removed))
            if added := sorted(goal - known):
                self.additions.setdefault(name, []).extend(layout.bounds(added))
            self.changed += len(known ^ goal)
            self._intervals[name] = goal

    def set_service(self, table: str, row: ServicePort | LocalPort) -> bytes | None:
        """Make the endpoints of a service port those of `row`; return its key, None when the row is at fault."""
        try:
            key = elements.service_key(row)
            wanted = elements.endpoints(row)
            pick = elements.pick(row)
        except ValueError as error:
            self.failures.append(Failure(table, key_of(row), str(error)))
            return None
        maps, version = elements.PORTS[table], elements.version_of(key)
        number = elements.number(pick & 0xFFFFFFFF)
        value = self._known.services[table].get(key, b"")
        before, known = value[:4], elements.split(value[4:], elements.endpoint_bytes(key)) if value else []
        if before == number and (known == wanted or set(known) == set(wanted)):
            return key
        arranged = elements.arrange(known, wanted)
        self.counts.add(pick)
        if before != number:
            picks = f"{maps.picks}{version}"
            self._delete(picks, [key] if before else [])
            self._add(picks, [(key, number)])
        self._rearrange(f"endpoints{version}", maps, key, known, arranged)
        was_sticky = bool(before) and pick_parts(elements.as_number(before))[1] > 0
        if was_sticky or row.affinity_s:
            self._stick(maps, version, key, known if was_sticky else [], arranged if row.affinity_s else [])
        self.changed += 1
        self._services.append((table, key, number + b"".join(arranged)))
        return key

    def remove_service(self, table: str, key: bytes) -> None:
        """Remove a service port with its endpoints, if it is there."""
        value = self._known.services[table].get(key)
        if value is None:
            return
        maps, version = elements.PORTS[table], elements.version_of(key)
        known = elements.split(value[4:], elements.endpoint_bytes(key))
        self._delete(f"{maps.picks}{version}", [key])
        self._rearrange(f"endpoints{version}", maps, key, known, [])
        if pick_parts(elements.as_number(value[:4]))[1]:
            self._stick(maps, version, key, known, [])
        self.changed += 1
        self._services.append((table, key, None))

    def _stick(
        self, maps: elements.PortMaps, version: str, key: bytes, known: list[bytes], wanted: list[bytes]
    ) -> None:
        identities = [list(map(elements.identity, each)) for each in (known, wanted)]
        self._rearrange(f"identities{version}", maps, key, *identities)
        name, before, after = f"{maps.sticky}{version}", _sticky(known), _sticky(wanted)
        self._delete(name, [key + each for each, value in before.items() if after.get(each) != value])
        self._add(name, [(key + each, value) for each, value in after.items() if before.get(each) != value])

    def _rearrange(
        self, name: str, maps: elements.PortMaps, key: bytes, known: list[bytes], arranged: list[bytes]
    ) -> None:
        if not known:
            # A service that is new, as all of them are when a node starts.
            if arranged:
                run = LAYOUTS[name].run(key, maps.indexes(len(arranged)), arranged)
                self.additions.setdefault(name, []).extend(run)
            return
        gone: list[bytes] = []
        come: list[tuple[bytes, bytes]] = []
        for index, (before, after) in enumerate(zip_longest(known, arranged)):
            if before == after:
                continue
            place = key + maps.index(index)
            if before is not None:
                gone.append(place)
            if after is not None:
                come.append((place, after))
        self._delete(name, gone)
        self._add(name, come)

    def _change_members(self, name: str, *, remove: Iterable[bytes], add: Iterable[bytes]) -> None:
        known = self._known.members[name]
        gone = sorted(key for key in remove if key in known)
        come = sorted(key for key in add if key not in known)
        self._delete(name, gone)
        if come:
            self.additions.setdefault(name, []).extend(LAYOUTS[name].keys(come))
        self._members += [(known, key, False) for key in gone] + [(known, key, True) for key in come]
        self.changed += len(gone) + len(come)

    def _encoded(self, table: str, rows: Iterable[Row], *, quiet: bool = False) -> dict[str, set[bytes]]:
        found: dict[str, set[bytes]] = {"4": set(), "6": set()}
        for row in rows:
            try:
                name, key = _member(row)
            except ValueError as error:
                if not quiet:
                    self.failures.append(Failure(table, key_of(row), str(error)))
            else:
                found[name[-1]].add(key)
        return found

    def _delete(self, name: str, keys: list[bytes]) -> None:
        if keys:
            self.deletions.setdefault(name, []).extend(LAYOUTS[name].keys(keys))

    def _add(self, name: str, pairs: list[tuple[bytes, bytes]]) -> None:
        if pairs:
            self.additions.setdefault(name, []).extend(LAYOUTS[name].pairs(pairs))


def collect(
    known: Elements,
    plan: Plan,
    previous: Plan | None,
    *,
    named: Mapping[str, Collection[Key]] | None = None,
    retry: Collection[tuple[str, Key]] = (),
    without: Collection[tuple[str, Key]] = (),
) -> Difference:
    """Return what turns `known` into the elements of `plan`.

    `previous` is the plan that `known` equals, None when there is none. `named` are the changed keys by table when the caller knows
    them: no others are looked at, except those in `retry`. Rows in `without` are treated as if the plan did not have them.
    """
    difference = Difference(known)
    if previous is not None and named is not None and not retry and not without:
        for table, keys in named.items():
            if keys:
                _collect_some(difference, table, previous.table(table), plan.table(table), keys, ())
        return difference
    for table in TABLES:
        rows = plan.table(table)
        excluded = {key for name, key in without if name == table}
        if previous is not None:
            before = previous.table(table)
            again = {key for name, key in (*retry, *without) if name == table}
            keys = named.get(table, ()) if named is not None else changed(before, rows)
            if keys or again:
                _collect_some(difference, table, before, rows, {*keys, *again}, excluded)
        else:
            _collect_all(difference, known, table, rows, excluded)
    return difference


def changed(before: Mapping[Key, Row], after: Mapping[Key, Row]) -> Collection[Key]:
    """Return the keys whose rows may differ: all that do, and some whose rows are equal but not identical."""
    if before is after:
        return ()
    if len(before) == len(after):
        # Rows that did not change are usually the same objects in the same order: then this is one pass in C.
        places = list(map(is_not, before.values(), after.values()))
        old, new = list(compress(before, places)), list(compress(after, places))
        if old == new:
            return new
    found = {key for key, row in after.items() if before.get(key) is not row}
    found.update(key for key in before if key not in after)
    return found


def _collect_all(
    difference: Difference, known: Elements, table: str, rows: Mapping[Key, Row], excluded: Collection[Key]
) -> None:
    kept = [row for key, row in rows.items() if key not in excluded]
    if table in INTERVALS:
        difference.set_intervals(table, kept)
    elif table in MEMBERS:
        difference.set_all_members(table, kept)
    else:
        wanted = {difference.set_service(table, row) for row in kept if isinstance(row, ServicePort | LocalPort)}
        for key in [key for key in known.services[table] if key not in wanted]:
            difference.remove_service(table, key)


def _collect_some(
    difference: Difference,
    table: str,
    before: Mapping[Key, Row],
    after: Mapping[Key, Row],
    keys: Collection[Key],
    excluded: Collection[Key],
) -> None:
    if table in INTERVALS:
        difference.set_intervals(table, [row for key, row in after.items() if key not in excluded])
        return
    old = [before[key] for key in keys if key in before]
    new = [after[key] for key in keys if key in after and key not in excluded]
    if table in MEMBERS:
        difference.set_members(table, old, new)
        return
    kept = {difference.set_service(table, row) for row in new if isinstance(row, ServicePort | LocalPort)}
    for row in old:
        if isinstance(row, ServicePort | LocalPort):
            try:
                key = elements.service_key(row)
            except ValueError:
                continue
            if key not in kept:
                difference.remove_service(table, key)


def _member(row: Row) -> tuple[str, bytes]:
    match row:
        case PodSource():
            return elements.pod_source(row)
        case ServiceMasquerade():
            return elements.port_member("service_masquerades", row)
        case UntrackedPort():
            return elements.port_member("untracked_ports", row)
        case RestrictedPort():
            return elements.port_member("restricted_ports", row)
        case SourceRange():
            return elements.source_range(row)
        case ClusterAddress() | ServiceAddress():
            return elements.virtual_address(row)
        case _:
            raise TypeError(f"{row!r} is no member of a set")
