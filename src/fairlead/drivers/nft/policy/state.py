"""What the policy table holds: wanted by a plan or known of the kernel, and the messages that lead from one to the other.

Order within a transaction: new sets and their elements, chains, rules, then the maps that lead pods to them; what nobody refers to any
more goes last. It must do no I/O.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from fairlead.base import domainnames
from fairlead.drivers.nft import elements, ruleset, wire
from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft.policy import expressions as p
from fairlead.drivers.nft.policy import structure
from fairlead.drivers.nft.policy.names import Names
from fairlead.drivers.nft.policy.structure import GENERATION, MAPS, NAME, PODS, SELVES
from fairlead.drivers.nft.structure import Set
from fairlead.drivers.protocol import Failure
from fairlead.plan.plan import Plan
from fairlead.plan.policy import PolicyChain, PolicyGroup, PolicyPod

_FAMILY = wire.NFPROTO_INET
Members: TypeAlias = frozenset[Any]
"""Keys of a set, or the intervals of one that has these; only ever compared with members of the same set."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """From the members `before`, some went and some came."""

    before: Members
    gone: Members
    come: Members


class State(msgspec.Struct, kw_only=True):
    """Contents of the table, but for the generation."""

    sets: dict[str, tuple[Set, Members]] = {}
    """Sets of groups by name."""
    chains: dict[str, PolicyChain] = {}
    pods: frozenset[bytes] = frozenset()
    selves: frozenset[bytes] = frozenset()
    maps: dict[str, dict[bytes, str]] = {}
    """Map → interface → chain."""
    counters: set[str] = set()
    memory: dict[bytes, bytes] = {}
    """Key → userdata of what is remembered of names, of both families."""
    steps: dict[str, Step] = {}
    """Set → how it came to its members, as far as that is known: nobody has to find it out again."""

    @property
    def size(self) -> int:
        """Return how many pods, chains and groups there are."""
        return len(self.pods) + len(self.chains) + len(self.sets)


class Encoder:
    """Turns plans into states; groups whose row is the same object keep their encoded members."""

    def __init__(self) -> None:
        self._groups: dict[str, tuple[PolicyGroup, list[tuple[Set, Members]]]] = {}
        self._counters: dict[str, tuple[PolicyChain, set[str]]] = {}
        self.names = Names()

    def state(self, plan: Plan) -> tuple[State, list[Failure]]:
        """Return what a plan wants, and rows that cannot be: such members of groups are left out."""
        failures: list[Failure] = []
        groups: dict[str, tuple[PolicyGroup, list[tuple[Set, Members]]]] = {}
        rows = [row for row in plan.table("policy_groups").values() if isinstance(row, PolicyGroup)]
        self.names.direct({row.name: _patterns(row, failures) for row in rows if row.kind == "names"})
        steps: dict[str, Step] = {}
        for row in rows:
            if row.kind == "names":
                groups[row.name] = row, list(zip(structure.group_sets(row), self.names.members(row.name), strict=True))
                continue
            known = self._groups.get(row.name)
            if known is None or known[0] is not row:
                again = _steps(known[0], known[1], row) if known is not None and row.kind != "prefixes" else None
                if known is not None and again is not None:
                    pairs = zip(known[1], again, strict=True)
                    known = (row, [(each, step.before - step.gone | step.come) for (each, _), step in pairs])
                    steps |= {each.name: step for (each, _), step in zip(known[1], again, strict=True)}
                else:
                    members, errors = _encode(row)
                    failures += [Failure("policy_groups", (row.name,), error) for error in errors]
                    known = (row, list(zip(structure.group_sets(row), members, strict=True)))
            groups[row.name] = known
        self._groups = groups
        chains = {row.name: row for row in plan.table("policy_chains").values() if isinstance(row, PolicyChain)}
        pods = [row for row in plan.table("policy_pods").values() if isinstance(row, PolicyPod)]
        names = {row.host_ifname: x.interface_name(row.host_ifname) for row in pods}
        maps = {
            table: {names[row.host_ifname]: str(getattr(row, table)) for row in pods if getattr(row, table)}
            for table in MAPS
        }
        return State(
            sets={each.name: (each, members) for _, pairs in groups.values() for each, members in pairs},
            chains=chains,
            pods=frozenset(names.values()),
            selves=frozenset(name * 2 for name in names.values()),
            maps=maps,
            counters=self._count_in(chains),
            memory=self.names.memory,
            steps=steps,
        ), failures

    def _count_in(self, chains: Mapping[str, PolicyChain]) -> set[str]:
        """Return the counters of these chains, at the cost of those that are new."""
        known = self._counters
        self._counters = {
            name: found
            if (found := known.get(name)) is not None and found[0] is row
            else (row, structure.counters([row]))
            for name, row in chains.items()
        }
        return set().union(*(counters for _, counters in self._counters.values()))


def _patterns(row: PolicyGroup, failures: list[Failure]) -> tuple[str, ...]:
    found: list[str] = []
    for member in row.members:
        try:
            found.append(domainnames.pattern(member))
        except ValueError as error:
            failures.append(Failure("policy_groups", (row.name,), f"member {error}"))
    return tuple(found)


def _encode(row: PolicyGroup) -> tuple[list[Members], list[str]]:
    errors: list[str] = []
    if row.kind == "prefixes":
        intervals, problems = elements.intervals(row.members)
        return [frozenset(intervals["4"]), frozenset(intervals["6"])], [error for _, error in problems]
    found: dict[bool, set[bytes]] = {False: set(), True: set()}
    for member in row.members:
        text, _, rest = member.partition(" ")
        try:
            key = elements.address(text)
            if row.kind == "ports":
                protocol, port = rest.split()
                key += bytes((elements.PROTOCOLS[protocol],)) + bytes(3) + int(port).to_bytes(2, "big") + bytes(2)
        except (ValueError, KeyError, OverflowError) as error:
            errors.append(f"member {member!r}: {error}")
        else:
            found[":" in text].add(key)
    return [frozenset(found[False]), frozenset(found[True])], errors


def _steps(old: PolicyGroup, encoded: list[tuple[Set, Members]], row: PolicyGroup) -> list[Step] | None:
    """Return how the encoded members change, IPv4 first, at the cost of what differs; None when all must be encoded."""
    before, after = set(old.members), set(row.members)
    gone, _ = _encode_some(row, before - after)
    come, errors = _encode_some(row, after - before)
    # A member that cannot be encoded is complained about as long as it is there.
    if errors or sum(len(members) for _, members in encoded) != len(before):
        return None
    return [Step(members, less, more) for (_, members), less, more in zip(encoded, gone, come, strict=True)]


def _encode_some(row: PolicyGroup, members: set[str]) -> tuple[list[Members], list[str]]:
    return _encode(msgspec.structs.replace(row, members=tuple(members))) if members else _NO_MEMBERS


_NO_MEMBERS: tuple[list[Members], list[str]] = ([frozenset(), frozenset()], [])


def create(state: State, generation: int, *, logs: bool = True) -> list[wire.Message]:
    """Return the messages that make the table with everything in it; there must be none. See `structure.static_chains` for `logs`."""
    found = [wire.Message(wire.NEWTABLE, _FAMILY, wire.text(1, NAME) + wire.u32(2, 0), wire.NLM_F_CREATE)]
    found += [_counter(wire.NEWOBJ, name) for name in structure.COUNTERS]
    found += [_set(each, number) for number, each in enumerate(structure.static_sets(), 1)]
    chains = [*structure.generation_chains(generation), *structure.static_chains(logs=logs)]
    found += [ruleset.new_chain(_FAMILY, each, table=NAME) for each in chains]
    for each in chains:
        found += ruleset.new_rules(_FAMILY, each, table=NAME)
    found += _elements(wire.NEWSETELEM, GENERATION, wire.Layout(4).keys([p.number(generation)]))
    return found + change(State(), state)


def remove() -> list[wire.Message]:
    """Return the messages that remove the table."""
    return [wire.Message(wire.DELTABLE, _FAMILY, wire.text(1, NAME))]


def renew(old: int, new: int) -> list[wire.Message]:
    """Return the messages by which every connection is judged anew with its next packet."""
    found: list[wire.Message] = []
    for each in structure.generation_chains(new):
        found.append(wire.Message(wire.DELRULE, _FAMILY, wire.text(1, NAME) + wire.text(2, each.name)))
        found += ruleset.new_rules(_FAMILY, each, table=NAME)
    layout = wire.Layout(4)
    found += _elements(wire.DELSETELEM, GENERATION, layout.keys([p.number(old)]))
    return found + _elements(wire.NEWSETELEM, GENERATION, layout.keys([p.number(new)]))


def change(old: State, new: State) -> list[wire.Message]:
    """Return the messages that turn one state into another; none when they are equal."""
    found: list[wire.Message] = []
    found += [_counter(wire.NEWOBJ, name) for name in sorted(new.counters - old.counters)]
    added = [each for name, (each, _) in new.sets.items() if name not in old.sets]
    found += [_set(each, number) for number, each in enumerate(added, 100)]
    for name, (each, members) in new.sets.items():
        before = old.sets[name][1] if name in old.sets else frozenset()
        if before is members:
            continue
        step = new.steps.get(name)
        known = step is not None and step.before is before
        if less := step.gone if step is not None and known else before - members:
            found += _members(wire.DELSETELEM, each, less)
        if more := step.come if step is not None and known else members - before:
            found += _members(wire.NEWSETELEM, each, more)
    found += remember(old.memory, new.memory)
    chains = [structure.chain(row) for name, row in new.chains.items() if name not in old.chains]
    found += [ruleset.new_chain(_FAMILY, chain, table=NAME) for chain in chains]
    # The compiler never does this to a name, but a driver takes rows as they are.
    again = [structure.chain(row) for name, row in new.chains.items() if old.chains.get(name, row) != row]
    found += [wire.Message(wire.DELRULE, _FAMILY, wire.text(1, NAME) + wire.text(2, chain.name)) for chain in again]
    for chain in (*chains, *again):
        found += ruleset.new_rules(_FAMILY, chain, table=NAME)
    for name, keys, before_keys in ((PODS, new.pods, old.pods), (SELVES, new.selves, old.selves)):
        layout = wire.Layout(32 if name == SELVES else 16)
        found += _elements(wire.DELSETELEM, name, layout.keys(sorted(before_keys - keys)))
        found += _elements(wire.NEWSETELEM, name, layout.keys(sorted(keys - before_keys)))
    for name in MAPS:
        found += _map(name, old.maps.get(name, {}), new.maps.get(name, {}))
    gone = [name for name in old.chains if name not in new.chains]
    for kind in (wire.DELRULE, wire.DELCHAIN):
        attribute = 2 if kind == wire.DELRULE else 3
        found += [wire.Message(kind, _FAMILY, wire.text(1, NAME) + wire.text(attribute, name)) for name in gone]
    unused = [name for name in old.sets if name not in new.sets]
    found += [wire.Message(wire.DELSET, _FAMILY, wire.text(1, NAME) + wire.text(2, name)) for name in unused]
    found += [_counter(_DELOBJ, name) for name in sorted(old.counters - new.counters)]
    return found


def remember(old: Mapping[bytes, bytes], new: Mapping[bytes, bytes]) -> list[wire.Message]:
    """Return the messages that turn what is remembered of names from one into the other."""
    if old is new:
        return []
    gone = sorted(key for key, userdata in old.items() if new.get(key) != userdata)
    come = sorted(key for key, userdata in new.items() if old.get(key) != userdata)
    found: list[wire.Message] = []
    for version, name in structure.LEARNED.items():
        size = structure.LEARNED_BYTES[version]
        found += _elements(wire.DELSETELEM, name, wire.Layout(size).keys(key for key in gone if len(key) == size))
        encoded = [
            wire.nested(1, wire.nested(1, wire.attribute(1, key)), wire.attribute(_USERDATA, new[key]))
            for key in come
            if len(key) == size
        ]
        found += _elements(wire.NEWSETELEM, name, encoded)
    return found


def remembered(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, userdata) of the elements that a listing of a set in `structure.LEARNED` holds."""
    for _, element in wire.each(wire.generic(payload)[1].get(3, b"")):
        parts = wire.attributes(element)
        yield wire.attributes(parts.get(1, b"")).get(1, b""), parts.get(_USERDATA, b"")


