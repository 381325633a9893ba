"""The status of a Deployment: numbers, and the conditions that `kubectl rollout status` and `kubectl wait` read.

Pure. Source: apps/v1 DeploymentStatus; progress is any growth of updated, ready or available pods or any shrinking of old ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.controllers import conditions, moments
from fairlead.controllers.deployment import names
from fairlead.controllers.deployment.names import replicas_of, status_total

Json = dict[str, Any]

_TOUCH = "lastUpdateTime"


def compute(deployment: Json, new: Json | None, old: Sequence[Json], *, created: bool, now: float) -> Json:
    """Return the status; `created`: the new ReplicaSet is being made in this reconciliation."""
    former = deployment.get("status") or {}
    everything = [*old, *([new] if new is not None else [])]
    replicas = status_total(everything, "replicas")
    available = status_total(everything, "availableReplicas")
    numbers = {
        "replicas": replicas,
        "updatedReplicas": status_total([new] if new is not None else [], "replicas"),
        "readyReplicas": status_total(everything, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(names.total(everything) - available, 0),
    }
    status: Json = {"observedGeneration": deployment["metadata"].get("generation", 1)}
    status |= {name: number for name, number in numbers.items() if number}
    if former.get("collisionCount"):
        status["collisionCount"] = former["collisionCount"]
    found = _availability(deployment, former.get("conditions"), available, now)
    found = _progress(deployment, found, new, status, created=created, now=now)
    found = _failure(found, everything, now)
    status["conditions"] = found
    return status


def is_complete(deployment: Json, status: Json) -> bool:
    """Tell whether all wanted pods are of the new template, available, and no other pod is left."""
    wanted = replicas_of(deployment)
    return all(
        (status.get(field) or 0) == wanted for field in ("updatedReplicas", "replicas", "availableReplicas")
    ) and (status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1))


def deadline_in(deployment: Json, status: Json, now: float) -> float | None:
    """Return in how many seconds the deadline for progress passes; None when none is running."""
    deadline = _deadline(deployment)
    progressing = conditions.of_list(status.get("conditions"), "Progressing")
    if deadline is None or progressing is None or is_complete(deployment, status):
        return None
    if progressing["reason"] in (names.AVAILABLE, names.EXCEEDED, names.PAUSED):
        return None
    updated = moments.seconds(progressing.get("lastUpdateTime")) or now
    # The next whole second after the deadline, as times are kept in seconds.
    return max(updated + deadline + 1 - now, 1.0)


def _deadline(deployment: Json) -> int | None:
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    # The greatest 32-bit number is how "no deadline" is spelled.
    return None if deadline is None or deadline >= 2**31 - 1 else int(deadline)


def _availability(deployment: Json, found: list[Json] | None, available: int, now: float) -> list[Json]:
    _, unavailable = names.surge_and_unavailable(deployment)
    if available >= replicas_of(deployment) - unavailable:
        answer = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        answer = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    status, reason, message = answer
    return conditions.with_condition(found, "Available", status, reason=reason, message=message, now=now, touch=_TOUCH)


def _progress(
    deployment: Json, found: list[Json], new: Json | None, status: Json, *, created: bool, now: float
) -> list[Json]:
    if _deadline(deployment) is None:
        return conditions.without(found, "Progressing")
    former = conditions.of_list(found, "Progressing")

    def progressing(value: str, reason: str, message: str) -> list[Json]:
        return conditions.with_condition(
            found, "Progressing", value, reason=reason, message=message, now=now, touch=_TOUCH
        )

    name = new["metadata"]["name"] if new is not None else ""
    subject = f'ReplicaSet "{name}"' if new is not None else f'Deployment "{deployment["metadata"]["name"]}"'
    if deployment["spec"].get("paused"):
        if former is None or former["reason"] not in (names.AVAILABLE, names.PAUSED):
            return progressing("Unknown", names.PAUSED, "Deployment is paused")
        return found
    if former is not None and former["reason"] == names.PAUSED:
        return progressing("Unknown", "DeploymentResumed", "Deployment is resumed")
    if created:
        return progressing("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
    if former is None:
        return progressing("True", "FoundNewReplicaSet", f'Found new replica set "{name}"') if new else found
    if is_complete(deployment, status) and new is not None:
        return progressing("True", names.AVAILABLE, f"{subject} has successfully progressed.")
    if former["reason"] == names.AVAILABLE and status.get("replicas") == status.get("updatedReplicas"):
        # A rollout that succeeded is over: pods that fail later are no lack of progress.
        return found
    if _moved(deployment.get("status") or {}, status):
        fresh = conditions.without(found, "Progressing") if former["reason"] == "ReplicaSetUpdated" else found
        updated = conditions.with_condition(
            fresh,
            "Progressing",
            "True",
            reason="ReplicaSetUpdated",
            message=f"{subject} is progressing.",
            now=now,
            touch=_TOUCH,
        )
        if former["status"] == "True":
            updated[-1]["lastTransitionTime"] = former["lastTransitionTime"]
        return updated
    if _is_late(deployment, former, now):
        return progressing("False", names.EXCEEDED, f"{subject} has timed out progressing.")
    return found


def _moved(former: Json, status: Json) -> bool:
    def number(of: Json, field: str) -> int:
        return int(of.get(field) or 0)

    old_before = number(former, "replicas") - number(former, "updatedReplicas")
    old_now = number(status, "replicas") - number(status, "updatedReplicas")
    return old_now < old_before or any(
        number(status, field) > number(former, field)
        for field in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )


def _is_late(deployment: Json, former: Json, now: float) -> bool:
    deadline = _deadline(deployment)
    if deadline is None or former["reason"] in (names.AVAILABLE, names.EXCEEDED):
        return False
    updated = moments.seconds(former.get("lastUpdateTime"))
    return updated is not None and updated + deadline < now


def _failure(found: list[Json], replica_sets: Sequence[Json], now: float) -> list[Json]:
    for replica_set in reversed(replica_sets):
        failed = conditions.condition(replica_set, "ReplicaFailure")
        if failed is not None:
            return conditions.with_condition(
                found,
                "ReplicaFailure",
                failed["status"],
                reason=failed["reason"],
                message=failed["message"],
                now=now,
                touch=_TOUCH,
            )
    return conditions.without(found, "ReplicaFailure")
