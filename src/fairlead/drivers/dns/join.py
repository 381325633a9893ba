"""Joins aliases of this cluster with what another resolver said. Pure."""

from __future__ import annotations

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.cache import STALE_TTL_S, Flat, Hit, Response, readdress
from fairlead.drivers.dns.protocol import Forward, failure

_STALE_WHY = (wire.EDE_STALE, "no upstream resolver answers")


def join(hit: Hit, forward: Forward, *, limit: int) -> bytes:
    """Return the response to `forward`: the aliases that led outside, then what the resolver said."""
    if not forward.chain:
        packet = hit.response.aged(hit.age_s) if hit.fresh else hit.response.stale()
        return readdress(packet, forward.query, limit=limit)
    flat = hit.response.flat
    if flat is None:
        try:
            flat = hit.response.flat = _flatten(hit.response, forward.name)
        except ValueError as error:
            why = (wire.EDE_NO_REACHABLE, f"the upstream resolver's answer cannot be read: {error}")
            return failure(forward.query, limit=limit, recursion=True, why=why)
    rcode, answers, authority = flat
    return wire.answer(
        forward.query,
        rcode,
        answers=[*forward.chain, *_records(answers, hit)],
        authority=_records(authority, hit),
        limit=limit,
        recursion=True,
        why=None if hit.fresh else _STALE_WHY,
    )


def _records(records: tuple[tuple[bytes, int, int, bytes], ...], hit: Hit) -> list[bytes]:
    return [
        wire.record(owner, kind, max(0, ttl - hit.age_s) if hit.fresh else STALE_TTL_S, data)
        for owner, kind, ttl, data in records
    ]


def _flatten(response: Response, name: bytes) -> Flat:
    """Return the records without compression; raises ValueError for what cannot be read."""
    # Only aliases that lead out of the cluster come here, so the codec is not loaded by an agent that has none.
    import dns.exception
    import dns.message
    import dns.rrset

    try:
        message = dns.message.from_wire(response.packet, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise ValueError(str(error)) from error

    def flat(section: list[dns.rrset.RRset]) -> tuple[tuple[bytes, int, int, bytes], ...]:
        found = []
        for rrset in section:
            packed = rrset.name.to_wire() or b"\0"
            # The spelling that we asked with is nobody else's business.
            owner = name if packed.lower() == name else packed
            found += [(owner, int(rrset.rdtype), int(rrset.ttl), rdata.to_wire() or b"") for rdata in rrset]
        return tuple(found)

    return int(message.rcode()), flat(message.answer), flat(message.authority)
