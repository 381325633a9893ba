"""What never changes with the cluster: tables, sets, chains and rules. docs/design/nft.md draws it.

Rules are few and the same on every node; whatever a pod, a Service or a node adds is an element of a set or a map. Only the pick chains
grow, one for each way to pick that some service port needs: number of endpoints, and seconds of affinity. Services hold the
way as a number of 32 bits, the count in the lower 15. It must never know a plan.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft import wire

NAME = "fairlead"
"""Name of our tables and thereby the mark of ownership: nothing outside of them is ever touched."""

_TYPES = {"ipv4_addr": (7, 4), "ipv6_addr": (8, 16), "inet_proto": (12, 4), "inet_service": (13, 4), "mark": (19, 4)}
_TYPES["ifname"] = (41, 16)
"""nft(8)'s name of a type → the number by which nft knows it when it lists, and its size as part of a key in bytes."""
_UNPADDED = {"inet_proto": 1, "inet_service": 2}
_VERDICT_TYPE = 0xFFFFFF00
_PREROUTING, _OUTPUT, _POSTROUTING = 0, 3, 4
_ARP_IN = 0
_RAW, _DESTINATION_NAT, _SOURCE_NAT = -300, -100, 100
_ICMPV6 = 58
_TCP = 6
_PICK_NAME = re.compile(r"([nl])([1-9]\d{0,4})(?:t([1-9]\d{0,5}))?")

PICKS = "picks"
"""Map: number of a way to pick → chain, for everyone."""
LOCAL_PICKS = "local_picks"
"""The same for clients outside of the node, where policy Local holds."""
REFUSE = "refuse"
DISCARD = "discard"

LOCAL = 1 << 32
"""Marks a pick as one of `LOCAL_PICKS`; not part of the number that the kernel holds."""
LOCAL_INDEX = 1 << 31
"""Index of the first endpoint for clients outside."""
DROPPED = 0x7FFF
"""The number that means: there is no endpoint, and nothing is answered."""
MOST_ENDPOINTS = DROPPED - 1
UNTRACKED_PORT = 53
"""The only port that may be untracked: every packet of the node is asked for it."""
_COUNT_BITS = 15
_MOST_AFFINITY_S = (1 << 32 - _COUNT_BITS) - 1
_ALWAYS = frozenset((1, LOCAL | 1))
_FIXED = {0: REFUSE, DROPPED: DISCARD, LOCAL: DISCARD}
AFFINITY = "affinity"
"""Map that packets fill: client and service port → identity of an endpoint."""
_LAST_WORD = 15
_AFFINITY_SIZE = 1 << 20


def pick_of(count: int, affinity_s: int = 0, *, local: bool = False) -> int:
    """Return the pick of one of `count` endpoints, remembered for `affinity_s`; raises ValueError beyond what its 32 bits hold."""
    if count > MOST_ENDPOINTS:
        raise ValueError(f"{count} endpoints are more than {MOST_ENDPOINTS}")
    if not 0 <= affinity_s <= _MOST_AFFINITY_S:
        raise ValueError(f"affinity of {affinity_s} s is not between 0 and {_MOST_AFFINITY_S}")
    return (affinity_s << _COUNT_BITS if count else 0) | count | (LOCAL if local else 0)


def pick_parts(pick: int) -> tuple[int, int, bool]:
    """Return (number of endpoints, seconds of affinity, is local) of a pick."""
    return pick & DROPPED, (pick & 0xFFFFFFFF) >> _COUNT_BITS, bool(pick & LOCAL)


@functools.cache
def _layout(key: tuple[str, ...], data: tuple[str, ...], is_range: bool) -> wire.Layout:
    if is_range:
        return wire.RangeLayout(sum(_TYPES[each][1] for each in key))
    return wire.Layout(sum(_TYPES[each][1] for each in key), sum(_TYPES[each][1] for each in data))


