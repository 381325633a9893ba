"""What the kubelet remembers of one pod: everything that neither the API server nor the runtime knows, rebuilt from both at a restart."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fairlead.lab.kubelet.backoff import Backoff, go_duration
from fairlead.lab.kubelet.commands import Chosen
from fairlead.lab.kubelet.decide import Doom, Finish, Seen, should_restart
from fairlead.lab.kubelet.pod import Container, Json, Pod
from fairlead.lab.kubelet.status import Report, container_id
from fairlead.lab.runtime.spec import ContainerState

LOST = "The container could not be located when the pod was terminated"
_KILLED = 137


@dataclass(slots=True, kw_only=True)
class ContainerRecord:
    """One container of a pod."""

    frozen: ContainerState | None = None
    """The last state, kept when the runtime has forgotten it."""
    waiting: tuple[str, str] | None = None
    """Why it could not be started."""
    last: Json | None = None
    chosen: Chosen | None = None
    image_id: str = ""
    hook: asyncio.Task[None] | None = None
    """postStart while it runs."""
    stop: asyncio.Task[None] | None = None
    """preStop, signal and wait while they run."""
    started: bool = False
    ready: bool = False
    doomed: Doom | None = None
    backoff: Backoff = field(default_factory=Backoff)
    missing: int | None = None
    """The attempt whose shell did not find its program: those after it are replaced."""
    exit_noticed: int = -1
    """The attempt whose end has been dealt with."""
    message: str | None = None
    """The termination message of the attempt that ended."""
    backoff_told: int = -1
    """The attempt about whose back-off an event was written."""

    def observe(self, state: ContainerState | None) -> ContainerState | None:
        """Return the state that counts: the runtime's, or the last one known."""
        if state is not None and (self.frozen is None or state.attempt >= self.frozen.attempt):
            self.frozen = state
        elif self.frozen is not None and self.frozen.state != "exited":
            self.frozen = lost(self.frozen)
        return self.frozen

    def seen(self, pod: Pod, container: Container) -> Seen:
        """Return what `decide` needs to know."""
        state = self.frozen
        if state is None:
            return Seen()
        return Seen(
            attempt=state.attempt,
            phase=state.state,
            exit_code=state.exit_code or 0,
            hook_pending=self.hook is not None and not self.hook.done(),
            started=self.started,
            doomed=self.doomed,
            stopping=self.stop is not None and not self.stop.done(),
            retry_at=self.retry_at(pod, container),
        )

    def retry_at(self, pod: Pod, container: Container) -> float:
        """Return when the exited container may start again, Unix seconds."""
        state = self.frozen
        if state is None or state.state != "exited" or self.missing == state.attempt:
            return 0.0
        return self.backoff.retry_at(state.finished_at or 0.0)

    def report(self, pod: Pod, container: Container, now: float) -> Report:
        """Return what the pod's status shows."""
        state = self.frozen
        if state is None:
            return Report(waiting=self.waiting)
        waiting = self.waiting
        if (
            state.state == "exited"
            and waiting is None
            and should_restart(pod, container, state.exit_code or 0)
            and self.retry_at(pod, container) > now
        ):
            waiting = ("CrashLoopBackOff", self.back_off_message(pod, container))
        return Report(
            attempt=state.attempt,
            phase=state.state,
            waiting=waiting,
            exit_code=state.exit_code or 0,
            signal=state.signal,
            reason=state.reason,
            message=self.message or state.message,
            started_at=state.started_at,
            finished_at=state.finished_at,
            started=self.started,
            ready=self.ready and self.started,
            last=self.last,
            image_id=self.image_id,
        )

    def back_off_message(self, pod: Pod, container: Container) -> str:
        """Return the message of the waiting state."""
        delay = go_duration(self.backoff.delay_s)
        return f"back-off {delay} restarting failed container={container.name} pod={pod.full_name}"


