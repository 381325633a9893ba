"""The node's proxies: the one that Gateways share, and one for each Gateway that has its own; each has a process, a server and a driver.

None waits long for another: one that does not answer delays its own changes alone. A listener that passes from one to another is served by
the next one before the former one lets it go. What an earlier agent left for Gateways that are gone is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from fairlead.drivers.protocol import Failure, Outcome
from fairlead.drivers.xds.admin import Counts
from fairlead.drivers.xds.division import SHARED, Division
from fairlead.drivers.xds.driver import ListenerState, ProxyReport, XdsDriver
from fairlead.drivers.xds.needs import listeners_of, not_serving
from fairlead.drivers.xds.process import RECORD, keep_requests
from fairlead.drivers.xds.settings import ProxySettings
from fairlead.plan.gateway.presence import GatewayHealthPort
from fairlead.plan.plan import Plan

log = logging.getLogger(__name__)

OWN = "gateways"
"""Folder below the shared proxy's: one for each of the others, of its name."""


class Proxies:
    """Keeps the node's proxies at the plan's gateway rows. Implements `fairlead.drivers.protocol.Driver`."""

    name = "xds"
    tables = XdsDriver.tables

    def __init__(self, folder: Path, settings: ProxySettings) -> None:
        """`folder` is the shared proxy's."""
        self._folder = folder
        self._settings = settings
        self._division = Division(self.tables, settings.node)
        self._members: dict[str, _Member] = {}
        self._is_first = True
        self._concerned: set[str] = set()
        """Proxies that have to be looked at, whatever plans say."""
        self._states: Mapping[str, ListenerState] | None = None
        """What was told last."""
        self._released: dict[str, float] = {}
        """Listener that passed to another proxy → when, by the loop's clock."""
        self._tells = False
        """Not before the first plan: what is not known yet would seem to be gone."""
        self._lost: Callable[[], None] = lambda: None
        self._observers: list[Callable[[Mapping[str, ListenerState]], None]] = []

    def __repr__(self) -> str:
        return f"<Proxies {self._members}>"

    @property
    def pids(self) -> Mapping[str, int]:
        """Return the number of each proxy's process; those without one are left out."""
        return {name: pid for name, each in self._members.items() if (pid := each.driver.pid) is not None}

    @property
    def pid(self) -> int | None:
        """Return the number of the shared proxy's process, None when there is none."""
        return self.pids.get(SHARED)

    @property
    def states(self) -> Mapping[str, ListenerState]:
        """Return the state of every listener, by name; none before the first plan."""
        return self._states or {}

    def report(self) -> dict[str, ProxyReport]:
        """Return what each proxy is and serves now, by name."""
        found = {name: self._members[name].driver.report() for name in sorted(self._members)}
        return {name: msgspec.structs.replace(each, failed=tuple(self._wrong(name))) for name, each in found.items()}

    async def counted(self) -> Counts:
        """Return what all proxies count of Gateways together."""
        found = await asyncio.gather(*(each.driver.counted() for each in tuple(self._members.values())))
        values: Counter[str] = Counter()
        durations: Counter[str] = Counter()
        for each in found:
            values.update(each.values)
            durations.update(each.durations)
        return Counts(values=values, durations=durations)

    def on_states(self, callback: Callable[[Mapping[str, ListenerState]], None]) -> None:
        """Call `callback` with the state of every listener whenever one of them changed."""
        self._observers.append(callback)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` when there is something to look at that no plan says: a proxy may have ended."""
        self._lost = callback

    async def start(self) -> None:
        """Find the proxies of an earlier agent: what they have is seen when they connect."""
        for record in self._folder.glob(f"{OWN}/*/{RECORD}"):
            self._member(record.parent.name)

    async def apply(self, plan: Plan) -> Outcome:
        """See `Driver.apply`."""
        return await self._apply(plan, frozenset())

    async def resync(self, plan: Plan) -> Outcome:
        """See `Driver.resync`. While something is wrong with some proxies, the others are left alone."""
        wrong = {name for name, each in self._members.items() if each.is_troubled} | self._concerned
        return await self._apply(plan, wrong & self._members.keys() or frozenset(self._members))

    async def close(self) -> None:
        """See `Driver.close`: the proxies go on."""
        for member in self._members.values():
            await member.close()

    async def _apply(self, plan: Plan, again: Collection[str]) -> Outcome:
        before = self._applied
        self._concerned -= set(again)
        changed = self._division.update(plan) | self._division.finish(self._drained()) | set(again)
        changed |= {name for name, each in self._members.items() if each.is_troubled}
        stages: list[Collection[str]] = [changed]
        if self._is_first:
            # Of what passed from one to another meanwhile nobody knows: who has something to serve goes first.
            present = self._division.parts.keys()
            stages = [present - {SHARED}, {SHARED}, self._members.keys() - present]
            self._is_first = False
        for stage in stages:
            await self._bring(stage, again)
        moves = self._division.moves
        served = [name for name, move in moves.items() if not move.is_released and self._serves(move.to, name)]
        self._released |= dict.fromkeys(served, asyncio.get_running_loop().time())
        await self._bring(self._division.release(served), ())
        outcome = Outcome(self._applied - before, tuple(self._failed()))
        await self._clear()
        self._tells = True
        self._report()
        return outcome

    async def _bring(self, names: Collection[str], again: Collection[str]) -> None:
        """Bring proxies to their parts of the plan, as far as they answer in time; those of `again` are looked at anew."""
        for name in names:
            part = self._division.parts.get(name)
            self._member(name).want(part or Plan.empty(self._settings.node), again=name in again)
        tasks = {each.task for name, each in self._members.items() if name in names and not each.is_late}
        running = [each for each in tasks if each is not None]
        if running:
            alone = len(self._members) == 1
            _, pending = await asyncio.wait(running, timeout=None if alone else self._settings.patience_s)
            for member in self._members.values():
                member.is_late |= member.task in pending

    def _member(self, name: str) -> _Member:
        if name not in self._members:
            folder = self._folder
            if name != SHARED:
                folder = self._folder / OWN / name
                # They are one user's: none is to look into another's folder. What cannot be made is the member's own trouble, when it begins.
                with contextlib.suppress(OSError):
                    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                keep_requests()
            driver = XdsDriver(folder, self._settings)
            member = self._members[name] = _Member(name, driver, lambda: self._look_at(name))
            driver.on_states(lambda states: self._take(member, states))
            driver.on_lost(lambda: self._look_at(name))
        return self._members[name]

    def _look_at(self, name: str) -> None:
        self._concerned.add(name)
        self._lost()

    def _take(self, member: _Member, states: Mapping[str, ListenerState]) -> None:
        member.states = states
        if self._tells:
            self._report()

    def _report(self) -> None:
        """Tell what became of each listener. One that passes from one proxy to another is served by whoever has no trouble with it."""
        found: dict[str, tuple[tuple[bool, bool], ListenerState]] = {}
        for name, member in self._members.items():
            for listener, state in member.states.items():
                rank = (not state.error, state.row.proxy == name)
                if listener not in found or found[listener][0] < rank:
                    found[listener] = (rank, state)
        states = {listener: state for listener, (_, state) in found.items()}
        if states != self._states:
            self._states = states
            for callback in self._observers:
                callback(states)

    def _serves(self, proxy: str, listener: str) -> bool:
        """Tell whether a proxy serves a listener as the plan says; of the port for load balancers that is known by no fault alone."""
        member = self._members[proxy]
        if isinstance(self._division.moves[listener].row, GatewayHealthPort):
            return not member.is_troubled
        state = member.states.get(listener)
        return state is not None and not state.error and state.row in listeners_of(self._division.parts[proxy])

    def _drained(self) -> list[str]:
        """Return the listeners that passed to another proxy so long ago that the former one has no connections of theirs left."""
        end = asyncio.get_running_loop().time() - self._settings.drain_s
        found = [name for name, since in self._released.items() if since <= end]
        for name in found:
            del self._released[name]
        return found

    def _failed(self) -> Iterator[Failure]:
        for name in self._members:
            yield from self._wrong(name)

    def _wrong(self, name: str) -> Iterator[Failure]:
        yield from self._members[name].failed
        if self._members[name].is_late and (part := self._division.parts.get(name)) is not None:
            yield from (not_serving(row, "its Envoy has not answered yet") for row in listeners_of(part))

    @property
    def _applied(self) -> int:
        return sum(each.applied for each in self._members.values())

    async def _clear(self) -> None:
        """Forget proxies that have nothing to serve, when their processes are gone."""
        for name, member in tuple(self._members.items()):
            if name == SHARED or member.task or member.driver.pid is not None:
                continue
            self._division.finish([each for each, move in self._division.moves.items() if move.former == name])
            part = self._division.parts.get(name)
            if part is not None and part.tables:
                continue
            await member.close()
            shutil.rmtree(self._folder / OWN / name, ignore_errors=True)
            del self._members[name]
            self._concerned.discard(name)
            if part is not None:
                self._division.forget(name)


class _Member:
    """One proxy, and what it is told next: plans that were overtaken are skipped."""

    def __init__(self, name: str, driver: XdsDriver, on_late_answer: Callable[[], None]) -> None:
        self._name = name
        self.driver = driver
        self._on_late_answer = on_late_answer
        self.states: Mapping[str, ListenerState] = {}
        self.applied = 0
        self.failed: tuple[Failure, ...] = ()
        self.task: asyncio.Task[None] | None = None
        self.is_late = False
        """Whether others have given up waiting for it."""
        self._next: tuple[Plan, bool] | None = None

    def __repr__(self) -> str:
        return f"<{self._name or 'shared'} late={self.is_late} failed={len(self.failed)} {self.driver}>"

    @property
    def is_troubled(self) -> bool:
        """Tell whether it does not do what it was told."""
        return bool(self.failed) or self.is_late

    def want(self, plan: Plan, *, again: bool) -> None:
        """Have it come to a plan as soon as it can; with `again`, look at what it has."""
        self._next = plan, again or (self._next is not None and self._next[1])
        if self.task is None:
            self.task = asyncio.create_task(self._work(), name=f"proxy {self._name}")

    async def _work(self) -> None:
        while self._next is not None:
            (plan, again), self._next = self._next, None
            try:
                outcome = await (self.driver.resync(plan) if again else self.driver.apply(plan))
            except Exception as error:
                log.exception("proxy not brought to its plan", extra={"proxy": self._name})
                text = f"{type(error).__name__}: {error}"
                rows = [not_serving(row, text) for row in listeners_of(plan)]
                outcome = Outcome(failed=tuple(rows) or (Failure("gateway_listeners", (self._name,), text),))
            self.failed = outcome.failed
            self.applied += outcome.applied
        self.task = None
        if self.is_late:
            self.is_late = False
            self._on_late_answer()

    async def close(self) -> None:
        """Let go of the proxy, which goes on."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
            self.task = None
        await self.driver.close()
