"""What never changes with the cluster: tables, sets, chains and rules. docs/design/nft.md draws it.

Rules are few and the same on every node; whatever a pod, a Service or a node adds is an element of a set or a map. Only the pick chains
grow, one for each number of endpoints that some service port has. It must never know a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft import wire

NAME = "fairlead"
"""Name of our tables and thereby the mark of ownership: nothing outside of them is ever touched."""

_TYPES = {"ipv4_addr": (7, 4), "ipv6_addr": (8, 16), "inet_proto": (12, 4), "inet_service": (13, 4), "mark": (19, 4)}
_TYPES["ifname"] = (41, 16)
"""nft(8)'s name of a type → the number by which nft knows it when it lists, and its size as part of a key in bytes."""
_VERDICT_TYPE = 0xFFFFFF00
_PREROUTING, _OUTPUT, _POSTROUTING = 0, 3, 4
_ARP_IN = 0
_RAW, _DESTINATION_NAT, _SOURCE_NAT = -300, -100, 100
_ICMPV6 = 58
_TCP = 6

PICKS = "picks"
"""Map: number of endpoints → chain that picks one of so many."""
REFUSE = "refuse"


class Set(msgspec.Struct, frozen=True, kw_only=True):
    """A set, or a map when it has `data`. `key` and `data` are nft(8)'s names of types; data `("verdict",)` holds chains."""

    name: str
    key: tuple[str, ...]
    data: tuple[str, ...] = ()
    interval: bool = False

    @property
    def layout(self) -> wire.Layout:
        """Return the sizes of its elements; a verdict counts as no data."""
        data = () if self.data == ("verdict",) else self.data
        return wire.Layout(sum(_TYPES[each][1] for each in self.key), sum(_TYPES[each][1] for each in data))

    def attributes(self) -> dict[int, bytes]:
        """Return the attributes by which the kernel lists it, and by which it is made."""
        flags = 0x4 * self.interval | 0x8 * bool(self.data)
        found = {3: flags, 4: _type_number(self.key), 5: self.layout.key_bytes}
        if self.data == ("verdict",):
            found[6] = _VERDICT_TYPE
        elif self.data:
            found |= {6: _type_number(self.data), 7: self.layout.data_bytes}
        return {kind: value.to_bytes(4, "big") for kind, value in found.items()}


class Hook(msgspec.Struct, frozen=True):
    """Where packets enter a base chain. The policy is always accept: what must be dropped is dropped by a rule."""

    kind: str
    """`filter` or `nat`."""
    number: int
    priority: int


class Chain(msgspec.Struct, frozen=True):
    """A chain with its rules in order; without a hook only other chains lead to it."""

    name: str
    rules: tuple[x.Rule, ...]
    hook: Hook | None = None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table's static part."""

    family: int
    counters: tuple[str, ...]
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...]


class _Family(msgspec.Struct, frozen=True):
    """One IP version: suffix of set names, NFPROTO number, where the header holds the addresses, size of one."""

    suffix: str
    number: int
    source: int
    destination: int
    address_bytes: int

    @property
    def words(self) -> int:
        return self.address_bytes // 4

    def only(self) -> x.Rule:
        return x.meta("nfproto", 0), x.equal(0, bytes((self.number,)))

    def source_to(self, register: int) -> x.Expression:
        return x.network(self.source, self.address_bytes, register)

    def destination_to(self, register: int) -> x.Expression:
        return x.network(self.destination, self.address_bytes, register)

    def service_key(self) -> x.Rule:
        """Load address, protocol and port from register 0 on: `words` + 2 registers."""
        return (
            *self.only(),
            self.destination_to(0),
            x.meta("l4proto", self.words),
            x.transport(2, 2, self.words + 1),
        )


_IPV4 = _Family("4", wire.NFPROTO_IPV4, 12, 16, 4)
_IPV6 = _Family("6", wire.NFPROTO_IPV6, 8, 24, 16)
_BOTH = (_IPV4, _IPV6)


def pick_chain(count: int) -> Chain:
    """Return the chain that translates to one of `count` endpoints, at least 1, each with the same chance.

    Looking up number and endpoint are two moments, between which a smaller service may have come into force: then the first
    endpoint is taken, and only a service without any is refused.
    """
    rules = tuple(
        (
            *family.service_key(),
            x.random(count, family.words + 2),
            x.look_up(f"endpoints{family.suffix}", 0, 0),
            x.dnat(family.number, 0, family.words),
        )
        for family in _BOTH
    )
    return Chain(pick_name(count), (*rules, (x.goto(REFUSE if count == 1 else pick_name(1)),)))


def pick_name(count: int) -> str:
    """Return the name of the chain for `count` endpoints; 0 endpoints are refused."""
    return f"n{count}" if count else REFUSE


def pick_count(chain: str) -> int | None:
    """Return the number of endpoints that the chain named so is for; None when it is no pick chain."""
    return int(chain[1:]) if chain.startswith("n") and chain[1:].isdecimal() else None


def tables(counts: Iterable[int]) -> tuple[Table, ...]:
    """Return all tables, with pick chains for these numbers of endpoints (and always for one)."""
    picks = tuple(pick_chain(count) for count in sorted({1, *counts} - {0}))
    main = Table(family=wire.NFPROTO_INET, counters=("spoofed", "refused"), sets=SETS, chains=(*picks, *_CHAINS))
    return main, _ARP


