"""Requests about interfaces, and what the kernel says about them (rtnetlink(7), include/uapi/linux/if_link.h).

Every interface that we make carries group 79; together with the name's form that is how our own are recognised.
"""

from __future__ import annotations

import re
import socket
import struct

import msgspec

from fairlead.drivers.netlink import wire
from fairlead.drivers.netlink.socket import Request

OURS = 79
"""Interface group of our interfaces and protocol number of our routes: the mark of ownership."""
GOING = 0x666C004F
"""Group of interfaces of ours that are about to be removed together."""
_OUR_NAME = re.compile(r"fl[0-9a-f]{12}|fl-[a-z0-9]+")
HOST_MAC = "ee:ee:ee:ee:ee:ee"
"""Address of the node's side of every veth pair."""

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
_IFF_UP = 1
_IFINFO = struct.Struct("=BxHiII")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_IFALIAS = 1, 3, 4, 18, 20
_IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_NET_NS_FD, _IFLA_EXT_MASK = 26, 27, 28, 29
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 4, 7, 15
_INET6_ADDR_GEN_MODE, _ADDR_GEN_NONE = 8, 1
_SKIP_STATISTICS = 1 << 3


class Link(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One interface as the kernel describes it."""

    index: int
    name: str
    mtu: int
    up: bool
    mac: str = ""
    group: int = 0
    alias: str = ""
    kind: str = ""
    """`veth`, `vxlan`…; empty for hardware."""
    loopback: bool = False
    vni: int = 0
    port: int = 0
    local: str = ""
    """Underlay address of a VXLAN device."""

    @property
    def is_ours(self) -> bool:
        """Tell whether this interface carries our mark."""
        return self.group in (OURS, GOING) and has_our_name(self.name)


def has_our_name(name: str) -> bool:
    """Tell whether an interface of this name may be ours; only its group makes it so."""
    return _OUR_NAME.fullmatch(name) is not None


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of `mac`."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(payload: bytes) -> str:
    """Return six bytes as text with colons."""
    return payload.hex(":")


def listing() -> tuple[int, bytes]:
    """Return type and body of the dump of all interfaces."""
    return RTM_GETLINK, _IFINFO.pack(0, 0, 0, 0, 0) + wire.u32(_IFLA_EXT_MASK, _SKIP_STATISTICS)


def lookup(name: str) -> Request:
    """Ask for the interface `name`."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + wire.text(_IFLA_IFNAME, name) + wire.u32(_IFLA_EXT_MASK, _SKIP_STATISTICS)
    return Request(RTM_GETLINK, 0, body, f"find link {name}")


def add_veth(name: str, *, peer: str, peer_mac: str, peer_namespace: int, mtu: int) -> Request:
    """Make a veth pair: `name` here, `peer` in the namespace of the open file `peer_namespace`; both down."""
    peer_body = (
        _IFINFO.pack(0, 0, 0, 0, 0)
        + wire.text(_IFLA_IFNAME, peer)
        + wire.attribute(_IFLA_ADDRESS, mac_bytes(peer_mac))
        + wire.u32(_IFLA_MTU, mtu)
        + wire.u32(_IFLA_NET_NS_FD, peer_namespace)
    )
    body = (
        _IFINFO.pack(0, 0, 0, 0, 0)
        + wire.text(_IFLA_IFNAME, name)
        + wire.attribute(_IFLA_ADDRESS, mac_bytes(HOST_MAC))
        + wire.u32(_IFLA_MTU, mtu)
        + wire.u32(_IFLA_GROUP, OURS)
        + _information("veth", wire.nested(_VETH_INFO_PEER, peer_body))
    )
    what = f"add veth {name} peer {peer} mtu {mtu}"
    return Request(RTM_NEWLINK, wire.NLM_F_CREATE | wire.NLM_F_EXCL, body, what)


def add_vxlan(name: str, *, vni: int, port: int, local: str, mac: str, mtu: int) -> Request:
    """Make a VXLAN device without learning, down."""
    body = (
        _IFINFO.pack(0, 0, 0, 0, 0)
        + wire.text(_IFLA_IFNAME, name)
        + wire.attribute(_IFLA_ADDRESS, mac_bytes(mac))
        + wire.u32(_IFLA_MTU, mtu)
        + wire.u32(_IFLA_GROUP, OURS)
        + _information(
            "vxlan",
            wire.u32(_VXLAN_ID, vni),
            wire.attribute(_VXLAN_LOCAL, socket.inet_aton(local)),
            wire.u8(_VXLAN_LEARNING, 0),
            wire.u16be(_VXLAN_PORT, port),
        )
    )
    what = f"add vxlan {name} id {vni} local {local} port {port} mtu {mtu}"
    return Request(RTM_NEWLINK, wire.NLM_F_CREATE | wire.NLM_F_EXCL, body, what)


def set_link(
    name: str, *, mac: str | None = None, mtu: int | None = None, alias: str | None = None, group: int | None = None
) -> Request:
    """Change what is given of interface `name`."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + wire.text(_IFLA_IFNAME, name)
    if mac is not None:
        body += wire.attribute(_IFLA_ADDRESS, mac_bytes(mac))
    if mtu is not None:
        body += wire.u32(_IFLA_MTU, mtu)
    if alias is not None:
        body += wire.text(_IFLA_IFALIAS, alias)
    if group is not None:
        body += wire.u32(_IFLA_GROUP, group)
    return Request(RTM_NEWLINK, 0, body, f"set link {name}")


def set_up(name: str) -> Request:
    """Bring interface `name` up."""
    body = _IFINFO.pack(0, 0, 0, _IFF_UP, _IFF_UP) + wire.text(_IFLA_IFNAME, name)
    return Request(RTM_NEWLINK, 0, body, f"set link {name} up")


def without_link_local(name: str) -> Request:
    """Stop the kernel from giving interface `name` an IPv6 link-local address of its own, and so from probing for it."""
    mode = wire.nested(socket.AF_INET6, wire.u8(_INET6_ADDR_GEN_MODE, _ADDR_GEN_NONE))
    body = _IFINFO.pack(0, 0, 0, 0, 0) + wire.text(_IFLA_IFNAME, name) + wire.nested(_IFLA_AF_SPEC, mode)
    return Request(RTM_NEWLINK, 0, body, f"set link {name} addrgenmode none")


def delete(name: str) -> Request:
    """Remove interface `name`; one that is gone already is fine."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + wire.text(_IFLA_IFNAME, name)
    return Request(RTM_DELLINK, 0, body, f"delete link {name}", tolerate=19)


def delete_going() -> Request:
    """Remove all interfaces of group `GOING` at once: the kernel waits for its processors once and not for each."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + wire.u32(_IFLA_GROUP, GOING)
    return Request(RTM_DELLINK, 0, body, "delete links that are going", tolerate=19)


def decode(payload: bytes) -> Link:
    """Return the interface that an RTM_NEWLINK payload describes."""
    _, hardware, index, flags, _ = _IFINFO.unpack_from(payload)
    found = wire.attributes(payload, _IFINFO.size)
    information = wire.attributes(found.get(_IFLA_LINKINFO, b""))
    kind = wire.as_text(information.get(_INFO_KIND, b""))
    data = wire.attributes(information.get(_INFO_DATA, b"")) if kind == "vxlan" else {}
    return Link(
        index=index,
        name=wire.as_text(found[_IFLA_IFNAME]),
        mtu=wire.as_u32(found[_IFLA_MTU]),
        up=bool(flags & _IFF_UP),
        mac=mac_text(found.get(_IFLA_ADDRESS, b"")),
        group=wire.as_u32(found[_IFLA_GROUP]) if _IFLA_GROUP in found else 0,
        alias=wire.as_text(found.get(_IFLA_IFALIAS, b"")),
        kind=kind,
        loopback=hardware == 772,
        vni=wire.as_u32(data[_VXLAN_ID]) if _VXLAN_ID in data else 0,
        port=int.from_bytes(data.get(_VXLAN_PORT, b""), "big"),
        local=socket.inet_ntoa(data[_VXLAN_LOCAL]) if _VXLAN_LOCAL in data else "",
    )


def _information(kind: str, *data: bytes) -> bytes:
    return wire.nested(_IFLA_LINKINFO, wire.text(_INFO_KIND, kind), wire.nested(_INFO_DATA, *data))
