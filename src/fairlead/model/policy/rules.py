"""What policies of every kind mean, as one kind of value: tiers of rules over terms of peers and ports.

Terms are compared by value, so that equal selectors of different policies are one. It must know nothing of pods.
"""

from __future__ import annotations

import ipaddress
from typing import Literal, TypeAlias

import msgspec

from fairlead.base.selectors import LabelSelector

Action: TypeAlias = Literal["allow", "deny", "pass"]
Direction: TypeAlias = Literal["ingress", "egress"]
SPECIAL = (
    *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
    *("::/127", "::ffff:0.0.0.0/96", "fe80::/10", "ff00::/8"),
)
"""Addresses that are not those of any host somewhere (RFC 6890): this host, loopback, link-local, multicast, broadcast, mapped."""
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class PodsTerm(msgspec.Struct, frozen=True, cache_hash=True):
    """Pods in namespace `own`, or, when it is empty, in namespaces that `namespaces` selects; of these, those that `pods` selects."""

    own: str
    namespaces: LabelSelector
    pods: LabelSelector


class NodesTerm(msgspec.Struct, frozen=True):
    """Nodes with these labels."""

    nodes: LabelSelector


class BlockTerm(msgspec.Struct, frozen=True):
    """Addresses in `cidr` without those in `excepted`; canonical text."""

    cidr: str
    excepted: tuple[str, ...] = ()


class NamesTerm(msgspec.Struct, frozen=True):
    """Addresses outside of the cluster that the resolver gives for names that a pattern selects."""

    pattern: str
    """Canonical, as `base.domainnames.pattern` returns it."""


class ClusterTerm(msgspec.Struct, frozen=True):
    """What no name may lead to: the ranges of pods and Services, nodes, and addresses that mean one machine or link (`SPECIAL`)."""


Term: TypeAlias = PodsTerm | NodesTerm | BlockTerm | NamesTerm | ClusterTerm


class PortTerm(msgspec.Struct, frozen=True):
    """Ports at the destination: by name there, or from `first` to `last`; `last` 0 means all of the protocol."""

    protocol: str
    """`tcp`, `udp`, `sctp`; empty with a name: whatever protocol the port of that name has."""
    first: int = 0
    last: int = 0
    name: str = ""


class Rule(msgspec.Struct, frozen=True):
    """One rule; `peers` or `ports` None: any."""

    action: Action
    peers: tuple[Term, ...] | None
    ports: tuple[PortTerm, ...] | None
    name: str
    """`Kind/namespace/policy/direction/index`."""


class Policy(msgspec.Struct, frozen=True):
    """A policy; a direction that it does not govern is None."""

    reference: str
    """`Kind/namespace/name`."""
    order: tuple[int, int, str, str]
    """Sorts policies as they are asked: tier (0 Admin, 1 NetworkPolicy, 2 Baseline), priority, kind, name."""
    subject: PodsTerm
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None

    @property
    def tier(self) -> int:
        """Return 0 for Admin, 1 for NetworkPolicy, 2 for Baseline."""
        return self.order[0]

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        """Return the rules of a direction, None when the policy does not govern it."""
        return self.ingress if direction == "ingress" else self.egress


def network(text: str) -> Network:
    """Return the network of a CIDR as the API accepts it: host bits are cut off, leading zeros are decimal. Raises ValueError."""
    address, slash, length = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is not a CIDR")
    if ":" not in address:
        address = ".".join(str(int(part)) for part in address.split("."))
    return ipaddress.ip_network(f"{address}/{length}", strict=False)


def block(cidr: str, excepted: tuple[str, ...] = ()) -> BlockTerm:
    """Return the term of a prefix without parts of it; raises ValueError."""
    return BlockTerm(str(network(cidr)), tuple(sorted({str(network(each)) for each in excepted})))


def prefixes(terms: tuple[BlockTerm, ...]) -> tuple[str, ...]:
    """Return the fewest prefixes, sorted, that hold what the blocks hold together."""
    found: list[Network] = []
    for term in terms:
        rest = [ipaddress.ip_network(term.cidr)]
        for text in term.excepted:
            gone = ipaddress.ip_network(text)
            rest = [part for each in rest for part in _without(each, gone)]
        found += rest
    four = ipaddress.collapse_addresses(each for each in found if isinstance(each, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(each for each in found if isinstance(each, ipaddress.IPv6Network))
    return tuple(map(str, (*four, *six)))


def _without(whole: Network, gone: Network) -> list[Network]:
    if isinstance(whole, ipaddress.IPv4Network) and isinstance(gone, ipaddress.IPv4Network):
        if whole.subnet_of(gone):
            return []
        return list(whole.address_exclude(gone)) if gone.subnet_of(whole) else [whole]
    if isinstance(whole, ipaddress.IPv6Network) and isinstance(gone, ipaddress.IPv6Network):
        if whole.subnet_of(gone):
            return []
        return list(whole.address_exclude(gone)) if gone.subnet_of(whole) else [whole]
    return [whole]
