"""Requests about addresses, routes, neighbors and forwarding entries, and what the kernel says about them.

Both families everywhere. Routes of ours carry protocol 79 and live in the main table; neighbors and forwarding entries are ours when
they are permanent and on an interface of ours. Source: include/uapi/linux/{rtnetlink,if_addr,neighbour}.h.
"""

from __future__ import annotations

import socket
import struct

import msgspec

from fairlead.drivers.netlink import wire
from fairlead.drivers.netlink.link import OURS, mac_bytes, mac_text
from fairlead.drivers.netlink.socket import Request

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

_IFADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGH = struct.Struct("=BxxxiHBB")
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD, _IFA_F_PERMANENT = 0x02, 0x80
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_MAIN = 254
_SCOPE_GLOBAL, _SCOPE_LINK = 0, 253
_KINDS = {"unicast": 1, "blackhole": 6}
_KIND_NAMES = {number: name for name, number in _KINDS.items()}
ONLINK = 4
_RTM_F_CLONED = 0x200
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT = 0x80
_NTF_SELF = 0x02
_ENOENT, _ESRCH, _EEXIST, _EADDRNOTAVAIL = 2, 3, 17, 99
_IPV4_ANY, _IPV6_ANY = "0.0.0.0", "::"


class Address(msgspec.Struct, frozen=True, gc=False):
    """An address of an interface."""

    index: int
    address: str
    length: int
    is_global: bool


class KernelRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A route of ours as the kernel holds it."""

    destination: str
    index: int | None
    via: str | None
    onlink: bool
    source: str | None
    kind: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A permanent neighbor (address → mac), or a forwarding entry (mac → address)."""

    index: int
    address: str
    mac: str


