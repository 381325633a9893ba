"""Bytes of DNS messages: names, questions and records, without any I/O (RFC 1035, RFC 6891).

Own code for what every query passes through: one question in, records out, where a whole codec would cost twenty times the time.
Messages of others in full are dnspython's (`upstream.py`). A name is its uncompressed wire form in lower case throughout.
It must never follow a compression pointer: questions need none, and what is never followed cannot loop.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator

import msgspec

from fairlead.base.domainnames import MOST_NAME_BYTES as MOST_NAME_BYTES
from fairlead.base.domainnames import labels as labels
from fairlead.base.domainnames import name as name
from fairlead.base.domainnames import suffixes as suffixes
from fairlead.base.domainnames import text as text

A, NS, CNAME, SOA, PTR, HINFO, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 13, 16, 28, 33, 41
IXFR, AXFR, ANY = 251, 252, 255
TYPES = {"A": A, "AAAA": AAAA, "CNAME": CNAME, "NS": NS, "PTR": PTR, "SRV": SRV, "TXT": TXT}
"""Record types that a plan may hold, by name."""
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010

HEADER = struct.Struct(">HHHHHH")
"""Id, flags, numbers of questions, answers, authority and additional records."""
UDP_BYTES = 1232
"""Largest answer over UDP, and what we announce: never fragmented on any path (DNS flag day 2020)."""
TCP_BYTES = 65535
OWNER_OF_QUESTION = b"\xc0\x0c"
"""Pointer to the question's name, which always starts at byte 12."""
EDE_STALE, EDE_NOT_READY, EDE_NOT_AUTHORITATIVE, EDE_NO_REACHABLE = 3, 14, 20, 22

_OPCODE = 0x7800
_DO = 0x8000
_RECORD = struct.Struct(">HHIH")
_U16 = struct.Struct(">H")
_EDE_OPTION = 15
_MOST_ADDITIONAL = 4


class Malformed(Exception):
    """Bytes that are no DNS message that can be answered in full; `reply` is what to send, None for nothing."""

    def __init__(self, reply: bytes | None) -> None:
        super().__init__("malformed DNS message")
        self.reply = reply


class Query(msgspec.Struct, frozen=True, gc=False):
    """One question and how it may be answered."""

    id: int
    flags: int
    name: bytes
    type: int
    klass: int
    question: bytes
    """The question as it came: answers echo it, so the letter case of the name is kept (0x20)."""
    udp_bytes: int = 512
    """Largest answer over UDP that the client takes."""
    edns: bool = False
    dnssec: bool = False


