"""The records that this node answers for, kept so that a change costs what changed and a question costs two look-ups.

Besides the plan's rows it holds what belongs to every zone (SOA, NS, the schema version) and computes the records of pods from their
names. It knows the empty names between records, because NXDOMAIN for one of them would make resolvers deny all below (RFC 8020).
It must never know a client or a socket.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

import msgspec

from fairlead.drivers.dns import wire

NEGATIVE_TTL_S = 5
"""How long a denial may be believed; low because Services appear and clients ask early."""
SCHEMA_VERSION = "1.1.0"
_SOA_TIMERS = (7200, 1800, 86400, NEGATIVE_TTL_S)
_STATIC_TTL_S = 30


class RecordSet(msgspec.Struct, frozen=True, gc=False):
    """All records of one type at one name."""

    type: int
    ttl: int
    datas: tuple[bytes, ...]
    answers: tuple[bytes, ...]
    """The records as they stand in an answer to a question for their own name."""

    @property
    def targets(self) -> tuple[bytes, ...]:
        """Return the names that records of type CNAME and SRV point to."""
        skip = 6 if self.type == wire.SRV else 0
        return tuple(data[skip:] for data in self.datas)


def record_set(kind: int, ttl: int, datas: Iterable[bytes]) -> RecordSet:
    """Return a set of records with their answers made ready."""
    kept = tuple(datas)
    return RecordSet(kind, ttl, kept, tuple(wire.record(wire.OWNER_OF_QUESTION, kind, ttl, data) for data in kept))


_NO_SETS: dict[int, RecordSet] = {}


class Zones:
    """The cluster's zone and its reverse zones. Names are lower-case wire form."""

    def __init__(
        self, domain: str, reverse_cidrs: Iterable[str] = (), pod_cidrs: Iterable[str] = (), servers: Iterable[str] = ()
    ) -> None:
        """Answer for `domain` and for the addresses in `reverse_cidrs`; pods live in `pod_cidrs`; `servers` are our own addresses."""
        self.domain = wire.name(domain)
        reverse = [zone for cidr in reverse_cidrs for zone in wire.reverse_zones(cidr)]
        self._apexes = frozenset([self.domain, *reverse])
        self._pods = [ipaddress.ip_network(cidr) for cidr in pod_cidrs]
        self._pod_zone = wire.name(f"pod.{domain}")
        self._sets: dict[bytes, dict[int, RecordSet]] = {}
        self._below: dict[bytes, int] = {}
        self.serial = 1
        """Changes with every change of a record."""
        self._server = wire.name(f"ns.dns.{domain}")
        self._soa: dict[bytes, RecordSet] = {}
        for apex in self._apexes:
            self._below[apex] = 1
            self.put(apex, record_set(wire.NS, _STATIC_TTL_S, [self._server]))
        self._below[self._pod_zone] = 1
        self.put(
            wire.name(f"dns-version.{domain}"),
            record_set(wire.TXT, _STATIC_TTL_S, [wire.rdata(wire.TXT, SCHEMA_VERSION)]),
        )
        own = sorted(servers)
        for kind, texts in (
            (wire.A, [each for each in own if ":" not in each]),
            (wire.AAAA, [each for each in own if ":" in each]),
        ):
            if texts:
                self.put(self._server, record_set(kind, _STATIC_TTL_S, [wire.rdata(kind, each) for each in texts]))

    def __repr__(self) -> str:
        return f"<Zones {wire.text(self.domain)} names={len(self._sets)} serial={self.serial}>"

    def put(self, name: bytes, records: RecordSet) -> None:
        """Hold `records` at `name` in place of those of the same type; raises ValueError for a name outside of every zone."""
        apex = self.apex(name)
        if apex is None:
            raise ValueError(f"{wire.text(name)} lies in no zone of this cluster")
        sets = self._sets.get(name)
        if sets is None:
            sets = self._sets[name] = {}
            self._count(name, apex, 1)
        sets[records.type] = records
        self._changed()

    def remove(self, name: bytes, kind: int) -> None:
        """Forget the records of type `kind` at `name`; none is fine."""
        sets = self._sets.get(name)
        apex = self.apex(name)
        if sets is None or apex is None or sets.pop(kind, None) is None:
            return
        if not sets:
            del self._sets[name]
            self._count(name, apex, -1)
        self._changed()

    def apex(self, name: bytes) -> bytes | None:
        """Return the zone that `name` is in, None when it is none of ours."""
        return next((each for each in wire.suffixes(name) if each in self._apexes), None)

    def sets(self, name: bytes) -> dict[int, RecordSet] | None:
        """Return type → records at `name`: empty for a name that exists without records, None for one that does not exist."""
        found = self._sets.get(name)
        if found is not None:
            return found
        if name in self._below:
            return _NO_SETS
        return self._pod(name) if name.endswith(self._pod_zone) else None

    def soa(self, apex: bytes) -> RecordSet:
        """Return the SOA record of a zone; its TTL is that of denials (RFC 2308)."""
        found = self._soa.get(apex)
        if found is None:
            mailbox = b"\x0ahostmaster" + self.domain
            data = self._server + mailbox + struct.pack(">IIIII", self.serial, *_SOA_TIMERS)
            found = self._soa[apex] = record_set(wire.SOA, NEGATIVE_TTL_S, [data])
        return found

    def _changed(self) -> None:
        self.serial = (self.serial + 1) & 0xFFFFFFFF
        self._soa.clear()

    def _count(self, name: bytes, apex: bytes, change: int) -> None:
        if name == apex:
            return
        for parent in wire.suffixes(name[1 + name[0] :]):
            self._below[parent] = self._below.get(parent, 0) + change
            if not self._below[parent]:
                del self._below[parent]
            if parent == apex:
                return

    def _pod(self, name: bytes) -> dict[int, RecordSet] | None:
        """Return the records of `1-2-3-4.NAMESPACE.pod.DOMAIN`, whose names say the address (specification 2.6)."""
        above = wire.labels(name[: -len(self._pod_zone)] + b"\0")
        if len(above) == 1:
            return _NO_SETS
        if len(above) != 2:
            return None
        for separator, kind in ((".", wire.A), (":", wire.AAAA)):
            try:
                address = ipaddress.ip_address(above[0].decode("ascii").replace("-", separator))
            except ValueError:
                continue
            if any(address in network for network in self._pods):
                return {kind: record_set(kind, NEGATIVE_TTL_S, [address.packed])}
        return None
