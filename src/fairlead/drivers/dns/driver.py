"""The DNS driver: the plan's `dns_records`, answered on the cluster's DNS addresses by this node.

Pods find the resolver at the well-known address of the cluster's DNS Service, which is local to every node: a question never leaves
the node that it was asked on. It must never look at a table that is not its own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence

from fairlead.drivers.dns import address, wire
from fairlead.drivers.dns.admission import Admission
from fairlead.drivers.dns.config import Configuration
from fairlead.drivers.dns.handover import Keeper
from fairlead.drivers.dns.meters import Meters
from fairlead.drivers.dns.responder import Responder
from fairlead.drivers.dns.search import SearchPath, search_path
from fairlead.drivers.dns.server import DnsServer
from fairlead.drivers.dns.upstream import Resolver, Upstream
from fairlead.drivers.dns.zone import Zones, record_set
from fairlead.drivers.protocol import Failure, Outcome
from fairlead.plan.plan import Plan
from fairlead.plan.tables import DnsClient, DnsRecords, Key, Row

log = logging.getLogger(__name__)

TABLE = "dns_records"
CLIENTS = "dns_clients"


class DnsDriver:
    """Implements `fairlead.drivers.protocol.Driver` for the tables `dns_records` and `dns_clients`."""

    name = "dns"
    tables = frozenset([TABLE, CLIENTS])

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        domain: str = "cluster.local",
        service_cidrs: Iterable[str] = (),
        pod_cidrs: Iterable[str] = (),
        upstreams: Sequence[Upstream] = (),
        search: Sequence[str] = (),
        port: int = 53,
        keeper: Keeper | None = None,
        admission: Admission | None = None,
    ) -> None:
        """Answer at `addresses` for `domain` and the reverse zones of both kinds of ranges; ask `upstreams` about all else.

        `search` are the search domains of the node itself; `keeper` holds the sockets while nobody answers; `admission`
        permits addresses outside before anybody is told. Raises ValueError.
        """
        if loops := [each.address for each in upstreams if each.address in addresses]:
            raise ValueError(f"upstream {loops[0]} is the cluster's own DNS address: questions would never end")
        pods = tuple(pod_cidrs)
        self._addresses = tuple(addresses)
        self._port = port
        self._zones = Zones(domain, (*service_cidrs, *pods), pods, self._addresses)
        self.meters = Meters()
        self._domain = domain
        self._upstreams = tuple(upstreams)
        self._search = tuple(search)
        self._keeper = keeper
        self._resolver = Resolver(upstreams, meters=self.meters)
        self._responder = Responder(self._zones, self._resolver, self.meters, admission)
        self._server = DnsServer(self._responder)
        self._configuration = Configuration()
        self._clients: Mapping[Key, Row] = {}
        self._paths: dict[str, SearchPath | None] = {}
        self._rows: Mapping[Key, Row] = {}
        self._bad: dict[Key, Failure] = {}
        self._open = False

    def __repr__(self) -> str:
        return f"<DnsDriver {', '.join(self._addresses)} rows={len(self._rows)} {self._server!r}>"

    @property
    def server(self) -> DnsServer:
        """Return the server, for its statistics."""
        return self._server

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses that are answered at."""
        return self._addresses

    def configure(self, configuration: Configuration) -> None:
        """Answer by `configuration` from now on; questions under way are answered. It must have been read by `config.parse`."""
        if configuration == self._configuration:
            return
        self._configuration = configuration
        cache = configuration.cache
        self._resolver.cache.configure(
            cache.entries, stale_s=cache.stale_seconds, most_ttl_s=cache.max_ttl_seconds, prefetch=cache.prefetch
        )
        self._resolver.reroute(configuration.routes(self._upstreams))
        self._responder.overlay = configuration.overlay()
        self._paths.clear()
        self._map_clients(self._clients)
        self._responder.reconfigured()

    def metrics(self) -> str:
        """Return what is counted, in Prometheus' text format."""
        statistics = self._server.statistics()
        return self.meters.text(
            cache_entries=len(self._resolver.cache),
            cache_hits=self._resolver.cache.hits,
            cache_misses=self._resolver.cache.misses,
            failures={
                "fairlead_dns_malformed_total": statistics.malformed,
                "fairlead_dns_dropped_total": statistics.dropped,
                "fairlead_dns_unpermitted_total": self.meters.unpermitted,
            },
        )

    async def start(self) -> None:
        """Bind the sockets: questions wait in them until the first plan. Raises OSError."""
        self._listen()

    async def apply(self, plan: Plan) -> Outcome:
        """Answer from `plan` from now on. Costs what changed, and one comparison by identity per row that did not."""
        applied = self._update(plan.table(TABLE))
        return await self._finish(plan, applied)

    async def apply_changes(self, plan: Plan, changed: Mapping[str, Collection[Key]]) -> Outcome:
        """As `apply`; costs the changed rows alone."""
        applied = self._change(plan.table(TABLE), changed.get(TABLE, ()))
        return await self._finish(plan, applied)

    async def _finish(self, plan: Plan, applied: int) -> Outcome:
        clients = plan.table(CLIENTS)
        if clients is not self._clients:
            self._map_clients(clients)
        if not plan.tables:
            await self._retire()
            return Outcome(applied=applied)
        self._listen()
        await self._server.run()
        return Outcome(applied=applied, failed=tuple(self._bad.values()))

    async def resync(self, plan: Plan) -> Outcome:
        """Claim the addresses anew, in case somebody took them away, then `apply`."""
        if self._open and plan.tables:
            address.claim(self._addresses)
        return await self.apply(plan)

    async def close(self) -> None:
        """Stop answering; the addresses stay local to the node, for the next process to answer at."""
        await self._server.close()
        await self._resolver.close()
        self._open = False

    def _listen(self) -> None:
        if not self._open:
            address.claim(self._addresses)
            self._server.open(self._addresses, self._port, self._keeper)
            self._open = True

    async def _retire(self) -> None:
        await self._server.close()
        if self._keeper is not None:
            self._keeper.end()
        address.release(self._addresses)
        self._open = False

    def _map_clients(self, rows: Mapping[Key, Row]) -> None:
        self._clients = rows
        found: dict[bytes, SearchPath] = {}
        if self._configuration.search.enabled:
            for row in rows.values():
                assert isinstance(row, DnsClient)
                path = self._path(row.namespace)
                if path is not None:
                    found[ipaddress.ip_address(row.address).packed] = path
        self._responder.clients = found

    def _path(self, namespace: str) -> SearchPath | None:
        if namespace not in self._paths:
            extra = self._configuration.search.extra
            try:
                path = search_path(namespace, self._domain, self._search if extra is None else extra)
            except ValueError:
                path = None
            self._paths[namespace] = path
        return self._paths[namespace]

    def _update(self, rows: Mapping[Key, Row]) -> int:
        old = self._rows
        if rows is old:
            return 0
        applied = 0
        for key, row in rows.items():
            known = old.get(key)
            if known is not row and known != row:
                applied += self._put(key, row)
        for key in old.keys() - rows.keys():
            self._drop(key)
            applied += 1
        self._rows = rows
        return applied

    def _change(self, rows: Mapping[Key, Row], keys: Collection[Key]) -> int:
        applied = 0
        for key in keys:
            row, known = rows.get(key), self._rows.get(key)
            if row is None and known is not None:
                self._drop(key)
                applied += 1
            elif row is not None and row is not known and row != known:
                applied += self._put(key, row)
        self._rows = rows
        return applied

    def _put(self, key: Key, row: Row) -> int:
        assert isinstance(row, DnsRecords)
        self._bad.pop(key, None)
        try:
            kind = wire.TYPES[row.type]
            datas = [wire.rdata(kind, data) for data in row.data]
            self._zones.put(wire.name(row.name), record_set(kind, row.ttl, datas))
        except KeyError:
            self._bad[key] = Failure(TABLE, key, f"records of type {row.type} are not served")
        except (ValueError, OSError, OverflowError, struct.error) as error:
            self._forget(key)
            self._bad[key] = Failure(TABLE, key, f"{row.name} {row.type}: {error}")
        else:
            return 1
        return 0

    def _drop(self, key: Key) -> None:
        if self._bad.pop(key, None) is None:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        name, kind = key
        with contextlib.suppress(ValueError):
            self._zones.remove(wire.name(str(name)), wire.TYPES[str(kind)])
