"""The decisions of a Deployment: one step towards all pods being of the current template.

Pure. Each step is followed by another one as soon as the ReplicaSets report what it led to. Source: apps/v1 Deployment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.api.resources import DEPLOYMENTS, REPLICASETS
from fairlead.base.selectors import from_object
from fairlead.controllers import ownership
from fairlead.controllers.actions import Action, Again, Create, Delete, Replace, Status, adopt, release
from fairlead.controllers.deployment import names, replicasets, rollout
from fairlead.controllers.deployment import status as statuses
from fairlead.controllers.deployment.names import replicas_of

Json = dict[str, Any]


def reconcile(
    deployment: Json, owned: Sequence[Json], orphans: Sequence[Json], *, old_pods_exist: bool, now: float
) -> list[Action]:
    """Return the next step. `owned` and `orphans` are ReplicaSets; `old_pods_exist`: pods of another template run or are still going away."""
    claims = ownership.claims(deployment, from_object(deployment["spec"]["selector"]), owned, orphans)
    reference = ownership.reference_to(deployment, DEPLOYMENTS)
    actions: list[Action] = [release(REPLICASETS, found, deployment["metadata"]["uid"]) for found in claims.release]
    actions += [adopt(REPLICASETS, found, reference) for found in claims.adopt]
    if claims.adopt:
        # They are ours only when the server says so; it will.
        return actions
    sets = [found for found in claims.owned if "deletionTimestamp" not in found["metadata"]]
    new = replicasets.find_new(deployment, sets)
    old = [found for found in sets if new is None or found["metadata"]["uid"] != new["metadata"]["uid"]]
    created = False
    revision = names.revision_of(deployment)
    if "deletionTimestamp" not in deployment["metadata"]:
        paused = bool(deployment["spec"].get("paused"))
        if paused or (not names.is_recreate(deployment) and replicasets.was_resized(deployment, sets)):
            for replica_set, size in rollout.proportional(deployment, new, old):
                actions += replicasets.scale(deployment, replica_set, size)
        else:
            steps, new_revision, created = _roll(deployment, new, old, old_pods_exist=old_pods_exist)
            actions += steps
            revision = new_revision or revision
    status = statuses.compute(deployment, _made(actions) if created else new, old, created=created, now=now)
    if not created and "deletionTimestamp" not in deployment["metadata"] and statuses.is_complete(deployment, status):
        actions += _clean_up(deployment, old)
    return [*actions, *_report(deployment, status, revision, now)]


def _roll(
    deployment: Json, new: Json | None, old: Sequence[Json], *, old_pods_exist: bool
) -> tuple[list[Action], int, bool]:
    """Return the step of the strategy, the revision of the new ReplicaSet (0: none yet) and whether that is being created."""
    recreate = names.is_recreate(deployment)
    if recreate:
        down = [action for found in old if replicas_of(found) for action in replicasets.scale(deployment, found, 0)]
        if down or (old_pods_exist and (new is None or not replicas_of(new))):
            return down, names.revision_of(new) if new is not None else 0, False
    revision = replicasets.next_revision(old)
    if new is None:
        size = rollout.new_size(deployment, None, old)
        made = replicasets.build(deployment, size, revision)
        actions: list[Action] = [Create(REPLICASETS, made)]
        if size:
            actions.append(replicasets.scaled_event(deployment, made["metadata"]["name"], 0, size))
        return actions, revision, True
    refreshed = replicasets.refresh(deployment, new, revision)
    revision = max(names.revision_of(refreshed), 1)
    size = rollout.new_size(deployment, new, [*old, new])
    scaled = replicasets.scale(deployment, refreshed, size)
    if scaled:
        return scaled, revision, False
    if refreshed != new:
        return [Replace(REPLICASETS, refreshed)], revision, False
    steps: list[Action] = []
    for replica_set, size in [] if recreate else rollout.shrink_old(deployment, new, old):
        steps += replicasets.scale(deployment, replica_set, size)
    return steps, revision, False


def _made(actions: Sequence[Action]) -> Json:
    """Return the ReplicaSet that is being created, as it is before it has any pod."""
    made = next(action.obj for action in actions if isinstance(action, Create))
    return {**made, "status": {}}


def _clean_up(deployment: Json, old: Sequence[Json]) -> list[Action]:
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None or limit >= 2**31 - 1:
        return []
    idle = [
        found
        for found in old
        if not replicas_of(found)
        and not found.get("status", {}).get("replicas")
        and found.get("status", {}).get("observedGeneration", 0) >= found["metadata"].get("generation", 1)
    ]
    idle.sort(key=lambda found: (names.revision_of(found), names.age_order(found)))
    return [Delete(REPLICASETS, found) for found in idle[: max(len(old) - int(limit), 0)]]


def _report(deployment: Json, status: Json, revision: int, now: float) -> list[Action]:
    actions: list[Action] = []
    metadata = deployment["metadata"]
    if revision and revision != names.revision_of(deployment):
        annotations = {**(metadata.get("annotations") or {}), names.REVISION: str(revision)}
        metadata = {**metadata, "annotations": annotations}
    if status != deployment.get("status") or metadata is not deployment["metadata"]:
        actions.append(Status(DEPLOYMENTS, {**deployment, "metadata": metadata, "status": status}))
    wait = statuses.deadline_in(deployment, status, now)
    if wait is not None:
        actions.append(Again(wait))
    return actions
