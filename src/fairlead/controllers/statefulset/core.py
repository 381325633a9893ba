"""The decisions of a StatefulSet: which pod comes or goes next.

Pure. In order means: a pod is created when all before it are available, deleted when all after it are gone; an update goes from the last to the
first, one pod at a time. Source: apps/v1 StatefulSet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fairlead.api.resources import PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from fairlead.base.selectors import from_object
from fairlead.controllers import ownership, podstate, revisions
from fairlead.controllers.actions import Action, Again, Create, Delete, Event, Status, adopt, release
from fairlead.controllers.revisions import HASH_LABEL, History
from fairlead.controllers.statefulset import pods as naming

Json = dict[str, Any]

REVISION_LABEL = "controller.kubernetes.io/hash"


def reconcile(
    owner: Json,
    owned: Sequence[Json],
    orphans: Sequence[Json],
    existing: Sequence[Json],
    claims: Mapping[str, Json],
    *,
    now: float,
) -> list[Action]:
    """Return the next steps. `existing` are its ControllerRevisions, `claims` the claims of the namespace by name."""
    name = owner["metadata"]["name"]
    ours = [pod for pod in orphans if naming.parent_of(pod["metadata"]["name"]) == name]
    found = ownership.claims(owner, from_object(owner["spec"]["selector"]), owned, ours)
    actions: list[Action] = [release(PODS, pod, owner["metadata"]["uid"]) for pod in found.release]
    actions += [adopt(PODS, pod, ownership.reference_to(owner, STATEFULSETS)) for pod in found.adopt]
    if found.adopt:
        return actions
    status = owner.get("status") or {}
    history = revisions.history(
        owner, STATEFULSETS, existing, hash_label=REVISION_LABEL, collisions=status.get("collisionCount") or 0
    )
    actions += history.actions
    current = _current(status, history)
    if "deletionTimestamp" not in owner["metadata"]:
        actions += _next(owner, found.owned, current, history.update, claims, now)
        actions += _drop_claims(owner, found.owned, claims)
    new_status = _status(owner, found.owned, current, history.update, now)
    if new_status != status:
        actions.append(Status(STATEFULSETS, {**owner, "status": new_status}))
    in_use = {revision["metadata"]["name"] for revision in (current, history.update)}
    in_use |= {_revision(pod) for pod in found.owned}
    actions += revisions.clean_up(history, in_use, owner["spec"].get("revisionHistoryLimit"))
    waits = [wait for pod in found.owned if (wait := podstate.available_in(pod, _min_ready_s(owner), now)) is not None]
    return [*actions, Again(min(waits) + 0.01)] if waits else actions


def _current(status: Json, history: History) -> Json:
    """Return the revision that pods have which are not to be updated; the update one when that is not known."""
    name = status.get("currentRevision")
    return next((each for each in history.known if each["metadata"]["name"] == name), history.update)


def _next(
    owner: Json, owned: Sequence[Json], current: Json, update: Json, claims: Mapping[str, Json], now: float
) -> list[Action]:
    spec = owner["spec"]
    in_order = spec.get("podManagementPolicy") != "Parallel"
    first = (spec.get("ordinals") or {}).get("start") or 0
    wanted = range(first, first + _replicas(owner))
    by_ordinal = {naming.ordinal_of(pod): pod for pod in owned}
    actions: list[Action] = []
    for ordinal in wanted:
        steps = _settle(owner, ordinal, by_ordinal.get(ordinal), current, update, claims, now)
        if steps is None:
            continue
        actions += steps
        if in_order:
            return actions
    condemned = sorted(
        (pod for ordinal, pod in by_ordinal.items() if ordinal not in wanted),
        key=lambda pod: naming.ordinal_of(pod) or 0,
        reverse=True,
    )
    for pod in condemned:
        if podstate.is_terminating(pod):
            if in_order:
                return actions
            continue
        actions.append(_delete(owner, pod))
        if in_order:
            return actions
    return actions + _update(owner, wanted, by_ordinal, update, now)


def _settle(
    owner: Json,
    ordinal: int,
    pod: Json | None,
    current: Json,
    update: Json,
    claims: Mapping[str, Json],
    now: float,
) -> list[Action] | None:
    """Return what one wanted pod needs; an empty list: it must be waited for; None: it is well."""
    if pod is None:
        revision = current if ordinal < _partition(owner) else update
        steps: list[Action] = [
            Create(PERSISTENTVOLUMECLAIMS, claim, owner, tolerant=True, note=_claim_note(owner, claim, ordinal))
            for claim in naming.claims_for(owner, ordinal)
            if claim["metadata"]["name"] not in claims
        ]
        made = naming.pod_for(owner, revision, ordinal)
        return [*steps, Create(PODS, made, owner, note=_note("create", owner, made))]
    if podstate.is_terminating(pod):
        return []
    if podstate.is_finished(pod):
        reason = "RecreatingFailedPod" if podstate.phase(pod) == "Failed" else "RecreatingTerminatedPod"
        metadata = pod["metadata"]
        title = f"StatefulSet {metadata['namespace']}/{owner['metadata']['name']}"
        message = f"{title} is recreating {podstate.phase(pod).lower()} Pod {metadata['name']}"
        return [Event(owner, "Warning", reason, message), _delete(owner, pod)]
    return None if podstate.is_available(pod, _min_ready_s(owner), now) else []


def _delete(owner: Json, pod: Json) -> Delete:
    return Delete(PODS, pod, owner, note=_note("delete", owner, pod))


def _note(verb: str, owner: Json, pod: Json) -> str:
    return f"{verb} Pod {pod['metadata']['name']} in StatefulSet {owner['metadata']['name']} successful"


def _claim_note(owner: Json, claim: Json, ordinal: int) -> str:
    name = owner["metadata"]["name"]
    return f"create Claim {claim['metadata']['name']} Pod {name}-{ordinal} in StatefulSet {name} success"


def _update(
    owner: Json, wanted: range, by_ordinal: Mapping[int | None, Json], update: Json, now: float
) -> list[Action]:
    strategy = owner["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return []
    for ordinal in reversed(wanted):
        if ordinal < _partition(owner):
            break
        pod = by_ordinal.get(ordinal)
        if pod is None or podstate.is_terminating(pod):
            return []
        if _revision(pod) != update["metadata"]["name"]:
            return [_delete(owner, pod)]
        if not podstate.is_available(pod, _min_ready_s(owner), now):
            return []
    return []


def _drop_claims(owner: Json, owned: Sequence[Json], claims: Mapping[str, Json]) -> list[Action]:
    """Return what deletes the claims of pods that were scaled away, if the retention policy asks for it."""
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    if policy.get("whenScaled") != "Delete":
        return []
    first = (owner["spec"].get("ordinals") or {}).get("start") or 0
    kept: Collection[int] = range(first, first + _replicas(owner))
    present = {naming.ordinal_of(pod) for pod in owned}
    actions: list[Action] = []
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        prefix = f"{template['metadata']['name']}-{owner['metadata']['name']}-"
        for name, claim in claims.items():
            number = name.removeprefix(prefix)
            if name == number or not number.isdecimal() or "deletionTimestamp" in claim["metadata"]:
                continue
            if int(number) not in kept and int(number) not in present:
                actions.append(Delete(PERSISTENTVOLUMECLAIMS, claim))
    return actions


def _status(owner: Json, owned: Sequence[Json], current: Json, update: Json, now: float) -> Json:
    former = owner.get("status") or {}
    names = current["metadata"]["name"], update["metadata"]["name"]
    alive = [pod for pod in owned if not podstate.is_terminating(pod)]
    ready = [pod for pod in owned if podstate.is_ready(pod)]
    counts = {
        "readyReplicas": len(ready),
        "availableReplicas": sum(podstate.is_available(pod, _min_ready_s(owner), now) for pod in ready),
        "currentReplicas": sum(_revision(pod) == names[0] for pod in alive),
        "updatedReplicas": sum(_revision(pod) == names[1] for pod in alive),
    }
    rolling = (owner["spec"].get("updateStrategy") or {}).get("type") != "OnDelete"
    replicas = _replicas(owner)
    if rolling and counts["updatedReplicas"] == counts["readyReplicas"] == len(owned) == replicas:
        names = names[1], names[1]
        counts["currentReplicas"] = counts["updatedReplicas"]
    status: Json = {
        "observedGeneration": owner["metadata"].get("generation", 1),
        "replicas": len(owned),
        "currentRevision": names[0],
        "updateRevision": names[1],
        "collisionCount": former.get("collisionCount") or 0,
        # Required by the API: present also when zero.
        "availableReplicas": counts.pop("availableReplicas"),
    }
    status |= {name: count for name, count in counts.items() if count}
    if former.get("conditions"):
        status["conditions"] = former["conditions"]
    return status


def _replicas(owner: Json) -> int:
    replicas = owner["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _partition(owner: Json) -> int:
    strategy = owner["spec"].get("updateStrategy") or {}
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def _min_ready_s(owner: Json) -> int:
    return int(owner["spec"].get("minReadySeconds") or 0)


def _revision(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH_LABEL, ""))
