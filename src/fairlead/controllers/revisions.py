"""The history of a pod template as ControllerRevisions, shared by StatefulSets and DaemonSets.

Pure. `kubectl rollout history` and `undo` read these objects: their data is a strategic merge patch of the owner. Source: apps/v1
ControllerRevision.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.api.resources import CONTROLLERREVISIONS, Resource
from fairlead.controllers import ownership, podstate, templates
from fairlead.controllers.actions import Action, Create, Delete, Patch

Json = dict[str, Any]

HASH_LABEL = "controller-revision-hash"
_NOT_COPIED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", "deprecated.daemonset.template.generation"}
)


@dataclass(frozen=True, slots=True)
class History:
    """The revision of the current template, all known ones from old to new, and what must be written first."""

    update: Json
    known: list[Json]
    actions: list[Action]


def history(
    owner: Json, resource: Resource, existing: Sequence[Json], *, hash_label: str, collisions: int = 0
) -> History:
    """Return the history of `owner` given its ControllerRevisions; a template that was there before becomes the newest again."""
    known = sorted(
        existing, key=lambda found: (found["revision"], podstate.created_at(found), found["metadata"]["name"])
    )
    template = owner["spec"]["template"]
    newest = known[-1]["revision"] if known else 0
    for found in reversed(known):
        if templates.equal(template_of(found), template):
            if found["revision"] == newest:
                return History(found, known, [])
            renumbered = {**found, "revision": newest + 1}
            others = [each for each in known if each is not found]
            return History(
                renumbered, [*others, renumbered], [Patch(CONTROLLERREVISIONS, found, {"revision": newest + 1})]
            )
    made = _build(owner, resource, newest + 1, hash_label, collisions)
    return History(made, [*known, made], [Create(CONTROLLERREVISIONS, made)])


def template_of(revision: Json) -> Json:
    """Return the pod template that a revision holds."""
    template: Json = revision["data"]["spec"]["template"]
    return {key: value for key, value in template.items() if key != "$patch"}


def hash_of(revision: Json, hash_label: str) -> str:
    """Return the hash by which a revision is named."""
    return str((revision["metadata"].get("labels") or {}).get(hash_label, ""))


def clean_up(found: History, in_use: Collection[str], limit: int | None) -> list[Action]:
    """Return what deletes the oldest revisions beyond `limit`; those whose names are `in_use` do not count."""
    idle = [each for each in found.known if each["metadata"]["name"] not in in_use and "uid" in each["metadata"]]
    surplus = max(len(idle) - (10 if limit is None else limit), 0)
    return [Delete(CONTROLLERREVISIONS, each) for each in idle[:surplus]]


def _build(owner: Json, resource: Resource, number: int, hash_label: str, collisions: int) -> Json:
    metadata, template = owner["metadata"], owner["spec"]["template"]
    digest = templates.short_hash(template, collisions)
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _NOT_COPIED}
    return {
        "apiVersion": CONTROLLERREVISIONS.api_version,
        "kind": CONTROLLERREVISIONS.kind,
        "metadata": {
            "name": f"{metadata['name']}-{digest}",
            "namespace": metadata["namespace"],
            "labels": {**((template.get("metadata") or {}).get("labels") or {}), hash_label: digest},
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [ownership.reference_to(owner, resource)],
        },
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
        "revision": number,
    }
