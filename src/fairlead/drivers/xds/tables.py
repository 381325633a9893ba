"""Rows of hosts as the tables and scopes that Envoy should have, kept in the cache. No I/O.

A changed host costs the table that it is in. A port whose hosts become many gets scopes, and keeps them however few they get: its listener
changes with that, and connections that know the former one drain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from fairlead.api.credentials import CredentialData
from fairlead.drivers.protocol import Failure
from fairlead.drivers.xds import scopes
from fairlead.drivers.xds.hosts import HostTables
from fairlead.drivers.xds.needs import chains_of, listeners_of, tables_of
from fairlead.drivers.xds.protocol import Cache
from fairlead.drivers.xds.resources import ROUTES, SCOPES
from fairlead.plan.gateway.route import GatewayHost
from fairlead.plan.plan import Plan, changes
from fairlead.plan.tables import Key, Row

MANY = 256
"""So many hosts known by name are replaced together within some milliseconds."""


def port_of(type_url: str, name: str) -> str:
    """Return the port's table that a table or a scope is about; empty for other types."""
    if type_url not in (ROUTES, SCOPES):
        return ""
    return scopes.port_of(name) if type_url == ROUTES else scopes.split(name)[0]


class Taken(msgspec.Struct, frozen=True):
    """Names of what is not as it was, by type."""

    routes: set[str]
    scopes: set[str]


