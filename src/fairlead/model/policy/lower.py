"""Rules of the policies that govern a pod to chains and groups.

One chain holds everything that one direction of a class of pods is judged by, tier after tier; a second one starts where `Pass` goes on.
Names are digests of contents, so that equal classes share chains and equal peers share groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fairlead.api.pod import ContainerPort
from fairlead.model.policy.read import ADMIN, BASELINE, NETWORK
from fairlead.model.policy.rules import (
    BlockTerm,
    ClusterTerm,
    Direction,
    NamesTerm,
    NodesTerm,
    PodsTerm,
    Policy,
    PortTerm,
    Rule,
    Term,
)
from fairlead.plan.policy import ALLOW, DENY, PolicyChain, PolicyRule

DIRECTIONS: tuple[Direction, ...] = ("ingress", "egress")
_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


class Group(msgspec.Struct, frozen=True, cache_hash=True):
    """What a group's members are; `terms` empty with `ports`: whatever pods there are."""

    kind: str
    terms: tuple[Term, ...]
    ports: tuple[tuple[str, str], ...] = ()
    """(name, protocol or empty) of the ports in a group of kind `ports`."""
    anyone: bool = False

    @property
    def name(self) -> str:
        """Return a name that says the kind and depends on the meaning alone."""
        return f"{self.kind[:2]}-{_digest(self)}"


class Lowered(msgspec.Struct, frozen=True):
    """Chains, the first of which is where to begin (none: everything is allowed), and the groups that they name."""

    chains: tuple[PolicyChain, ...] = ()
    groups: tuple[Group, ...] = ()

    @property
    def start(self) -> str:
        """Return the name of the first chain, empty when there is none."""
        return self.chains[0].name if self.chains else ""


def lower(
    direction: Direction, policies: Sequence[Policy], ports: Sequence[ContainerPort], *, spare_network: bool = False
) -> Lowered:
    """Return the chains by which connections of pods are judged that these policies govern, in their order.

    `ports` are the pods' named ports, which ingress rules refer to. With `spare_network`, NetworkPolicies that govern the
    direction allow everything (a pod's own node).
    """
    governing = [each for each in policies if each.rules(direction) is not None]
    work = _Work(direction, ports)
    network = [each for each in governing if each.tier == NETWORK]
    if network and spare_network:
        rest = [PolicyRule(verdict=ALLOW, counter=f"{network[0].reference}/own-node")]
    elif network:
        rest = [rule for policy in network for rule in work.rules(policy, ALLOW)]
        rest.append(PolicyRule(verdict=DENY, counter=f"{network[0].reference}/{direction}"))
    else:
        rest = [rule for policy in governing if policy.tier == BASELINE for rule in work.rules(policy, ALLOW)]
    admin = [policy for policy in governing if policy.tier == ADMIN]
    chains: list[PolicyChain] = []
    passes = any(rule.action == "pass" for policy in admin for rule in policy.rules(direction) or ())
    if passes and rest:
        second = _chain(direction, rest)
        first = [rule for policy in admin for rule in work.rules(policy, second.name)]
        first.append(PolicyRule(verdict=second.name))
        chains = [_chain(direction, first), second]
    else:
        whole = [rule for policy in admin for rule in work.rules(policy, ALLOW)] + rest
        # What comes after an unconditional verdict is never reached; allowing at the very end is what happens anyway.
        chains = [_chain(direction, whole)] if any(rule.verdict == DENY for rule in whole) else []
    return Lowered(tuple(chains), tuple(work.groups))


def closed(direction: Direction) -> Lowered:
    """Return the chain for a pod that is not known yet but may be governed: nothing passes."""
    return Lowered((_chain(direction, [PolicyRule(verdict=DENY, counter="unknown-pod")]),))


