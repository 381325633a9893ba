"""Names of the lab's internet and what an authoritative server says about them. Pure.

The names are few and each shows one thing that resolvers meet: one family only, an alias, a long answer, a short life, a failure.
"""

from __future__ import annotations

from collections import Counter

from fairlead.drivers.dns import wire

_TTL_S = 60
_HOST4, _HOST6 = "198.51.100.10", "fd10:198::10"
_BOTH: dict[str, tuple[str, ...]] = {"A": (_HOST4,), "AAAA": (_HOST6,)}
_BIG = tuple(f"192.0.2.{number}" for number in range(1, 121))
NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "example.com": _BOTH,
    "www.example.com": _BOTH,
    "api.example.com": _BOTH,
    "v4.example.com": {"A": (_HOST4,)},
    "v6.example.com": {"AAAA": (_HOST6,)},
    "alias.example.com": {"CNAME": ("www.example.com",)},
    "text.example.com": {"TXT": ('"hello"',)},
    "big.example.com": {"A": _BIG},
    "brief.example.com": _BOTH,
    "example.org": _BOTH,
    "www.example.org": _BOTH,
}
"""Name → type → data. Besides them every name below `any.example.com` exists, and `fail.example.com` cannot be answered."""
_BRIEF = wire.name("brief.example.com")
_WILD = wire.name("any.example.com")
_FAILING = wire.name("fail.example.com")
_ZONES = tuple(wire.name(each) for each in ("example.com", "example.org"))
_KINDS = {number: text for text, number in wire.TYPES.items()}
_SOA_TTL_S = 30


class Names:
    """Answers questions and counts them: tests ask how many a client's look-up cost."""

    def __init__(self) -> None:
        self._table = {wire.name(name): sets for name, sets in NAMES.items()}
        self.asked: Counter[str] = Counter()
        """`NAME TYPE` → how often it was asked, in lower case with the final dot."""

    def answer(self, packet: bytes, *, stream: bool) -> bytes | None:
        """Return the response to a packet; None for what must not be answered."""
        try:
            query = wire.parse_query(packet)
        except wire.Malformed as malformed:
            return malformed.reply
        self.asked[f"{wire.text(query.name)} {_KINDS.get(query.type, query.type)}"] += 1
        limit = wire.TCP_BYTES if stream else min(query.udp_bytes, wire.UDP_BYTES)
        zone = next((each for each in wire.suffixes(query.name) if each in _ZONES), b"\0")
        if query.name == _FAILING:
            return wire.answer(query, wire.SERVFAIL, limit=limit)
        found: list[bytes] = []
        name, sets = query.name, self._sets(query.name)
        while sets is not None and "CNAME" in sets and query.type != wire.CNAME:
            target = wire.name(sets["CNAME"][0])
            found.append(wire.record(name, wire.CNAME, _TTL_S, target))
            name, sets = target, self._sets(target)
        records = (sets or {}).get(_KINDS.get(query.type, ""), ())
        ttl = 1 if name == _BRIEF else _TTL_S
        found += [wire.record(name, query.type, ttl, wire.rdata(query.type, data)) for data in records]
        if records:
            return wire.answer(query, wire.NOERROR, answers=found, limit=limit, authoritative=True)
        rcode = wire.NXDOMAIN if sets is None else wire.NOERROR
        return wire.answer(query, rcode, answers=found, authority=[_soa(zone)], limit=limit, authoritative=True)

    def _sets(self, name: bytes) -> dict[str, tuple[str, ...]] | None:
        if name.endswith(_WILD):
            return _BOTH
        return self._table.get(name)


def _soa(zone: bytes) -> bytes:
    data = wire.name("ns.example.com") + wire.name("hostmaster.example.com") + bytes((0, 0, 0, 1)) + b"\0\0\x0e\x10" * 3
    return wire.record(zone, wire.SOA, _SOA_TTL_S, data + _SOA_TTL_S.to_bytes(4, "big"))