class Set(msgspec.Struct, frozen=True, kw_only=True):
    """A set, or a map when it has `data`. `key` and `data` are nft(8)'s names of types; data `("verdict",)` holds chains."""

    name: str
    key: tuple[str, ...]
    data: tuple[str, ...] = ()
    interval: bool = False
    dynamic: int = 0
    """How many elements packets may put into it; 0: they put none."""
    size: int = 0
    """How many elements it may hold; 0: any number. A set that says so is made at once as large as it gets, and filled in half the time."""

    @property
    def layout(self) -> wire.Layout:
        """Return the sizes of its elements; a verdict counts as no data."""
        return _layout(self.key, () if self.data == ("verdict",) else self.data, self.is_range)

    @property
    def is_range(self) -> bool:
        """Tell whether its keys are concatenations of which each part is a range."""
        return self.interval and len(self.key) > 1

    def attributes(self) -> dict[int, bytes]:
        """Return the attributes by which the kernel lists it, and by which it is made."""
        flags = 0x4 * self.interval | 0x8 * bool(self.data) | 0x30 * bool(self.dynamic) | 0x80 * self.is_range
        found = {3: flags, 4: _type_number(self.key), 5: self.layout.key_bytes}
        if self.data == ("verdict",):
            found[6] = _VERDICT_TYPE
        elif self.data:
            found |= {6: _type_number(self.data), 7: self.layout.data_bytes}
        return {kind: value.to_bytes(4, "big") for kind, value in found.items()}

    def description(self) -> bytes:
        """Return NFTA_SET_DESC: what only its maker says. Sizes of the parts of a range are those before padding."""
        found = wire.u32(1, self.dynamic or self.size) if self.dynamic or self.size else b""
        if self.is_range:
            parts = (wire.nested(1, wire.u32(1, _UNPADDED.get(each, _TYPES[each][1]))) for each in self.key)
            found += wire.nested(2, *parts)
        return wire.nested(9, found) if found else b""


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

    def service_key(self, register: int = 0) -> x.Rule:
        """Load address, protocol and port from `register` on: `words` + 2 registers."""
        return (
            *self.only(),
            self.destination_to(register),
            x.meta("l4proto", register + self.words),
            x.transport(2, 2, register + self.words + 1),
        )

    def service_source_key(self) -> x.Rule:
        """Load the source's address, protocol and port from register 0 on."""
        return (*self.only(), self.source_to(0), x.meta("l4proto", self.words), x.transport(0, 2, self.words + 1))

    def original_destination(self) -> x.Expression:
        """Load into register 0 where the connection's first packet went before translation."""
        return x.original("ip daddr" if self.suffix == "4" else "ip6 daddr", 0)

    def original_service_key(self) -> x.Rule:
        """Load address, protocol and port from register 0 on, as the connection's first packet had them before translation."""
        return (
            *self.only(),
            self.original_destination(),
            x.meta("l4proto", self.words),
            x.original("dport", self.words + 1),
        )


_IPV4 = _Family("4", wire.NFPROTO_IPV4, 12, 16, 4)
_IPV6 = _Family("6", wire.NFPROTO_IPV6, 8, 24, 16)
_BOTH = (_IPV4, _IPV6)


def pick_chain(pick: int) -> Chain:
    """Return the chain that translates to one of the pick's endpoints, at least 1, each with the same chance.

    Looking up number and endpoint are two moments, between which a smaller service may have come into force: then the first
    endpoint is taken, and only a service without any is refused. With affinity, a client's endpoint is remembered, and taken
    again as long as the service has it.
    """
    count, affinity_s, local = pick_parts(pick)
    rules: list[x.Rule] = []
    for family in _BOTH:
        if affinity_s:
            rules += [_remembered(family, affinity_s, local), _picked_and_remembered(family, count, affinity_s, local)]
        rules.append(
            (
                *family.service_key(),
                x.random(count, family.words + 2, LOCAL_INDEX if local else 0),
                x.look_up(f"endpoints{family.suffix}", 0, 0),
                x.dnat(family.number, 0, family.words),
            )
        )
    first = LOCAL | 1 if local else 1
    empty = DISCARD if local else REFUSE
    return Chain(pick_name(pick), (*rules, (x.goto(empty if pick == first else pick_name(first)),)))


def _remembered(family: _Family, affinity_s: int, local: bool) -> x.Rule:
    words, name = family.words, f"{AFFINITY}{family.suffix}"
    identity = 2 * words + 2
    return (
        *family.service_key(words),
        family.source_to(0),
        x.meta("mark", _LAST_WORD),
        x.look_up(name, 0, identity),
        *_through_mark(identity, _LAST_WORD),
        x.look_up(f"{'local_' if local else ''}sticky{family.suffix}", words, identity + 1),
        x.remember(name, 0, identity, affinity_s),
        x.dnat(family.number, identity + 1, identity + 1 + words),
    )


def _picked_and_remembered(family: _Family, count: int, affinity_s: int, local: bool) -> x.Rule:
    words, name = family.words, f"{AFFINITY}{family.suffix}"
    identity = 2 * words + 2
    return (
        *family.service_key(words),
        family.source_to(0),
        x.meta("mark", _LAST_WORD),
        x.random(count, identity, LOCAL_INDEX if local else 0),
        x.look_up(f"identities{family.suffix}", words, identity),
        *_through_mark(identity, _LAST_WORD),
        x.look_up(f"{'local_' if local else ''}sticky{family.suffix}", words, identity + 1),
        # What is remembered is an endpoint that went; remembering alone would not replace it.
        x.forget(name, 0, identity),
        x.remember(name, 0, identity, affinity_s),
        x.dnat(family.number, identity + 1, identity + 1 + words),
    )


