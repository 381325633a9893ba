"""Addresses are permitted before anybody is told of them: what an answer tells, and the order of the two.

A rule by domain name can only hold what the resolver has seen, so an answer waits until the kernel permits its addresses, and is not given
when it cannot: a client that knows an address may use it. Names of the cluster's own zones need no permission; they are never asked about.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from fairlead.drivers.dns import wire

_MOST_JUMPS = 64
_POINTER = 0xC0


class Admission(Protocol):
    """Who permits addresses. Names are in wire form and lower case, addresses packed with their TTL in seconds."""

    def permits(self, names: Collection[bytes], addresses: Mapping[bytes, int]) -> bool:
        """Tell whether `permit` would return at once."""

    async def permit(self, names: Collection[bytes], addresses: Mapping[bytes, int]) -> None:
        """Return when connections to the addresses are permitted wherever rules select one of the names; raises OSError."""

    def nothing(self, name: bytes) -> None:
        """Take note that a client is told that there is no such name."""


class Told(msgspec.Struct, frozen=True):
    """The question's name and what it is an alias of, and the addresses that they have."""

    names: tuple[bytes, ...] = ()
    addresses: Mapping[bytes, int] = {}


class Held(msgspec.Struct, frozen=True):
    """A response that waits for its addresses to be permitted."""

    query: wire.Query
    reply: bytes
    told: Told


def told(reply: bytes) -> Told:
    """Return what a response tells; nothing when it tells no address. Raises IndexError and struct.error for what is no response."""
    if not wire.HEADER.unpack_from(reply)[3]:
        return Told()
    aliases: dict[bytes, bytes] = {}
    addresses: dict[bytes, dict[bytes, int]] = {}
    start = wire.HEADER.size
    name = _name(reply, start)
    owner_at = wire.skip_name(reply, start) + 4
    for section, kind, ttl_at, end in wire.records(reply):
        if section != 1:
            break
        if kind == wire.CNAME:
            aliases[_name(reply, owner_at)] = _name(reply, ttl_at + 6)
        elif kind in (wire.A, wire.AAAA):
            ttl = struct.unpack_from(">I", reply, ttl_at)[0]
            found = addresses.setdefault(_name(reply, owner_at), {})
            found[reply[ttl_at + 6 : end]] = ttl
        owner_at = end
    names = [name]
    while (name := aliases.pop(name, b"")) and name not in names:
        names.append(name)
    theirs = {address: ttl for each in names for address, ttl in addresses.get(each, {}).items()}
    return Told(tuple(names), theirs) if theirs else Told()


def _name(packet: bytes, offset: int) -> bytes:
    """Return the name at `offset` without compression, lower case; raises IndexError for one that never ends."""
    found = bytearray()
    for _ in range(_MOST_JUMPS):
        while length := packet[offset]:
            if length >= _POINTER:
                break
            found += packet[offset : offset + 1 + length]
            if len(found) >= wire.MOST_NAME_BYTES:
                raise IndexError
            offset += 1 + length
        else:
            return bytes(found).lower() + b"\0"
        offset = (length & ~_POINTER) << 8 | packet[offset + 1]
    raise IndexError
