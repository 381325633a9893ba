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

Flat: TypeAlias = tuple[int, tuple[tuple[bytes, int, int, bytes], ...], tuple[tuple[bytes, int, int, bytes], ...]]
"""Response code, answers and authority, each record as (owner, type, TTL, data) without compression."""

_MOST_TTL_S = 3600
_MOST_NEGATIVE_TTL_S = 300
STALE_TTL_S = 30
"""What a stale answer says of its life (RFC 8767 §4)."""
_PREFETCH_SHARE = 0.1
_U32 = struct.Struct(">I")


class Response(msgspec.Struct, gc=False):
    """An answer of a resolver, cut behind the authority section. Only `flat` is ever written, once."""

    packet: bytes
    ttl_offsets: tuple[int, ...]
    lifetime_s: int
    """Zero: must not be kept."""
    flat: Flat | None = None
    """The same without compression, once somebody needed it."""

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

    def stale(self) -> bytes:
        """Return the packet with the TTLs of a stale answer."""
        packet = bytearray(self.packet)
        for offset in self.ttl_offsets:
            _U32.pack_into(packet, offset, STALE_TTL_S)
        return bytes(packet)


class Hit(msgspec.Struct, frozen=True, gc=False):
    """What the cache holds for a question."""

    response: Response
    age_s: int
    fresh: bool
    due: bool
    """Asked for more than once and about to expire: fetch it before a client has to wait."""


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


class _Entry:
    __slots__ = ("asked", "response", "stored_s")

    def __init__(self, response: Response, stored_s: float) -> None:
        self.response, self.stored_s, self.asked = response, stored_s, 0


class Cache:
    """Question → answer, the least recently used ones leaving first."""

    def __init__(
        self, most_entries: int = 10_000, *, stale_s: int = 3600, most_ttl_s: int = _MOST_TTL_S, prefetch: bool = True
    ) -> None:
        """`stale_s`: how long after its end an answer may still be used when nobody gives another; 0: never."""
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()
        self.configure(most_entries, stale_s=stale_s, most_ttl_s=most_ttl_s, prefetch=prefetch)
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def configure(self, most_entries: int, *, stale_s: int, most_ttl_s: int, prefetch: bool) -> None:
        """Change the limits; what is kept stays."""
        self._most, self._stale_s, self._most_ttl_s, self._prefetch = most_entries, stale_s, most_ttl_s, prefetch
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: other servers may say something else."""
        self._entries.clear()

    def look(self, question: Question, now_s: float) -> Hit | None:
        """Return what is kept, fresh or stale. Counts nothing."""
        entry = self._entries.get(question)
        if entry is None:
            return None
        age_s = now_s - entry.stored_s
        lifetime_s = min(entry.response.lifetime_s, self._most_ttl_s)
        if age_s >= lifetime_s + self._stale_s:
            del self._entries[question]
            return None
        self._entries.move_to_end(question)
        entry.asked += 1
        left_s = lifetime_s - age_s
        due = self._prefetch and entry.asked > 1 and 0 < left_s <= max(1.0, lifetime_s * _PREFETCH_SHARE)
        return Hit(entry.response, int(age_s), left_s > 0, due)

    def get(self, question: Question, now_s: float) -> bytes | None:
        """Return the fresh answer with what is left of its TTLs."""
        hit = self.look(question, now_s)
        if hit is None or not hit.fresh:
            self.misses += 1
            return None
        self.hits += 1
        return hit.response.aged(hit.age_s)

    def put(self, question: Question, response: Response, now_s: float) -> None:
        """Keep an answer, if it may be kept."""
        if response.lifetime_s <= 0 or not self._most:
            return
        self._entries[question] = _Entry(response, now_s)
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
