"""The driver of the gateway rows: they become Envoy's resources, and are in force when every connected Envoy has said so.

Without listeners there is no proxy and no server, and nothing of either is even imported. New clusters and certificates go first, then what
uses them; what nothing uses any more goes last. A table of hosts that Envoy rejects stays as it was but for the hosts at fault.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fairlead.api.certificate import KeyPair
from fairlead.api.credentials import CredentialData
from fairlead.drivers.protocol import Failure, Outcome
from fairlead.drivers.xds import culprits
from fairlead.drivers.xds.admin import Counts
from fairlead.drivers.xds.memory import Memory
from fairlead.drivers.xds.needs import chains_of, forwards_of, listeners_of, needs_of, not_serving, shared, tables_of
from fairlead.drivers.xds.process import DRAIN_S, Process
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
from fairlead.drivers.xds.tables import MANY, Tables, port_of
from fairlead.drivers.xds.verifiers import Verifiers
from fairlead.plan.gateway.listener import (
    AnyListener,
    GatewayCertificate,
    GatewayListener,
)
from fairlead.plan.gateway.policy import GatewayJwt
from fairlead.plan.gateway.route import GatewayHost
from fairlead.plan.plan import Plan, changes

if TYPE_CHECKING:
    from fairlead.drivers.xds.server import Server

log = logging.getLogger(__name__)

_ANSWER_S = 10.0
"""How long Envoy may take to answer."""


_LISTEN_POLL_S = 0.01
_LOOK_AGAIN_S = 0.25
_LOG_S = 10.0
"""How often the length of Envoy's log is looked at."""


class ListenerState(msgspec.Struct, frozen=True):
    """What a listener's rows have come to."""

    row: AnyListener
    error: str = ""
    """Why it does not serve what the plan says, in Envoy's words where it has some."""


class ProxyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's proxy is and does."""

    pid: int | None
    listeners: int
    """Ports of Gateways that the plan has for it."""
    serving: int
    """Of these, those that serve what the plan says."""
    failed: tuple[Failure, ...] = ()
    """What it was told and did not do."""


