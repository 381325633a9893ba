"""The engine: events in, plans compiled, drivers kept at the latest plan.

Level-triggered: events only say that the world is now like this; what to do follows from the plan and from what each driver observes.
It must never apply a plan before the gate is open, and never undo anything when it stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from fairlead.base.diagnostics import Diagnostic
from fairlead.drivers.protocol import Driver, Failure
from fairlead.engine.api import AttachError
from fairlead.engine.gate import Gate, attach_problem
from fairlead.engine.worker import DriverHealth, Worker
from fairlead.model.compile import Compiled, Compiler
from fairlead.model.podnet import attachment_rows, pod_mtu
from fairlead.model.policy.facts import PolicyFact
from fairlead.model.policy.lower import CLOSED
from fairlead.model.rows import keys
from fairlead.plan.egress import HOLD, EgressSource
from fairlead.plan.plan import Plan
from fairlead.plan.policy import PolicyPod
from fairlead.plan.tables import Key, Origin
from fairlead.world.attachment import Attachment
from fairlead.world.events import AttachmentChanged, Event, KindReplaced, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

log = logging.getLogger(__name__)

_COALESCE_S = 0.005
"""How long an event of the cluster waits for company at least; attachments never wait."""
_MOST_COALESCE_S = 0.05
_COALESCE_SHARE = 0.1
"""The part of the time that compiling may take while events keep coming: on a busy machine more of them share one plan."""
_RESYNC_S = 60.0
_POD_KNOWN_S = 2.0
"""How long attaching waits for the API server to tell of the pod."""


class Observer(Protocol):
    """Who wants to know what the engine does and how long it takes."""

    def compiled(self, serial: int, services: int, endpoints: int, triggers: tuple[float, ...]) -> None:
        """Say that the plan `serial` is the first to hold so many changes; `triggers` are when endpoints changed, in epoch seconds."""

    def applied(self, driver: str, serial: int, duration_s: float, good: bool) -> None:
        """Say that a call of a driver with the plan `serial` ended."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a node reports of itself."""

    node: str
    healthy: bool
    summary: str
    """One line: what is in force, or what is wrong."""
    ready: bool
    reason: str
    """Why pods cannot be attached; empty when they can."""
    revision: str
    """Newest revision that every driver has applied; empty before."""
    pods: int
    nodes: int
    services: int
    drivers: tuple[DriverHealth, ...]
    diagnostics: tuple[Diagnostic, ...]