def _addressed(family: _Family) -> Iterator[Set]:
    address = f"ip{'v4' if family is _IPV4 else 'v6'}_addr"
    port = (address, "inet_proto", "inet_service")
    yield Set(name=f"pod_sources{family.suffix}", key=("ifname", address))
    yield Set(name=f"local_ranges{family.suffix}", key=(address,), interval=True)
    yield Set(name=f"nat_exemptions{family.suffix}", key=(address,), interval=True)
    yield Set(name=f"service_addresses{family.suffix}", key=(address,))
    yield Set(name=f"services{family.suffix}", key=port, data=("mark",))
    yield Set(name=f"endpoints{family.suffix}", key=(*port, "mark"), data=(address, "inet_service"))


def _type_number(names: Iterable[str]) -> int:
    number = 0
    for name in names:
        number = number << 6 | _TYPES[name][0]
    return number


SETS = (*_addressed(_IPV4), *_addressed(_IPV6), Set(name=PICKS, key=("mark",), data=("verdict",)))
LAYOUTS: Mapping[str, wire.Layout] = {each.name: each.layout for each in SETS}

_REFUSE_RULES: tuple[x.Rule, ...] = (
    (x.count("refused"),),
    (x.meta("l4proto", 0), x.equal(0, bytes((_TCP,))), x.reset()),
    (x.unreachable(),),
)

# The number goes from one map to the other in a register. nft(8) 1.0.6, though, aborts when it lists two lookups in a row, not
# knowing the size of what is between them; so the number is written to the packet's mark and read back, and the mark is as
# before when the rule ends.
_SAVE_MARK = (x.meta("mark", 8),)
_THROUGH_MARK = (x.set_meta("mark", 0), x.meta("mark", 0), x.set_meta("mark", 8))

# All in NAT chains: the kernel asks them for the first packet of a connection only.
_SERVICE_RULES: tuple[x.Rule, ...] = (
    *(
        (
            *each.service_key(),
            *_SAVE_MARK,
            x.look_up(f"services{each.suffix}", 0, 0),
            *_THROUGH_MARK,
            x.look_up(PICKS, 0, x.VERDICT_REGISTER),
        )
        for each in _BOTH
    ),
    *(
        (*each.only(), each.destination_to(0), x.member(f"service_addresses{each.suffix}", 0), x.goto(REFUSE))
        for each in _BOTH
    ),
)

_POSTROUTING_RULES: tuple[x.Rule, ...] = (
    # A pod's packet that leaves by the pod's own interface was translated back to its sender: without another source the pod
    # would answer to itself.
    *(
        (
            *each.only(),
            x.meta("oifname", 0),
            each.source_to(4),
            x.member(f"pod_sources{each.suffix}", 0),
            x.masquerade(),
        )
        for each in _BOTH
    ),
    *(
        (
            *each.only(),
            each.source_to(0),
            x.member(f"local_ranges{each.suffix}", 0),
            each.destination_to(0),
            x.member(f"nat_exemptions{each.suffix}", 0, inverted=True),
            x.masquerade(),
        )
        for each in _BOTH
    ),
)

# Pods' interfaces are `fl` and hexadecimal digits; `fl-` are devices of the node's own, such as the tunnel.
_NODE_DEVICE = (x.meta("iifname", 0), x.equal(0, b"fl-"), x.accept())
_POD_DEVICE = (x.meta("iifname", 0), x.equal(0, b"fl"))

_FROM_POD_RULES: tuple[x.Rule, ...] = (
    (*_IPV4.only(), x.meta("iifname", 0), _IPV4.source_to(4), x.member("pod_sources4", 0), x.accept()),
    # Multicast listener and neighbor discovery, router advertisements: a pod's neighbors are permanent entries.
    (
        *_IPV6.only(),
        x.meta("l4proto", 0),
        x.equal(0, bytes((_ICMPV6,))),
        x.transport(0, 1, 0),
        x.at_least(0, bytes((130,))),
        x.at_most(0, bytes((143,))),
        x.drop(),
    ),
    (*_IPV6.only(), x.meta("iifname", 0), _IPV6.source_to(4), x.member("pod_sources6", 0), x.accept()),
    (x.count("spoofed"), x.drop()),
)

_CHAINS = (
    Chain(REFUSE, _REFUSE_RULES),
    Chain("services", _SERVICE_RULES),
    Chain("from_pod", _FROM_POD_RULES),
    Chain("sources", (_NODE_DEVICE, (*_POD_DEVICE, x.goto("from_pod"))), Hook("filter", _PREROUTING, _RAW)),
    Chain("prerouting", ((x.jump("services"),),), Hook("nat", _PREROUTING, _DESTINATION_NAT)),
    Chain("output", ((x.jump("services"),),), Hook("nat", _OUTPUT, _DESTINATION_NAT)),
    Chain("postrouting", _POSTROUTING_RULES, Hook("nat", _POSTROUTING, _SOURCE_NAT)),
)

_ARP = Table(
    family=wire.NFPROTO_ARP,
    counters=("spoofed",),
    chains=(Chain("input", (_NODE_DEVICE, (*_POD_DEVICE, x.count("spoofed"), x.drop())), Hook("filter", _ARP_IN, 0)),),
)
