"""Which pods there are, by identity, and who is a member of a group.

An identity is a namespace and the labels that some selector asks for: a cluster has few, however many pods. What a group holds is
decided by identity; a pod that comes to a known identity costs a look-up for each group.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, compress, islice
from operator import is_not
from typing import TypeAlias

import msgspec

from fairlead.api.node import Node
from fairlead.api.pod import ContainerPort, Namespace, Pod
from fairlead.base.addresses import canonical
from fairlead.model.policy.lower import Group, resolve
from fairlead.model.policy.rules import (
    SPECIAL,
    BlockTerm,
    ClusterTerm,
    NamesTerm,
    NodesTerm,
    PodsTerm,
    Policy,
    block,
    prefixes,
)
from fairlead.world.events import ObjectKey

NAME_LABEL = "kubernetes.io/metadata.name"
Identity: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""Namespace, and the labels that matter."""


class Member(msgspec.Struct, frozen=True):
    """A pod as a peer; without addresses it is none."""

    identity: Identity
    addresses: tuple[str, ...]
    ports: tuple[ContainerPort, ...]


def label_keys(policies: Iterable[Policy]) -> frozenset[str]:
    """Return the keys of pod labels that any selector asks for."""
    keys: set[str] = set()
    for policy in policies:
        terms = [policy.subject]
        for rule in (*(policy.ingress or ()), *(policy.egress or ())):
            terms += [each for each in rule.peers or () if isinstance(each, PodsTerm)]
        keys.update(requirement.key for term in terms for requirement in term.pods.requirements)
    return frozenset(keys)


