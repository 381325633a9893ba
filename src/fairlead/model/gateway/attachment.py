"""Policies and what they are attached to: which one applies where, which lose, and what to say of each. Pure.

Source: policy attachment of the Gateway API (GEP-713), Direct (GEP-2648). A policy for a section of an object applies there in place of the
policy for the whole object. Of several for the same place the oldest applies, then the first by name; the others are Conflicted and apply
nowhere in part: what they say is never merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from fairlead.api.decode import reference
from fairlead.api.gateway import ParentRef, RouteMeta
from fairlead.api.policytarget import PolicyTargetRef
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.gateway.listeners import Verdict
from fairlead.model.gateway.names import PART
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

MOST_ANCESTORS = 16
"""Of `status.ancestors`, whoever wrote them."""

PolicyKey = tuple[str, ObjectKey]
"""Kind and key of a policy."""


class Place(NamedTuple):
    """An object that policies may be attached to."""

    group: str
    kind: str
    namespace: str
    name: str


class Bearer(NamedTuple):
    """A listener or route that carries no requests, but connections or datagrams as they are."""

    name: str
    transport: str
    """`TCP` or `UDP`."""
    exact: bool
    """Whether it is what a policy is attached to, not a part of that."""


class PolicySpec(Protocol):
    """What the spec of every policy has."""

    @property
    def target_refs(self) -> tuple[PolicyTargetRef, ...]:
        """Return where it is attached."""


class Policy(Protocol):
    """A policy of any kind."""

    @property
    def metadata(self) -> RouteMeta:
        """Return whose it is, and how old."""

    @property
    def spec(self) -> PolicySpec:
        """Return what it says."""


class Reading(msgspec.Struct, frozen=True):
    """What a policy means, wherever it is attached."""

    value: Any = None
    """What applies; None when `accepted` says that nothing of it can."""
    accepted: Verdict = Verdict()
    resolved: Verdict | None = None
    """About its references; None: it has none."""


class PolicyKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of policy."""

    kind: str
    table: str
    """The field of a snapshot that holds its objects."""
    targets: frozenset[tuple[str, str]]
    """Group and kind of what it may be attached to."""
    read: Callable[[Any, Snapshot], Reading]
    """Pure, and of the tables in `reads` alone."""
    reads: tuple[str, ...] = ()
    """Fields of a snapshot: when one of them changes, all policies of the kind are read anew."""
    services: Callable[[Any], Iterable[ObjectKey]] = lambda _: ()
    """Services that `read` looks at: when one of them changes, the policies that name it are read anew."""
    unheld: Callable[[Any, str], frozenset[str]] = lambda _value, _transport: frozenset()
    """Which fields of a spec, by what it means, say nothing about connections (`TCP`) or datagrams (`UDP`) that carry no requests."""
    closes: bool = False
    """Whether nothing passes where such a field is attached to just that."""
    own: bool = True
    """Whether the kind is ours alone: then even a policy that reaches no Gateway is told so, with its target as the ancestor."""


class PolicyVerdict(msgspec.Struct, frozen=True):
    """What became of a policy at one ancestor."""

    ancestor: ParentRef
    accepted: Verdict
    resolved: Verdict | None
    partial: str = ""
    """What of it says nothing about a part of what it is attached to."""


class PolicyState(msgspec.Struct, frozen=True):
    """What became of a policy."""

    verdicts: tuple[PolicyVerdict, ...] = ()
    problems: tuple[Diagnostic, ...] = ()


class Surroundings(Protocol):
    """What policies are attached to."""

    def missing(self, place: Place, section: str) -> str:
        """Return why there is no such place, empty when there is."""

    def ancestors(self, place: Place) -> Iterable[ParentRef]:
        """Return the Gateways of ours whose requests an object concerns."""

    def bearers(self, place: Place, section: str) -> Iterable[Bearer]:
        """Return what of a place carries no requests."""

    def overruled(self, policy: PolicyKey) -> str:
        """Return why a policy holds nowhere beside those of other objects, empty when it does."""


