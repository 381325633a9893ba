"""Bytes of rtnetlink messages: headers and attributes, to and from bytes, without any I/O.

Own code instead of pyroute2: importing any part of that costs 0.2 s and 230 modules, which twenty agents on one machine feel, and
one pod's interface is made in a handful of messages. Integers are in host byte order, except where a kernel header says otherwise
(include/uapi/linux/netlink.h, rtnetlink.h). It must never know what a message is for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

_NLA_TYPE_MASK = 0x3FFF
_NLA_F_NESTED = 0x8000
_NLMSGERR_ATTR_MSG = 1


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NLA_F_NESTED, b"".join(attributes))


def u8(kind: int, value: int) -> bytes:
    """Return an attribute of one byte."""
    return attribute(kind, bytes((value,)))


def u16be(kind: int, value: int) -> bytes:
    """Return an attribute of two bytes in network order."""
    return attribute(kind, value.to_bytes(2, "big"))


def u32(kind: int, value: int) -> bytes:
    """Return an attribute of four bytes in host order."""
    return attribute(kind, _U32.pack(value))


def text(kind: int, value: str) -> bytes:
    """Return an attribute that holds a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return one message, padded to four bytes."""
    return HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body + b"\0" * (-len(body) % 4)


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield (type, flags, sequence, port, payload) of the messages of one datagram; raises ValueError when one is cut short."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        if length < 16 or offset + length > len(data):
            raise ValueError(f"netlink message of {length} bytes in a datagram with {len(data) - offset} left")
        yield kind, flags, sequence, port, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return attribute type → payload of the attributes that start at `offset`; of a repeated one the last."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            raise ValueError(f"netlink attribute of {length} bytes with {len(data) - offset} left")
        found[kind & _NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def as_u32(payload: bytes) -> int:
    """Return the number in an attribute of four bytes in host order."""
    value: int = _U32.unpack(payload)[0]
    return value


def as_text(payload: bytes) -> str:
    """Return the string in a NUL-terminated attribute."""
    return payload.rstrip(b"\0").decode(errors="replace")


def error(flags: int, payload: bytes) -> tuple[int, str]:
    """Return (errno, extended message) of an NLMSG_ERROR or NLMSG_DONE; errno 0 is an acknowledgement."""
    code = -_I32.unpack_from(payload)[0]
    if not flags & NLM_F_ACK_TLVS:
        return code, ""
    # The request follows the code, whole unless the kernel capped it to its header.
    offset = 20
    if not flags & NLM_F_CAPPED:
        offset = 4 + ((_U32.unpack_from(payload, 4)[0] + 3) & ~3)
    message = attributes(payload, offset).get(_NLMSGERR_ATTR_MSG, b"")
    return code, as_text(message)
