"""Starting and stopping single containers: hooks, signals, events, what is remembered of each attempt."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fairlead.lab.kubelet import launch
from fairlead.lab.kubelet.acting import Actor, Target
from fairlead.lab.kubelet.commands import COMMAND_NOT_ON_HOST, HOST, RESPONDER, SHELL_NOT_FOUND, runs_shell
from fairlead.lab.kubelet.decide import Doom, Stop
from fairlead.lab.kubelet.env import ConfigError, Surroundings
from fairlead.lab.kubelet.floor import Floor
from fairlead.lab.kubelet.pod import Container, Handler
from fairlead.lab.kubelet.probes import Prober
from fairlead.lab.kubelet.record import ContainerRecord, PodRecord, lost
from fairlead.lab.kubelet.reporter import Reporter
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.kubelet.status import terminated
from fairlead.lab.runtime.spec import ContainerState, RuntimeFault

log = logging.getLogger(__name__)

_MIN_GRACE_S = 2.0
_KILL_WAIT_S = 10.0
_HOOK_S = 300.0

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Containers:
    """Acts on the containers of one node. `wake` is called with a pod's uid when it is to be looked at again."""

    def __init__(
        self,
        settings: Settings,
        floor: Floor,
        *,
        actor: Actor,
        prober: Prober,
        reporter: Reporter,
        spawn: Spawn,
        wake: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._floor = floor
        self._actor = actor
        self._prober = prober
        self._reporter = reporter
        self._spawn = spawn
        self._wake = wake

    async def start(self, record: PodRecord, container: Container, attempt: int, around: Surroundings) -> bool:
        """Start an attempt; False when it could not be, with the reason in its record."""
        pod, own = record.pod, record.container(container.name)
        try:
            prepared = launch.prepare(
                self._settings,
                pod,
                container,
                attempt,
                around=around,
                folders=record.volumes,
                missing=own.missing is not None,
                exists=self._floor.command_exists,
            )
        except ConfigError as error:
            self._refuse(record, container, "CreateContainerConfigError", str(error))
            return False
        former = own.frozen
        try:
            await self._floor.start_container(pod.uid, prepared.spec)
        except (RuntimeFault, OSError) as error:
            self._refuse(record, container, "RunContainerError", str(error))
            return False
        now = time.time()
        if former is not None and former.state == "exited":
            own.last = terminated(pod.uid, container.name, own.report(pod, container, now))
            if own.missing != former.attempt:
                own.backoff.restarted(former.finished_at or now, now)
        if prepared.chosen.warning and prepared.chosen != own.chosen:
            self._reporter.warning(pod, COMMAND_NOT_ON_HOST, prepared.chosen.warning, container)
        own.chosen, own.image_id = prepared.chosen, prepared.chosen.image_id
        own.waiting = own.doomed = own.message = None
        own.ready = own.started = False
        own.observe(self._floor.containers(pod.uid).get(container.name))
        image = f'Container image "{container.image}" already present on machine'
        self._reporter.normal(pod, "Pulled", image, container)
        self._reporter.normal(pod, "Created", f"Created container: {container.name}", container)
        if own.frozen is None or own.frozen.reason == "StartError":
            return True
        self._reporter.normal(pod, "Started", f"Started container {container.name}", container)
        if container.lifecycle and container.lifecycle.post_start:
            target = self._target(record, container)
            own.hook = self._spawn(self._post_start(target, own, container.lifecycle.post_start))
        return True

    def supervise(self, record: PodRecord, container: Container) -> None:
        """Bring probes and records in line with the container's state: what just started, what just ended."""
        own = record.container(container.name)
        state = own.frozen
        if state is None:
            return
        target = self._target(record, container)
        if state.state == "exited":
            self._prober.end(target.key)
            if own.exit_noticed < state.attempt:
                own.exit_noticed = state.attempt
                self._ended(record, container, own, state)
            own.started = own.ready = False
            return
        if state.state != "running" or (own.hook is not None and not own.hook.done()):
            return
        if container.startup_probe is None:
            own.started = True
        if container.readiness_probe is None:
            own.ready = True
        if not container.probed or record.finish is not None:
            return
        if self._prober.attempt(target.key) != state.attempt:
            self._prober.begin(
                target, state.attempt, started_at=state.started_at or 0.0, started=own.started, ready=own.ready
            )
        else:
            self._prober.update(target)
        if record.ending:
            self._prober.end_fatal(target.key)

    def stop(self, record: PodRecord, action: Stop) -> None:
        """Begin to stop a container; its pod is looked at again when it has ended."""
        container = record.pod.container(action.container)
        own = record.container(action.container)
        if container is None or (own.stop is not None and not own.stop.done()):
            return
        own.stop = self._spawn(self._stop(record, container, own, action))

    def forget(self, record: PodRecord) -> None:
        """Drop everything that runs on behalf of the pod in this process."""
        for name, own in record.containers.items():
            self._prober.end((record.pod.uid, name))
            for task in (own.hook, own.stop):
                if task is not None:
                    task.cancel()

    def _refuse(self, record: PodRecord, container: Container, reason: str, message: str) -> None:
        own = record.container(container.name)
        if own.waiting != (reason, message):
            self._reporter.warning(record.pod, "Failed", f"Error: {message}", container)
        own.waiting = (reason, message)

    def _ended(self, record: PodRecord, container: Container, own: ContainerRecord, state: ContainerState) -> None:
        pod = record.pod
        code = state.exit_code or 0
        own.message = launch.termination_message(self._settings, pod, container, state.attempt, code)
        log.info(
            "container ended", extra={"pod": pod.ref, "container": container.name, "code": code, "reason": state.reason}
        )
        if (
            code in SHELL_NOT_FOUND
            and own.image_id == HOST
            and runs_shell(container)
            and not self._settings.strict_commands
        ):
            own.missing = state.attempt
        if state.reason == "StartError":
            self._reporter.warning(pod, "Failed", f"Error: {state.message}", container)

    async def _post_start(self, target: Target, own: ContainerRecord, handler: Handler) -> None:
        outcome = await self._actor.hook(target, handler, _HOOK_S)
        if outcome.absent is not None:
            message = (
                f'postStart hook of container {target.container.name}: command "{outcome.absent}" is not on this host'
            )
            self._reporter.warning(target.pod, COMMAND_NOT_ON_HOST, message, target.container)
        elif not outcome.answer.ok:
            message = f"PostStartHook failed: {outcome.answer.message}"
            self._reporter.warning(target.pod, "FailedPostStartHook", message, target.container)
            own.doomed = Doom(message="FailedPostStartHook")
        own.hook = None
        self._wake(target.pod.uid)

    async def _stop(self, record: PodRecord, container: Container, own: ContainerRecord, action: Stop) -> None:
        pod = record.pod
        kill_at = time.monotonic() + action.grace_s
        self._reporter.normal(pod, "Killing", action.message, container)
        self._prober.end_fatal((pod.uid, container.name))
        try:
            handler = container.lifecycle.pre_stop if container.lifecycle else None
            if handler is not None and own.frozen is not None and own.frozen.state == "running":
                await self._pre_stop(record, container, handler, kill_at - time.monotonic())
            left_s = max(_MIN_GRACE_S if handler is not None else 0.0, kill_at - time.monotonic())
            await self._signal(pod.uid, container.name, _stop_signal(container))
            if not await self._exited(record, container.name, left_s):
                await self._signal(pod.uid, container.name, signal.SIGKILL)
                if not await self._exited(record, container.name, _KILL_WAIT_S):
                    log.warning("container survives SIGKILL", extra={"pod": pod.ref, "container": container.name})
        finally:
            own.stop = None
            self._wake(pod.uid)

    async def _pre_stop(self, record: PodRecord, container: Container, handler: Handler, limit_s: float) -> None:
        target = self._target(record, container)
        hook = asyncio.ensure_future(self._actor.hook(target, handler, limit_s))
        gone = asyncio.ensure_future(self._exited(record, container.name, limit_s))
        try:
            # A container that ends by itself ends the wait for its hook too.
            await asyncio.wait({hook, gone}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if hook.done() and not hook.cancelled() and hook.exception() is None:
                outcome = hook.result()
                if outcome.absent is None and not outcome.answer.ok:
                    message = f"PreStopHook failed: {outcome.answer.message}"
                    self._reporter.warning(target.pod, "FailedPreStopHook", message, container)
        finally:
            for task in (hook, gone):
                task.cancel()
            await asyncio.gather(hook, gone, return_exceptions=True)

    async def _signal(self, uid: str, container: str, number: int) -> None:
        with contextlib.suppress(RuntimeFault, ProcessLookupError):
            await self._floor.signal_container(uid, container, number)

    async def _exited(self, record: PodRecord, container: str, limit_s: float) -> bool:
        """Wait until the container has ended; False after `limit_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while True:
                    pulse = record.pulse
                    state = self._floor.containers(record.pod.uid).get(container)
                    if state is None or state.state == "exited":
                        return True
                    await pulse.wait()
        return False

    def _target(self, record: PodRecord, container: Container) -> Target:
        ip = record.ips[0] if record.ips else ""
        stand_in = record.container(container.name).image_id == RESPONDER
        return Target(pod=record.pod, container=container, ip=ip, stand_in=stand_in)


def vanish(record: PodRecord) -> None:
    """Take every container that is thought to run as ended: its sandbox is gone."""
    for own in record.containers.values():
        if own.frozen is not None and own.frozen.state != "exited":
            own.frozen = lost(own.frozen)


def _stop_signal(container: Container) -> int:
    name = container.lifecycle.stop_signal if container.lifecycle else None
    return int(getattr(signal, name, signal.SIGTERM)) if name else int(signal.SIGTERM)
