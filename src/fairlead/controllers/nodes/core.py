"""What follows from a node's state: its conditions when it is silent, its taints, its pods' readiness, their eviction. Pure.

Source: core/v1 Node and Taint, KEP-166 (taint-based evictions), KEP-589 (node leases).
"""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import NODES, PODS
from fairlead.controllers import conditions, moments, podstate
from fairlead.controllers.actions import Action, Delete, Event, Patch
from fairlead.controllers.scheduler.facts import tolerates

Json = dict[str, Any]

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_OURS = frozenset({NOT_READY, UNREACHABLE, _UNSCHEDULABLE, *_PRESSURES.values()})


def unknown_status(node: Json, now: float) -> Json | None:
    """Return the status of a node that is silent; None if it says so already."""
    former: list[Json] = (node.get("status") or {}).get("conditions") or []
    found = list(former)
    for kind in _REPORTED:
        known = conditions.of_list(found, kind)
        if known is None:
            if kind != "Ready":
                continue
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
        else:
            reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
            if known["status"] == "Unknown":
                continue
        beat = (known or {}).get("lastHeartbeatTime") or node["metadata"].get("creationTimestamp")
        changed = conditions.with_condition(found, kind, "Unknown", reason=reason, message=message, now=now)[-1]
        entry = {"type": kind, "status": "Unknown", "lastHeartbeatTime": beat, **changed}
        found = [entry if each["type"] == kind else each for each in found] if known else [*found, entry]
    return {**(node.get("status") or {}), "conditions": found} if found != former else None


def taints(node: Json, now: float) -> list[Json]:
    """Return the taints that a node should have: those of others kept, ours by its conditions; equal to the present ones if right."""
    present: list[Json] = (node.get("spec") or {}).get("taints") or []
    ready = (conditions.condition(node, "Ready") or {}).get("status", "Unknown")
    wanted: set[tuple[str, str]] = set()
    if ready != "True":
        key = UNREACHABLE if ready == "Unknown" else NOT_READY
        wanted |= {(key, "NoSchedule"), (key, "NoExecute")}
    for kind, key in _PRESSURES.items():
        if conditions.is_true(node, kind):
            wanted.add((key, "NoSchedule"))
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.add((_UNSCHEDULABLE, "NoSchedule"))
    kept = [each for each in present if each["key"] not in _OURS or (each["key"], each["effect"]) in wanted]
    there = {(each["key"], each["effect"]) for each in kept}
    added = [{"key": key, "effect": effect, "timeAdded": moments.text(now)} for key, effect in sorted(wanted - there)]
    return [*kept, *added]


def taint_patch(node: Json, wanted: list[Json]) -> Patch:
    """Return the patch that gives exactly this version of the node the taints."""
    version = {"resourceVersion": node["metadata"]["resourceVersion"]}
    return Patch(NODES, node, {"metadata": version, "spec": {"taints": wanted or None}})


def not_ready_pods(node: Json, pods: list[Json], now: float) -> list[Action]:
    """Return what marks the pods of a node that is not Ready as not ready, so that they leave the endpoints at once."""
    if conditions.is_true(node, "Ready"):
        return []
    actions: list[Action] = []
    for pod in pods:
        if not podstate.is_ready(pod):
            continue
        entry = {"type": "Ready", "status": "False", "lastTransitionTime": moments.text(now)}
        patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [entry]}}
        actions.append(Patch(PODS, pod, patch, kind="strategic", subresource="status"))
        actions.append(Event(pod, "Warning", "NodeNotReady", "Node is not ready"))
    return actions


def eviction(node: Json, pod: Json, now: float) -> float | None:
    """Return in how many seconds (0: now) the NoExecute taints of `node` evict `pod`; None when they do not."""
    if podstate.is_terminating(pod) or podstate.is_finished(pod):
        return None
    soonest: float | None = None
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint["effect"] != "NoExecute":
            continue
        triple = (taint["key"], taint.get("value") or "", "NoExecute")
        matching = [each for each in pod["spec"].get("tolerations") or () if tolerates([each], triple)]
        if not matching:
            return 0.0
        limits = [each["tolerationSeconds"] for each in matching if each.get("tolerationSeconds") is not None]
        if not limits:
            continue
        since = moments.seconds(taint.get("timeAdded")) or now
        left = max(since + max(min(limits), 0) - now, 0.0)
        soonest = left if soonest is None else min(soonest, left)
    return soonest


def evict(pod: Json, now: float) -> list[Action]:
    """Return what removes a pod because of a taint that it does not tolerate any longer."""
    metadata = pod["metadata"]
    entry = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": moments.text(now),
    }
    patch = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [entry]}}
    return [
        Patch(PODS, pod, patch, kind="strategic", subresource="status"),
        Event(
            pod,
            "Normal",
            "TaintManagerEviction",
            f"Marking for deletion Pod {metadata['namespace']}/{metadata['name']}",
        ),
        Delete(PODS, pod),
    ]


def bury(pod: Json, now: float, reason: str, message: str) -> list[Action]:
    """Return what removes a pod that no kubelet will ever report on: it is marked as failed first, for those who count."""
    metadata = pod["metadata"]
    actions: list[Action] = []
    if not podstate.is_finished(pod):
        entry = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": moments.text(now),
        }
        status = {"phase": "Failed", "conditions": [entry]}
        patch = {"metadata": {"uid": metadata["uid"]}, "status": status}
        actions.append(Patch(PODS, pod, patch, kind="strategic", subresource="status"))
    return [*actions, Delete(PODS, pod, grace_s=0)]