class XdsDriver:
    """Keeps the node's Envoy at the plan's gateway rows. Implements `fairlead.drivers.protocol.Driver`."""

    name = "xds"
    tables = frozenset((*TABLES, "gateway_hosts", "gateway_jwt", "gateway_drains"))

    def __init__(
        self,
        folder: Path,
        node: str,
        keys: Callable[[str], KeyPair | None],
        credentials: Callable[[str], CredentialData | None] = lambda _: None,
        *,
        answer_s: float = _ANSWER_S,
        drain_s: int = DRAIN_S,
        many: int = MANY,
    ) -> None:
        """`folder` is the proxy's; `keys` gives the bytes behind a certificate's digest, `credentials` those behind credentials'.

        `drain_s` is how long connections may go on that a listener or a process has no future for; a port has scopes from `many` hosts on.
        """
        self._process = Process(folder, node, drain_s=drain_s)
        self._keys = keys
        self._credentials = credentials
        self._answer_s = answer_s
        self._cache = Cache(TYPES, FOLLOWERS, APART)
        self._server: Server | None = None
        self._log_keeper: asyncio.Task[None] | None = None
        self._drain_s = drain_s
        self._turn = asyncio.Lock()
        self._leaving: asyncio.Task[None] | None = None
        """Waits for clients to leave a proxy that has nothing to serve; ends it then, if it is still its turn."""
        self._plan = Plan.empty(node)
        self._memory = Memory(folder / "scoped")
        self._many = many
        self._tables = self._new_tables()
        self._unused: dict[str, set[str]] = {CLUSTER: set(), ENDPOINTS: set(), SECRET: set()}
        """Resources that no row wants and that were not removed yet."""
        self._digests: dict[str, str] = {}
        """Certificate → digest of the bytes that are in the cache."""
        self._verifiers = Verifiers()
        self._draining: tuple[int | None, bool] | None = None
        """(process, whether it was told to have its clients leave), None before anyone was told anything."""
        self._is_shut = False
        """Whether the process takes no listeners any more."""
        self._states: dict[str, ListenerState] | None = None
        """None before the first plan."""
        self._lost: Callable[[], None] = lambda: None
        self._observers: list[Callable[[Mapping[str, ListenerState]], None]] = []

    def __repr__(self) -> str:
        return f"<XdsDriver pid={self._process.pid} streams={list(self._server.streams) if self._server else []}>"

    @property
    def pid(self) -> int | None:
        """Return the number of the proxy's process, None when there is none."""
        return self._process.pid

    @property
    def states(self) -> Mapping[str, ListenerState]:
        """Return the state of every listener, by name; none before the first plan."""
        return self._states or {}

    def report(self) -> ProxyReport:
        """Return what the node's proxy is and serves now."""
        ports = sum(not each.error for each in self.states.values())
        return ProxyReport(pid=self._process.pid if self.states else None, listeners=len(self.states), serving=ports)

    async def counted(self) -> Counts:
        """Return what the proxy counts of Gateways; nothing without one."""
        return await self._process.admin.counted() if self._process.pid is not None else Counts()

    def on_states(self, callback: Callable[[Mapping[str, ListenerState]], None]) -> None:
        """Call `callback` with the state of every listener whenever one of them changed."""
        self._observers.append(callback)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` when a proxy is not connected any more: it may have ended."""
        self._lost = callback

    def _new_tables(self) -> Tables:
        return Tables(self._cache, self._credentials, many=self._many, scoped=self._memory.read())

    async def start(self) -> None:
        """Adopt nothing yet: what a running proxy has is seen when it connects."""

    async def apply(self, plan: Plan) -> Outcome:
        """See `Driver.apply`."""
        return await self._apply(plan)

    async def _apply(self, plan: Plan, *, everything: bool = False) -> Outcome:
        """Apply a plan; with `everything`, wait until the proxies have all of it, not only what changed."""
        async with self._turn:
            if not any(listeners_of(plan)):
                return await self._end(plan)
            self._stay()
            if self._is_shut:
                await self._stop(plan)
            return await self._serve(plan, everything=everything)

    async def _serve(self, plan: Plan, *, everything: bool) -> Outcome:
        # What a proxy has that runs already is known when it is connected: until then none of its ports gets scopes.
        is_known = self._process.pid is None or (self._server is not None and bool(self._server.streams))
        outcome = await self._bring(plan, everything=everything, grows=is_known)
        if is_known or outcome.failed:
            return outcome
        grown = await self._bring(plan, everything=False, grows=True)
        return Outcome(outcome.applied + grown.applied, grown.failed)

    async def _bring(self, plan: Plan, *, everything: bool, grows: bool) -> Outcome:
        touched = self._take(plan, grows=grows)
        count = sum(len(names) for names in touched.values())
        if everything:
            for type_url, names in touched.items():
                names.update(self._cache.of(type_url))
        # Never before the cache is full: a proxy that runs already would be told that everything is gone.
        await self._begin()
        if everything and self._server is not None:
            # A port that somebody else had, or an address that the node had not got yet.
            for stream in self._server.streams:
                stream.forget_rejections(LISTENER)
        failed = [*self._missing(), *await self._tell(touched), *await self._drain(plan)]
        self._report(plan, failed)
        return Outcome(count, tuple(failed))

    async def _drain(self, plan: Plan) -> list[Failure]:
        """Have clients leave, or no longer. A process that is new, or not known, is told either."""
        rows = plan.table("gateway_drains")
        wanted = self._process.pid, bool(rows)
        if wanted == self._draining:
            return []
        if await self._process.admin.drain(wanted[1]):
            self._draining = wanted
            return []
        return [Failure("gateway_drains", key, "Envoy does not answer") for key in rows]

    async def resync(self, plan: Plan) -> Outcome:
        """See `Driver.resync`: a proxy that ended is started again, and hears everything when it connects."""
        return await self._apply(plan, everything=True)

    async def close(self) -> None:
        """See `Driver.close`: the proxy goes on."""
        self._stay()
        await self._release()

    async def _release(self) -> None:
        if self._log_keeper is not None:
            self._log_keeper.cancel()
            self._log_keeper = None
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def _begin(self) -> None:
        if self._server is None:
            # Nodes without a Gateway need not carry gRPC and Envoy's messages in memory.
            from fairlead.drivers.xds.server import Server

            self._process.prepare()
            server = Server(self._cache, self._process.socket, self._process.user, self._lost)
            await server.start()
            self._server = server
            self._log_keeper = asyncio.create_task(self._keep_log(), name="proxy log")
        if self._process.pid is None:
            # It will be told everything at once.
            self._memory.write(self._tables.looked_in)
        await self._process.ensure()

    async def _keep_log(self) -> None:
        while True:
            await asyncio.sleep(_LOG_S)
            await self._process.bound_log()

    async def _end(self, plan: Plan) -> Outcome:
        """Nothing is to be served: listeners go at once, and the proxy when its clients have left or had time to."""
        if self._process.pid is None:
            return await self._stop(plan)
        if self._leaving is None:
            if self._server is None or not self._server.streams:
                # An earlier agent's: it has what its clients need, and is left with that.
                self._is_shut = await self._process.admin.shut()
            else:
                gone = set(self._cache.of(LISTENER))
                await self._tell(self._take(plan))
                await self._wait({LISTENER: gone})
            if not await self._process.admin.connections():
                return await self._stop(plan)
            self._leaving = asyncio.create_task(self._leave(), name="proxy leaves")
        self._report(plan, ())
        return Outcome(1)

    async def _leave(self) -> None:
        for _ in range(int(self._drain_s / _LOOK_AGAIN_S)):
            await asyncio.sleep(_LOOK_AGAIN_S)
            if not await self._process.admin.connections():
                break
        async with self._turn:
            self._leaving = None
            await self._stop(self._plan)

    def _stay(self) -> None:
        """Stop what `_end` began: there is something to serve again."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    async def _stop(self, plan: Plan) -> Outcome:
        """Take everything down."""
        was_there = self._process.pid is not None
        await self._process.end()
        self._is_shut = False
        await self._release()
        self._cache = Cache(TYPES, FOLLOWERS, APART)
        self._memory.forget()
        self._tables, self._digests = self._new_tables(), {}
        self._verifiers = Verifiers()
        self._unused = {CLUSTER: set(), ENDPOINTS: set(), SECRET: set()}
        # Whatever rows the plan holds beside listeners, none of them is in force.
        self._plan = Plan.empty(plan.node)
        self._report(plan, ())
        return Outcome(int(was_there))

    def _take(self, plan: Plan, *, grows: bool = True) -> dict[str, set[str]]:
        """Bring the cache to the plan but for removals; return what changed (type → names)."""
        from fairlead.drivers.xds import jwt, keeper

        touched: dict[str, set[str]] = {each: set() for each in TYPES}
        grown = self._tables.choose(self._plan, plan, grows=grows)
        for table, type_url in TABLES.items():
            for key, _, row in changes(self._plan, plan, table):
                name = str(key[0])
                if row is None or (
                    not isinstance(row, GatewayCertificate)
                    and self._cache.put(type_url, resource(row, self._tables.scoped))
                ):
                    touched[type_url].add(name)
        for row in plan.table("gateway_certificates").values():
            # Their bytes come another way than the rows, and may be later.
            if isinstance(row, GatewayCertificate) and self._take_certificate(row):
                touched[SECRET].add(row.name)
        if self._take_jwt(plan):
            touched[EXTENSION].add(jwt.NAME)
        if self._cache.put(LISTENER, keeper.listener()):
            touched[LISTENER].add(keeper.NAME)
        for listener in listeners_of(plan) if grown else ():
            if self._cache.put(LISTENER, resource(listener, self._tables.scoped)):
                touched[LISTENER].add(listener.name)
        taken = self._tables.take(self._plan, plan, grown, adopted=self._process.pid is not None)
        touched[ROUTES] |= taken.routes
        touched[SCOPES] |= taken.scopes
        self._plan = plan
        return touched

    def _take_certificate(self, row: GatewayCertificate) -> bool:
        from fairlead.drivers.xds import clusters

        if self._digests.get(row.name) == row.digest:
            return False
        pair = self._keys(row.digest)
        if pair is None:
            return False
        self._digests[row.name] = row.digest
        return self._cache.put(SECRET, clusters.certificate(row.name, pair.chain, pair.key))

    def _take_jwt(self, plan: Plan) -> bool:
        from fairlead.drivers.xds import jwt

        rows = plan.table("gateway_jwt")
        if jwt.NAME in self._cache.of(EXTENSION) and rows is self._plan.table("gateway_jwt"):
            return False
        self._cache.put(EXTENSION, jwt.jwt(row for _, row in sorted(rows.items()) if isinstance(row, GatewayJwt)))
        return True

    async def _find_bad_verifiers(
        self, rejected: dict[tuple[str, str], str], touched: Mapping[str, Collection[str]]
    ) -> None:
        """Bring the verifiers of tokens to what Envoy accepts, and take them out of what it rejects."""
        from fairlead.drivers.xds import jwt

        async def attempt(rows: Iterable[GatewayJwt]) -> str:
            assert self._server is not None
            self._cache.put(EXTENSION, jwt.jwt(rows))
            self._server.push({EXTENSION: (jwt.NAME,)})
            await self._wait({EXTENSION: (jwt.NAME,)})
            return self._rejected().get((EXTENSION, jwt.NAME), "")

        words = rejected.pop((EXTENSION, jwt.NAME), "")
        if words or jwt.NAME in touched[EXTENSION]:
            rows = self._plan.table("gateway_jwt").values()
            wanted = {row.name: row for row in rows if isinstance(row, GatewayJwt)}
            await self._verifiers.settle(wanted, words, attempt)

    def _missing(self) -> Iterator[Failure]:
        yield from self._tables.closed()
        for key, row in self._plan.table("gateway_certificates").items():
            if isinstance(row, GatewayCertificate) and self._digests.get(row.name) != row.digest:
                yield Failure("gateway_certificates", key, f"the bytes of Secret {row.name} are not known yet")

    async def _tell(self, touched: Mapping[str, Collection[str]]) -> list[Failure]:
        """Tell the proxies what changed, dependencies first and removals but listeners' last; return the rows that they do not follow."""
        server = self._server
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
        settled = await self._wait({CLUSTER: stay[CLUSTER]})
        bad_clusters = {name for url, name in self._rejected() if url == CLUSTER}
        settled &= await self._wait({ENDPOINTS: (stay[ENDPOINTS] | stay[CLUSTER]) - bad_clusters})
        # A port may pass from one Gateway to another: Envoy takes it only when the former listener is gone.
        for name in gone[LISTENER]:
            self._cache.remove(LISTENER, name)
        server.push({LISTENER: gone[LISTENER]})
        settled &= await self._lead(stay)
        self._memory.write(self._tables.looked_in)
        server.push({type_url: stay[type_url] for type_url in (LISTENER, SCOPES, ROUTES, EXTENSION)})
        settled &= await self._wait({LISTENER: stay[LISTENER]})
        # What only rejected listeners need is not asked for.
        bad_listeners = {name for url, name in self._rejected() if url == LISTENER}
        chains = list(chains_of(row for row in listeners_of(self._plan) if row.name not in bad_listeners))
        secrets = {each for chain in chains for each in chain.certificates if each in self._digests}
        secrets |= {chain.trust for chain in chains if chain.trust}
        # Clusters ask for what they need of their own accord, some of them never: their endpoints may be none.
        secrets |= {each for each in stay[SECRET] if all(stream.wants(SECRET, each) for stream in server.streams)}
        settled &= await self._wait(
            {
                **self._tables.of(tables_of(chains), {each: stay[each] for each in (SCOPES, ROUTES)}),
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
            if not self._tables.hosts.any_bad:
                gone[type_url] = self._gone(type_url, self._unused[type_url])
                self._unused[type_url] = set()
            else:
                # Hosts that stayed as they were may still send requests there.
                gone[type_url] = set()
        for stage in ((SCOPES, ROUTES, EXTENSION), (CLUSTER, ENDPOINTS, SECRET)):
            part = {type_url: gone[type_url] for type_url in stage}
            for type_url, names in part.items():
                for name in names:
                    self._cache.remove(type_url, name)
                    if type_url == SECRET:
                        self._digests.pop(name, None)
            server.push(part)
        # Until then requests for hosts that nobody serves any more are answered.
        settled &= await self._wait({SCOPES: gone[SCOPES]})
        if not connected:
            failed += [not_serving(row, "Envoy is not connected") for row in listeners_of(self._plan)]
        elif not settled:
            rows = list(listeners_of(self._plan))
            unanswered = [row for row in rows if not self._is_settled(row.name)] or rows
            failed += [not_serving(row, f"Envoy has not answered within {self._answer_s:g} s") for row in unanswered]
        return failed

    async def _lead(self, stay: Mapping[str, Collection[str]]) -> bool:
        """Have proxies know the scopes and tables that listeners to come look in: these do not wait for them."""
        assert self._server is not None
        rows = (row for row in listeners_of(self._plan) if row.name in stay[LISTENER])
        ports = tables_of(chains_of(rows)) & self._tables.looked_in
        wanted = self._tables.of(ports, {each: stay[each] for each in (SCOPES, ROUTES)})
        self._server.push(wanted)
        return await self._wait(wanted)

    def _gone(self, type_url: str, names: Iterable[str]) -> set[str]:
        if type_url == ROUTES:
            return {name for name in names if not self._tables.has(name)}
        if type_url == SCOPES:
            return {name for name in names if not self._tables.has_scope(name)}
        tables = [self._plan.table(table) for table, url in TABLES.items() if url == type_url]
        gone = {name for name in names if not any((name,) in rows for rows in tables)}
        return gone - shared(gone) if type_url in (EXTENSION, LISTENER) else gone

    async def _wait(self, wanted: Mapping[str, Collection[str]]) -> bool:
        pending: dict[Stream, list[tuple[str, str]]] = {}

        def settled(streams: Collection[Stream]) -> bool:
            return bool(streams) and all(map(settles, streams))

        def settles(stream: Stream) -> bool:
            # Each answer is looked at once, as there are as many as resources.
            left = pending.setdefault(
                stream, [(type_url, name) for type_url, names in wanted.items() for name in names]
            )
            while left and stream.is_settled(*left[-1]):
                left.pop()
            return not left

        assert self._server is not None
        if not any(wanted.values()):
            return True
        # Without a proxy there is nobody to wait for: who connects later is told everything.
        return bool(self._server.streams) and await self._server.wait_until(settled, self._answer_s)

    async def _wait_connected(self, server: Server) -> bool:
        """Wait for a proxy; one that was about to end when it was found is started anew."""
        for _ in range(max(1, int(self._answer_s / _LOOK_AGAIN_S))):
            if await server.wait_until(bool, _LOOK_AGAIN_S):
                return True
            await self._process.ensure()
        return False

    async def _wait_listening(self, rows: Iterable[AnyListener]) -> bool:
        """Wait until listeners take connections: Envoy acknowledges them a moment before that.

        A socket of UDP is bound when it is acknowledged, and keeps what comes until it is read.
        """
        try:
            async with asyncio.timeout(self._answer_s):
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
            if (ROUTES, table) in rejected and self._tables.hosts.suspects(table):
                words = rejected.pop((ROUTES, table))
                await culprits.find(self._tables.hosts, table, words, functools.partial(self._try, table))
            if (ROUTES, table) not in self._rejected():
                self._tables.hosts.accept(table)
        return rejected

    async def _try(self, table: str, out: Collection[str]) -> str:
        """Have Envoy take a table but for some hosts; return its words if it does not want it."""
        assert self._server is not None
        self._tables.put(table, without=out)
        self._server.push({ROUTES: (table,)})
        await self._wait({ROUTES: (table,)})
        return self._rejected().get((ROUTES, table), "")

    def _rejected(self) -> dict[tuple[str, str], str]:
        assert self._server is not None
        return {(url, name): words for stream in self._server.streams for url, name, words in stream.rejections()}

    def _at_fault(self, rejected: Mapping[tuple[str, str], str]) -> Iterator[Failure]:
        for (type_url, name), words in rejected.items():
            tables = (table for table, url in TABLES.items() if url == type_url and (name,) in self._plan.table(table))
            port = port_of(type_url, name)
            yield Failure(next(tables, "gateway_hosts"), (port or name,), f"Envoy: {words}")
        yield from self._tables.rejected()
        bad = self._verifiers.bad
        for name, words in bad.items():
            yield Failure("gateway_jwt", (name,), f"Envoy: {words}")
        for key, row in self._plan.table("gateway_hosts").items() if bad else ():
            names = (each.policy.jwt for each in row.routes if each.policy) if isinstance(row, GatewayHost) else ()
            if name := next((each for each in names if each in bad), ""):
                yield Failure("gateway_hosts", key, f"Envoy: {bad[name]}")

    def _is_settled(self, name: str) -> bool:
        assert self._server is not None
        return all(stream.is_settled(LISTENER, name) for stream in self._server.streams)

    def _report(self, plan: Plan, failed: Iterable[Failure]) -> None:
        words: dict[tuple[str, str], str] = {}
        for each in failed:
            words.setdefault((each.table, str(each.key[0])), each.error)
        states = {}
        for row in listeners_of(plan):
            said = (words[need] for need in needs_of(row) if need in words)
            states[row.name] = ListenerState(row, next(said, ""))
        if states != self._states:
            self._states = states
            for callback in self._observers:
                callback(states)


async def _wait_listens(address: str, port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(_LISTEN_POLL_S)
        else:
            writer.transport.abort()
            return
