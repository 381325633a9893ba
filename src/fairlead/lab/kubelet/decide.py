"""What to do next about one pod: a pure function of its spec and of what is observed, upstream's computePodActions.

Level-triggered: it remembers nothing, so that a restarted kubelet continues where the old one was killed. It must never do I/O nor read
the clock; `sync` carries out what it says and asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fairlead.lab.kubelet.pod import Container, Pod

DEADLINE_EXCEEDED = "DeadlineExceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The latest attempt of one container. The default is a container that never ran."""

    attempt: int = -1
    phase: Literal["none", "created", "running", "exited"] = "none"
    exit_code: int = 0
    hook_pending: bool = False
    """postStart has not ended yet."""
    started: bool = False
    """The startup probe has passed, or there is none."""
    doomed: Doom | None = None
    """Why the running container must be replaced."""
    stopping: bool = False
    """It is being stopped."""
    retry_at: float = 0.0
    """Not to be started again before this time, Unix seconds: the crash loop's back-off."""

    @property
    def alive(self) -> bool:
        """Tell whether its processes may still exist."""
        return self.phase in ("created", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doom:
    """A verdict on a running container: a probe or hook failed."""

    message: str
    grace_s: int | None = None
    """Overrides the pod's grace period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSandbox:
    """Make the pod's namespaces and attach it to the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSandbox:
    """Detach the pod from the network and remove its namespaces; no container is alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a container; `attempt` counts from 0."""

    container: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Run preStop, send the stop signal, and after `grace_s` seconds kill."""

    container: str
    message: str
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The pod has run to its end: no container will be started any more."""

    phase: Literal["Succeeded", "Failed"]
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Farewell:
    """Nothing of the pod is left on the node: delete the object if it waits for that."""


Action: TypeAlias = CreateSandbox | RemoveSandbox | Start | Stop | Finish | Farewell


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now, and when to look again even if nothing changes (Unix seconds)."""

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The pod is to be stopped: it was deleted, or has finished. `kill_at` is when the grace period ends, Unix seconds."""

    kill_at: float


def decide(
    pod: Pod,
    *,
    sandbox: bool,
    seen: Mapping[str, Seen],
    ending: Ending | None,
    started_at: float,
    now: float,
) -> Decision:
    """Return the next actions for `pod`.

    `sandbox` tells whether its namespaces exist and are attached; `started_at` is status.startTime. Actions of one decision may be
    carried out in their order without asking again.
    """
    if ending is not None:
        return _end(pod, sandbox, seen, ending, now)
    deadline = pod.spec.active_deadline_seconds
    expires_at = None if deadline is None else started_at + deadline
    if expires_at is not None and expires_at <= now:
        message = "Pod was active on the node longer than the specified deadline"
        return Decision(actions=(Finish(phase="Failed", reason=DEADLINE_EXCEEDED, message=message),))
    finish = _finish(pod, seen)
    if finish is not None:
        return Decision(actions=(finish,))
    if not sandbox:
        return Decision(actions=(CreateSandbox(),), wake_at=expires_at)
    plan = _Plan(pod, seen, now)
    if plan.init():
        plan.main()
    plan.ephemeral()
    wakes = [at for at in (*plan.wakes, expires_at) if at is not None]
    return Decision(actions=tuple(plan.actions), wake_at=min(wakes, default=None))


def should_restart(pod: Pod, container: Container, exit_code: int) -> bool:
    """Tell whether a container that ended with `exit_code` is started again (KEP-5307 rules, then its policy, then the pod's)."""
    if pod.is_sidecar(container):
        return True
    for rule in container.restart_policy_rules or ():
        codes = rule.exit_codes
        if codes is not None and (exit_code in codes.values) == (codes.operator == "In"):
            return rule.action == "Restart"
    policy = container.restart_policy or pod.spec.restart_policy
    if policy == "Always":
        # Init containers run once, whatever the pod's policy.
        return exit_code != 0 if any(container is other for other in pod.init) else True
    return policy == "OnFailure" and exit_code != 0


def initialized(pod: Pod, seen: Mapping[str, Seen]) -> bool:
    """Tell whether every init container has done its part: ended well, or, for a sidecar, started."""
    if any(_of(seen, container).phase != "none" for container in pod.spec.containers):
        return True
    for container in pod.init:
        state = _of(seen, container)
        if pod.is_sidecar(container):
            if not (state.phase == "running" and state.started and not state.hook_pending):
                return False
        elif not (state.phase == "exited" and state.exit_code == 0):
            return False
    return True


def _of(seen: Mapping[str, Seen], container: Container) -> Seen:
    return seen.get(container.name) or Seen()


def _finish(pod: Pod, seen: Mapping[str, Seen]) -> Finish | None:
    for container in pod.init:
        state = _of(seen, container)
        if (
            state.phase == "exited"
            and state.exit_code != 0
            and not should_restart(pod, container, state.exit_code)
            and not any(_of(seen, main).phase != "none" for main in pod.spec.containers)
        ):
            return Finish(phase="Failed")
    codes = []
    for container in pod.spec.containers:
        state = _of(seen, container)
        if state.phase != "exited" or should_restart(pod, container, state.exit_code):
            return None
        codes.append(state.exit_code)
    return Finish(phase="Failed" if any(codes) else "Succeeded")


class _Plan:
    """Collects the actions of a pod that is to run."""

    def __init__(self, pod: Pod, seen: Mapping[str, Seen], now: float) -> None:
        self.actions: list[Action] = []
        self.wakes: list[float] = []
        self._pod = pod
        self._seen = seen
        self._now = now
        self._began = any(_of(seen, container).phase != "none" for container in pod.spec.containers)

    def init(self) -> bool:
        """Advance the init containers; tell whether the main containers may run."""
        for container in self._pod.init:
            state = _of(self._seen, container)
            if self._pod.is_sidecar(container):
                ready = self._sidecar(container, state)
                if not ready and not self._began:
                    return False
            elif not self._began:
                if state.phase == "exited" and state.exit_code == 0:
                    continue
                self._keep_running(container, state)
                return False
        return True

    def main(self) -> None:
        """Start or replace the main containers; one whose postStart runs holds back those after it."""
        for container in self._pod.spec.containers:
            state = _of(self._seen, container)
            self._keep_running(container, state)
            if state.hook_pending or (state.phase == "none" and container.lifecycle and container.lifecycle.post_start):
                return

    def ephemeral(self) -> None:
        """Start each ephemeral container once."""
        for container in self._pod.ephemeral:
            if _of(self._seen, container).phase == "none":
                self.actions.append(Start(container=container.name, attempt=0))

    def _sidecar(self, container: Container, state: Seen) -> bool:
        self._keep_running(container, state)
        return state.phase == "running" and state.started and not state.hook_pending

    def _keep_running(self, container: Container, state: Seen) -> None:
        if state.alive:
            if state.doomed is not None and not state.stopping:
                grace_s = self._pod.grace_s if state.doomed.grace_s is None else state.doomed.grace_s
                self.actions.append(Stop(container=container.name, message=state.doomed.message, grace_s=grace_s))
        elif state.phase == "none" or should_restart(self._pod, container, state.exit_code):
            if state.retry_at > self._now:
                self.wakes.append(state.retry_at)
            else:
                self.actions.append(Start(container=container.name, attempt=state.attempt + 1))


def _end(pod: Pod, sandbox: bool, seen: Mapping[str, Seen], ending: Ending, now: float) -> Decision:
    left_s = max(1.0, ending.kill_at - now)
    sidecars = [container for container in pod.init if pod.is_sidecar(container)]
    others = [container for container in pod.all_containers if not any(container is other for other in sidecars)]
    alive = [container for container in others if _of(seen, container).alive]
    if not alive:
        # Sidecars serve until the last main container is gone, then leave in reverse order, one after the other.
        alive = [container for container in reversed(sidecars) if _of(seen, container).alive][:1]
    stops = tuple(
        Stop(container=container.name, message=f"Stopping container {container.name}", grace_s=left_s)
        for container in alive
        if not _of(seen, container).stopping
    )
    if alive:
        return Decision(actions=stops)
    return Decision(actions=(RemoveSandbox(), Farewell()) if sandbox else (Farewell(),))