class Tables:
    """Every port's hosts. `hosts` is what Envoy has and should have of each table."""

    def __init__(
        self,
        cache: Cache,
        credentials: Callable[[str], CredentialData | None],
        *,
        many: int = MANY,
        scoped: Collection[str] = (),
    ) -> None:
        """`scoped`: ports that have had many hosts before."""
        self.hosts = HostTables()
        self.scoped = set(scoped)
        """Ports with scopes, by their table."""
        self._cache = cache
        self._credentials = credentials
        self._many = many
        self._counts: dict[str, Counter[bool]] = {}
        """Table → how many hosts are known by wildcard, and how many are not."""
        self._ports: set[str] = set()
        self._left: set[str] = set()
        """Ports that went last: connections that drain still look for their scopes, which stay until other ports come or go."""
        self._closed: dict[tuple[str, str], str] = {}
        """(table, domain) → which credentials are missing there."""
        self._held: set[str] | None = None
        """Tables of a former agent with which a proxy that runs already goes on, None before the first plan."""

    def __repr__(self) -> str:
        return f"<Tables ports={sorted(self._ports)} scoped={sorted(self.scoped)}>"

    @property
    def looked_in(self) -> set[str]:
        """Return the ports with scopes that something listens at, by their table."""
        return self.scoped & self._ports

    def choose(self, former: Plan, plan: Plan, *, grows: bool = True) -> set[str]:
        """Note which ports have many hosts now; return those that had few before, none while no port `grows`."""
        for key, old, new in changes(former, plan, "gateway_hosts"):
            table, domain = str(key[0]), str(key[1])
            count = self._counts.setdefault(table, Counter())
            count[scopes.is_wildcard(domain)] += (new is not None) - (old is not None)
        ports = tables_of(chains_of(listeners_of(plan)))
        for table in [each for each, count in self._counts.items() if not count.total() and each not in ports]:
            del self._counts[table]
        left = {each for each in self.scoped if each not in ports and each not in self._counts}
        many = {table for table, count in self._counts.items() if count[False] >= self._many} if grows else set()
        grown = many - self.scoped
        for name in (
            [each for each in self.hosts.names() if scopes.port_of(each) in left | grown] if left or grown else ()
        ):
            self.hosts.drop(name)
        self.scoped = (self.scoped - left) | grown
        return grown

    def take(self, former: Plan, plan: Plan, grown: Collection[str], *, adopted: bool) -> Taken:
        """Bring the cache to a plan but for removals; `grown` is what `choose` found, `adopted` whether a proxy may have a former agent's tables."""
        from fairlead.drivers.xds import routes

        ports = tables_of(chains_of(listeners_of(plan)))
        come, gone, self._ports = ports - self._ports, self._ports - ports, ports
        rows = plan.table("gateway_hosts")
        # Bytes of credentials may come later than the rows that want them.
        wanted: dict[Key, Row | None] = {key: rows.get(key) for key in self._closed}
        wanted |= {key: new for key, _, new in changes(former, plan, "gateway_hosts")}
        again = (come | set(grown)) & self.scoped
        wanted |= {key: row for key, row in rows.items() if key[0] in again} if again else {}
        changed: set[str] = set()
        for key, new in wanted.items():
            table, domain = str(key[0]), str(key[1])
            self._closed.pop((table, domain), None)
            body, missing = None, ""
            if isinstance(new, GatewayHost):
                body, missing = routes.host(new, self._credentials, scoped=table in self.scoped)
            if missing:
                self._closed[table, domain] = missing
            self.hosts.put(self._place(table, domain), domain, body)
            changed.add(self._place(table, domain))
        self._hold(adopted=adopted)
        taken = Taken(set(), self._take_scopes(wanted))
        if come or gone:
            self._left = gone
            taken.scopes.update(name for name in self._cache.of(SCOPES) if not self.has_scope(name))
        if come or gone or grown:
            changed |= {*self._cache.of(ROUTES), *(ports - self.scoped)}
        for name in changed:
            if self.has(name):
                if name not in (self._held or ()) and self.put(name):
                    taken.routes.add(name)
            elif name in self._cache.of(ROUTES):
                self.hosts.forget(name)
                taken.routes.add(name)
        return taken

    def put(self, name: str, *, without: Collection[str] = ()) -> bool:
        """Put a table into the cache as it should be, but for hosts that stay as they were; return whether it is another one than before."""
        from fairlead.drivers.xds import routes

        return self._cache.put(ROUTES, routes.table(name, self.hosts.whole(name, without=without)))

    def has(self, name: str) -> bool:
        """Tell whether Envoy should have a table of this name: it asks for no small one to which no scope leads."""
        port = scopes.port_of(name)
        if port not in self._ports or scopes.is_part(name) != (port in self.scoped):
            return False
        return port == name or bool(self.hosts.domains(name))

    def has_scope(self, name: str) -> bool:
        """Tell whether Envoy should have a scope of this name."""
        port, domain = scopes.split(name)
        if port in self._left:
            return True
        domains = self.hosts.domains(scopes.place(port, domain))
        return port in self._ports & self.scoped and (domain in domains or (bool(domains) and domain == scopes.ANY))

    def of(self, ports: Collection[str], names: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
        """Return which of some tables and scopes, by type, some ports look for."""
        return {url: {name for name in some if port_of(url, name) in ports} for url, some in names.items()}

    def closed(self) -> Iterator[Failure]:
        """Yield the hosts some of whose routes answer 500 for want of credentials."""
        for host, words in self._closed.items():
            yield Failure("gateway_hosts", host, words)

    def rejected(self) -> Iterator[Failure]:
        """Yield the hosts that Envoy does not want."""
        for (name, domain), words in self.hosts.rejected():
            yield Failure("gateway_hosts", (scopes.port_of(name), domain), f"Envoy: {words}")

    def _place(self, table: str, domain: str) -> str:
        return scopes.place(table, domain) if table in self.scoped else table

    def _take_scopes(self, keys: Iterable[Key]) -> set[str]:
        from fairlead.drivers.xds import routes

        taken = set()
        for table, domain in keys:
            if table in self.scoped & self._ports:
                found = routes.scope(str(table), str(domain))
                if not self.has_scope(found.name) or self._cache.put(SCOPES, found):
                    taken.add(found.name)
        return taken

    def _hold(self, *, adopted: bool) -> None:
        """Have a proxy that ran before the first plan keep the tables of which credentials are not known yet, until they are."""
        closed = {self._place(table, domain) for table, domain in self._closed}
        self._held = (closed if self._held is None else self._held & closed) if adopted else set()
