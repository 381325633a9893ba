"""Bytes of ctnetlink messages: listing and deleting entries of connection tracking. No I/O.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h. It must never know what an entry is for.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from socket import AF_INET, AF_INET6

import msgspec

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_I32 = struct.Struct("=i")
_GENERIC = struct.Struct(">BBH")
_CONNTRACK = 1 << 8
GET, DELETE = _CONNTRACK | 1, _CONNTRACK | 2
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF

_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_V4_SRC, _V4_DST, _V6_SRC, _V6_DST = 1, 2, 3, 4
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_FILTER_ORIG_FLAGS = 1
_FLAG_PROTO_NUM = 1 << 3
"""CTA_FILTER_FLAG(CTA_PROTO_NUM) among the flags of a tuple (net/netfilter/nf_internals.h)."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One connection: where its first packet went, and from where answers come."""

    protocol: int
    destination: bytes
    """Address, 4 or 16 bytes."""
    port: int
    answerer: bytes
    answering_port: int
    identity: bytes
    """What names exactly this entry for `delete`: its attributes."""


def listing(family: int, protocol: int, sequence: int) -> bytes:
    """Return the request that lists the entries of a family; the kernel leaves out other protocols where it can."""
    wanted = _nested(_TUPLE_ORIG, _nested(_TUPLE_PROTO, _attribute(_PROTO_NUM, bytes((protocol,)))))
    flags = _nested(_FILTER, _attribute(_FILTER_ORIG_FLAGS, _FLAG_PROTO_NUM.to_bytes(4, sys.byteorder)))
    return _message(GET, family, sequence, REQUEST | DUMP, wanted + flags)


def deletion(entry: Entry, sequence: int) -> bytes:
    """Return the request that deletes one entry, and no other that took its place meanwhile."""
    family = AF_INET if len(entry.destination) == 4 else AF_INET6
    return _message(DELETE, family, sequence, REQUEST | ACK, entry.identity)


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (type, sequence, payload) of one datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, sequence, data[offset + 16 : offset + length]
        offset += (max(length, 16) + 3) & ~3


def error_code(payload: bytes) -> int:
    """Return the errno of an NLMSG_ERROR or NLMSG_DONE; 0 is success."""
    return -int(_I32.unpack_from(payload)[0])


def entry(payload: bytes) -> Entry | None:
    """Return the entry of a listed message; None when it has no ports."""
    found = dict(_each(payload, 4))
    original, reply = dict(_each(found.get(_TUPLE_ORIG, b""))), dict(_each(found.get(_TUPLE_REPLY, b"")))
    ports, back = dict(_each(original.get(_TUPLE_PROTO, b""))), dict(_each(reply.get(_TUPLE_PROTO, b"")))
    if _DST_PORT not in ports or _SRC_PORT not in back:
        return None
    addresses, answers = dict(_each(original[_TUPLE_IP])), dict(_each(reply[_TUPLE_IP]))
    identity = _attribute(_TUPLE_ORIG | _NESTED, found[_TUPLE_ORIG])
    identity += b"".join(_attribute(kind, found[kind]) for kind in (_ZONE, _ID) if kind in found)
    return Entry(
        protocol=ports[_PROTO_NUM][0],
        destination=addresses.get(_V4_DST) or addresses[_V6_DST],
        port=int.from_bytes(ports[_DST_PORT], "big"),
        answerer=answers.get(_V4_SRC) or answers[_V6_SRC],
        answering_port=int.from_bytes(back[_SRC_PORT], "big"),
        identity=identity,
    )


def _message(kind: int, family: int, sequence: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(20 + len(body), kind, flags, sequence, 0) + _GENERIC.pack(family, 0, 0) + body


def _attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def _nested(kind: int, payload: bytes) -> bytes:
    return _attribute(kind | _NESTED, payload)


def _each(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
