"""What one proxy is told, and in which order: the plan's rows as resources, and who has acknowledged them. No processes.

New clusters and certificates go first, then what uses them; what nothing uses any more goes last. A table of hosts that Envoy rejects stays as it
was but for the hosts at fault.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from fairlead.drivers.protocol import Failure
from fairlead.drivers.xds import culprits
from fairlead.drivers.xds.memory import Memory
from fairlead.drivers.xds.needs import chains_of, forwards_of, listeners_of, not_serving, shared, tables_of
from fairlead.drivers.xds.protocol import Cache, Stream
from fairlead.drivers.xds.resources import (
    APART,
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    FOLLOWERS,
    LISTENER,
    ROUTES,
    SCOPES,
    SECRET,
    TABLES,
    TYPES,
    resource,
)
from fairlead.drivers.xds.settings import ProxySettings
from fairlead.drivers.xds.tables import Tables, port_of
from fairlead.drivers.xds.verifiers import Verifiers
from fairlead.plan.gateway.listener import AnyListener, GatewayCertificate, GatewayListener
from fairlead.plan.gateway.policy import GatewayJwt
from fairlead.plan.gateway.route import GatewayHost
from fairlead.plan.plan import Plan, changes

if TYPE_CHECKING:
    from fairlead.drivers.xds.server import Server

_LISTEN_POLL_S = 0.01
_CONNECT_POLL_S = 0.25


class Rollout:
    """Everything that a proxy is to have, from the first plan until it has nothing to serve."""

    def __init__(self, settings: ProxySettings, memory: Memory, ensure: Callable[[], Awaitable[object]]) -> None:
        """`memory` tells which ports have scopes; `ensure` starts the proxy again when it has ended."""
        self.cache = Cache(TYPES, FOLLOWERS, APART)
        self.tables = Tables(self.cache, settings.credentials, many=settings.many, scoped=memory.read())
        self.server: Server | None = None
        """Who tells proxies; None while nobody does."""
        self._settings = settings
        self._memory = memory
        self._ensure = ensure
        self._plan = Plan.empty(settings.node)
        self._unused: dict[str, set[str]] = {CLUSTER: set(), ENDPOINTS: set(), SECRET: set()}
        """Resources that no row wants and that were not removed yet."""
        self._digests: dict[str, str] = {}
        """Certificate → digest of the bytes that are in the cache."""
        self._verifiers = Verifiers()

    def __repr__(self) -> str:
        return f"<Rollout streams={list(self.server.streams) if self.server else []}>"

    @property
    def is_connected(self) -> bool:
        """Tell whether a proxy is connected."""
        return self.server is not None and bool(self.server.streams)

    def remember(self) -> None:
        """Write down which ports have scopes, for the next agent; raises OSError."""
        self._memory.write(self.tables.looked_in)

    def take(self, plan: Plan, *, adopted: bool, grows: bool = True) -> dict[str, set[str]]:
        """Bring the cache to the plan but for removals; return what changed (type → names).

        `adopted`: a proxy runs, and may have what a former agent told it; `grows`: ports with many hosts get scopes.
        """
        from fairlead.drivers.xds import jwt, keeper

        touched: dict[str, set[str]] = {each: set() for each in TYPES}
        grown = self.tables.choose(self._plan, plan, grows=grows)
        for table, type_url in TABLES.items():
            for key, _, row in changes(self._plan, plan, table):
                name = str(key[0])
                if row is None or (
                    not isinstance(row, GatewayCertificate)
                    and self.cache.put(type_url, resource(row, self.tables.scoped))
                ):
                    touched[type_url].add(name)
        for row in plan.table("gateway_certificates").values():
            # Their bytes come another way than the rows, and may be later.
            if isinstance(row, GatewayCertificate) and self._take_certificate(row):
                touched[SECRET].add(row.name)
        if self._take_jwt(plan):
            touched[EXTENSION].add(jwt.NAME)
        if self.cache.put(LISTENER, keeper.listener()):
            touched[LISTENER].add(keeper.NAME)
        for listener in listeners_of(plan) if grown else ():
            if self.cache.put(LISTENER, resource(listener, self.tables.scoped)):
                touched[LISTENER].add(listener.name)
        taken = self.tables.take(self._plan, plan, grown, adopted=adopted)
        touched[ROUTES] |= taken.routes
        touched[SCOPES] |= taken.scopes
        self._plan = plan
        return touched

    def _take_certificate(self, row: GatewayCertificate) -> bool:
        from fairlead.drivers.xds import clusters

        if self._digests.get(row.name) == row.digest:
            return False
        pair = self._settings.keys(row.digest)
        if pair is None:
            return False
        self._digests[row.name] = row.digest
        return self.cache.put(SECRET, clusters.certificate(row.name, pair.chain, pair.key))

    def _take_jwt(self, plan: Plan) -> bool:
        from fairlead.drivers.xds import jwt

        rows = plan.table("gateway_jwt")
        if jwt.NAME in self.cache.of(EXTENSION) and rows is self._plan.table("gateway_jwt"):
            return False
        self.cache.put(EXTENSION, jwt.jwt(row for _, row in sorted(rows.items()) if isinstance(row, GatewayJwt)))
        return True

    async def _find_bad_verifiers(
        self, rejected: dict[tuple[str, str], str], touched: Mapping[str, Collection[str]]
    ) -> None:
        """Bring the verifiers of tokens to what Envoy accepts, and take them out of what it rejects."""
        from fairlead.drivers.xds import jwt

        async def attempt(rows: Iterable[GatewayJwt]) -> str:
            assert self.server is not None
            self.cache.put(EXTENSION, jwt.jwt(rows))
            self.server.push({EXTENSION: (jwt.NAME,)})
            await self.wait({EXTENSION: (jwt.NAME,)})
            return self._rejected().get((EXTENSION, jwt.NAME), "")

        words = rejected.pop((EXTENSION, jwt.NAME), "")
        if words or jwt.NAME in touched[EXTENSION]:
            rows = self._plan.table("gateway_jwt").values()
            wanted = {row.name: row for row in rows if isinstance(row, GatewayJwt)}
            await self._verifiers.settle(wanted, words, attempt)

    def missing(self) -> Iterator[Failure]:
        """Yield the rows of which bytes are not known yet."""
        yield from self.tables.closed()
        for key, row in self._plan.table("gateway_certificates").items():
            if isinstance(row, GatewayCertificate) and self._digests.get(row.name) != row.digest:
                yield Failure("gateway_certificates", key, f"the bytes of Secret {row.name} are not known yet")

    async def tell(self, touched: Mapping[str, Collection[str]]) -> list[Failure]:
        """Tell the proxies what changed, dependencies first and removals but listeners' last; return the rows that they do not follow."""
        server = self.server
        assert server is not None
        connected = await self._wait_connected(server)
        gone = {type_url: self._gone(type_url, names) for type_url, names in touched.items()}
        stay = {type_url: set(names) - gone[type_url] for type_url, names in touched.items()}
        server.push(
            {
                CLUSTER: stay[CLUSTER],
                ENDPOINTS: stay[ENDPOINTS],
                SECRET: stay[SECRET],
                EXTENSION: shared(stay[EXTENSION]),
            }
        )
        settled = await self.wait({CLUSTER: stay[CLUSTER]})
        bad_clusters = {name for url, name in self._rejected() if url == CLUSTER}
        settled &= await self.wait({ENDPOINTS: (stay[ENDPOINTS] | stay[CLUSTER]) - bad_clusters})
        # A port may pass from one Gateway to another: Envoy takes it only when the former listener is gone.
        for name in gone[LISTENER]:
            self.cache.remove(LISTENER, name)
        server.push({LISTENER: gone[LISTENER]})
        settled &= await self._lead(stay)
        self.remember()
        server.push({type_url: stay[type_url] for type_url in (LISTENER, SCOPES, ROUTES, EXTENSION)})
        settled &= await self.wait({LISTENER: stay[LISTENER]})
        # What only rejected listeners need is not asked for.
        bad_listeners = {name for url, name in self._rejected() if url == LISTENER}
        chains = list(chains_of(row for row in listeners_of(self._plan) if row.name not in bad_listeners))
        secrets = {each for chain in chains for each in chain.certificates if each in self._digests}
        secrets |= {chain.trust for chain in chains if chain.trust}
        # Clusters ask for what they need of their own accord, some of them never: their endpoints may be none.
        secrets |= {each for each in stay[SECRET] if all(stream.wants(SECRET, each) for stream in server.streams)}
        settled &= await self.wait(
            {
                **self.tables.of(tables_of(chains), {each: stay[each] for each in (SCOPES, ROUTES)}),
                SECRET: stay[SECRET] & secrets,
                EXTENSION: stay[EXTENSION]
                & (forwards_of(chains) | (shared(stay[EXTENSION]) if tables_of(chains) else set())),
            }
        )
        if settled and connected:
            rows = [row for row in listeners_of(self._plan) if row.name in stay[LISTENER] - bad_listeners]
            settled = await self._wait_listening(rows)
        rejected = await self._find_bad_hosts(stay[ROUTES])
        await self._find_bad_verifiers(rejected, touched)
        failed = list(self._at_fault(rejected))
        for type_url in (CLUSTER, ENDPOINTS, SECRET):
            self._unused[type_url] |= gone[type_url]
            if not self.tables.hosts.any_bad:
                gone[type_url] = self._gone(type_url, self._unused[type_url])
                self._unused[type_url] = set()
            else:
                # Hosts that stayed as they were may still send requests there.
                gone[type_url] = set()
        for stage in ((SCOPES, ROUTES, EXTENSION), (CLUSTER, ENDPOINTS, SECRET)):
            part = {type_url: gone[type_url] for type_url in stage}
            for type_url, names in part.items():
                for name in names:
                    self.cache.remove(type_url, name)
                    if type_url == SECRET:
                        self._digests.pop(name, None)
            server.push(part)
        # Until then requests for hosts that nobody serves any more are answered.
        settled &= await self.wait({SCOPES: gone[SCOPES]})
        if not connected:
            failed += [not_serving(row, "Envoy is not connected") for row in listeners_of(self._plan)]
        elif not settled:
            rows = list(listeners_of(self._plan))
            unanswered = [row for row in rows if not self._is_settled(row.name)] or rows
            failed += [
                not_serving(row, f"Envoy has not answered within {self._settings.answer_s:g} s") for row in unanswered
            ]
        return failed

    async def _lead(self, stay: Mapping[str, Collection[str]]) -> bool:
        """Have proxies know the scopes and tables that listeners to come look in: these do not wait for them."""
        assert self.server is not None
        rows = (row for row in listeners_of(self._plan) if row.name in stay[LISTENER])
        ports = tables_of(chains_of(rows)) & self.tables.looked_in
        wanted = self.tables.of(ports, {each: stay[each] for each in (SCOPES, ROUTES)})
        self.server.push(wanted)
        return await self.wait(wanted)

    def _gone(self, type_url: str, names: Iterable[str]) -> set[str]:
        if type_url == ROUTES:
            return {name for name in names if not self.tables.has(name)}
        if type_url == SCOPES:
            return {name for name in names if not self.tables.has_scope(name)}
        tables = [self._plan.table(table) for table, url in TABLES.items() if url == type_url]
        gone = {name for name in names if not any((name,) in rows for rows in tables)}
        return gone - shared(gone) if type_url in (EXTENSION, LISTENER) else gone

    async def wait(self, wanted: Mapping[str, Collection[str]]) -> bool:
        """Wait until all proxies have answered these resources (type → names) or their absence; tell whether they have."""
        pending: dict[Stream, list[tuple[str, str]]] = {}

        def settled(streams: Collection[Stream]) -> bool:
            return bool(streams) and all(map(settles, streams))

        def settles(stream: Stream) -> bool:
            if stream not in pending:
                # Each answer is looked at once, as there are as many as resources.
                pending[stream] = [(type_url, name) for type_url, names in wanted.items() for name in names]
            left = pending[stream]
            while left and stream.is_settled(*left[-1]):
                left.pop()
            return not left

        assert self.server is not None
        if not any(wanted.values()):
            return True
        # Without a proxy there is nobody to wait for: who connects later is told everything.
        return bool(self.server.streams) and await self.server.wait_until(settled, self._settings.answer_s)

    async def _wait_connected(self, server: Server) -> bool:
        """Wait for a proxy; one that was about to end when it was found is started anew."""
        for _ in range(max(1, int(self._settings.answer_s / _CONNECT_POLL_S))):
            if await server.wait_until(bool, _CONNECT_POLL_S):
                return True
            await self._ensure()
        return False

    async def _wait_listening(self, rows: Iterable[AnyListener]) -> bool:
        """Wait until listeners take connections: Envoy acknowledges them a moment before that.

        A socket of UDP is bound when it is acknowledged, and keeps what comes until it is read.
        """
        try:
            async with asyncio.timeout(self._settings.answer_s):
                for row in rows:
                    if not isinstance(row, GatewayListener):
                        continue
                    for address in row.addresses:
                        await _wait_listens(address, row.port)
        except TimeoutError:
            return False
        return True

    async def _find_bad_hosts(self, tables: Iterable[str]) -> dict[tuple[str, str], str]:
        """Bring each of these tables that Envoy rejects to what it accepts; return what it says of (type, name) it still rejects."""
        rejected = self._rejected()
        for table in tables:
            if (ROUTES, table) in rejected and self.tables.hosts.suspects(table):
                words = rejected.pop((ROUTES, table))
                await culprits.find(self.tables.hosts, table, words, functools.partial(self._try, table))
            if (ROUTES, table) not in self._rejected():
                self.tables.hosts.accept(table)
        return rejected

    async def _try(self, table: str, out: Collection[str]) -> str:
        """Have Envoy take a table but for some hosts; return its words if it does not want it."""
        assert self.server is not None
        self.tables.put(table, without=out)
        self.server.push({ROUTES: (table,)})
        await self.wait({ROUTES: (table,)})
        return self._rejected().get((ROUTES, table), "")

    def _rejected(self) -> dict[tuple[str, str], str]:
        assert self.server is not None
        return {(url, name): words for stream in self.server.streams for url, name, words in stream.rejections()}

    def _at_fault(self, rejected: Mapping[tuple[str, str], str]) -> Iterator[Failure]:
        for (type_url, name), words in rejected.items():
            tables = (table for table, url in TABLES.items() if url == type_url and (name,) in self._plan.table(table))
            port = port_of(type_url, name)
            yield Failure(next(tables, "gateway_hosts"), (port or name,), f"Envoy: {words}")
        yield from self.tables.rejected()
        bad = self._verifiers.bad
        for name, words in bad.items():
            yield Failure("gateway_jwt", (name,), f"Envoy: {words}")
        for key, row in self._plan.table("gateway_hosts").items() if bad else ():
            names = (each.policy.jwt for each in row.routes if each.policy) if isinstance(row, GatewayHost) else ()
            if name := next((each for each in names if each in bad), ""):
                yield Failure("gateway_hosts", key, f"Envoy: {bad[name]}")

    def _is_settled(self, name: str) -> bool:
        assert self.server is not None
        return all(stream.is_settled(LISTENER, name) for stream in self.server.streams)


async def _wait_listens(address: str, port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(_LISTEN_POLL_S)
        else:
            writer.transport.abort()
            return
