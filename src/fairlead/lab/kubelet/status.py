"""PodStatus as a kubelet reports it: a pure function of what runs and of what was reported before.

The former status matters only for times of transition and for conditions of others. Nothing here may depend on the clock other than `now`,
and equal inputs give equal output: a steady pod is never written.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.lab.kubelet.decide import Finish
from fairlead.lab.kubelet.pod import Container, Json, Pod

_OWN = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
_TERMINAL = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One container as its status shows it. The default is a container that never ran. Times are Unix seconds."""

    attempt: int = -1
    phase: Literal["none", "created", "running", "exited"] = "none"
    waiting: tuple[str, str] | None = None
    """Reason and message why it does not run although it should."""
    exit_code: int = 0
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    started: bool = False
    ready: bool = False
    last: Json | None = None
    """`terminated` of the attempt before."""
    image_id: str = ""

    @property
    def alive(self) -> bool:
        """Tell whether its processes may still exist."""
        return self.phase in ("created", "running")


_NEVER_RAN = Report()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a status depends on besides the pod itself and its former status."""

    reports: Mapping[str, Report]
    attached: bool
    """The sandbox exists and has its addresses."""
    pod_ips: Sequence[str]
    host_ips: Sequence[str]
    initialized: bool
    finish: Finish | None = None
    ending: bool = False
    """Deleted or finished: what exits now is not started again."""


def timestamp(seconds: float) -> str:
    """Return metav1.Time of a Unix time."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def container_id(uid: str, container: str, attempt: int) -> str:
    """Return the ID of one attempt: derived, so that a restarted kubelet reports the same one."""
    return "fairlead://" + hashlib.sha256(f"{uid}/{container}/{attempt}".encode()).hexdigest()


def terminated(uid: str, name: str, report: Report) -> Json:
    """Return ContainerStateTerminated of an attempt that has exited."""
    state: Json = {"exitCode": report.exit_code, "reason": report.reason or _exit_reason(report.exit_code)}
    if report.signal:
        state["signal"] = report.signal
    if report.message:
        state["message"] = report.message
    for field, at in (("startedAt", report.started_at), ("finishedAt", report.finished_at)):
        state[field] = timestamp(at) if at is not None else None
    state["containerID"] = container_id(uid, name, report.attempt)
    return state


def pod_status(pod: Pod, former: Json, situation: Situation, now: float) -> Json:
    """Return the status of `pod`; `former` is the last one reported (or the API server's). Its qosClass is the API server's."""
    reports = situation.reports
    settled = situation.ending and not any(
        reports.get(container.name, _NEVER_RAN).alive for container in pod.all_containers
    )
    phase = _phase(pod, situation, settled)
    initializing = bool(pod.init) and not situation.initialized
    status: Json = {"phase": phase}
    if pod.metadata.generation is not None:
        status["observedGeneration"] = pod.metadata.generation
    if situation.finish is not None:
        status |= {
            key: value
            for key, value in (("reason", situation.finish.reason), ("message", situation.finish.message))
            if value
        }
    status["startTime"] = former.get("startTime") or timestamp(now)
    status |= _addresses("hostIP", "hostIPs", situation.host_ips)
    status |= _addresses("podIP", "podIPs", situation.pod_ips or [entry["ip"] for entry in former.get("podIPs") or ()])
    for field, containers in (
        ("initContainerStatuses", pod.init),
        ("containerStatuses", pod.spec.containers),
        ("ephemeralContainerStatuses", pod.ephemeral),
    ):
        if containers:
            status[field] = [
                _container_status(pod, container, reports.get(container.name, _NEVER_RAN), initializing, situation)
                for container in containers
            ]
    status["conditions"] = _conditions(pod, former, status, situation, now)
    return status


def patch_between(old: Json, new: Json) -> Json | None:
    """Return the strategic merge patch of `status` that makes `old` into `new`, None where there is nothing to do."""
    changes: Json = {}
    for field in new.keys() | (old.keys() & {"reason", "message"}):
        was, will = old.get(field), new.get(field)
        if was == will:
            continue
        if field == "conditions":
            before = {condition["type"]: condition for condition in was or ()}
            # Conditions merge by type and field: what one no longer says must be taken back by null.
            changes[field] = [
                dict.fromkeys(before.get(condition["type"], {})) | condition
                for condition in will or ()
                if before.get(condition["type"]) != condition
            ]
            if not changes[field]:
                del changes[field]
            else:
                # The scheduler's condition was there first; without the directive it would stay first.
                changes["$setElementOrder/conditions"] = [{"type": condition["type"]} for condition in will or ()]
        elif field in ("podIPs", "hostIPs") and was:
            # These lists merge by address: without the directive the former addresses would stay.
            changes[field] = [{"$patch": "replace"}, *(will or ())]
        else:
            changes[field] = will
    return changes or None


def _exit_reason(code: int) -> str:
    return "Error" if code else "Completed"


def _addresses(one: str, many: str, ips: Sequence[str]) -> Json:
    return {one: ips[0], many: [{"ip": ip} for ip in ips]} if ips else {}