def family_of(address: str) -> int:
    """Return AF_INET or AF_INET6."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def address_listing() -> tuple[int, bytes]:
    """Return type and body of the dump of all addresses."""
    return RTM_GETADDR, _IFADDR.pack(0, 0, 0, 0, 0)


def route_listing(family: int) -> tuple[int, bytes]:
    """Return type and body of the dump of our routes; an older kernel dumps all."""
    return RTM_GETROUTE, _ROUTE.pack(family, 0, 0, 0, _MAIN, OURS, 0, 0, 0)


def neighbor_listing(family: int) -> tuple[int, bytes]:
    """Return type and body of the dump of neighbors, with AF_BRIDGE of forwarding entries."""
    return RTM_GETNEIGH, _NEIGH.pack(family, 0, 0, 0, 0)


def add_address(index: int, address: str, device: str) -> Request:
    """Give interface `index` the address as /32 or /128, without duplicate detection."""
    packed = _pack(address)
    body = _IFADDR.pack(family_of(address), len(packed) * 8, 0, _SCOPE_GLOBAL, index)
    body += wire.attribute(_IFA_LOCAL, packed) + wire.attribute(_IFA_ADDRESS, packed)
    body += wire.u32(_IFA_FLAGS, _IFA_F_NODAD | _IFA_F_PERMANENT)
    return Request(RTM_NEWADDR, wire.NLM_F_CREATE | wire.NLM_F_REPLACE, body, f"add address {address} dev {device}")


def delete_address(index: int, address: str, device: str) -> Request:
    """Take the address from interface `index`."""
    packed = _pack(address)
    body = _IFADDR.pack(family_of(address), len(packed) * 8, 0, 0, index) + wire.attribute(_IFA_LOCAL, packed)
    what = f"delete address {address} dev {device}"
    return Request(RTM_DELADDR, 0, body, what, tolerate=_EADDRNOTAVAIL)


def add_route(
    destination: str,
    *,
    index: int | None = None,
    via: str | None = None,
    onlink: bool = False,
    source: str | None = None,
    kind: str = "unicast",
    protocol: int = OURS,
    replace: bool = False,
) -> Request:
    """Add a route to the main table; with `replace` in place of the one with the same destination, else EEXIST."""
    network, _, length = destination.partition("/")
    link_scope = kind == "unicast" and via is None and family_of(network) == socket.AF_INET
    body = _ROUTE.pack(
        family_of(network),
        int(length),
        0,
        0,
        _MAIN,
        protocol,
        _SCOPE_LINK if link_scope else _SCOPE_GLOBAL,
        _KINDS[kind],
        ONLINK if onlink else 0,
    )
    if int(length):
        body += wire.attribute(_RTA_DST, _pack(network))
    if via is not None:
        body += wire.attribute(_RTA_GATEWAY, _pack(via))
    if source is not None:
        body += wire.attribute(_RTA_PREFSRC, _pack(source))
    if index is not None:
        body += wire.u32(_RTA_OIF, index)
    flags = wire.NLM_F_CREATE | (wire.NLM_F_REPLACE if replace else wire.NLM_F_EXCL)
    what = f"add {kind} route {destination}" + (f" via {via}" if via else "")
    return Request(RTM_NEWROUTE, flags, body, what)


def delete_route(destination: str, *, kind: str = "unicast") -> Request:
    """Remove our route to `destination`; one that is gone already is fine."""
    network, _, length = destination.partition("/")
    # Scope NOWHERE matches any; protocol 79 keeps foreign routes safe.
    body = _ROUTE.pack(family_of(network), int(length), 0, 0, _MAIN, OURS, 255, _KINDS[kind], 0)
    if int(length):
        body += wire.attribute(_RTA_DST, _pack(network))
    return Request(RTM_DELROUTE, 0, body, f"delete route {destination}", tolerate=_ESRCH)


def set_neighbor(index: int, address: str, mac: str, device: str) -> Request:
    """Make `address` a permanent neighbor with `mac` on interface `index`."""
    body = _NEIGH.pack(family_of(address), index, _NUD_PERMANENT, 0, 0)
    body += wire.attribute(_NDA_DST, _pack(address)) + wire.attribute(_NDA_LLADDR, mac_bytes(mac))
    return Request(
        RTM_NEWNEIGH, wire.NLM_F_CREATE | wire.NLM_F_REPLACE, body, f"add neighbor {address} {mac} dev {device}"
    )


def delete_neighbor(index: int, address: str, device: str) -> Request:
    """Forget the neighbor `address`."""
    body = _NEIGH.pack(family_of(address), index, 0, 0, 0) + wire.attribute(_NDA_DST, _pack(address))
    return Request(RTM_DELNEIGH, 0, body, f"delete neighbor {address} dev {device}", tolerate=_ENOENT)


def set_forwarding(index: int, mac: str, remote: str, device: str) -> Request:
    """Make the VXLAN device `index` send frames for `mac` to `remote`."""
    body = _NEIGH.pack(socket.AF_BRIDGE, index, _NUD_PERMANENT, _NTF_SELF, 0)
    body += wire.attribute(_NDA_DST, _pack(remote)) + wire.attribute(_NDA_LLADDR, mac_bytes(mac))
    what = f"add fdb {mac} dst {remote} dev {device}"
    return Request(RTM_NEWNEIGH, wire.NLM_F_CREATE | wire.NLM_F_REPLACE, body, what)


def delete_forwarding(index: int, mac: str, device: str) -> Request:
    """Forget where `mac` lives."""
    body = _NEIGH.pack(socket.AF_BRIDGE, index, 0, _NTF_SELF, 0) + wire.attribute(_NDA_LLADDR, mac_bytes(mac))
    return Request(RTM_DELNEIGH, 0, body, f"delete fdb {mac} dev {device}", tolerate=_ENOENT)


def decode_address(payload: bytes) -> Address | None:
    """Return the address that an RTM_NEWADDR payload describes; None for families other than IP."""
    family, length, _, scope, index = _IFADDR.unpack_from(payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = wire.attributes(payload, _IFADDR.size)
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if packed is None:
        return None
    return Address(index, socket.inet_ntop(family, packed), length, scope == _SCOPE_GLOBAL)


def decode_route(payload: bytes) -> KernelRoute | None:
    """Return the route of ours that an RTM_NEWROUTE payload describes; None for any other."""
    family, length, _, _, table, protocol, _, kind, flags = _ROUTE.unpack_from(payload)
    if protocol != OURS or table != _MAIN or kind not in _KIND_NAMES or flags & _RTM_F_CLONED:
        return None
    found = wire.attributes(payload, _ROUTE.size)
    network = socket.inet_ntop(family, found[_RTA_DST]) if _RTA_DST in found else None
    default = _IPV6_ANY if family == socket.AF_INET6 else _IPV4_ANY
    return KernelRoute(
        destination=f"{network or default}/{length}",
        index=wire.as_u32(found[_RTA_OIF]) if _RTA_OIF in found else None,
        via=socket.inet_ntop(family, found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else None,
        onlink=bool(flags & ONLINK),
        source=socket.inet_ntop(family, found[_RTA_PREFSRC]) if _RTA_PREFSRC in found else None,
        kind=_KIND_NAMES[kind],
    )


def decode_entry(payload: bytes) -> Entry | None:
    """Return the permanent entry that an RTM_NEWNEIGH payload describes; None for any other."""
    _, index, state, _, _ = _NEIGH.unpack_from(payload)
    found = wire.attributes(payload, _NEIGH.size)
    if not state & _NUD_PERMANENT or _NDA_DST not in found or _NDA_LLADDR not in found:
        return None
    packed = found[_NDA_DST]
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return Entry(index, socket.inet_ntop(family, packed), mac_text(found[_NDA_LLADDR]))


def _pack(address: str) -> bytes:
    return socket.inet_pton(family_of(address), address)