def reverse_zones(cidr: str) -> list[bytes]:
    """Return the reverse zones that cover `cidr` exactly, or the smallest number of them that covers it and no more."""
    network = ipaddress.ip_network(cidr)
    bits = 8 if network.version == 4 else 4
    aligned = -(-network.prefixlen // bits) * bits
    zones = []
    for part in network.subnets(new_prefix=aligned):
        full = name(part.network_address.reverse_pointer)
        kept = aligned // bits
        zones.append(list(suffixes(full))[part.max_prefixlen // bits - kept])
    return zones


def rdata(kind: int, data: str) -> bytes:
    """Return the data of a record from presentation format; raises ValueError, OSError."""
    match kind:
        case 1:
            return socket.inet_pton(socket.AF_INET, data)
        case 28:
            return socket.inet_pton(socket.AF_INET6, data)
        case 33:
            priority, weight, port, target = data.split()
            return struct.pack(">HHH", int(priority), int(weight), int(port)) + name(target)
        case 16:
            words = data.removeprefix('"').removesuffix('"').encode()
            return bytes((len(words),)) + words
        case _:
            return name(data)


def record(owner: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    """Return one resource record of class IN; `owner` is a name or a pointer."""
    return owner + _RECORD.pack(kind, IN, ttl, len(data)) + data


def parse_query(packet: bytes) -> Query:
    """Return the question of `packet`; raises Malformed with what must be answered instead."""
    if len(packet) < HEADER.size:
        raise Malformed(None)
    number, flags, questions, answers, authority, additional = HEADER.unpack_from(packet)
    if flags & QR:
        # Answering answers would let two servers shout at each other for ever.
        raise Malformed(None)
    if flags & _OPCODE:
        raise Malformed(_bare(number, flags, NOTIMP))
    try:
        if questions != 1 or answers or authority or additional > _MOST_ADDITIONAL:
            raise IndexError
        end = skip_name(packet, HEADER.size)
        kind, klass = struct.unpack_from(">HH", packet, end)
        query = Query(number, flags, packet[HEADER.size : end].lower(), kind, klass, packet[HEADER.size : end + 4])
        return _with_edns(query, packet, end + 4, additional) if additional or len(packet) > end + 4 else query
    except (IndexError, struct.error):
        raise Malformed(_bare(number, flags, FORMERR)) from None


def answer(
    query: Query,
    rcode: int,
    *,
    answers: list[bytes] | tuple[bytes, ...] = (),
    authority: list[bytes] | tuple[bytes, ...] = (),
    additional: list[bytes] | tuple[bytes, ...] = (),
    limit: int,
    authoritative: bool = False,
    recursion: bool = False,
    why: tuple[int, str] | None = None,
) -> bytes:
    """Return a response of at most `limit` bytes.

    When the answers do not fit, as many as do are sent with TC set: resolvers that know no TCP still get some. `why` is an extended
    error (RFC 8914), sent to clients that speak EDNS.
    """
    flags = QR | (query.flags & (RD | CD)) | (RA if recursion else 0) | (AA if authoritative else 0) | (rcode & 0xF)
    opt = option_record(rcode >> 4, why) if query.edns else b""
    room = limit - HEADER.size - len(query.question) - len(opt)
    body = b"".join(answers)
    tail = b"".join(authority)
    if len(body) + len(tail) > room:
        fitting: list[bytes] = []
        for each in answers:
            room -= len(each)
            if room < 0:
                break
            fitting.append(each)
        answers, authority, additional, body, tail, flags = fitting, (), (), b"".join(fitting), b"", flags | TC
    extra = b"".join(additional)
    if len(body) + len(tail) + len(extra) > room:
        additional, extra = (), b""
    counts = HEADER.pack(query.id, flags, 1, len(answers), len(authority), len(additional) + bool(opt))
    return b"".join((counts, query.question, body, tail, extra, opt))


def option_record(extended_rcode: int = 0, why: tuple[int, str] | None = None, *, dnssec: bool = False) -> bytes:
    """Return an OPT record that announces `UDP_BYTES`."""
    options = b""
    if why is not None:
        payload = _U16.pack(why[0]) + why[1].encode()
        options = struct.pack(">HH", _EDE_OPTION, len(payload)) + payload
    return b"\0" + _RECORD.pack(OPT, UDP_BYTES, extended_rcode << 24 | (_DO if dnssec else 0), len(options)) + options


def records(packet: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (section 1..3, type, offset of the TTL, end of the record) of a response; raises IndexError, struct.error."""
    _, _, questions, *counts = HEADER.unpack_from(packet)
    offset = HEADER.size
    for _ in range(questions):
        offset = skip_name(packet, offset, pointers=True) + 4
    for section, count in enumerate(counts, 1):
        for _ in range(count):
            offset = skip_name(packet, offset, pointers=True)
            kind, _, _, length = _RECORD.unpack_from(packet, offset)
            end = offset + _RECORD.size + length
            if end > len(packet):
                raise IndexError
            yield section, kind, offset + 4, end
            offset = end


def _with_edns(query: Query, packet: bytes, offset: int, additional: int) -> Query:
    found: Query | None = None
    for _ in range(additional):
        start, offset = offset, skip_name(packet, offset)
        kind, size, ttl, length = _RECORD.unpack_from(packet, offset)
        offset += _RECORD.size + length
        if kind != OPT:
            continue
        if found is not None or packet[start]:
            raise IndexError
        found = msgspec.structs.replace(query, udp_bytes=max(size, 512), edns=True, dnssec=bool(ttl & _DO))
        if ttl >> 16 & 0xFF:
            raise Malformed(answer(found, BADVERS, limit=512))
    if offset != len(packet):
        raise IndexError
    return found or query


def skip_name(packet: bytes, offset: int, *, pointers: bool = False) -> int:
    """Return where the name at `offset` ends; raises IndexError, also for a pointer unless there may be `pointers`."""
    start = offset
    while length := packet[offset]:
        if length >= 0xC0 and pointers:
            return offset + 2
        if length > 63:
            raise IndexError
        offset += 1 + length
        if offset - start >= MOST_NAME_BYTES:
            raise IndexError
    return offset + 1


def _bare(number: int, flags: int, rcode: int) -> bytes:
    return HEADER.pack(number, QR | flags & (_OPCODE | RD) | rcode, 0, 0, 0, 0)