def _phase(pod: Pod, situation: Situation, settled: bool) -> str:
    if settled and situation.finish is not None:
        return situation.finish.phase
    mains = [situation.reports.get(container.name, _NEVER_RAN) for container in pod.spec.containers]
    if settled and all(main.phase == "exited" for main in mains):
        return "Failed" if any(main.exit_code for main in mains) else "Succeeded"
    if settled and pod.metadata.deletion_timestamp is not None:
        return "Failed"
    if any(main.phase == "none" and main.last is None for main in mains):
        return "Pending"
    return "Running"


def _container_status(pod: Pod, container: Container, report: Report, initializing: bool, situation: Situation) -> Json:
    state: Json
    last: Json = {"terminated": report.last} if report.last else {}
    init = any(container is other for other in pod.init)
    if report.alive:
        started_at = report.started_at
        state = {"running": {"startedAt": timestamp(started_at) if started_at is not None else None}}
    elif report.waiting is not None and not situation.ending:
        reason, message = report.waiting
        state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        if report.phase == "exited":
            last = {"terminated": terminated(pod.uid, container.name, report)}
    elif report.phase == "exited":
        state = {"terminated": terminated(pod.uid, container.name, report)}
    else:
        state = {
            "waiting": {"reason": "PodInitializing" if initializing or (init and pod.init) else "ContainerCreating"}
        }
    if init and not pod.is_sidecar(container):
        ready = report.phase == "exited" and report.exit_code == 0
    else:
        ready = report.phase == "running" and report.ready
    status: Json = {
        "name": container.name,
        "image": container.image,
        "imageID": report.image_id,
        "state": state,
        "lastState": last,
        "ready": ready,
        "started": report.phase == "running" and report.started,
        "restartCount": max(report.attempt, 0),
    }
    if report.attempt >= 0:
        status["containerID"] = container_id(pod.uid, container.name, report.attempt)
    return status


def _conditions(pod: Pod, former: Json, status: Json, situation: Situation, now: float) -> list[Json]:
    terminal = status["phase"] in _TERMINAL
    settled: tuple[str, str] = ("PodCompleted" if status["phase"] == "Succeeded" else "PodFailed", "")
    found: dict[str, tuple[bool, str, str]] = {
        "PodReadyToStartContainers": (situation.attached, "", ""),
        "PodScheduled": (True, "", ""),
    }
    if status["phase"] == "Succeeded":
        found["Initialized"] = (True, "PodCompleted", "")
    elif situation.initialized:
        found["Initialized"] = (True, "", "")
    else:
        incomplete = [entry["name"] for entry in status.get("initContainerStatuses", ()) if not entry["ready"]]
        found["Initialized"] = (
            False,
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(incomplete)}]",
        )
    sidecars = {container.name for container in pod.init if pod.is_sidecar(container)}
    unready = [entry["name"] for entry in status.get("initContainerStatuses", ()) if entry["name"] in sidecars]
    by_name = {entry["name"]: entry for entry in status.get("initContainerStatuses", ())}
    unready = [name for name in unready if not by_name[name]["ready"]]
    unready += [entry["name"] for entry in status.get("containerStatuses", ()) if not entry["ready"]]
    if terminal:
        containers_ready = (False, *settled)
    elif unready:
        containers_ready = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        containers_ready = (True, "", "")
    found["ContainersReady"] = containers_ready
    found["Ready"] = _gated(pod, containers_ready)
    before = {condition["type"]: condition for condition in former.get("conditions") or ()}
    own = [_condition(kind, *found[kind], pod, before.get(kind), now) for kind in _OWN]
    return own + [condition for kind, condition in before.items() if kind not in found]


def _gated(pod: Pod, containers_ready: tuple[bool, str, str]) -> tuple[bool, str, str]:
    if not containers_ready[0]:
        return containers_ready
    # Gates are written by others into the object, so the API server's conditions count, not our former ones.
    given = {condition["type"]: condition.get("status") for condition in (pod.status or {}).get("conditions") or ()}
    complaints = []
    for gate in pod.spec.readiness_gates or ():
        if gate.condition_type not in given:
            complaints.append(f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.')
        elif given[gate.condition_type] != "True":
            complaints.append(
                f'the status of pod readiness gate "{gate.condition_type}" is not "True", but {given[gate.condition_type]}'
            )
    return (False, "ReadinessGatesNotReady", ", ".join(complaints)) if complaints else (True, "", "")


def _condition(kind: str, holds: bool, reason: str, message: str, pod: Pod, before: Json | None, now: float) -> Json:
    status = "True" if holds else "False"
    condition: dict[str, Any] = {"type": kind, "status": status}
    if pod.metadata.generation is not None:
        condition["observedGeneration"] = pod.metadata.generation
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    same = before is not None and before.get("status") == status and before.get("lastTransitionTime")
    condition["lastTransitionTime"] = before["lastTransitionTime"] if same and before else timestamp(now)
    return condition
