"""Which address the next pod gets: one of each of the node's ranges, never one that is in use, recently released ones last.

Pure: it remembers what it was told and nothing else. That an answer is durable before it is used is the caller's duty
(`attachments.py`). It must never hand out the first two addresses of a range or, for IPv4, the last one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

_REMEMBERED = 128
"""How many released addresses of a range are kept back as long as there are others."""
_RESERVED_FIRST = 2
"""The network itself and the first address, which people expect to be a gateway."""


class AddressError(Exception):
    """No address can be given; the message names the range and why."""


class OutsideRange(AddressError):
    """An address that was asked for lies in no range of this node or is reserved."""


class AddressTaken(AddressError):
    """An address that was asked for belongs to another attachment."""


class Exhausted(AddressError):
    """Every usable address of a range is in use."""


class History(msgspec.Struct, frozen=True):
    """What is worth remembering over a restart so that addresses are not reused soon; losing it loses nothing else."""

    cursor: int = 0
    """Offset within the range of the address given last."""
    released: tuple[int, ...] = ()
    """Offsets released lately, oldest first."""


class Range:
    """The addresses of one CIDR: who holds which. Offsets count from the network address."""

    def __init__(self, cidr: str, history: History | None = None) -> None:
        self.network = ipaddress.ip_network(cidr)
        self._base = int(self.network.network_address)
        # A link needs no network and broadcast address when it holds at most two addresses (RFC 3021, RFC 6164).
        small = self.network.num_addresses <= 2
        self._first = 0 if small else _RESERVED_FIRST
        ipv4_last = self.network.version == 4 and not small
        self._last = self.network.num_addresses - (2 if ipv4_last else 1)
        self._owners: dict[int, str] = {}
        self._cursor = history.cursor if history and self._usable(history.cursor) else self._first - 1
        kept = history.released if history else ()
        self._released: dict[int, None] = {offset: None for offset in kept if self._usable(offset)}

    @property
    def size(self) -> int:
        """Return how many addresses can be in use at once."""
        return max(0, self._last - self._first + 1)

    @property
    def used(self) -> int:
        """Return how many addresses are in use."""
        return len(self._owners)

    @property
    def history(self) -> History:
        """Return what a restart should remember."""
        return History(max(self._cursor, 0), tuple(self._released))

    def owner(self, address: str) -> str | None:
        """Return who holds `address`."""
        return self._owners.get(int(ipaddress.ip_address(address)) - self._base)

    def take(self, owner: str, address: str | None = None) -> str:
        """Give `address`, or the one that was free for longest, to `owner`; raises AddressError.

        Costs time proportional to the number of addresses in use, in the worst case.
        """
        offset = self._next() if address is None else self._requested(owner, address)
        self._owners[offset] = owner
        self._released.pop(offset, None)
        if address is None:
            self._cursor = offset
        return str(self.network.network_address + offset)

    def adopt(self, owner: str, address: str) -> None:
        """Note that `owner` holds `address`; raises AddressTaken when another one does."""
        offset = int(ipaddress.ip_address(address)) - self._base
        if self._owners.setdefault(offset, owner) != owner:
            raise AddressTaken(f"{address} is held by {self._owners[offset]}")
        self._released.pop(offset, None)

    def release(self, owner: str) -> None:
        """Take back whatever `owner` holds of this range."""
        for offset in [offset for offset, holder in self._owners.items() if holder == owner]:
            del self._owners[offset]
            self._released[offset] = None
        while len(self._released) > _REMEMBERED:
            del self._released[next(iter(self._released))]

    def _usable(self, offset: int) -> bool:
        return self._first <= offset <= self._last

    def _requested(self, owner: str, address: str) -> int:
        offset = int(ipaddress.ip_address(address)) - self._base
        if not self._usable(offset):
            raise OutsideRange(f"{address} is reserved in {self.network}")
        if self._owners.get(offset, owner) != owner:
            raise AddressTaken(f"{address} is held by {self._owners[offset]}")
        return offset

    def _next(self) -> int:
        if self.used >= self.size:
            raise Exhausted(f"all {self.size} usable addresses of {self.network} are in use")
        offset = self._cursor
        for _ in range(min(self.size, self.used + len(self._released) + 1)):
            offset = offset + 1 if offset < self._last else self._first
            if offset not in self._owners and offset not in self._released:
                return offset
        return next(offset for offset in self._released if offset not in self._owners)


class Ipam:
    """The ranges of a node, one or more of each family; an owner gets one address of each family."""

    def __init__(self, cidrs: Iterable[str] = (), history: Mapping[str, History] | None = None) -> None:
        remembered = history or {}
        self.cidrs = tuple(cidrs)
        self.ranges = tuple(Range(cidr, remembered.get(str(ipaddress.ip_network(cidr)))) for cidr in self.cidrs)

    @property
    def history(self) -> dict[str, History]:
        """Return what a restart should remember, by range."""
        return {str(part.network): part.history for part in self.ranges}

    def take(self, owner: str, requested: Sequence[str] = ()) -> tuple[str, ...]:
        """Return one address of each family for `owner`, IPv4 first; raises AddressError and then holds nothing."""
        wanted: dict[int, str] = {ipaddress.ip_address(text).version: text for text in requested}
        if len(wanted) < len(requested):
            raise OutsideRange(f"at most one address of each family can be requested, got {', '.join(requested)}")
        try:
            taken = [self._take(owner, version, wanted.pop(version, None)) for version in self.versions]
            if wanted:
                raise OutsideRange(f"{', '.join(wanted.values())} is in no range of this node ({self})")
            return tuple(taken)
        except AddressError:
            self.release(owner)
            raise

    @property
    def versions(self) -> list[int]:
        """Return the IP versions of which there are ranges, 4 first."""
        return sorted({part.network.version for part in self.ranges})

    def adopt(self, owner: str, addresses: Iterable[str]) -> None:
        """Note that `owner` holds `addresses`; those outside of every range are left alone. Raises AddressTaken."""
        for address in addresses:
            for part in self.ranges:
                if ipaddress.ip_address(address) in part.network:
                    part.adopt(owner, address)

    def release(self, owner: str) -> None:
        """Take back what `owner` holds; nothing is fine."""
        for part in self.ranges:
            part.release(owner)

    def exhausted(self) -> str | None:
        """Return why no further owner can be served, or None."""
        for version in self.versions:
            parts = [part for part in self.ranges if part.network.version == version]
            if all(part.used >= part.size for part in parts):
                return "; ".join(
                    f"{part.used} of {part.size} usable addresses of {part.network} are in use" for part in parts
                )
        return None

    def __str__(self) -> str:
        """Return the ranges and their use, for messages."""
        return ", ".join(f"{part.network} {part.used}/{part.size} in use" for part in self.ranges) or "no ranges"

    def _take(self, owner: str, version: int, address: str | None) -> str:
        parts = [part for part in self.ranges if part.network.version == version]
        if address is not None:
            inside = [part for part in parts if ipaddress.ip_address(address) in part.network]
            if not inside:
                raise OutsideRange(f"{address} is in no range of this node ({self})")
            return inside[0].take(owner, address)
        for part in parts:
            if part.used < part.size:
                return part.take(owner)
        full = ", ".join(str(part.network) for part in parts)
        raise Exhausted(
            f"no IPv{version} address left: all {sum(part.size for part in parts)} usable addresses of {full} are in use"
        )
