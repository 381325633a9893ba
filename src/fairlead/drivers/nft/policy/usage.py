"""Which servers some connection of this namespace has: asked of connection tracking, over the socket that speaks to nf_tables.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_internals.h. It must change nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from socket import AF_INET, AF_INET6

from fairlead.drivers.nft import wire
from fairlead.drivers.nft.socket import DumpInterruptedError, NftSocket

_GET = 1 << 8 | 1
"""IPCTNL_MSG_CT_GET of NFNL_SUBSYS_CTNETLINK."""
_TUPLE_REPLY, _FILTER = 2, 25
_TUPLE_IP = 1
_SOURCE = {4: 1, 16: 3}
"""Size of an address → CTA_IP_V4_SRC, CTA_IP_V6_SRC."""
_FILTER_REPLY_FLAGS = 2
_FLAG_SOURCE = 1 << 0
_MOST_SINGLE = 32
"""Up to here the kernel looks for each address; it goes through its whole table each time, but tells only what was asked."""
_TRIES = 20


def in_use(socket: NftSocket, addresses: Collection[bytes]) -> set[bytes]:
    """Return those packed addresses that are the server's own address of some connection; raises OSError."""
    found: set[bytes] = set()
    for family, size in ((AF_INET, 4), (AF_INET6, 16)):
        wanted = {address for address in addresses if len(address) == size}
        # For IPv6, kernels to this day (6.18) compare the wrong way round and leave out just what was asked for.
        if len(wanted) > _MOST_SINGLE or (wanted and family == AF_INET6):
            found |= wanted & _servers(socket, wire.Message(_GET, family, b""), size)
            continue
        for address in wanted:
            reply = wire.nested(_TUPLE_REPLY, wire.nested(_TUPLE_IP, wire.attribute(_SOURCE[4], address)))
            flags = wire.attribute(_FILTER_REPLY_FLAGS, _FLAG_SOURCE.to_bytes(4, sys.byteorder))
            # Kernels before 5.8 do not know the filter and list everything.
            found |= {address} & _servers(socket, wire.Message(_GET, family, reply + wire.nested(_FILTER, flags)), size)
    return found


def _servers(socket: NftSocket, request: wire.Message, size: int) -> set[bytes]:
    for _ in range(_TRIES):
        try:
            return {_server(payload, size) for payload in socket.dump(request)}
        except DumpInterruptedError:
            continue
    raise OSError("connections change faster than they can be listed")


def _server(payload: bytes, size: int) -> bytes:
    reply = wire.attributes(wire.generic(payload)[1].get(_TUPLE_REPLY, b""))
    return wire.attributes(reply.get(_TUPLE_IP, b"")).get(_SOURCE[size], b"")