class Members:
    """All pods of the cluster as peers, kept current."""

    def __init__(self) -> None:
        self._keys: frozenset[str] = frozenset()
        self._pods: Mapping[ObjectKey, Pod] = {}
        self._local: Mapping[ObjectKey, tuple[str, ...]] = {}
        self._namespaces: Mapping[ObjectKey, Namespace] = {}
        self._namespace_labels: dict[str, Mapping[str, str]] = {}
        self._members: dict[ObjectKey, Member] = {}
        self._by_identity: dict[Identity, set[ObjectKey]] = {}
        self._identities: dict[str, dict[Identity, None]] = {}
        """Namespace → those that occur in it."""
        self._matches: dict[tuple[PodsTerm, Identity], bool] = {}

    def __repr__(self) -> str:
        return f"<Members pods={len(self._members)} identities={len(self._by_identity)}>"

    def update(
        self,
        pods: Mapping[ObjectKey, Pod],
        local: Mapping[ObjectKey, tuple[str, ...]],
        namespaces: Mapping[ObjectKey, Namespace],
        keys: frozenset[str],
    ) -> list[tuple[Member | None, Member | None]] | None:
        """Take over the world; return (before, after) of the members that differ, None when anything may.

        `local` are the addresses of pods that are attached here, which the API server may not have been told yet.
        """
        everything = False
        if namespaces is not self._namespaces:
            labels: dict[str, Mapping[str, str]] = {
                key[1]: {**(each.metadata.labels or {}), NAME_LABEL: key[1]} for key, each in namespaces.items()
            }
            everything = labels != self._namespace_labels
            self._namespaces, self._namespace_labels = namespaces, labels
        if keys != self._keys:
            self._keys, everything = keys, True
        if everything:
            self._matches.clear()
            self._members, self._by_identity, self._identities = {}, {}, {}
            self._pods, self._local = pods, local
            for key, pod in pods.items():
                self._set(key, self._member(key, pod))
            return None
        touched = differing(self._pods, pods)
        touched |= {key for key in self._local.keys() | local.keys() if self._local.get(key) != local.get(key)}
        self._pods, self._local = pods, local
        found = []
        for key in touched:
            before = self._members.get(key)
            now = pods.get(key)
            after = None if now is None else self._member(key, now)
            if before != after:
                self._set(key, after)
                found.append((before, after))
        return found

    def identity(self, pod: Pod) -> Identity:
        """Return the identity of a pod."""
        labels = pod.metadata.labels or {}
        return pod.metadata.namespace, tuple((key, labels[key]) for key in sorted(self._keys & labels.keys()))

    def is_in(self, term: PodsTerm, identity: Identity) -> bool:
        """Tell whether pods of an identity are in a term."""
        at = (term, identity)
        known = self._matches.get(at)
        if known is None:
            namespace, labels = identity
            known = self.may_hold(term, namespace) and term.pods.matches(dict(labels))
            self._matches[at] = known
        return known

    def may_hold(self, term: PodsTerm, namespace: str) -> bool:
        """Tell whether a term can hold pods of a namespace, whatever their labels."""
        if term.own:
            return term.own == namespace
        return term.namespaces.matches(self._namespace_labels.get(namespace, {NAME_LABEL: namespace}))

    def of(self, group: Group, nodes: Mapping[str, Node], ranges: Iterable[str] = ()) -> Counter[str]:
        """Return the members of a group, each with how many cause it; `ranges` are those of pods and Services.

        Cost: grows with identities and members.
        """
        if group.kind == "names":
            return Counter(each.pattern for each in group.terms if isinstance(each, NamesTerm))
        if group.kind == "prefixes":
            blocks = [each for each in group.terms if isinstance(each, BlockTerm)]
            if any(isinstance(each, ClusterTerm) for each in group.terms):
                blocks += _own_blocks(nodes, ranges)
            return Counter(prefixes(tuple(blocks)))
        found: Counter[str] = Counter()
        for identity in self._possible(group):
            if self.concerns(group, identity):
                for key in self._by_identity[identity]:
                    found.update(self._texts(group, self._members[key]))
        for term in group.terms:
            if isinstance(term, NodesTerm):
                found.update(
                    canonical(address)
                    for node in nodes.values()
                    if term.nodes.matches(node.metadata.labels)
                    for address in node.internal_ips
                )
        return found

    def amend(
        self, tally: Counter[str], group: Group, changed: Iterable[tuple[Member | None, Member | None]]
    ) -> set[str]:
        """Take changes of members over into what `of` returned; return what may have come or gone."""
        touched: set[str] = set()
        for pair in changed:
            for member, step in zip(pair, (-1, 1), strict=True):
                if member is None or not self.concerns(group, member.identity):
                    continue
                for text in self._texts(group, member):
                    tally[text] += step
                    touched.add(text)
        return touched

    def concerns(self, group: Group, identity: Identity) -> bool:
        """Tell whether a pod of this identity may be a member of a group."""
        if group.kind in ("prefixes", "names"):
            return False
        if group.anyone or (group.kind == "ports" and any(isinstance(each, BlockTerm) for each in group.terms)):
            return True
        return any(isinstance(term, PodsTerm) and self.is_in(term, identity) for term in group.terms)

    def _possible(self, group: Group) -> Iterable[Identity]:
        """Return identities that hold all that the group concerns: those of namespaces that its terms select."""
        terms = [each for each in group.terms if isinstance(each, PodsTerm)]
        if group.anyone or group.kind == "ports":
            return self._by_identity
        found = (some for name, some in self._identities.items() if any(self.may_hold(each, name) for each in terms))
        return chain.from_iterable(found)

    def _texts(self, group: Group, member: Member) -> Iterable[str]:
        if group.kind == "addresses":
            return member.addresses
        numbers = {found for name, protocol in group.ports for found in resolve(member.ports, name, protocol)}
        if not numbers:
            return ()
        whole = group.anyone or any(
            isinstance(term, PodsTerm) and self.is_in(term, member.identity) for term in group.terms
        )
        blocks = tuple(each for each in group.terms if isinstance(each, BlockTerm))
        within = [ipaddress.ip_network(each) for each in prefixes(blocks)] if blocks and not whole else []
        addresses = [
            each for each in member.addresses if whole or any(ipaddress.ip_address(each) in net for net in within)
        ]
        return [f"{address} {protocol} {number}" for address in addresses for protocol, number in numbers]

    def _member(self, key: ObjectKey, pod: Pod) -> Member | None:
        addresses = pod.addresses or self._local.get(key, ())
        if pod.spec.host_network or pod.is_finished or not addresses:
            return None
        try:
            return Member(self.identity(pod), tuple(map(canonical, addresses)), pod.ports)
        except ValueError:
            return None

    def _set(self, key: ObjectKey, member: Member | None) -> None:
        old = self._members.pop(key, None)
        if old is not None:
            keys = self._by_identity[old.identity]
            keys.discard(key)
            if not keys:
                del self._by_identity[old.identity]
                del self._identities[old.identity[0]][old.identity]
        if member is not None:
            self._members[key] = member
            self._by_identity.setdefault(member.identity, set()).add(key)
            self._identities.setdefault(member.identity[0], {})[member.identity] = None


def _own_blocks(nodes: Mapping[str, Node], ranges: Iterable[str]) -> list[BlockTerm]:
    """Return blocks of what belongs to the cluster itself, and of addresses that are nobody's."""
    texts = [*SPECIAL, *ranges]
    for node in nodes.values():
        texts += node.pod_cidrs
        texts += [f"{address}/{128 if ':' in address else 32}" for address in node.internal_ips]
    found = []
    for text in texts:
        with contextlib.suppress(ValueError):  # The pod network's part of the model reports it.
            found.append(block(text))
    return found


def differing(before: Mapping[ObjectKey, object], after: Mapping[ObjectKey, object]) -> set[ObjectKey]:
    """Return the keys whose values are not the same object; one pass in C when the keys are those of before."""
    if before is after:
        return set()
    if len(before) == len(after):
        places = list(map(is_not, before.values(), after.values()))
        old, new = list(compress(before, places)), list(compress(after, places))
        if old == new:
            return set(new)
    if len(before) < len(after) and list(before) == list(islice(after, len(before))):
        # Nothing but new ones at the end.
        places = list(map(is_not, before.values(), after.values()))
        return {*compress(before, places), *islice(after, len(before), None)}
    found = {key for key, value in after.items() if before.get(key) is not value}
    found.update(key for key in before if key not in after)
    return found