class Attachments:
    """The policies of one kind by place, one snapshot after the other. Equal worlds give equal answers whatever came before."""

    def __init__(self, kind: PolicyKind) -> None:
        self.kind = kind
        self._table: Mapping[ObjectKey, Policy] = {}
        self._inputs: tuple[object, ...] = ()
        self._readings: dict[ObjectKey, Reading] = {}
        self.moved: frozenset[ObjectKey] = frozenset()
        """The policies that came, went or changed with the last snapshot."""
        self._users: dict[ObjectKey, set[ObjectKey]] = {}
        """Service → the policies that look at it."""
        self._at: dict[Place, dict[str, list[ObjectKey]]] = {}
        """Place → section, empty for the whole → its policies, the one that applies first."""

    def __repr__(self) -> str:
        return f"<Attachments of {self.kind.kind} policies={len(self._readings)}>"

    def update(self, snapshot: Snapshot, touched: frozenset[ObjectKey] | None = None) -> frozenset[Place]:
        """Take in a snapshot and return the objects whose policies changed; `touched` Services are those that may have, None: all.

        Costs time proportional to the policies that changed, and one look at each of the others where one did.
        """
        table: Mapping[ObjectKey, Policy] = getattr(snapshot, self.kind.table)
        inputs = tuple(getattr(snapshot, name) for name in self.kind.reads)
        same = len(inputs) == len(self._inputs) and all(a is b for a, b in zip(inputs, self._inputs, strict=True))
        users = self._users
        asking = set(users) if touched is None else touched & users.keys()
        stale = {key for service in asking for key in users[service]}
        self.moved = frozenset()
        if table is self._table and same and not stale:
            return frozenset()
        changed: set[Place] = set()
        before, self._table, self._inputs = self._table, table, inputs
        moved = [key for key in before.keys() | table.keys() if before.get(key) is not table.get(key)]
        self.moved = frozenset(moved)
        for key in moved:
            changed |= self._leave(key, before.get(key))
        for key in moved:
            changed |= self._join(key, table.get(key))
        for key in {*moved, *stale} if same else table.keys() | set(moved):
            self._follow(key, before.get(key), table.get(key))
            if key not in table:
                self._readings.pop(key, None)
                continue
            reading = self.kind.read(table[key], snapshot)
            if self._readings.get(key) != reading:
                self._readings[key] = reading
                changed |= {place for place, _ in places(table[key])}
        return frozenset(changed)

    def applying(self, place: Place, section: str = "") -> Reading | None:
        """Return what the policy says that applies to a section of an object, or to the object; None without one."""
        found = self.deciding(place, section)
        return self._readings[found] if found is not None else None

    def deciding(self, place: Place, section: str = "") -> ObjectKey | None:
        """Return the policy that applies to a section of an object, or to the object; None without one."""
        sections = self._at.get(place, {})
        found = sections.get(section) or sections.get("")
        return found[0] if found else None

    def stack(self, place: Place, section: str = "") -> list[tuple[str, ObjectKey, Reading]]:
        """Return the policy of a section of an object and the one of the whole object, as far as there are any, with the section."""
        sections = self._at.get(place, {})
        found = [(name, sections[name][0]) for name in dict.fromkeys((section, "")) if name in sections]
        return [(name, key, self._readings[key]) for name, key in found]

    def at(self, place: Place) -> frozenset[ObjectKey]:
        """Return the policies that name an object or a section of it."""
        return frozenset(key for keys in self._at.get(place, {}).values() for key in keys)

    def policies(self) -> Iterable[ObjectKey]:
        """Return all policies."""
        return self._readings.keys()

    def readings(self) -> Iterable[tuple[ObjectKey, Reading]]:
        """Return all policies and what they mean."""
        return self._readings.items()

    def state(self, key: ObjectKey, around: Surroundings) -> PolicyState:
        """Return what became of a policy; nothing of one that does not exist."""
        policy = self._table.get(key)
        if policy is None:
            return PolicyState()
        reading = self._readings[key]
        name = reference(self.kind.kind, *key)
        verdicts: dict[ParentRef, PolicyVerdict] = {}
        problems: dict[str, Diagnostic] = {}
        for at, (place, section) in enumerate(places(policy)):
            field = f"spec.targetRefs[{at}]"
            accepted = self._attached(key, place, section, field, around)
            # Of a kind of ours the target itself is told what is not there; another's has nothing but Gateways to say it of.
            lost = accepted.reason == "Invalid" or (accepted.reason == "TargetNotFound" and self.kind.own)
            ancestors = [] if lost else list(around.ancestors(place))
            if not ancestors and self.kind.own:
                ancestors = [_itself(place)]
            if not accepted.problem:
                accepted = reading.accepted
            if not accepted.problem and (words := around.overruled((self.kind.kind, key))):
                accepted = Verdict("Conflicted", words)
            wrong, partial = self._gaps(reading, place, section, around) if not accepted.problem else ("", "")
            if wrong:
                accepted = Verdict("Invalid", f"{field}: {wrong}")
            for each in ancestors:
                known = verdicts.get(each)
                parts = dict.fromkeys(words for words in (known.partial if known else "", partial) if words)
                # Of several targets behind one Gateway the first that has a problem is told.
                told = known.accepted if known is not None and known.accepted.problem else accepted
                verdicts[each] = PolicyVerdict(each, told, reading.resolved, "; ".join(parts))
            for words in (accepted.problem, partial):
                if words:
                    problems[words] = Diagnostic(object=name, message=words)
        if reading.resolved is not None and (words := reading.resolved.problem):
            problems.setdefault(words, Diagnostic(object=name, message=words))
        found = sorted(verdicts.values(), key=lambda each: (each.ancestor.namespace or "", each.ancestor.name))
        return PolicyState(tuple(found[:MOST_ANCESTORS]), tuple(problems.values()))

    def _gaps(self, reading: Reading, place: Place, section: str, around: Surroundings) -> tuple[str, str]:
        """Return (why nothing passes at a place, what of a policy says nothing about a part of it), each empty where there is nothing."""
        wrong: list[str] = []
        partial: list[str] = []
        for each in around.bearers(place, section) if reading.value is not None else ():
            if fields := self.kind.unheld(reading.value, each.transport):
                what = "connections" if each.transport == "TCP" else "datagrams"
                words = (
                    f"{', '.join(f'spec.{field}' for field in sorted(fields))}: nothing for the {what} of {each.name}"
                )
                (wrong if each.exact and self.kind.closes else partial).append(words)
        return "; ".join(wrong), "; ".join(dict.fromkeys(partial))

    def _attached(self, key: ObjectKey, place: Place, section: str, field: str, around: Surroundings) -> Verdict:
        # Only what an Ingress means is attached to one.
        if (place.group, place.kind) not in self.kind.targets and PART not in key[1]:
            wanted = ", ".join(sorted(kind for _, kind in self.kind.targets))
            return Verdict("Invalid", f"{field}: {place.kind} is no target of a {self.kind.kind}; use {wanted}")
        if words := around.missing(place, section):
            return Verdict("TargetNotFound", f"{field}: {words}")
        first = self._at[place][section][0]
        if first != key and not self._alike(key, first):
            return Verdict(
                "Conflicted", f"{field}: {self.kind.kind} {'/'.join(first)} is attached there and goes first"
            )
        return Verdict()

    def _alike(self, key: ObjectKey, other: ObjectKey) -> bool:
        """Tell whether two policies that Ingresses mean say the same."""
        return PART in key[1] and PART in other[1] and self._readings[key] == self._readings[other]

    def _leave(self, key: ObjectKey, policy: Policy | None) -> set[Place]:
        """Take a policy away from where it was; nothing is left of places that have none."""
        for place, section in places(policy):
            sections = self._at.get(place, {})
            if key in sections.get(section, ()):
                sections[section].remove(key)
                if not sections[section]:
                    del sections[section]
            if not sections:
                self._at.pop(place, None)
        return {place for place, _ in places(policy)}

    def _follow(self, key: ObjectKey, before: Policy | None, after: Policy | None) -> None:
        """Note which Services a policy looks at."""
        for service in self.kind.services(before) if before is not None else ():
            self._users.get(service, set()).discard(key)
            if not self._users.get(service):
                self._users.pop(service, None)
        for service in self.kind.services(after) if after is not None else ():
            self._users.setdefault(service, set()).add(key)

    def _join(self, key: ObjectKey, policy: Policy | None) -> set[Place]:
        for place, section in places(policy):
            rivals = self._at.setdefault(place, {}).setdefault(section, [])
            if key not in rivals:
                rivals.append(key)
                rivals.sort(key=self._age)
        return {place for place, _ in places(policy)}

    def _age(self, key: ObjectKey) -> tuple[str, ObjectKey]:
        return self._table[key].metadata.creation_timestamp or "9999", key


def places(policy: Policy | None) -> list[tuple[Place, str]]:
    """Return where a policy is attached: objects of its own namespace, and sections, empty for the whole."""
    if policy is None:
        return []
    namespace = policy.metadata.namespace
    return [
        (Place(each.group, each.kind, namespace, each.name), each.section_name or "")
        for each in policy.spec.target_refs
    ]


def _itself(place: Place) -> ParentRef:
    return ParentRef(group=place.group, kind=place.kind, namespace=place.namespace, name=place.name)