class _Work:
    def __init__(self, direction: Direction, ports: Sequence[ContainerPort]) -> None:
        self._direction = direction
        self._ports = ports
        self.groups: dict[Group, None] = {}

    def rules(self, policy: Policy, passed: str) -> Iterator[PolicyRule]:
        """Yield the rules of a policy; `passed` is the verdict that `Pass` means."""
        for rule in policy.rules(self._direction) or ():
            verdict = {"allow": ALLOW, "deny": DENY, "pass": passed}[rule.action]
            for (peers, spared), protocol, first, last in dict.fromkeys(self._matches(rule)):
                yield PolicyRule(
                    peers=peers,
                    spared=spared,
                    protocol=protocol,
                    first=first,
                    last=last,
                    verdict=verdict,
                    counter=rule.name,
                )

    def _matches(self, rule: Rule) -> Iterator[tuple[tuple[str, str], str, int, int]]:
        numbered, named = self._spans(rule.ports)
        for group in self._peer_groups(rule.peers):
            for protocol, first, last in numbered:
                yield group, protocol, first, last
        if named:
            terms = tuple(each for each in rule.peers or () if isinstance(each, PodsTerm | BlockTerm))
            if rule.peers is None or terms:
                found = Group("ports", _ordered(terms), tuple(sorted(named)), anyone=rule.peers is None)
                yield (self._group(found), ""), "", 0, 0

    def _spans(self, ports: Iterable[PortTerm] | None) -> tuple[list[tuple[str, int, int]], list[tuple[str, str]]]:
        """Return numbered ports, and those names that are to be resolved at the peers."""
        if ports is None:
            return [("", 0, 0)], []
        numbered: list[tuple[str, int, int]] = []
        named: list[tuple[str, str]] = []
        for port in ports:
            if not port.name:
                numbered.append((port.protocol, port.first, port.last))
            elif self._direction == "egress":
                named.append((port.name, port.protocol))
            else:
                numbered += [(each, number, number) for each, number in resolve(self._ports, port.name, port.protocol)]
        return list(dict.fromkeys(numbered)), named

    def _peer_groups(self, peers: Sequence[Term] | None) -> list[tuple[str, str]]:
        """Return groups of peers, each with the group that it does not reach into."""
        if peers is None:
            return [("", "")]
        members = tuple(each for each in peers if isinstance(each, PodsTerm | NodesTerm))
        blocks = tuple(each for each in peers if isinstance(each, BlockTerm))
        names = tuple(each for each in peers if isinstance(each, NamesTerm))
        found = []
        if members:
            found.append((self._group(Group("addresses", _ordered(members))), ""))
        if blocks:
            found.append((self._group(Group("prefixes", _ordered(blocks))), ""))
        if names:
            own = self._group(Group("prefixes", (ClusterTerm(),)))
            found.append((self._group(Group("names", _ordered(names))), own))
        return found

    def _group(self, group: Group) -> str:
        self.groups[group] = None
        return group.name


def resolve(ports: Iterable[ContainerPort], name: str, protocol: str) -> list[tuple[str, int]]:
    """Return (protocol, number) of the ports of a pod that are named so; of several of one protocol the first (case B25)."""
    found: dict[str, int] = {}
    for port in ports:
        known = _PROTOCOLS.get(port.protocol or "TCP")
        if port.name == name and known is not None and protocol in ("", known):
            found.setdefault(known, port.container_port)
    return sorted(found.items())


def port_names(policies: Iterable[Policy]) -> frozenset[str]:
    """Return the names of ports that the ingress rules of these policies refer to."""
    return frozenset(
        port.name for policy in policies for rule in policy.ingress or () for port in rule.ports or () if port.name
    )


def _ordered(terms: Iterable[Term]) -> tuple[Term, ...]:
    return tuple(sorted(set(terms), key=repr))


def _chain(direction: Direction, rules: Sequence[PolicyRule]) -> PolicyChain:
    return PolicyChain(name=f"{direction[:1]}-{_digest((direction, rules))}", direction=direction, rules=tuple(rules))


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(_tagged(value))).hexdigest()[:12]


def _tagged(value: object) -> object:
    """Return a term with its type: two kinds of term may have the same fields."""
    if isinstance(value, Group):
        return [value.kind, value.anyone, value.ports, [[type(each).__name__, each] for each in value.terms]]
    return value


CLOSED = frozenset(closed(direction).start for direction in DIRECTIONS)
"""Names of the chains through which nothing passes because a pod is not known."""
