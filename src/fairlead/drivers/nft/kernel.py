"""One namespace's nf_tables, as far as they are ours: observed, compared with a plan, changed in one transaction.

What is known was either read from the kernel or said in a transaction that the kernel accepted. The generation number, which every change
by anyone increases, tells whether it can still be true. Blocking; used by one thread at a time.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from fairlead.drivers.nft import elements, expressions, ruleset, wire
from fairlead.drivers.nft.difference import TABLES, Difference, Elements, changed, collect
from fairlead.drivers.nft.ruleset import ListedTable
from fairlead.drivers.nft.socket import DumpInterruptedError, NftError, NftSocket, describe
from fairlead.drivers.nft.structure import (
    LAYOUTS,
    LOCAL,
    LOCAL_PICKS,
    NAME,
    PICKS,
    SETS,
    UNMANAGED,
    is_static,
)
from fairlead.drivers.protocol import Failure, Outcome
from fairlead.plan.plan import Plan
from fairlead.plan.tables import Key, Row, key_of

log = logging.getLogger(__name__)

_OBSERVE_TRIES = 20
_APPLY_TRIES = 16
_MAIN = wire.NFPROTO_INET
_FAMILIES = {_MAIN: "inet", wire.NFPROTO_ARP: "arp"}
_DORMANT = 0x1
_LEAST_ROOM = {"endpoints": 1 << 15, "services": 1 << 13, "cluster_addresses": 1 << 13}
"""Sets that most elements are in, and how many of a family a new one may hold at least; one that is outgrown is made anew with more."""


class Kernel:
    """The state machine between plans and a socket."""

    def __init__(self, socket: NftSocket) -> None:
        self._socket = socket
        self._listed: dict[int, ListedTable] = {}
        self._elements = Elements()
        self._counts: set[int] = set()
        """Picks that have a chain."""
        self._is_intact = False
        """All tables are there and their static part is right."""
        self._generation: int | None = None
        self._plan: Plan | None = None
        """What is in force, when a plan is."""
        self._retry: frozenset[tuple[str, Key]] = frozenset()
        self.last_commit_s = 0.0
        """How long the last transaction took, from its rows to the kernel's answer, in seconds."""

    def __repr__(self) -> str:
        state = "intact" if self._is_intact else "to be repaired" if self._listed else "absent"
        return f"<Kernel tables {state} generation={self._generation} {self._elements}>"

    def close(self) -> None:
        """Close the socket; everything stays in place."""
        self._socket.close()

    def observe(self) -> None:
        """Read everything of ours from the kernel; raises OSError. Cost: grows with the number of elements, 1 µs each."""
        self._plan = None
        self._generation = None
        for _ in range(_OBSERVE_TRIES):
            try:
                before = self._socket.generation()
                listed = self._list_tables()
                found = Elements.of(self._list_elements(listed.get(_MAIN)))
                after = self._socket.generation()
            except DumpInterruptedError:
                continue
            if before == after:
                break
        else:
            raise NftError(errno.EAGAIN, "nf_tables change faster than they can be listed")
        self._generation = after
        self._listed = listed
        self._counts = ruleset.pick_counts(listed.get(_MAIN))
        repair = ruleset.repair(listed, self._counts, room=_room({}))
        self._is_intact = not repair.messages
        if repair.is_new:
            found, self._counts = Elements(), set()
        self._elements = found

    @property
    def is_settled(self) -> bool:
        """Tell whether a plan is in force, so that the next one can be told by its changes."""
        return self._plan is not None and self._is_intact

    def may_have_changed(self) -> bool:
        """Tell whether anyone else may have changed any table of the namespace since the last observation."""
        return self._generation is None or self._socket.generation() != self._generation

    def probe(self) -> None:
        """Observe, and ask the kernel whether it could hold our tables, changing nothing; raises NftError when it could not."""
        self.observe()
        if self._is_intact:
            return
        messages = [*ruleset.remove(self._listed), *ruleset.repair({}, (), room=_room({})).messages]
        for refusal in self._socket.transact(wire.transaction(messages, commit=False)):
            raise NftError(refusal.code, f"this kernel's nf_tables lack what the network needs: {describe(refusal)}")

    def rows(self) -> dict[str, dict[Key, Row]]:
        """Return what is known to be in the kernel, as rows by plan table and key."""
        found: dict[str, dict[Key, Row]] = {table: {} for table in TABLES}
        for table, row in self._elements.rows():
            found[table][key_of(row)] = row
        return found

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return (packets, bytes) of `inet/spoofed`, `arp/spoofed` and `inet/refused`; raises OSError."""
        found: dict[str, tuple[int, int]] = {}
        for family, name in _FAMILIES.items():
            for listed in self._list(wire.GETOBJ, family):
                values = wire.attributes(listed.get(4, b""))
                found[f"{name}/{wire.as_text(listed[2])}"] = (wire.as_u32(values[2]), wire.as_u32(values[1]))
        return found

    def changes(self, plan: Plan) -> Mapping[str, Collection[Key]] | None:
        """Return the keys that may differ from what is in force, by table; None when only a full comparison can tell."""
        previous = self._plan
        if previous is None or not self._is_intact:
            return None
        return {table: changed(previous.table(table), plan.table(table)) for table in TABLES}

    def apply(self, plan: Plan, named: Mapping[str, Collection[Key]] | None = None) -> Outcome:
        """Make the kernel equal to `plan`; `named` are the keys that differ from what is in force, when the caller knows.

        A refused transaction changed nothing: then the kernel is observed anew, and rows that it still refuses are left out and
        reported. Raises OSError when the kernel cannot be talked to.
        """
        if not any(map(plan.tables.get, TABLES)):
            return self._remove(plan)
        excluded: dict[tuple[str, Key], Failure] = {}
        refusals: list[wire.Refusal] = []
        for attempt in range(_APPLY_TRIES):
            difference = collect(
                self._elements, plan, self._plan, named=named, retry=self._retry, without=excluded.keys()
            )
            begun = time.perf_counter()
            static = self._static(difference)
            messages = [*static, *difference.messages(_MAIN)]
            refusals = self._commit(messages)
            self.last_commit_s = time.perf_counter() - begun
            if not refusals:
                self._settle(plan, difference, excluded)
                return Outcome(difference.changed + len(static), (*excluded.values(), *difference.failures))
            self._lament(refusals, attempt)
            self.observe()
            if any(each.code == errno.ENFILE for each in refusals):
                self._outgrow()
                continue
            if attempt:
                blamed = _blame(messages, refusals)
                if not blamed:
                    break
                excluded |= blamed
        error = describe(refusals[0])
        unmade = [Failure(table, (), error) for table in TABLES if plan.table(table)]
        return Outcome(failed=(*excluded.values(), *unmade))

    def _remove(self, plan: Plan) -> Outcome:
        for attempt in range(_APPLY_TRIES):
            if not self._listed:
                self._plan = plan
                return Outcome()
            changed_rows = sum(1 for _ in self._elements.rows())
            refusals = self._commit(ruleset.remove(self._listed))
            if not refusals:
                count = changed_rows + len(self._listed)
                self._listed, self._elements, self._counts = {}, Elements(), set()
                self._is_intact, self._retry, self._plan = False, frozenset(), None
                return Outcome(count)
            self._lament(refusals, attempt)
            self.observe()
        raise NftError(refusals[0].code, f"removing the tables {NAME}: {describe(refusals[0])}")

    def _static(self, difference: Difference) -> Sequence[wire.Message]:
        """Return what must come before the elements of `difference`."""
        if not self._is_intact:
            room = _room(difference.additions)
            return ruleset.repair(self._listed, self._counts | difference.counts, room=room).messages
        missing = {pick for pick in difference.counts - self._counts if not is_static(pick)}
        return ruleset.add_picks(missing) if missing else ()

    def _commit(self, messages: Sequence[wire.Message]) -> list[wire.Refusal]:
        if not messages:
            return []
        refusals = self._socket.transact(wire.transaction(messages, generation=self._generation))
        if any(each.code == errno.ERESTART for each in refusals):
            # Someone changed some table, most likely their own. Say it again; the next resync looks whether it was ours.
            self._generation = None
            refusals = self._socket.transact(wire.transaction(messages))
        if not refusals and self._generation is not None:
            # The kernel skips zero.
            self._generation = (self._generation + 1) & 0xFFFFFFFF or 1
        return refusals

    def _settle(self, plan: Plan, difference: Difference, excluded: Mapping[tuple[str, Key], Failure]) -> None:
        difference.settle()
        self._counts |= difference.counts
        if not self._is_intact:
            self._listed = {family: ListedTable(family=family) for family in _FAMILIES}
            self._is_intact = True
        self._plan = plan
        self._retry = frozenset({*excluded, *((each.table, each.key) for each in difference.failures)})

    def _outgrow(self) -> None:
        """Have the table of elements made anew, with room for what is wanted, by the transaction that fills it."""
        if _MAIN in self._listed:
            # As one that another program has switched off.
            self._listed[_MAIN].is_active = False
        self._elements, self._counts, self._is_intact = Elements(), set(), False

    def _lament(self, refusals: Sequence[wire.Refusal], attempt: int) -> None:
        log.warning(
            "nftables transaction refused",
            extra={"error": describe(refusals[0]), "refused": len(refusals), "attempt": attempt + 1},
        )

    def _list_tables(self) -> dict[int, ListedTable]:
        listed: dict[int, ListedTable] = {}
        for payload in self._socket.dump(wire.Message(wire.GETTABLE, wire.NFPROTO_UNSPEC, b"")):
            family, found = wire.generic(payload)
            if family in _FAMILIES and wire.as_text(found[1]) == NAME:
                is_active = not wire.as_u32(found.get(2, b"")) & _DORMANT
                listed[family] = ListedTable(family=family, is_active=is_active)
        for family, table in listed.items():
            table.sets.update(map(ruleset.listed_set, self._list(wire.GETSET, family)))
            table.counters.update(wire.as_text(found[2]) for found in self._list(wire.GETOBJ, family))
            table.chains.update(map(ruleset.listed_chain, self._list(wire.GETCHAIN, family)))
            for found in self._list(wire.GETRULE, family):
                rules = table.rules.setdefault(wire.as_text(found[2]), [])
                rules.append(expressions.parse(found.get(4, b"")))
            for name, flag in ((PICKS, 0), (LOCAL_PICKS, LOCAL)):
                if name in table.sets:
                    table.picks.update(
                        (elements.as_number(key) | flag, expressions.goto_target(data))
                        for key, data, _ in self._list_set(family, name)
                    )
        return listed

    def _list_elements(self, table: ListedTable | None) -> dict[str, list[tuple[bytes, bytes, int]]]:
        if table is None:
            return {}
        # A set of another shape makes the whole table be made anew: what it holds does not matter.
        fitting = [
            each.name for each in SETS if each.name not in UNMANAGED and table.sets.get(each.name) == each.attributes()
        ]
        return {name: list(self._list_set(_MAIN, name)) for name in fitting}

    def _list_set(self, family: int, name: str) -> Iterable[tuple[bytes, bytes, int]]:
        request = wire.Message(wire.GETSETELEM, family, wire.text(1, NAME) + wire.text(2, name))
        for payload in self._socket.dump(request):
            yield from wire.elements(payload, LAYOUTS[name])

    def _list(self, kind: int, family: int) -> Iterable[dict[int, bytes]]:
        """Yield the attributes of our tables' objects of one kind; attribute 1 is the table's name in all of them."""
        for payload in self._socket.dump(wire.Message(kind, family, wire.text(1, NAME))):
            _, found = wire.generic(payload)
            if wire.as_text(found.get(1, b"")) == NAME:
                yield found


def _room(additions: Mapping[str, Sequence[bytes]]) -> dict[str, int]:
    """Return how many elements new sets may hold: twice as many as they get now."""
    return {
        f"{name}{version}": max(least, 2 * len(additions.get(f"{name}{version}", ())))
        for name, least in _LEAST_ROOM.items()
        for version in "46"
    }


def _blame(messages: Sequence[wire.Message], refusals: Iterable[wire.Refusal]) -> dict[tuple[str, Key], Failure]:
    """Return the rows whose elements were refused."""
    blamed: dict[tuple[str, Key], Failure] = {}
    for refusal in refusals:
        if not 0 < refusal.sequence <= len(messages):
            continue
        message = messages[refusal.sequence - 1]
        if message.kind not in (wire.NEWSETELEM, wire.DELSETELEM):
            continue
        found = wire.refused_element(message, refusal.offset)
        if found is not None and found[0] not in UNMANAGED:
            table, key = elements.plan_key(*found)
            blamed[table, key] = Failure(table, key, f"nftables element of {found[0]}: {describe(refusal)}")
    return blamed
