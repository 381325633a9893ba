"""Bytes of nf_tables messages: to and from bytes, without any I/O.

Own code because the two hot shapes, elements of sets going out and coming back, are worth precomputing: one endpoint is one slice of 44
bytes. Lengths and types of netlink are in host byte order, numbers inside nf_tables attributes in network order
(include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h). It must never know what a set or a rule is for.
"""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

_HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
_ATTRIBUTE = struct.Struct("=HH")
_GENERIC = struct.Struct(">BBH")
"""nfgenmsg: family, version, resource id."""
_I32 = struct.Struct("=i")
_U32 = struct.Struct("=I")

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

NFPROTO_UNSPEC = 0
NFPROTO_INET = 1
NFPROTO_IPV4 = 2
NFPROTO_ARP = 3
NFPROTO_IPV6 = 10

_NFTABLES = 10 << 8
NEWTABLE, GETTABLE, DELTABLE = (_NFTABLES | number for number in (0, 1, 2))
NEWCHAIN, GETCHAIN, DELCHAIN = (_NFTABLES | number for number in (3, 4, 5))
NEWRULE, GETRULE, DELRULE = (_NFTABLES | number for number in (6, 7, 8))
NEWSET, GETSET, DELSET = (_NFTABLES | number for number in (9, 10, 11))
NEWSETELEM, GETSETELEM, DELSETELEM = (_NFTABLES | number for number in (12, 13, 14))
NEWGEN, GETGEN = (_NFTABLES | number for number in (15, 16))
NEWOBJ, GETOBJ = (_NFTABLES | number for number in (18, 19))
_BATCH_BEGIN, _BATCH_END = 16, 17

_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_ATTRIBUTE_LIMIT = 0xFFFF
"""Length field of an attribute: what a list of elements, with its own header of four bytes, must stay below."""

INTERVAL_END = 0x1
"""NFT_SET_ELEM_INTERVAL_END."""

Attributes: TypeAlias = Mapping[int, bytes]


_OF_NFTABLES = _GENERIC.pack(NFPROTO_UNSPEC, 0, _NFTABLES >> 8)
_BEGIN = _HEADER.pack(20, _BATCH_BEGIN, NLM_F_REQUEST, 0, 0) + _OF_NFTABLES


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The kernel's answer to one message of a transaction that it did not carry out."""

    sequence: int
    """Number of the message within the transaction, from 1; 0 and beyond the last belong to the transaction itself."""
    code: int
    """errno, positive."""
    words: str = ""
    """The kernel's extended message, often empty."""
    offset: int = 0
    """Where in the message the refused attribute starts, in bytes; 0 when the kernel does not say."""


_END_FLAG = _ATTRIBUTE.pack(8, 3) + INTERVAL_END.to_bytes(4, "big")


class Message(msgspec.Struct, frozen=True, gc=False):
    """One request without its header: type, flags beyond REQUEST, address family and attributes."""

    kind: int
    family: int
    body: bytes
    flags: int = 0


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def u32(kind: int, value: int) -> bytes:
    """Return an attribute of four bytes in network order."""
    return attribute(kind, value.to_bytes(4, "big"))


def u8(kind: int, value: int) -> bytes:
    """Return an attribute of one byte."""
    return attribute(kind, bytes((value,)))


