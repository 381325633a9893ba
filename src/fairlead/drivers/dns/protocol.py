"""What a question is answered with: RFC 1034 §4.3.2 over the cluster's zones, as a function from bytes to bytes.

Pure: the zones and a source of randomness come in, an answer or the wish to ask someone else comes out.
"""

from __future__ import annotations

import random

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.overlay import NOTHING, Overlay
from fairlead.drivers.dns.wire import Query
from fairlead.drivers.dns.zone import NEGATIVE_TTL_S, RecordSet, Zones

_MOST_ALIASES = 8
_SHUFFLED = (wire.A, wire.AAAA, wire.SRV)


class Forward(msgspec.Struct, frozen=True, gc=False):
    """The answer needs what the world outside says about `name`; `chain` are the aliases that led there."""

    query: Query
    name: bytes
    chain: tuple[bytes, ...] = ()
    otherwise: bytes | None = None
    """What to answer when `name` does not exist or nobody can say; None: what the others say."""
    then: Forward | None = None
    """Whom to ask about when `name` does not exist."""
    last: bool = True
    """A name that exists without records of the type is the answer too."""


def respond(
    query: Query,
    zones: Zones,
    chance: random.Random,
    *,
    limit: int,
    recursion: bool,
    overlay: Overlay = NOTHING,
    alias: bytes | None = None,
) -> bytes | Forward:
    """Return the response of at most `limit` bytes, or what must be asked elsewhere.

    `recursion`: whether others can be asked at all, which responses announce. `alias`: the name that the question's name is to
    be an alias of, whatever the zones say.
    """
    if query.klass != wire.IN or query.type in (wire.AXFR, wire.IXFR):
        return wire.answer(query, wire.REFUSED, limit=limit, recursion=recursion)
    chain: list[bytes] = []
    seen: set[bytes] = set()
    name = query.name
    while True:
        hosts = overlay.hosts.get(name)
        if hosts is not None and alias is None:
            records = hosts.get(query.type)
            answers = chain + (_owned(records, name, query) if records else [])
            return wire.answer(
                query, wire.NOERROR, answers=answers, limit=limit, authoritative=True, recursion=recursion
            )
        target = alias or overlay.alias(name)
        if target is not None:
            alias = None
            seen.add(name)
            chain.append(wire.record(name, wire.CNAME, NEGATIVE_TTL_S, target))
            name = target
            if name in seen or len(seen) > _MOST_ALIASES:
                return wire.answer(query, wire.SERVFAIL, answers=chain, limit=limit, recursion=recursion)
            continue
        apex = zones.apex(name)
        if apex is None:
            return Forward(query, name, tuple(chain))
        sets = zones.sets(name)
        found = _select(sets, query.type, zones, name, apex) if sets is not None else None
        if found is not None:
            break
        pointer = (sets or {}).get(wire.CNAME)
        if pointer is None:
            rcode = wire.NXDOMAIN if sets is None else wire.NOERROR
            return _denial(query, rcode, chain, zones, apex, limit=limit, recursion=recursion)
        seen.add(name)
        chain += _owned(pointer, name, query)
        name = pointer.targets[0]
        if name in seen or len(seen) > _MOST_ALIASES:
            return wire.answer(query, wire.SERVFAIL, answers=chain, limit=limit, recursion=recursion)
    answers = _owned(found, name, query)
    if len(answers) > 1 and found.type in _SHUFFLED:
        chance.shuffle(answers)
    additional = _addresses(found, zones) if found.type == wire.SRV else []
    return wire.answer(
        query,
        wire.NOERROR,
        answers=chain + answers,
        additional=additional,
        limit=limit,
        authoritative=True,
        recursion=recursion,
    )


def failure(query: Query, *, limit: int, recursion: bool, why: tuple[int, str], rcode: int = wire.SERVFAIL) -> bytes:
    """Return a response that says that there is no answer, and `why`."""
    return wire.answer(query, rcode, limit=limit, recursion=recursion, why=why)


def _select(sets: dict[int, RecordSet], kind: int, zones: Zones, name: bytes, apex: bytes) -> RecordSet | None:
    if kind == wire.SOA and name == apex:
        return zones.soa(apex)
    if kind == wire.ANY and sets:
        # One set is a full answer to ANY and no gift to those who want amplification (RFC 8482 §4.1).
        return next(iter(sets.values()))
    return sets.get(kind)


def _owned(records: RecordSet, name: bytes, query: Query) -> list[bytes]:
    """Return the records of `name`: ready-made ones when the question is for that very name."""
    if name == query.name:
        return list(records.answers)
    return [wire.record(name, records.type, records.ttl, data) for data in records.datas]


def _addresses(records: RecordSet, zones: Zones) -> list[bytes]:
    return [
        wire.record(target, kind, found.ttl, data)
        for target in dict.fromkeys(records.targets)
        for kind in (wire.A, wire.AAAA)
        if (found := (zones.sets(target) or {}).get(kind))
        for data in found.datas
    ]


def _denial(
    query: Query, rcode: int, chain: list[bytes], zones: Zones, apex: bytes, *, limit: int, recursion: bool
) -> bytes:
    soa = zones.soa(apex)
    authority = [wire.record(apex, wire.SOA, soa.ttl, soa.datas[0])]
    return wire.answer(
        query, rcode, answers=chain, authority=authority, limit=limit, authoritative=True, recursion=recursion
    )
