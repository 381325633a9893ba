"""The row of a pod: what STATUS says of its containers, how many are ready, how often and how long ago they restarted.

Source: the printers of the kube-apiserver (printPod).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairlead.apiserver.kinds.ages import age, human, parse_time

Object = dict[str, Any]

NONE = "<none>"


@dataclass(slots=True)
class _Summary:
    """What the containers' states add up to."""

    reason: str
    ready: int = 0
    total: int = 0
    restarts: int = 0
    last_restart: datetime | None = None

    def restarted(self, state: Object) -> None:
        self.restarts += state.get("restartCount", 0)
        finished = parse_time(((state.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
        if finished is not None and (self.last_restart is None or finished > self.last_restart):
            self.last_restart = finished


def pod_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a Pod."""
    meta, spec, status = obj.get("metadata", {}), obj.get("spec", {}), obj.get("status", {})
    summary = _summarize(obj)
    addresses = status.get("podIPs") or []
    gates = spec.get("readinessGates") or []
    met = {item.get("type") for item in status.get("conditions") or () if item.get("status") == "True"}
    restarts: Any = summary.restarts
    if summary.restarts and summary.last_restart is not None:
        restarts = f"{restarts} ({human((now - summary.last_restart).total_seconds())} ago)"
    return [
        meta.get("name", ""),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age(meta.get("creationTimestamp"), now),
        (addresses[0].get("ip") if addresses else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{sum(gate.get('conditionType') in met for gate in gates)}/{len(gates)}" if gates else NONE,
    ]


def _summarize(obj: Object) -> _Summary:
    spec, status = obj.get("spec", {}), obj.get("status", {})
    summary = _Summary(status.get("reason") or status.get("phase") or "Unknown")
    summary.total = len(spec.get("containers") or ())
    conditions = status.get("conditions") or []
    if any(c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in conditions):
        summary.reason = "SchedulingGated"
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    summary.total += len(sidecars)
    initializing = _init_containers(summary, spec, status, sidecars)
    initialized = any(c.get("type") == "Initialized" and c.get("status") == "True" for c in conditions)
    if not initializing or initialized:
        _containers(summary, status, conditions, keep_restarts_of=sidecars)
    if obj.get("metadata", {}).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            summary.reason = "Terminating"
    return summary


def _init_containers(summary: _Summary, spec: Object, status: Object, sidecars: set[Any]) -> bool:
    """Add up the init containers; return whether the pod still waits for one."""
    total = len(spec.get("initContainers") or ())
    for index, state in enumerate(status.get("initContainerStatuses") or ()):
        summary.restarted(state)
        now = state.get("state") or {}
        terminated, waiting = now.get("terminated"), now.get("waiting")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if state.get("name") in sidecars and state.get("started"):
            if state.get("ready"):
                summary.ready += 1
            continue
        if terminated is not None:
            summary.reason = f"Init:{_end_of(terminated)}"
        elif waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            summary.reason = f"Init:{waiting['reason']}"
        else:
            summary.reason = f"Init:{index}/{total}"
        return True
    return False


def _end_of(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _containers(summary: _Summary, status: Object, conditions: list[Object], *, keep_restarts_of: set[Any]) -> None:
    summary.restarts, summary.last_restart = 0, None
    for state in status.get("initContainerStatuses") or ():
        if state.get("name") in keep_restarts_of:
            summary.restarted(state)
    running = False
    for state in reversed(status.get("containerStatuses") or ()):
        summary.restarted(state)
        now = state.get("state") or {}
        waiting, terminated = now.get("waiting"), now.get("terminated")
        if waiting is not None and waiting.get("reason"):
            summary.reason = waiting["reason"]
        elif terminated is not None:
            summary.reason = _end_of(terminated)
        elif state.get("ready") and now.get("running") is not None:
            running = True
            summary.ready += 1
    if summary.reason == "Completed" and running:
        ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
        summary.reason = "Running" if ready else "NotReady"