def text(kind: int, value: str) -> bytes:
    """Return an attribute that holds a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def request(message: Message, sequence: int, *, flags: int = 0) -> bytes:
    """Return `message` with its headers."""
    return (
        _HEADER.pack(20 + len(message.body), message.kind, message.flags | flags | NLM_F_REQUEST, sequence, 0)
        + _GENERIC.pack(message.family, 0, 0)
        + message.body
    )


def transaction(messages: Iterable[Message], *, generation: int | None = None, commit: bool = True) -> bytes:
    """Return `messages` as one transaction: all or nothing, in force at one instant. The nth message has sequence n, from 1.

    With `generation` the kernel refuses it (ERESTART) when anyone has changed any table since that generation. Without
    `commit` the kernel checks everything and changes nothing.
    """
    parts = [_BEGIN if generation is None else _begin(u32(1, generation))]
    sequence = 0
    for message in messages:
        sequence += 1
        parts.append(
            _HEADER.pack(20 + len(message.body), message.kind, message.flags | NLM_F_REQUEST, sequence, 0)
            + _GENERIC.pack(message.family, 0, 0)
        )
        parts.append(message.body)
    if commit:
        parts.append(_HEADER.pack(20, _BATCH_END, NLM_F_REQUEST, sequence + 1, 0) + _OF_NFTABLES)
    return b"".join(parts)


def _begin(attributes: bytes) -> bytes:
    return _HEADER.pack(20 + len(attributes), _BATCH_BEGIN, NLM_F_REQUEST, 0, 0) + _OF_NFTABLES + attributes


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (type, flags, sequence, payload) of the messages of one datagram; raises ValueError when one is cut short."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < 16 or offset + length > len(data):
            raise ValueError(f"netlink message of {length} bytes in a datagram with {len(data) - offset} left")
        yield kind, flags, sequence, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def each(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (type, payload) of the attributes that start at `offset`; raises ValueError when one is cut short."""
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            raise ValueError(f"netlink attribute of {length} bytes with {len(data) - offset} left")
        yield kind & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return attribute type → payload of the attributes that start at `offset`; of a repeated one the last."""
    return dict(each(data, offset))


def generic(payload: bytes) -> tuple[int, dict[int, bytes]]:
    """Return (family, attributes) of the payload of an nf_tables message."""
    return payload[0], attributes(payload, 4)


def as_u32(payload: bytes) -> int:
    """Return the number in an attribute of four bytes in network order."""
    return int.from_bytes(payload, "big")


def as_text(payload: bytes) -> str:
    """Return the string in a NUL-terminated attribute."""
    return payload.rstrip(b"\0").decode(errors="replace")


def refusal(flags: int, payload: bytes) -> Refusal:
    """Return what an NLMSG_ERROR or NLMSG_DONE says; code 0 is success."""
    code = -_I32.unpack_from(payload)[0]
    if not flags & NLM_F_ACK_TLVS or len(payload) < 20:
        return Refusal(_U32.unpack_from(payload, 12)[0] if len(payload) >= 16 else 0, code)
    sequence = _U32.unpack_from(payload, 12)[0]
    # The request follows the code, whole unless the kernel capped it to its header.
    start = 20 if flags & NLM_F_CAPPED else 4 + ((_U32.unpack_from(payload, 4)[0] + 3) & ~3)
    found = attributes(payload, start)
    offset = _U32.unpack(found[2])[0] if 2 in found else 0
    return Refusal(sequence, code, as_text(found.get(1, b"")), offset)


class Layout:
    """How the elements of one set look on the wire: lengths of key and data in bytes, both multiples of four.

    What stands around key and data is the same in all of them and made once.
    """

    __slots__ = ("_end_head", "_key_head", "_middle", "_pair_head", "data_bytes", "element_bytes", "key_bytes")

    def __init__(self, key_bytes: int, data_bytes: int = 0) -> None:
        """Without `data_bytes` it is a set, or a map of verdicts."""
        self.key_bytes = key_bytes
        self.data_bytes = data_bytes
        key = _ATTRIBUTE.pack(8 + key_bytes, 1 | _NESTED) + _ATTRIBUTE.pack(4 + key_bytes, 1)
        self._middle = _ATTRIBUTE.pack(8 + data_bytes, 2 | _NESTED) + _ATTRIBUTE.pack(4 + data_bytes, 1)
        self.element_bytes = 12 + key_bytes + (8 + data_bytes if data_bytes else 0)
        """Size of one element with its data."""
        self._key_head = _ATTRIBUTE.pack(12 + key_bytes, 1 | _NESTED) + key
        self._pair_head = _ATTRIBUTE.pack(self.element_bytes, 1 | _NESTED) + key
        self._end_head = _ATTRIBUTE.pack(12 + key_bytes + len(_END_FLAG), 1 | _NESTED) + key

    def __repr__(self) -> str:
        return f"Layout({self.key_bytes}, {self.data_bytes})"

    def keys(self, wanted: Iterable[bytes]) -> list[bytes]:
        """Return the elements of these keys without data: members of a set, or what shall be deleted from a map."""
        head = self._key_head
        return [head + key for key in wanted]

    def pairs(self, wanted: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """Return the elements of a map from (key, data)."""
        head, middle = self._pair_head, self._middle
        return [head + key + middle + data for key, data in wanted]

    def run(self, key: bytes, ends: Iterable[bytes], wanted: Iterable[bytes]) -> list[bytes]:
        """Return the elements of a map whose keys are `key` and one of `ends` each, with the data `wanted`."""
        head, middle = self._pair_head + key, self._middle
        return [head + end + middle + data for end, data in zip(ends, wanted, strict=True)]

    def bounds(self, wanted: Iterable[tuple[bytes, bytes | None]]) -> list[bytes]:
        """Return the elements of intervals from (first key, first key beyond); None beyond means up to the last address."""
        found = []
        for first, beyond in wanted:
            found.append(self._key_head + first)
            if beyond is not None:
                found.append(self._end_head + beyond + _END_FLAG)
        return found


class RangeLayout(Layout):
    """Elements of a set of concatenations with ranges: first and last key, one after the other, are one value of 2 x `key_bytes`."""

    __slots__ = ("_first_head", "_last_head")

    def __init__(self, key_bytes: int) -> None:
        super().__init__(key_bytes)
        size = 8 + key_bytes
        value = _ATTRIBUTE.pack(4 + key_bytes, 1)
        self.element_bytes = 4 + 2 * size
        self._first_head = _ATTRIBUTE.pack(self.element_bytes, 1 | _NESTED) + _ATTRIBUTE.pack(size, 1 | _NESTED) + value
        self._last_head = _ATTRIBUTE.pack(size, 10 | _NESTED) + value

    def keys(self, wanted: Iterable[bytes]) -> list[bytes]:
        """Return the elements of these ranges."""
        first, last, size = self._first_head, self._last_head, self.key_bytes
        return [first + each[:size] + last + each[size:] for each in wanted]


@functools.cache
def _set_names(table: str, name: str) -> bytes:
    return text(1, table) + text(2, name)


def element_messages(kind: int, family: int, table: str, name: str, elements: Sequence[bytes]) -> list[Message]:
    """Return the messages that add or delete `elements` of set `name`, split so that no attribute outgrows its length field."""
    prefix = _set_names(table, name)
    flags = NLM_F_CREATE if kind == NEWSETELEM else 0
    found: list[Message] = []
    start = 0
    count = (_ATTRIBUTE_LIMIT - 4) // max(map(len, elements), default=1)
    while start < len(elements):
        body = b"".join(elements[start : start + count])
        found.append(Message(kind, family, prefix + _ATTRIBUTE.pack(4 + len(body), 3 | _NESTED) + body, flags))
        start += count
    return found


def refused_element(message: Message, offset: int) -> tuple[str, bytes] | None:
    """Return (set, key) of the element of `message` in which byte `offset` of the whole message lies, None when in none.

    Cost: grows with the number of elements in the message; for errors only.
    """
    found = attributes(message.body)
    name = as_text(found.get(2, b""))
    body = found.get(3, b"")
    # Headers of the message, names of table and set, and the header of the list come before the first element.
    position = 20 + len(message.body) - len(body)
    for _, element in each(body):
        end = position + 4 + len(element)
        if position <= offset < end:
            key, last, _ = _element(element)
            return name, key + last if 10 in attributes(element) else key
        position = end
    return None


def elements(payload: bytes, layout: Layout | None = None) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield (key, data, flags) of the elements in a NEWSETELEM payload; of a verdict the data is `code, chain name`, of a range
    its last key.

    Cost: grows with the number of elements; about 3 µs each, a tenth of it when all look as `layout` says.
    """
    body = generic(payload)[1].get(3, b"")
    if layout is not None and (regular := _regular(body, layout)) is not None:
        yield from regular
        return
    for _, element in each(body):
        yield _element(element)