def _through_mark(register: int, saved: int) -> x.Rule:
    """Let a number pass from one map to the next through the packet's mark; `saved` holds the mark, which is as before then.

    The number could stay in its register, but nft(8) 1.0.6 aborts when it lists two lookups in a row, not knowing the size of what is
    between them.
    """
    return x.set_meta("mark", register), x.meta("mark", register), x.set_meta("mark", saved)


def pick_name(pick: int) -> str:
    """Return the name of the chain for a pick: `n3`, `n3t10800` with affinity, `l3` for clients outside; or where there are none."""
    if pick in _FIXED:
        return _FIXED[pick]
    count, affinity_s, local = pick_parts(pick)
    return f"{'l' if local else 'n'}{count}" + (f"t{affinity_s}" if affinity_s else "")


def pick_count(chain: str) -> int | None:
    """Return the pick that the chain named so is for; None when it is no pick chain."""
    found = _PICK_NAME.fullmatch(chain)
    return pick_of(int(found[2]), int(found[3] or 0), local=found[1] == "l") if found else None


def is_static(pick: int) -> bool:
    """Tell whether a pick is there always."""
    return pick in _FIXED or pick in _ALWAYS


def fixed_picks() -> Mapping[int, str]:
    """Return the picks that have no chain of their own."""
    return _FIXED


def tables(picks: Iterable[int], room: Mapping[str, int] = MappingProxyType({})) -> tuple[Table, ...]:
    """Return all tables, with chains for these picks (and always for one endpoint), and sets of the sizes `room` (by name)."""
    chains = tuple(pick_chain(pick) for pick in sorted({*_ALWAYS, *picks} - _FIXED.keys()))
    sets = tuple(msgspec.structs.replace(each, size=room[each.name]) if each.name in room else each for each in SETS)
    main = Table(family=wire.NFPROTO_INET, counters=("spoofed", "refused"), sets=sets, chains=(*chains, *_CHAINS))
    return main, _ARP


def _addressed(family: _Family) -> Iterator[Set]:
    address = f"ip{'v4' if family is _IPV4 else 'v6'}_addr"
    port = (address, "inet_proto", "inet_service")
    yield Set(name=f"pod_sources{family.suffix}", key=("ifname", address))
    yield Set(name=f"local_ranges{family.suffix}", key=(address,), interval=True)
    yield Set(name=f"nat_exemptions{family.suffix}", key=(address,), interval=True)
    yield Set(name=f"cluster_addresses{family.suffix}", key=(address,))
    yield Set(name=f"service_addresses{family.suffix}", key=(address,))
    yield Set(name=f"services{family.suffix}", key=port, data=("mark",))
    yield Set(name=f"endpoints{family.suffix}", key=(*port, "mark"), data=(address, "inet_service"))
    yield Set(name=f"local_services{family.suffix}", key=port, data=("mark",))
    yield Set(name=f"untracked_ports{family.suffix}", key=port)
    yield Set(name=f"service_masquerades{family.suffix}", key=port)
    yield Set(name=f"restricted_ports{family.suffix}", key=port)
    yield Set(name=f"source_ranges{family.suffix}", key=(*port, address), interval=True)
    yield Set(name=f"identities{family.suffix}", key=(*port, "mark"), data=("mark",))
    yield Set(name=f"sticky{family.suffix}", key=(*port, "mark"), data=(address, "inet_service"))
    yield Set(name=f"local_sticky{family.suffix}", key=(*port, "mark"), data=(address, "inet_service"))
    yield Set(
        name=f"{AFFINITY}{family.suffix}",
        key=(address, *port),
        data=("mark",),
        dynamic=_AFFINITY_SIZE,
    )


def _type_number(names: Iterable[str]) -> int:
    number = 0
    for name in names:
        number = number << 6 | _TYPES[name][0]
    return number


SETS = (
    *_addressed(_IPV4),
    *_addressed(_IPV6),
    Set(name=PICKS, key=("mark",), data=("verdict",)),
    Set(name=LOCAL_PICKS, key=("mark",), data=("verdict",)),
)
UNMANAGED = frozenset((PICKS, LOCAL_PICKS, *(f"{AFFINITY}{each.suffix}" for each in _BOTH)))
"""Sets whose elements no row stands for."""
LAYOUTS: Mapping[str, wire.Layout] = {each.name: each.layout for each in SETS}