@dataclass(slots=True, kw_only=True)
class PodRecord:
    """One pod of this node."""

    pod: Pod
    obj: Json
    gone: bool = False
    """The object does not exist any more."""
    containers: dict[str, ContainerRecord] = field(default_factory=dict)
    ips: tuple[str, ...] = ()
    attached: bool = False
    sandboxed: bool = False
    """The sandbox runs (or ran, in this kubelet's memory) and is attached."""
    volumes: dict[str, Path] = field(default_factory=dict)
    volumes_stale: bool = False
    started_at: float = 0.0
    finish: Finish | None = None
    kill_at: float | None = None
    """End of the grace period; set when the pod begins to end."""
    farewell: Literal["finished", "deleted"] | None = None
    """Nothing of it runs and nothing more is to be done until it is deleted, or until it is gone."""
    sandbox_failures: int = 0
    retry_at: float = 0.0
    sent: Json = field(default_factory=dict)
    """The status that the API server has, as far as we know."""
    sent_version: int = 0
    pulse: asyncio.Event = field(default_factory=asyncio.Event)
    """Set and replaced at every change of a container's state."""

    @property
    def ending(self) -> bool:
        """Tell whether the pod is to stop."""
        return self.gone or self.finish is not None or self.pod.metadata.deletion_timestamp is not None

    def container(self, name: str) -> ContainerRecord:
        """Return the record of a container, made on first use."""
        return self.containers.setdefault(name, ContainerRecord())

    def observe(self, states: Mapping[str, ContainerState]) -> None:
        """Take over the runtime's states."""
        for container in self.pod.all_containers:
            self.container(container.name).observe(states.get(container.name))

    def seen(self) -> dict[str, Seen]:
        """Return what `decide` needs to know of each container."""
        return {
            container.name: self.container(container.name).seen(self.pod, container)
            for container in self.pod.all_containers
        }

    def beat(self) -> None:
        """Wake whoever waits for a change of a container's state."""
        pulse, self.pulse = self.pulse, asyncio.Event()
        pulse.set()


def lost(state: ContainerState) -> ContainerState:
    """Return the end of an attempt that vanished without one."""
    return ContainerState(
        name=state.name,
        attempt=state.attempt,
        state="exited",
        exit_code=_KILLED,
        started_at=state.started_at,
        finished_at=state.finished_at or state.started_at,
        reason="ContainerStatusUnknown",
        message=LOST,
    )


def adopt(pod: Pod, obj: Json, states: Mapping[str, ContainerState], now: float) -> PodRecord:
    """Return the record of a pod that this kubelet sees for the first time, from the API server's status and the runtime's states."""
    status = pod.status or {}
    record = PodRecord(pod=pod, obj=obj, sent=status, sent_version=_version(obj))
    record.started_at = seconds(status.get("startTime")) or now
    if status.get("phase") in ("Succeeded", "Failed"):
        record.finish = Finish(phase=status["phase"], reason=status.get("reason"), message=status.get("message"))
    entries = {
        entry["name"]: entry
        for field_name in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for entry in status.get(field_name) or ()
    }
    for container in pod.all_containers:
        entry, state = entries.get(container.name), states.get(container.name)
        if entry is not None:
            _restore(record.container(container.name), pod, container, entry, state)
        if state is not None:
            own = record.container(container.name)
            own.frozen = state
            own.backoff = Backoff(state.attempt, state.started_at or 0.0)
    return record


def _restore(own: ContainerRecord, pod: Pod, container: Container, entry: Json, state: ContainerState | None) -> None:
    attempt = int(entry.get("restartCount") or 0)
    if not entry.get("containerID"):
        return
    own.image_id = entry.get("imageID", "")
    current = state is None or entry["containerID"] == container_id(pod.uid, container.name, state.attempt)
    shown, before = entry.get("state") or {}, entry.get("lastState") or {}
    if current:
        own.last = before.get("terminated")
        own.started, own.ready = bool(entry.get("started")), bool(entry.get("ready"))
    else:
        own.last = shown.get("terminated") or before.get("terminated")
    if state is not None:
        return
    # The runtime has forgotten it, as after a restart of the machine: what the API server knows is all there is.
    ended = shown.get("terminated") or (before.get("terminated") if "waiting" in shown else None)
    if ended is not None:
        own.frozen = ContainerState(
            name=container.name,
            attempt=attempt,
            state="exited",
            exit_code=ended.get("exitCode", _KILLED),
            signal=ended.get("signal"),
            started_at=seconds(ended.get("startedAt")),
            finished_at=seconds(ended.get("finishedAt")),
            reason=ended.get("reason"),
            message=ended.get("message"),
        )
    else:
        running = shown.get("running") or {}
        own.frozen = lost(
            ContainerState(
                name=container.name, attempt=attempt, state="running", started_at=seconds(running.get("startedAt"))
            )
        )
    own.exit_noticed = attempt


def seconds(text: str | None) -> float | None:
    """Return Unix seconds of a metav1.Time."""
    return datetime.datetime.fromisoformat(text).timestamp() if text else None


def _version(obj: Json) -> int:
    text = str(obj["metadata"].get("resourceVersion") or 0)
    return int(text) if text.isdigit() else 0
