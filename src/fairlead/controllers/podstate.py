"""What a pod's status means to a controller: active, ready, available, finished.

Pure reading of core/v1 PodStatus; controllers must not look at the conditions of a pod elsewhere.
"""

from __future__ import annotations

from typing import Any

from fairlead.controllers import conditions, moments

Json = dict[str, Any]

FINISHED = ("Succeeded", "Failed")


def phase(pod: Json) -> str:
    """Return the phase; Pending where none is reported."""
    return str(pod.get("status", {}).get("phase") or "Pending")


def is_finished(pod: Json) -> bool:
    """Tell whether no container of the pod will run again."""
    return phase(pod) in FINISHED


def is_terminating(pod: Json) -> bool:
    """Tell whether the pod was deleted and still exists."""
    return "deletionTimestamp" in pod["metadata"]


def is_active(pod: Json) -> bool:
    """Tell whether the pod counts as a replica: neither finished nor deleted."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Json) -> bool:
    """Tell whether the condition Ready is True."""
    return conditions.is_true(pod, "Ready")


def ready_since(pod: Json) -> float | None:
    """Return when the pod became ready, None if it is not ready."""
    found = conditions.condition(pod, "Ready")
    if found is None or found["status"] != "True":
        return None
    return moments.seconds(found.get("lastTransitionTime")) or 0.0


def is_available(pod: Json, min_ready_s: int, now: float) -> bool:
    """Tell whether the pod has been ready for `min_ready_s` seconds."""
    since = ready_since(pod)
    return since is not None and (min_ready_s == 0 or since + min_ready_s <= now)


def available_in(pod: Json, min_ready_s: int, now: float) -> float | None:
    """Return in how many seconds a ready pod becomes available; None if it is already, or is not ready."""
    since = ready_since(pod)
    if since is None or min_ready_s == 0 or since + min_ready_s <= now:
        return None
    return since + min_ready_s - now


def restarts(pod: Json) -> int:
    """Return the highest restart count of the pod's containers."""
    return max(
        (status.get("restartCount", 0) for status in pod.get("status", {}).get("containerStatuses") or ()), default=0
    )


def created_at(obj: Json) -> float:
    """Return the creation time of any object; 0 where it has none."""
    return moments.seconds(obj["metadata"].get("creationTimestamp")) or 0.0
