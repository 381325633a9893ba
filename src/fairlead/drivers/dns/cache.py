"""Answers of other resolvers for as long as they may be believed. Pure: the caller brings the clock.

An answer is kept whole under exactly the question that was asked and is never used for any other, so nothing that a resolver adds
unasked can poison another name.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import TypeAlias

import msgspec

from fairlead.drivers.dns import wire

Question: TypeAlias = tuple[bytes, int, bool, bool]
"""Name, type, whether DNSSEC records are wanted (DO), whether checking is disabled (CD)."""

_MOST_TTL_S = 3600
_MOST_NEGATIVE_TTL_S = 300
_U32 = struct.Struct(">I")


class Response(msgspec.Struct, frozen=True, gc=False):
    """An answer of a resolver, cut behind the authority section."""

    packet: bytes
    ttl_offsets: tuple[int, ...]
    lifetime_s: int
    """Zero: must not be kept."""

    @property
    def flags(self) -> int:
        """Return the header's flags."""
        flags: int = wire.HEADER.unpack_from(self.packet)[1]
        return flags

    def aged(self, age_s: int) -> bytes:
        """Return the packet with every TTL lowered by `age_s`."""
        if not age_s:
            return self.packet
        packet = bytearray(self.packet)
        for offset in self.ttl_offsets:
            _U32.pack_into(packet, offset, max(0, _U32.unpack_from(packet, offset)[0] - age_s))
        return bytes(packet)


def understand(packet: bytes) -> Response:
    """Return the answer that `packet` holds; raises IndexError or struct.error for bytes that are none."""
    ttls: list[int] = []
    offsets: list[int] = []
    end = _question_end(packet)
    answers = 0
    negative: int | None = None
    for section, kind, offset, record_end in wire.records(packet):
        if section == 3:
            continue
        end = record_end
        if kind == wire.OPT:
            continue
        offsets.append(offset)
        ttls.append(min(_U32.unpack_from(packet, offset)[0], 1 << 31))
        answers += section == 1
        if section == 2 and kind == wire.SOA:
            negative = min(ttls[-1], _U32.unpack_from(packet, record_end - 4)[0])
    number, flags, questions, answered, authority, _ = wire.HEADER.unpack_from(packet)
    cut = wire.HEADER.pack(number, flags, questions, answered, authority, 0) + packet[wire.HEADER.size : end]
    return Response(cut, tuple(offsets), _lifetime(flags, answers, ttls, negative))


class Cache:
    """Question → answer, the least recently used ones leaving first."""

    def __init__(self, most_entries: int = 10_000) -> None:
        self._most = most_entries
        self._entries: OrderedDict[Question, tuple[Response, float]] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question, now_s: float) -> bytes | None:
        """Return the answer with what is left of its TTLs."""
        entry = self._entries.get(question)
        if entry is None:
            self.misses += 1
            return None
        response, stored_s = entry
        if now_s - stored_s >= response.lifetime_s:
            del self._entries[question]
            self.misses += 1
            return None
        self._entries.move_to_end(question)
        self.hits += 1
        return response.aged(int(now_s - stored_s))

    def put(self, question: Question, response: Response, now_s: float) -> None:
        """Keep an answer, if it may be kept."""
        if response.lifetime_s <= 0:
            return
        self._entries[question] = (response, now_s)
        self._entries.move_to_end(question)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)


def _lifetime(flags: int, answers: int, ttls: list[int], negative: int | None) -> int:
    rcode = flags & 0xF
    if flags & wire.TC or rcode not in (wire.NOERROR, wire.NXDOMAIN):
        return 0
    if rcode == wire.NOERROR and answers:
        return min(*ttls, _MOST_TTL_S)
    return min(negative, _MOST_NEGATIVE_TTL_S) if negative is not None else 0


def _question_end(packet: bytes) -> int:
    offset = wire.HEADER.size
    while packet[offset]:
        offset += 1 + packet[offset]
    return offset + 5


def readdress(packet: bytes, query: wire.Query, *, limit: int) -> bytes:
    """Return a kept answer as the response to `query`: its id, its spelling of the name, its EDNS, its limit."""
    _, flags, _, answers, authority, _ = wire.HEADER.unpack_from(packet)
    flags = wire.QR | wire.RA | flags & (wire.AD | 0xF) | query.flags & (wire.RD | wire.CD)
    opt = wire.option_record(dnssec=query.dnssec) if query.edns else b""
    body = packet[wire.HEADER.size + len(query.question) :]
    if wire.HEADER.size + len(query.question) + len(body) + len(opt) > limit:
        flags, answers, authority, body = flags | wire.TC, 0, 0, b""
    header = wire.HEADER.pack(query.id, flags, 1, answers, authority, bool(opt))
    return header + query.question + body + opt
