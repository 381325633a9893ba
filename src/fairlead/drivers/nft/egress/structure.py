"""The egress table: chains, sets and maps that are the same on every node. docs/design/egress-gateway.md draws it.

A table of its own beside `fairlead`, made only where there is a gateway, so that packets of other clusters meet none of it. It must
never know a plan.
"""

from __future__ import annotations

from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft import wire
from fairlead.drivers.nft.structure import Chain, Hook, Set

NAME = "fairlead-egress"
"""Name of the table and thereby the mark of ownership."""
UNSOLICITED = "unsolicited"
"""Counter of packets to a chosen source address that belong to no connection."""
VERSIONS = ("4", "6")

_PREROUTING, _POSTROUTING = 0, 4
_AFTER_TRANSLATION, _BEFORE_MASQUERADE, _LAST = -90, 90, 300
_ADDRESS = {"4": "ipv4_addr", "6": "ipv6_addr"}
_PROTOCOL = {"4": wire.NFPROTO_IPV4, "6": wire.NFPROTO_IPV6}
_SOURCE, _DESTINATION = {"4": (12, 4), "6": (8, 16)}, {"4": (16, 4), "6": (24, 16)}


def sets() -> tuple[Set, ...]:
    """Return all sets and maps."""
    return tuple(each for version in VERSIONS for each in _sets(version))


def _sets(version: str) -> tuple[Set, ...]:
    address = _ADDRESS[version]
    return (
        Set(name=f"exempt{version}", key=(address,), interval=True),
        Set(name=f"holders{version}", key=(address,)),
        Set(name=f"marks{version}", key=(address,), data=("mark",)),
        Set(name=f"ranges{version}", key=("mark", address), interval=True),
        Set(name=f"sources{version}", key=("mark",), data=(address,)),
        Set(name=f"relayed{version}", key=("mark",)),
    )


def chains() -> tuple[Chain, ...]:
    """Return all chains; those that others lead to come first."""
    return (
        *(Chain(f"in_range{version}", _in_range(version)) for version in VERSIONS),
        Chain(
            "prerouting",
            tuple(rule for version in VERSIONS for rule in _prerouting(version)),
            Hook("filter", _PREROUTING, _AFTER_TRANSLATION),
        ),
        # A connection whose source is settled here is not masqueraded by table `fairlead` any more.
        Chain(
            "postrouting",
            tuple(rule for version in VERSIONS for rule in _postrouting(version)),
            Hook("nat", _POSTROUTING, _BEFORE_MASQUERADE),
        ),
        # A tunnel's own packet inherits the mark of the one inside, and would be led back into the tunnel.
        Chain("departing", tuple(map(_unmarked, VERSIONS)), Hook("filter", _POSTROUTING, _LAST)),
    )


def _only(version: str) -> x.Rule:
    return x.meta("nfproto", 0), x.equal(0, bytes((_PROTOCOL[version],)))


def _in_range(version: str) -> tuple[x.Rule, ...]:
    mark_and_destination = (x.meta("mark", 0), x.network(*_DESTINATION[version], 1))
    return (
        (*mark_and_destination, x.member(f"ranges{version}", 0), x.back()),
        (x.constant(0, bytes(4)), x.set_meta("mark", 0)),
    )


def _prerouting(version: str) -> tuple[x.Rule, ...]:
    destination = (*_only(version), x.network(*_DESTINATION[version], 0))
    source = (*_only(version), x.network(*_SOURCE[version], 0))
    return (
        (*destination, x.member(f"exempt{version}", 0), x.accept()),
        # Answers have been translated back by now: what still goes to such an address belongs to no connection.
        (*destination, x.member(f"holders{version}", 0), x.count(UNSOLICITED), x.drop()),
        (*source, x.look_up(f"marks{version}", 0, 0), x.set_meta("mark", 0), x.jump(f"in_range{version}")),
    )


def _unmarked(version: str) -> x.Rule:
    mark = (*_only(version), x.meta("mark", 0))
    return *mark, x.member(f"relayed{version}", 0), x.constant(0, bytes(4)), x.set_meta("mark", 0)


def _postrouting(version: str) -> tuple[x.Rule, ...]:
    mark = (*_only(version), x.meta("mark", 0))
    return (
        (*mark, x.look_up(f"sources{version}", 0, 0), x.snat(_PROTOCOL[version], 0)),
        (*mark, x.member(f"relayed{version}", 0), x.network(*_SOURCE[version], 0), x.snat(_PROTOCOL[version], 0)),
    )
