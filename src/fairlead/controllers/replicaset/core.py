"""The decisions of a ReplicaSet: which pods to create or delete, and what to report.

Pure. Serves ReplicationControllers as well, which differ in the form of their selector only. Source: apps/v1 ReplicaSet, KEP-2255 (deletion cost).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.api.resources import PODS, REPLICASETS, REPLICATIONCONTROLLERS, Resource
from fairlead.base.selectors import LabelSelector, from_labels, from_object
from fairlead.controllers import conditions, ownership, podstate, templates
from fairlead.controllers.actions import Action, Again, Create, Delete, Status, adopt, release

Json = dict[str, Any]

_BURST = 500
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind that keeps a number of equal pods."""

    resource: Resource
    selector: Callable[[Json], LabelSelector]


REPLICA_SET = Flavor(REPLICASETS, lambda obj: from_object(obj["spec"].get("selector") or {}))
REPLICATION_CONTROLLER = Flavor(REPLICATIONCONTROLLERS, lambda obj: from_labels(obj["spec"].get("selector")))


def reconcile(
    flavor: Flavor,
    owner: Json,
    owned: Sequence[Json],
    orphans: Sequence[Json],
    *,
    related_per_node: Mapping[str, int],
    failure: str | None,
    now: float,
) -> list[Action]:
    """Return what brings the pods of `owner` nearer to its spec.

    `owned` are the pods that it controls, `orphans` those of the namespace that nobody controls, `related_per_node` counts the active pods per
    node of all ReplicaSets with the same owner, `failure` says why the last creation failed.
    """
    claims = ownership.claims(owner, flavor.selector(owner), owned, orphans)
    reference = ownership.reference_to(owner, flavor.resource)
    actions: list[Action] = [release(PODS, pod, owner["metadata"]["uid"]) for pod in claims.release]
    actions += [adopt(PODS, pod, reference) for pod in claims.adopt if not podstate.is_finished(pod)]
    mine = [*claims.owned, *(pod for pod in claims.adopt if not podstate.is_finished(pod))]
    active = [pod for pod in mine if podstate.is_active(pod)]
    if "deletionTimestamp" not in owner["metadata"]:
        actions += _scale(flavor, owner, reference, active, related_per_node, now)
    status = _status(owner, active, failure, now)
    if status != owner.get("status"):
        actions.append(Status(flavor.resource, {**owner, "status": status}))
    min_ready_s = owner["spec"].get("minReadySeconds") or 0
    waits = [wait for pod in active if (wait := podstate.available_in(pod, min_ready_s, now)) is not None]
    if waits:
        actions.append(Again(min(waits) + 0.01))
    return actions


def replicas_of(obj: Json) -> int:
    """Return spec.replicas; 1 where it is absent."""
    replicas = obj["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _scale(
    flavor: Flavor,
    owner: Json,
    reference: Json,
    active: Sequence[Json],
    related_per_node: Mapping[str, int],
    now: float,
) -> list[Action]:
    missing = replicas_of(owner) - len(active)
    if missing > 0:
        namespace, prefix = owner["metadata"]["namespace"], owner["metadata"]["name"] + "-"
        template = owner["spec"]["template"]
        return [
            Create(PODS, templates.pod_from(template, namespace=namespace, owner=reference, prefix=prefix), owner)
            for _ in range(min(missing, _BURST))
        ]
    if missing < 0:
        ranked = sorted(active, key=lambda pod: _deletion_rank(pod, related_per_node, now))
        return [Delete(PODS, pod, owner) for pod in ranked[: min(-missing, _BURST)]]
    return []


_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


def _deletion_rank(pod: Json, related_per_node: Mapping[str, int], now: float) -> tuple[Any, ...]:
    """Return a key that sorts first what is missed least: unscheduled, not running, not ready, crowded, young, restless."""
    node = pod["spec"].get("nodeName") or ""
    ready_since = podstate.ready_since(pod)
    return (
        bool(node),
        _PHASE_RANK.get(podstate.phase(pod), 1),
        ready_since is not None,
        _deletion_cost(pod),
        -related_per_node.get(node, 0) if node else 0,
        _age_class(now - ready_since) if ready_since is not None else 0,
        -podstate.restarts(pod),
        _age_class(now - podstate.created_at(pod)),
        pod["metadata"].get("uid", ""),
    )


def _age_class(age_s: float) -> int:
    """Return ages in powers of two, so that among pods of about the same age none is preferred by seconds."""
    return int(math.log2(max(age_s, 0) + 1))


def _deletion_cost(pod: Json) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(_DELETION_COST, "0"))
    except ValueError:
        return 0


def _status(owner: Json, active: Sequence[Json], failure: str | None, now: float) -> Json:
    spec, former = owner["spec"], owner.get("status") or {}
    wanted = (spec["template"].get("metadata") or {}).get("labels") or {}
    min_ready_s = spec.get("minReadySeconds") or 0
    ready = [pod for pod in active if podstate.is_ready(pod)]
    counts = {
        "fullyLabeledReplicas": sum(wanted.items() <= (pod["metadata"].get("labels") or {}).items() for pod in active),
        "readyReplicas": len(ready),
        "availableReplicas": sum(podstate.is_available(pod, min_ready_s, now) for pod in ready),
    }
    # Absent means zero in this status, as in what a typed client would send.
    status: Json = {"replicas": len(active)} | {name: count for name, count in counts.items() if count}
    if owner["metadata"].get("generation") is not None:
        status["observedGeneration"] = owner["metadata"]["generation"]
    short = len(active) < replicas_of(owner)
    if failure is not None and short:
        kept = conditions.with_condition(
            former.get("conditions"), "ReplicaFailure", "True", reason="FailedCreate", message=failure, now=now
        )
    else:
        kept = conditions.without(former.get("conditions"), "ReplicaFailure")
    if kept:
        status["conditions"] = kept
    return status
