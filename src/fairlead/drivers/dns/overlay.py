"""What an operator says about names, before the cluster and the world are asked: hosts entries and rewrites. Pure.

A rewrite is answered as an alias (CNAME), so that question and answer always belong together.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.zone import RecordSet, record_set

TTL_S = 30


class Overlay(msgspec.Struct, frozen=True):
    """Hosts entries and rewrites, in wire form."""

    hosts: Mapping[bytes, Mapping[int, RecordSet]] = {}
    exact: Mapping[bytes, bytes] = {}
    suffixes: tuple[tuple[bytes, bytes], ...] = ()
    """Longest first."""

    def alias(self, name: bytes) -> bytes | None:
        """Return the name that `name` is rewritten to, None when it is not."""
        target = self.exact.get(name)
        if target is not None:
            return target
        for suffix, replacement in self.suffixes:
            if len(name) > len(suffix) and name.endswith(suffix) and _at_label(name, len(name) - len(suffix)):
                rewritten = name[: -len(suffix)] + replacement
                return rewritten if len(rewritten) <= wire.MOST_NAME_BYTES else None
        return None

    def knows(self, name: bytes) -> bool:
        """Tell whether the operator says anything about `name`."""
        return name in self.hosts or self.alias(name) is not None


NOTHING = Overlay()


def overlay(hosts: Mapping[str, Iterable[str]], exact: Mapping[str, str], suffixes: Mapping[str, str]) -> Overlay:
    """Return the overlay of entries in presentation format; raises ValueError. Addresses get their PTR records too."""
    forward: dict[bytes, dict[int, list[bytes]]] = {}
    for name, addresses in hosts.items():
        owner = wire.name(name)
        for text in addresses:
            address = ipaddress.ip_address(text)
            kind = wire.A if address.version == 4 else wire.AAAA
            forward.setdefault(owner, {}).setdefault(kind, []).append(address.packed)
            forward.setdefault(wire.name(address.reverse_pointer), {}).setdefault(wire.PTR, []).append(owner)
    return Overlay(
        hosts={
            name: {kind: record_set(kind, TTL_S, dict.fromkeys(datas)) for kind, datas in sets.items()}
            for name, sets in forward.items()
        },
        exact={wire.name(name): wire.name(target) for name, target in exact.items()},
        suffixes=tuple(
            sorted(((wire.name(a), wire.name(b)) for a, b in suffixes.items()), key=lambda pair: -len(pair[0]))
        ),
    )


def _at_label(name: bytes, position: int) -> bool:
    """Tell whether a label begins at `position`: a length byte may also occur inside a label."""
    offset = 0
    while offset < position:
        offset += 1 + name[offset]
    return offset == position