def admit(
    sets: Mapping[str, tuple[Set, Members]], come: Mapping[str, Iterable[bytes]], kind: int
) -> list[wire.Message]:
    """Return the messages that add addresses to groups of names, or take them away: `kind` is NEWSETELEM or DELSETELEM."""
    found: list[wire.Message] = []
    for group, addresses in sorted(come.items()):
        for version, size in (("4", 4), ("6", 16)):
            each, _ = sets[group + version]
            found += _members(kind, each, [address for address in addresses if len(address) == size])
    return found


_USERDATA = 6
"""NFTA_SET_ELEM_USERDATA."""
_DELOBJ = wire.NEWOBJ + 2


def _map(name: str, old: Mapping[bytes, str], new: Mapping[bytes, str]) -> list[wire.Message]:
    gone = sorted(key for key, target in old.items() if new.get(key) != target)
    come = sorted(key for key, target in new.items() if old.get(key) != target)
    encoded = [wire.nested(1, wire.nested(1, wire.attribute(1, key)), p.jump_data(new[key])) for key in come]
    return [
        *_elements(wire.DELSETELEM, name, wire.Layout(16).keys(gone)),
        *_elements(wire.NEWSETELEM, name, encoded),
    ]


def _members(kind: int, each: Set, members: Iterable[bytes | elements.Interval]) -> list[wire.Message]:
    layout = each.layout
    if each.interval:
        pairs = sorted((pair for pair in members if isinstance(pair, tuple)), key=lambda pair: pair[0])
        return _elements(kind, each.name, layout.bounds(pairs))
    return _elements(kind, each.name, layout.keys(sorted(key for key in members if isinstance(key, bytes))))


def _elements(kind: int, name: str, encoded: list[bytes]) -> list[wire.Message]:
    return wire.element_messages(kind, _FAMILY, NAME, name, encoded) if encoded else []


def _counter(kind: int, name: str) -> wire.Message:
    body = wire.text(1, NAME) + wire.text(2, name) + wire.u32(3, 1)
    if kind == wire.NEWOBJ:
        return wire.Message(kind, _FAMILY, body + wire.nested(4), wire.NLM_F_CREATE)
    return wire.Message(kind, _FAMILY, body)


def _set(each: Set, number: int) -> wire.Message:
    body = wire.text(1, NAME) + wire.text(2, each.name)
    body += b"".join(wire.attribute(kind, value) for kind, value in each.attributes().items())
    # By this nft(8) knows the byte order of single values when it lists a set; the kernel ignores it.
    order = 1 if each.key in (("mark",), ("ifname",)) else 2
    hints = b"".join(bytes((hint, 4)) + value.to_bytes(4, sys.byteorder) for hint, value in ((0, order), (1, 2)))
    body += each.description() + wire.u32(10, number) + wire.attribute(13, hints)
    return wire.Message(wire.NEWSET, _FAMILY, body, wire.NLM_F_CREATE)
