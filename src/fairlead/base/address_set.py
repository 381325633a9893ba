"""Sets of addresses of both families, as far as prefixes can say them: unions, differences, and the prefixes of what is left."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

_V6 = 1 << 33
"""Where IPv6 begins on the line of numbers on which both families lie; IPv4 begins at 0."""
_FAMILIES = ((0, 32), (_V6, 128))
_Range = tuple[int, int]


class AddressSet(msgspec.Struct, frozen=True):
    """Ranges of numbers, first and last, in order and apart from each other."""

    ranges: tuple[_Range, ...] = ()

    @classmethod
    def of(cls, prefixes: Iterable[str]) -> AddressSet:
        """Return the addresses of some prefixes; raises ValueError."""
        return cls(tuple(_merged(map(_range, prefixes))))

    @classmethod
    def everything(cls) -> AddressSet:
        """Return all addresses."""
        return cls(tuple((start, start + (1 << bits) - 1) for start, bits in _FAMILIES))

    def __or__(self, other: AddressSet) -> AddressSet:
        """Return what is in one of both."""
        return AddressSet(tuple(_merged((*self.ranges, *other.ranges))))

    def __sub__(self, other: AddressSet) -> AddressSet:
        """Return what is in this one alone. Costs time proportional to the ranges of both."""
        found: list[_Range] = []
        holes = list(other.ranges)
        at = 0
        for first, last in self.ranges:
            while at < len(holes) and holes[at][1] < first:
                at += 1
            left = first
            for low, high in holes[at:]:
                if low > last:
                    break
                if low > left:
                    found.append((left, low - 1))
                left = high + 1
            if left <= last:
                found.append((left, last))
        return AddressSet(tuple(found))

    def __and__(self, other: AddressSet) -> AddressSet:
        """Return what is in both."""
        return self - (self - other)

    def prefixes(self) -> tuple[str, ...]:
        """Return the fewest prefixes that hold these addresses and no others."""
        return tuple(str(network) for each in self.ranges for network in _networks(each))


def _range(prefix: str) -> _Range:
    network = ipaddress.ip_network(prefix)
    start = _V6 if network.version == 6 else 0
    return start + int(network.network_address), start + int(network.broadcast_address)


def _merged(ranges: Iterable[_Range]) -> Iterator[_Range]:
    last: _Range | None = None
    for each in sorted(ranges):
        if last is not None and each[0] <= last[1] + 1:
            last = (last[0], max(last[1], each[1]))
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last


def _networks(found: _Range) -> Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    first, last = found
    if first < _V6:
        return ipaddress.summarize_address_range(ipaddress.IPv4Address(first), ipaddress.IPv4Address(last))
    return ipaddress.summarize_address_range(ipaddress.IPv6Address(first - _V6), ipaddress.IPv6Address(last - _V6))
