"""When probes are sent and what their answers mean (core/v1 Probe): timers per container, thresholds, the startup gate.

A pod that has just started is asked for readiness a few more times during its first period, and those extra answers count only when
they are good: a pod that is ready after 200 ms is Ready then and not a whole period later. It must never restart anything itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from fairlead.lab.kubelet.acting import Outcome, Target
from fairlead.lab.kubelet.pod import Probe

Kind: TypeAlias = Literal["Startup", "Readiness", "Liveness"]
Ask: TypeAlias = Callable[[Target, Probe], Awaitable[Outcome]]
Verdict: TypeAlias = Callable[[Target, int, Kind, bool, str], None]
"""(container, attempt, kind, passed, message): called when a threshold is reached."""
Complaint: TypeAlias = Callable[[Target, Kind, Outcome], None]
"""Called for each regular answer that is bad, and for the first whose program was absent."""

log = logging.getLogger(__name__)

_FIRST_EXTRA_S = 0.1


class Prober:
    """The probes of all running containers of a node. Must be used from one event loop."""

    def __init__(self, ask: Ask, *, verdict: Verdict, complaint: Complaint) -> None:
        self._ask = ask
        self._verdict = verdict
        self._complaint = complaint
        self._watches: dict[tuple[str, str], _Watch] = {}

    def __repr__(self) -> str:
        return f"<Prober containers={len(self._watches)}>"

    def attempt(self, key: tuple[str, str]) -> int | None:
        """Return which attempt of a container is probed now."""
        watch = self._watches.get(key)
        return None if watch is None else watch.attempt

    def begin(self, target: Target, attempt: int, *, started_at: float, started: bool, ready: bool) -> None:
        """Probe this attempt from now on; `started` and `ready` are what an earlier kubelet had found."""
        self.end(target.key)
        watch = _Watch(self, target, attempt, started_at)
        self._watches[target.key] = watch
        watch.open(started=started, ready=ready)

    def update(self, target: Target) -> None:
        """Use a newer version of the pod for the probes that run."""
        if watch := self._watches.get(target.key):
            watch.target = target

    def end(self, key: tuple[str, str]) -> None:
        """Stop probing a container."""
        if watch := self._watches.pop(key, None):
            watch.close()

    def end_fatal(self, key: tuple[str, str]) -> None:
        """Stop what could restart a container that is being stopped; readiness goes on until it is gone."""
        if watch := self._watches.get(key):
            watch.close_fatal()

    def close(self) -> None:
        """Stop all probes."""
        for key in list(self._watches):
            self.end(key)


class _Watch:
    """The probes of one attempt of one container."""

    def __init__(self, prober: Prober, target: Target, attempt: int, started_at: float) -> None:
        self.prober = prober
        self.target = target
        self.attempt = attempt
        self.started_at = started_at
        self.workers: dict[Kind, _Worker] = {}
        self.warned = False

    def open(self, *, started: bool, ready: bool) -> None:
        """Start the workers that are due: the startup probe alone, or the two others."""
        container = self.target.container
        if container.startup_probe is not None and not started:
            self._work("Startup", container.startup_probe, passed=False)
            return
        if container.readiness_probe is not None:
            self._work("Readiness", container.readiness_probe, passed=ready)
        if container.liveness_probe is not None:
            self._work("Liveness", container.liveness_probe, passed=True)

    def close(self) -> None:
        """Stop all workers."""
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def close_fatal(self) -> None:
        """Stop all workers but readiness."""
        for kind in ("Startup", "Liveness"):
            if worker := self.workers.pop(kind, None):
                worker.close()

    def report(self, worker: _Worker, passed: bool, message: str) -> None:
        """Pass a verdict on; a startup probe that passed makes room for the others."""
        if worker.kind == "Startup" and passed:
            self.close()
            self.open(started=True, ready=False)
        elif worker.kind != "Readiness" and not passed:
            # The container will be replaced; nothing is asked of this attempt any more.
            self.close_fatal()
        self.prober._verdict(self.target, self.attempt, worker.kind, passed, message)

    def complain(self, kind: Kind, outcome: Outcome) -> None:
        """Pass on a bad answer; an absent program once per attempt."""
        if outcome.absent is not None:
            if self.warned:
                return
            self.warned = True
        self.prober._complaint(self.target, kind, outcome)

    def _work(self, kind: Kind, probe: Probe, *, passed: bool) -> None:
        worker = _Worker(self, kind, probe, passed)
        self.workers[kind] = worker
        worker.schedule(max(0.0, self.started_at + probe.initial_delay_seconds - time.time()))


class _Worker:
    """One probe of one attempt: a timer and the run of equal answers."""

    def __init__(self, watch: _Watch, kind: Kind, probe: Probe, passed: bool) -> None:
        self.kind: Kind = kind
        self._watch = watch
        self._probe = probe
        self._passed: bool = passed
        self._known = passed and kind == "Readiness"
        self._run: tuple[bool, int] = (passed, 0)
        self._period_s = float(max(1, probe.period_seconds))
        # Liveness is never asked more often than stated: only its failures matter.
        self._extra_s = 0.0 if kind == "Liveness" or self._known else _FIRST_EXTRA_S
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def schedule(self, delay_s: float) -> None:
        """Ask for the first time in `delay_s` seconds, then once a period."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + delay_s + (self._period_s if self._extra_s else 0.0)
        self._timer = loop.call_later(delay_s, self._fire)

    def close(self) -> None:
        """Ask no more; an answer that is on its way is dropped."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def _fire(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._round())

    async def _round(self) -> None:
        loop = asyncio.get_running_loop()
        extra = loop.time() < self._due - 0.001
        try:
            outcome = await self._watch.prober._ask(self._watch.target, self._probe)
            if not self._closed:
                self._judge(outcome, extra)
        except Exception:
            log.warning("probe failed to run", extra={"pod": self._watch.target.pod.ref}, exc_info=True)
        if self._closed:
            return
        now = loop.time()
        if extra and not self._known and now + self._extra_s < self._due:
            delay_s = self._extra_s
            self._extra_s *= 2
        else:
            while self._due <= now:
                self._due += self._period_s
            delay_s = self._due - now
        self._timer = loop.call_later(delay_s, self._fire)

    def _judge(self, outcome: Outcome, extra: bool) -> None:
        passed = outcome.answer.ok
        if outcome.absent is not None or (not passed and not extra):
            self._watch.complain(self.kind, outcome)
        if not passed and extra:
            return
        same, count = self._run
        count = count + 1 if same == passed else 1
        self._run = (passed, count)
        if count < (self._probe.success_threshold if passed else self._probe.failure_threshold):
            return
        if passed == self._passed and (self._known or self.kind == "Liveness"):
            return
        self._passed, self._known = passed, True
        self._watch.report(self, passed, outcome.answer.message)
