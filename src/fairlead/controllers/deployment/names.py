"""The labels, annotations, reasons and sums that the parts of the Deployment controller share. Source: apps/v1 Deployment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fairlead.controllers import podstate, rolling

Json = dict[str, Any]

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"

NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MAXIMUM,
        "deprecated.deployment.rollback.to",
    }
)
"""Annotations of a Deployment that its ReplicaSets do not take over."""

AVAILABLE = "NewReplicaSetAvailable"
EXCEEDED = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"


def replicas_of(obj: Json) -> int:
    """Return spec.replicas; 1 where it is absent."""
    replicas = obj["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def available_of(replica_set: Json) -> int:
    """Return how many pods are available; never more than are wanted, as a status may lag behind a scale-down."""
    available = replica_set.get("status", {}).get("availableReplicas") or 0
    return min(int(available), replicas_of(replica_set))


def total(replica_sets: Iterable[Json]) -> int:
    """Return the sum of the wanted replicas."""
    return sum(map(replicas_of, replica_sets))


def status_total(replica_sets: Iterable[Json], field: str) -> int:
    """Return the sum of a number in the statuses."""
    return sum(int(found.get("status", {}).get(field) or 0) for found in replica_sets)


def revision_of(obj: Json) -> int:
    """Return the revision that the annotations state; 0 where none is."""
    try:
        return int((obj["metadata"].get("annotations") or {}).get(REVISION, "0"))
    except ValueError:
        return 0


def is_recreate(deployment: Json) -> bool:
    """Tell whether old pods must be gone before new ones come."""
    return bool((deployment["spec"].get("strategy") or {}).get("type") == "Recreate")


def surge_and_unavailable(deployment: Json) -> tuple[int, int]:
    """Return how many pods may be too many and too few; (0, 0) for Recreate."""
    if is_recreate(deployment):
        return 0, 0
    settings = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    return rolling.bounds(
        settings.get("maxSurge", "25%"), settings.get("maxUnavailable", "25%"), replicas_of(deployment)
    )


def age_order(replica_set: Json) -> tuple[float, str]:
    """Sort key: oldest first."""
    return podstate.created_at(replica_set), replica_set["metadata"]["name"]