def _element(element: bytes) -> tuple[bytes, bytes, int]:
    parts = attributes(element)
    key = attributes(parts.get(1, b"")).get(1, b"")
    data = attributes(parts[2]) if 2 in parts else {}
    if 2 in data:
        verdict = attributes(data[2])
        value = verdict.get(1, b"") + verdict.get(2, b"").rstrip(b"\0")
    else:
        value = data.get(1, b"")
    if 10 in parts:
        value = attributes(parts[10]).get(1, b"")
    return key, value, as_u32(parts[3]) if 3 in parts else 0


def _regular(body: bytes, layout: Layout) -> Iterator[tuple[bytes, bytes, int]] | None:
    """Return the elements of `body` when every one of them looks exactly as `layout` says, else None."""
    size = layout.element_bytes
    if not layout.data_bytes or not body or len(body) % size:
        return None
    slices = list(struct.iter_unpack(f"12s{layout.key_bytes}s8s{layout.data_bytes}s", body))
    head, _, middle, _ = slices[0]
    if head[:2] != size.to_bytes(2, sys.byteorder) or any(each[0] != head or each[2] != middle for each in slices):
        return None
    key, data, flags = _element(body[4:size])
    if (len(key), len(data), flags) != (layout.key_bytes, layout.data_bytes, 0):
        return None
    return ((key, data, 0) for _, key, _, data in slices)
