"""The ReplicaSets of a Deployment: which one is the new one, what its name and annotations are, how it is scaled.

Pure. A ReplicaSet belongs to a template; it is found again by comparing templates, so that a rollback reuses the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.api.resources import DEPLOYMENTS, REPLICASETS
from fairlead.controllers import ownership, templates
from fairlead.controllers.actions import Action, Event, Replace
from fairlead.controllers.deployment import names
from fairlead.controllers.deployment.names import HASH_LABEL, replicas_of

Json = dict[str, Any]


def find_new(deployment: Json, replica_sets: Sequence[Json]) -> Json | None:
    """Return the oldest ReplicaSet with the template of the Deployment."""
    wanted = deployment["spec"]["template"]
    for replica_set in sorted(replica_sets, key=names.age_order):
        if templates.equal(replica_set["spec"]["template"], wanted, ignore_label=HASH_LABEL):
            return replica_set
    return None


def next_revision(old: Sequence[Json]) -> int:
    """Return the revision of a ReplicaSet that comes after `old`."""
    return max(map(names.revision_of, old), default=0) + 1


def build(deployment: Json, replicas: int, revision: int) -> Json:
    """Return the ReplicaSet for the current template; named by its hash and the number of collisions seen so far."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    collisions = deployment.get("status", {}).get("collisionCount") or 0
    digest = templates.short_hash(spec["template"], collisions)
    template_metadata = spec["template"].get("metadata") or {}
    labels = {**(template_metadata.get("labels") or {}), HASH_LABEL: digest}
    selector = spec["selector"]
    annotations = _copied(deployment) | {names.REVISION: str(revision)} | _size(deployment)
    return {
        "apiVersion": REPLICASETS.api_version,
        "kind": REPLICASETS.kind,
        "metadata": {
            "name": f"{metadata['name']}-{digest}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [ownership.reference_to(deployment, DEPLOYMENTS)],
        },
        "spec": {
            "replicas": replicas,
            **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}},
            "template": {**spec["template"], "metadata": {**template_metadata, "labels": labels}},
        },
    }


def refresh(deployment: Json, replica_set: Json, revision: int) -> Json:
    """Return the new ReplicaSet as its annotations and minReadySeconds should be; equal to it when they are."""
    annotations = dict(replica_set["metadata"].get("annotations") or {})
    annotations |= _copied(deployment)
    former = names.revision_of(replica_set)
    if former < revision:
        annotations[names.REVISION] = str(revision)
        if former:
            history = [entry for entry in annotations.get(names.REVISION_HISTORY, "").split(",") if entry]
            annotations[names.REVISION_HISTORY] = ",".join([*history, str(former)])
    spec = dict(replica_set["spec"])
    min_ready_s = deployment["spec"].get("minReadySeconds") or 0
    if (spec.get("minReadySeconds") or 0) != min_ready_s:
        spec["minReadySeconds"] = min_ready_s
    return {**replica_set, "metadata": {**replica_set["metadata"], "annotations": annotations}, "spec": spec}


def scale(deployment: Json, replica_set: Json, replicas: int) -> list[Action]:
    """Return what gives `replica_set` its number of replicas and the annotations that proportional scaling reads."""
    former = replicas_of(replica_set)
    annotations = dict(replica_set["metadata"].get("annotations") or {}) | _size(deployment)
    if former == replicas and annotations == (replica_set["metadata"].get("annotations") or {}):
        return []
    changed = {
        **replica_set,
        "metadata": {**replica_set["metadata"], "annotations": annotations},
        "spec": {**replica_set["spec"], "replicas": replicas},
    }
    actions: list[Action] = [Replace(REPLICASETS, changed)]
    if former != replicas:
        actions.append(scaled_event(deployment, replica_set["metadata"]["name"], former, replicas))
    return actions


def scaled_event(deployment: Json, name: str, former: int, replicas: int) -> Event:
    """Return the Event that tells of a changed size."""
    direction = "up" if replicas > former else "down"
    message = f"Scaled {direction} replica set {name} from {former} to {replicas}"
    return Event(deployment, "Normal", "ScalingReplicaSet", message)


def was_resized(deployment: Json, replica_sets: Sequence[Json]) -> bool:
    """Tell whether the number of replicas changed since the ReplicaSets were last scaled."""
    wanted = str(replicas_of(deployment))
    for replica_set in replica_sets:
        stated = (replica_set["metadata"].get("annotations") or {}).get(names.DESIRED)
        if replicas_of(replica_set) and stated is not None and stated != wanted:
            return True
    return False


def _copied(deployment: Json) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {key: value for key, value in annotations.items() if key not in names.NOT_COPIED}


def _size(deployment: Json) -> dict[str, str]:
    replicas = replicas_of(deployment)
    surge, _ = names.surge_and_unavailable(deployment)
    return {names.DESIRED: str(replicas), names.MAXIMUM: str(replicas + surge)}
