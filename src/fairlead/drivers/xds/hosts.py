"""Tables of hosts as Envoy has them and as it should: what changed in between, and which hosts it does not want. Pure.

A table is one resource, put together from hosts that were serialized each on its own. A changed host costs itself, the joining of bytes and a
hash over the hosts' hashes; what Envoy does with the table costs more than all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

import msgspec

_DIGEST_BYTES = 16


class Part(msgspec.Struct, frozen=True):
    """A host, serialized as the part of its table that it is."""

    body: bytes
    digest: bytes


class Whole(msgspec.Struct, frozen=True):
    """A table's hosts, joined."""

    body: bytes
    digest: bytes
    """Equal hosts give equal digests."""


class _Table:
    def __init__(self) -> None:
        self.hosts: dict[str, Part] = {}
        """Domain → what is wanted."""
        self.former: dict[str, Part | None] = {}
        """Domain → what Envoy has accepted last, None for nothing, where that is not what is wanted."""
        self.bad: dict[str, str] = {}
        """Domain → Envoy's words about what is wanted there. Such a host stays as it was."""

    def before(self, domain: str) -> Part | None:
        return self.former[domain] if domain in self.former else self.hosts.get(domain)


class HostTables:
    """Every table's hosts."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}

    def put(self, table: str, domain: str, body: bytes | None) -> None:
        """Say what is wanted of a host; None: nothing."""
        found = self._tables.setdefault(table, _Table())
        found.bad.pop(domain, None)
        found.former.setdefault(domain, found.hosts.get(domain))
        if body is not None:
            found.hosts[domain] = Part(body, hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest())
        else:
            found.hosts.pop(domain, None)

    def names(self) -> Collection[str]:
        """Return the tables of which anything was ever said."""
        return self._tables.keys()

    def domains(self, table: str) -> Collection[str]:
        """Return the hosts that a table should have."""
        found = self._tables.get(table)
        return found.hosts.keys() if found is not None else ()

    def drop(self, table: str) -> None:
        """Note that a table is nobody's any more."""
        self._tables.pop(table, None)

    def forget(self, table: str) -> None:
        """Note that Envoy has nothing of a table any more."""
        if (found := self._tables.get(table)) is not None:
            found.bad.clear()
            found.former = dict.fromkeys(found.hosts)

    def whole(self, table: str, *, without: Collection[str] = ()) -> Whole:
        """Return a table, its bad hosts and those of `without` as they were before. Costs a copy of its bytes."""
        found = self._tables.get(table) or _Table()
        parts = found.hosts
        stay = found.bad.keys() | without
        if stay:
            parts = {domain: part for domain, part in parts.items() if domain not in stay}
            parts |= {domain: part for domain in stay if (part := found.before(domain)) is not None}
        ordered = [parts[domain] for domain in sorted(parts)]
        digest = hashlib.blake2b(b"".join(each.digest for each in ordered), digest_size=_DIGEST_BYTES).digest()
        return Whole(b"".join(each.body for each in ordered), digest)

    def suspects(self, table: str) -> list[str]:
        """Return the hosts of which one or more must be at fault when Envoy rejects a table."""
        found = self._tables.get(table) or _Table()
        return sorted(domain for domain in found.former if domain in found.hosts and domain not in found.bad)

    def reject(self, table: str, domain: str, words: str) -> None:
        """Note that a host is at fault: from now on it stays as it was."""
        self._tables[table].bad[domain] = words

    def accept(self, table: str) -> None:
        """Note that Envoy has a table as `whole` gives it. Costs time proportional to what changed."""
        if (found := self._tables.get(table)) is not None:
            found.former = {domain: part for domain, part in found.former.items() if domain in found.bad}

    def rejected(self) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield ((table, domain), Envoy's words) of each bad host."""
        for table, found in self._tables.items():
            for domain, words in found.bad.items():
                yield (table, domain), words

    @property
    def any_bad(self) -> bool:
        """Tell whether Envoy keeps a host as it was."""
        return any(found.bad for found in self._tables.values())