class Engine:
    """One node's engine. Implements `fairlead.engine.api.PodNetwork`. Must be used from one event loop."""

    def __init__(
        self,
        settings: Settings,
        drivers: Sequence[Driver],
        *,
        attachments: Iterable[Attachment] = (),
        resync_s: float = _RESYNC_S,
        observer: Observer | None = None,
    ) -> None:
        """`drivers` must be started. `attachments` are those that an earlier run recorded."""
        self._snapshot = Snapshot(settings=settings, attachments={each.key: each for each in attachments})
        self._gate = Gate()
        self._compiler = Compiler()
        self._compiled: Compiled | None = None
        self._progress = asyncio.Event()
        self._observer = observer
        on_applied = observer.applied if observer is not None else None
        self._workers = [
            Worker(driver, resync_s=resync_s, on_progress=self._progress.set, on_applied=on_applied)
            for driver in drivers
        ]
        self._pending: list[Event] = []
        self._urgent = asyncio.Event()
        self._wake = asyncio.Event()
        self._compiles = asyncio.Condition()
        self._taken = 0
        self._pushed = 0
        self._numbers: list[int] = [0] * len(self._workers)
        self._observers: list[Callable[[Snapshot], None]] = []

    def __repr__(self) -> str:
        return f"<Engine {self._snapshot.settings.node} revision={self._snapshot.revision or None} {self._workers}>"

    @property
    def snapshot(self) -> Snapshot:
        """Return the world as it is known now."""
        return self._snapshot

    @property
    def plan(self) -> Plan | None:
        """Return the latest plan; None before the gate opened."""
        return self._compiled.plan if self._compiled else None

    def policy_facts(self) -> dict[Origin, PolicyFact]:
        """Return what this node makes of each policy under the latest plan; nothing before there is one."""
        return self._compiler.policy_facts(self._snapshot) if self._compiled else {}

    def driver_health(self) -> tuple[DriverHealth, ...]:
        """Return what each driver has done."""
        return tuple(worker.health for worker in self._workers)

    def on_snapshot(self, callback: Callable[[Snapshot], None]) -> None:
        """Call `callback` with each new snapshot."""
        self._observers.append(callback)

    def push(self, *events: Event) -> None:
        """Tell the engine what happened; returns at once."""
        self._pending += events
        self._pushed += 1
        for event in events:
            if isinstance(event, KindReplaced):
                self._gate.note_listed(event.kind)
            elif isinstance(event, AttachmentChanged):
                self._urgent.set()
        self._wake.set()

    def request_resync(self, driver: str) -> None:
        """Let a driver observe the kernel anew and repair it soon."""
        for worker in self._workers:
            if worker.driver.name == driver:
                worker.request_resync()

    async def run(self) -> None:
        """Work until cancelled; everything stays in place then."""
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.run())
            group.create_task(self._compile_forever())

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """Return the ranges of this node's pods; empty until known."""
        node = self._snapshot.nodes.get(self._snapshot.settings.node)
        return node.pod_cidrs if node else ()

    @property
    def pod_mtu(self) -> int:
        """Return the MTU in bytes for a pod that is attached now."""
        return pod_mtu(self._snapshot.settings, self._snapshot.nodes, self._snapshot.interfaces)

    @property
    def unlisted(self) -> frozenset[str]:
        """Return the kinds of objects of which nothing is known yet; no plan is applied while there are any."""
        return self._gate.missing

    async def wait_listed(self, kinds: Iterable[str]) -> None:
        """Wait until the snapshot has all objects of these kinds."""
        wanted = frozenset(kinds)
        while self._gate.missing & wanted:
            self._progress.clear()
            await self._progress.wait()
        ticket = self._pushed
        async with self._compiles:
            await self._compiles.wait_for(lambda: self._taken >= ticket)

    def ready(self) -> str | None:
        """Return None when pods can be attached, else why not."""
        reason = self._gate.closed or attach_problem(self._snapshot)
        if reason is not None:
            return reason
        for worker in self._workers:
            health = worker.health
            if health.error:
                return f"{health.driver}: {health.error}"
            if not health.serial:
                return f"{health.driver} has not applied a plan yet"
        return None

    async def wait_ready(self) -> None:
        """Wait until pods can be attached."""
        while self.ready() is not None:
            self._progress.clear()
            await self._progress.wait()

    async def attach(self, attachment: Attachment) -> None:
        """Return when the pod's rows are in force; raises AttachError and takes back what was done."""
        reason = self._gate.closed or attach_problem(self._snapshot)
        if reason is not None:
            raise AttachError(reason)
        try:
            await self._settle(AttachmentChanged(attachment.key, attachment), attachment)
            await self._wait_until_known(attachment)
        except BaseException:
            await asyncio.shield(self._take_back(attachment))
            raise

    async def detach(self, container_id: str, ifname: str) -> None:
        """Return when nothing of the attachment is left; raises AttachError when something could not be removed."""
        known = self._snapshot.attachments.get((container_id, ifname))
        if known is not None:
            await self._settle(AttachmentChanged(known.key, None), known)

    def receipt(self) -> Receipt:
        """Return what the node reports of itself."""
        health = tuple(worker.health for worker in self._workers)
        reason = self.ready()
        sick = [each for each in health if not each.healthy]
        oldest = min(health, key=lambda each: each.serial, default=None)
        pods = len(self._snapshot.attachments)
        if reason is not None:
            summary = reason
        elif sick:
            summary = "; ".join(_complaint(each) for each in sick)
        else:
            summary = f"{pods} pods, {len(self._snapshot.services)} services"
        return Receipt(
            node=self._snapshot.settings.node,
            healthy=reason is None and not sick,
            summary=summary,
            ready=reason is None,
            reason=reason or "",
            revision=oldest.revision if oldest else "",
            pods=pods,
            nodes=len(self._snapshot.nodes),
            services=len(self._snapshot.services),
            drivers=health,
            diagnostics=self._compiled.diagnostics if self._compiled else (),
        )

    async def _take_back(self, attachment: Attachment) -> None:
        try:
            await self._settle(AttachmentChanged(attachment.key, None), attachment)
        except AttachError as error:
            log.warning("attachment not taken back", extra={"container": attachment.container_id, "error": str(error)})

    async def _settle(self, event: AttachmentChanged, attachment: Attachment) -> None:
        """Push an event and wait until every driver has applied a plan that includes it."""
        self.push(event)
        ticket = self._pushed
        async with self._compiles:
            await self._compiles.wait_for(lambda: self._taken >= ticket)
            numbers = list(self._numbers)
        if self._compiled is None:
            return
        ours = self._keys_of(attachment)
        failed: list[Failure] = []
        try:
            for worker, number in zip(self._workers, numbers, strict=True):
                failed += [each for each in await worker.wait_for_plan(number) if (each.table, each.key) in ours]
        except OSError as error:
            raise AttachError(str(error)) from error
        if failed:
            raise AttachError("; ".join(each.error for each in failed))

    async def _wait_until_known(self, attachment: Attachment) -> None:
        """Wait, not for long, until policies and the way out of a pod that may be governed are those of its labels.

        Before, it is closed, or does not leave the cluster.
        """
        if not self._is_closed(attachment):
            return
        try:
            async with asyncio.timeout(_POD_KNOWN_S), self._compiles:
                await self._compiles.wait_for(lambda: not self._is_closed(attachment))
                numbers = list(self._numbers)
            for worker, number in zip(self._workers, numbers, strict=True):
                await worker.wait_for_plan(number)
        except TimeoutError:
            pod = f"{attachment.pod_namespace}/{attachment.pod_name}"
            log.warning("pod not known yet: it stays closed until it is", extra={"pod": pod})
        except OSError as error:
            raise AttachError(str(error)) from error

    def _is_closed(self, attachment: Attachment) -> bool:
        if self._compiled is None:
            return False
        plan = self._compiled.plan
        row = plan.table("policy_pods").get((attachment.host_ifname,))
        if isinstance(row, PolicyPod) and not CLOSED.isdisjoint((row.ingress, row.egress)):
            return True
        sources = (plan.table("egress_sources").get((address,)) for address in attachment.addresses)
        return any(isinstance(each, EgressSource) and each.mark == HOLD for each in sources)

    def _keys_of(self, attachment: Attachment) -> frozenset[tuple[str, Key]]:
        return keys([attachment_rows({attachment.key: attachment}, None, ())])

    async def _compile_forever(self) -> None:
        clock = asyncio.get_running_loop().time
        pause_s = _COALESCE_S
        while True:
            await self._wake.wait()
            if not self._urgent.is_set():
                try:
                    async with asyncio.timeout(pause_s):
                        await self._urgent.wait()
                except TimeoutError:
                    pass
            self._wake.clear()
            self._urgent.clear()
            begin = clock()
            await self._compile()
            pause_s = min(_MOST_COALESCE_S, max(_COALESCE_S, (clock() - begin) / _COALESCE_SHARE))

    def _tell(self, events: Sequence[Event], serial: int) -> None:
        if self._observer is None:
            return
        changes = [each for each in events if isinstance(each, ObjectChanged)]
        triggers = tuple(each.triggered_s for each in changes if each.triggered_s is not None)
        kinds = [each.kind for each in changes]
        self._observer.compiled(serial, kinds.count("Service"), kinds.count("EndpointSlice"), triggers)

    async def _compile(self) -> None:
        events, self._pending = self._pending, []
        taken = self._pushed
        before = self._snapshot
        self._snapshot = fold(before, events)
        if self._gate.closed is None and (self._snapshot is not before or self._compiled is None):
            self._compiled = self._compiler.compile(self._snapshot)
            self._tell(events, self._compiled.plan.serial)
            self._numbers = [worker.offer(self._compiled.plan) for worker in self._workers]
        async with self._compiles:
            self._taken = taken
            self._compiles.notify_all()
        self._progress.set()
        if self._snapshot is not before:
            for callback in self._observers:
                callback(self._snapshot)


def _complaint(health: DriverHealth) -> str:
    if health.error:
        return f"{health.driver}: {health.error}"
    if health.failed:
        first = health.failed[0]
        more = f" and {len(health.failed) - 1} more" if len(health.failed) > 1 else ""
        return f"{health.driver}: {first.table} {' '.join(map(str, first.key))}: {first.error}{more}"
    return f"{health.driver} has not applied a plan yet"