_REFUSE_RULES: tuple[x.Rule, ...] = (
    (x.count("refused"),),
    (x.meta("l4proto", 0), x.equal(0, bytes((_TCP,))), x.reset()),
    (x.unreachable(),),
)

_SAVE_MARK = (x.meta("mark", 8),)
_THROUGH_MARK = _through_mark(0, 8)

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
        (*each.only(), each.destination_to(0), x.member(f"{name}{each.suffix}", 0), x.goto(REFUSE))
        for each in _BOTH
        for name in ("cluster_addresses", "service_addresses")
    ),
)

_RESTRICTED_RULES: tuple[x.Rule, ...] = (
    *(
        (*each.service_key(), each.source_to(each.words + 2), x.member(f"source_ranges{each.suffix}", 0), x.back())
        for each in _BOTH
    ),
    (x.drop(),),
)
_RESTRICTIONS: tuple[x.Rule, ...] = tuple(
    (*each.service_key(), x.member(f"restricted_ports{each.suffix}", 0), x.jump("restricted")) for each in _BOTH
)
# Policy Local is for clients outside: pods of this node are not, and processes of the node do not come this way.
_LOCAL_RULES: tuple[x.Rule, ...] = tuple(
    (
        *each.service_key(),
        *_SAVE_MARK,
        x.look_up(f"local_services{each.suffix}", 0, 0),
        each.source_to(4),
        x.member(f"local_ranges{each.suffix}", 4, inverted=True),
        *_THROUGH_MARK,
        x.look_up(LOCAL_PICKS, 0, x.VERDICT_REGISTER),
    )
    for each in _BOTH
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
    # Whose answers must come back through this node, because the endpoint may be on another one.
    *(
        (*each.original_service_key(), x.member(f"service_masquerades{each.suffix}", 0), x.masquerade())
        for each in _BOTH
    ),
    # The same of clients outside of the cluster that know a route to its Services.
    *(
        (
            *each.only(),
            each.source_to(0),
            x.member(f"nat_exemptions{each.suffix}", 0, inverted=True),
            each.original_destination(),
            x.member(f"cluster_addresses{each.suffix}", 0),
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

# Questions to the node's own resolver and its answers, also those of the node to itself. After the check of sources, before tracking.
# Every packet comes this way, so that all but those of DNS pass by two comparisons.
_UNTRACKED_NUMBER = UNTRACKED_PORT.to_bytes(2, "big")
_UNTRACKED_RULES: tuple[x.Rule, ...] = (
    (x.transport(2, 2, 0), x.equal(0, _UNTRACKED_NUMBER), x.jump("to_untracked")),
    (x.transport(0, 2, 0), x.equal(0, _UNTRACKED_NUMBER), x.jump("from_untracked")),
)
_TO_UNTRACKED_RULES: tuple[x.Rule, ...] = tuple(
    (*each.service_key(), x.member(f"untracked_ports{each.suffix}", 0), x.untracked()) for each in _BOTH
)
_FROM_UNTRACKED_RULES: tuple[x.Rule, ...] = tuple(
    (*each.service_source_key(), x.member(f"untracked_ports{each.suffix}", 0), x.untracked()) for each in _BOTH
)

_CHAINS = (
    Chain(REFUSE, _REFUSE_RULES),
    Chain(DISCARD, ((x.drop(),),)),
    Chain("restricted", _RESTRICTED_RULES),
    Chain("services", _SERVICE_RULES),
    Chain("from_pod", _FROM_POD_RULES),
    Chain("sources", (_NODE_DEVICE, (*_POD_DEVICE, x.goto("from_pod"))), Hook("filter", _PREROUTING, _RAW)),
    Chain("to_untracked", _TO_UNTRACKED_RULES),
    Chain("from_untracked", _FROM_UNTRACKED_RULES),
    Chain("untracked", _UNTRACKED_RULES, Hook("filter", _PREROUTING, _RAW + 1)),
    Chain("untracked_output", _UNTRACKED_RULES, Hook("filter", _OUTPUT, _RAW)),
    Chain(
        "prerouting", (*_RESTRICTIONS, *_LOCAL_RULES, (x.jump("services"),)), Hook("nat", _PREROUTING, _DESTINATION_NAT)
    ),
    Chain("output", (*_RESTRICTIONS, (x.jump("services"),)), Hook("nat", _OUTPUT, _DESTINATION_NAT)),
    Chain("postrouting", _POSTROUTING_RULES, Hook("nat", _POSTROUTING, _SOURCE_NAT)),
)

_ARP = Table(
    family=wire.NFPROTO_ARP,
    counters=("spoofed",),
    chains=(Chain("input", (_NODE_DEVICE, (*_POD_DEVICE, x.count("spoofed"), x.drop())), Hook("filter", _ARP_IN, 0)),),
)
