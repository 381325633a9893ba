"""Makes addresses local to the node without giving them to an interface: `ip route add local ADDRESS dev lo table local proto 79`.

A packet to such an address ends at this node's sockets, whichever interface it came by, and no other node hears of it: every node
answers for the same one. Ours are the local routes of protocol 79. Source: rtnetlink(7), include/uapi/linux/rtnetlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable

_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_REQUEST, _ACK, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400
_TABLE_LOCAL, _OURS, _SCOPE_HOST, _TYPE_LOCAL = 255, 79, 254, 2
_RTA_DST, _RTA_OIF = 1, 4
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_TIMEOUT_S = 5.0


def claim(addresses: Iterable[str]) -> None:
    """Make `addresses` local; those that are already stay so. Raises OSError."""
    for address in addresses:
        _request(_RTM_NEWROUTE, _CREATE | _REPLACE, address, f"make {address} local")


def release(addresses: Iterable[str]) -> None:
    """Undo `claim`; addresses that are not local are fine. Raises OSError."""
    for address in addresses:
        _request(_RTM_DELROUTE, 0, address, f"release {address}", tolerate=errno.ESRCH)


def _request(kind: int, flags: int, address: str, what: str, tolerate: int = 0) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    body = _ROUTE.pack(family, len(packed) * 8, 0, 0, _TABLE_LOCAL, _OURS, _SCOPE_HOST, _TYPE_LOCAL, 0)
    body += _ATTRIBUTE.pack(4 + len(packed), _RTA_DST) + packed
    body += _ATTRIBUTE.pack(8, _RTA_OIF) + struct.pack("=I", socket.if_nametoindex("lo"))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sock:
        sock.settimeout(_TIMEOUT_S)
        sock.bind((0, 0))
        sock.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST | _ACK, 1, 0) + body)
        answer = sock.recv(4096)
    code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
    if code not in (0, tolerate):
        raise OSError(code, f"{what}: {os.strerror(code)}")
