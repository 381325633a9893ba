"""The driver of the gateway rows of one proxy: its life, from the first listener of a plan until its last client has left.

Without listeners there is no proxy and no server, and nothing of either is even imported. What a proxy that lives is told is the rollout's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from fairlead.drivers.protocol import Failure, Outcome
from fairlead.drivers.xds.admin import Counts
from fairlead.drivers.xds.memory import Memory
from fairlead.drivers.xds.needs import listeners_of, needs_of
from fairlead.drivers.xds.process import Process
from fairlead.drivers.xds.resources import LISTENER, TABLES
from fairlead.drivers.xds.rollout import Rollout
from fairlead.drivers.xds.settings import ProxySettings
from fairlead.plan.gateway.listener import AnyListener
from fairlead.plan.plan import Plan

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

    def __init__(self, folder: Path, settings: ProxySettings) -> None:
        """`folder` is the proxy's."""
        self._process = Process(folder, settings.node, drain_s=settings.drain_s)
        self._settings = settings
        self._memory = Memory(folder / "scoped")
        self._rollout = self._new_rollout()
        self._log_keeper: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._leaving: asyncio.Task[None] | None = None
        """Waits for clients to leave a proxy that has nothing to serve; ends it then, if it is still its turn."""
        self._plan = Plan.empty(settings.node)
        self._draining: tuple[int | None, bool] | None = None
        """(process, whether it was told to have its clients leave), None before anyone was told anything."""
        self._is_shut = False
        """Whether the process takes no listeners any more."""
        self._states: dict[str, ListenerState] | None = None
        """None before the first plan."""
        self._lost: Callable[[], None] = lambda: None
        self._observers: list[Callable[[Mapping[str, ListenerState]], None]] = []

    def __repr__(self) -> str:
        return f"<XdsDriver pid={self._process.pid} {self._rollout}>"

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

    def _new_rollout(self) -> Rollout:
        return Rollout(self._settings, self._memory, self._process.ensure)

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
        is_known = self._process.pid is None or self._rollout.is_connected
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
                names.update(self._rollout.cache.of(type_url))
        # Never before the cache is full: a proxy that runs already would be told that everything is gone.
        await self._begin()
        if everything and self._rollout.server is not None:
            # A port that somebody else had, or an address that the node had not got yet.
            for stream in self._rollout.server.streams:
                stream.forget_rejections(LISTENER)
        failed = [*self._rollout.missing(), *await self._rollout.tell(touched), *await self._drain(plan)]
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
        async with self._turn:
            await self._release()

    async def _release(self) -> None:
        if self._log_keeper is not None:
            self._log_keeper.cancel()
            self._log_keeper = None
        if self._rollout.server is not None:
            await self._rollout.server.close()
            self._rollout.server = None

    def _take(self, plan: Plan, *, grows: bool = True) -> dict[str, set[str]]:
        self._plan = plan
        return self._rollout.take(plan, adopted=self._process.pid is not None, grows=grows)

    async def _begin(self) -> None:
        if self._rollout.server is None:
            # Nodes without a Gateway need not carry gRPC and Envoy's messages in memory.
            from fairlead.drivers.xds.server import Server

            self._process.prepare()
            server = Server(self._rollout.cache, self._process.socket, self._process.user, self._lost)
            await server.start()
            self._rollout.server = server
            self._log_keeper = asyncio.create_task(self._keep_log(), name="proxy log")
        if self._process.pid is None:
            # It will be told everything at once.
            self._rollout.remember()
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
            if not self._rollout.is_connected:
                # An earlier agent's: it has what its clients need, and is left with that.
                self._is_shut = await self._process.admin.shut()
            else:
                gone = set(self._rollout.cache.of(LISTENER))
                await self._rollout.tell(self._take(plan))
                await self._rollout.wait({LISTENER: gone})
            if not await self._process.admin.connections():
                return await self._stop(plan)
            self._leaving = asyncio.create_task(self._leave(), name="proxy leaves")
        self._report(plan, ())
        return Outcome(1)

    async def _leave(self) -> None:
        for _ in range(int(self._settings.drain_s / _LOOK_AGAIN_S)):
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
        self._memory.forget()
        self._rollout = self._new_rollout()
        # Whatever rows the plan holds beside listeners, none of them is in force.
        self._plan = Plan.empty(plan.node)
        self._report(plan, ())
        return Outcome(int(was_there))

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
