"""Who owns what: owner references, and the claims of a controller on the objects that its selector matches.

Source: metav1.OwnerReference; the rules of adoption are those that every workload controller of Kubernetes shares: only an object without
a controller is adopted, never another's, and what no longer matches is released.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fairlead.api.resources import Resource
from fairlead.base.selectors import LabelSelector

Json = dict[str, Any]


def controller_of(obj: Json) -> Json | None:
    """Return the owner reference of the controller of `obj`, if any."""
    references: list[Json] = obj["metadata"].get("ownerReferences") or []
    for reference in references:
        if reference.get("controller"):
            return reference
    return None


def controller_uid(obj: Json) -> str | None:
    """Return the uid of the controller of `obj`, if any."""
    reference = controller_of(obj)
    return reference["uid"] if reference else None


def controller_index(obj: Json) -> tuple[str, ...]:
    """Index function: the uid of the controller of `obj`."""
    uid = controller_uid(obj)
    return (uid,) if uid else ()


def orphan_index(obj: Json) -> tuple[str, ...]:
    """Index function: the namespace of an object that no controller owns."""
    return () if controller_uid(obj) else (obj["metadata"].get("namespace", ""),)


def reference_to(owner: Json, resource: Resource) -> Json:
    """Return the owner reference that a controller puts on what it makes for `owner`."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


@dataclass(frozen=True, slots=True)
class Claims:
    """What an owner has (`owned`), may take (`adopt`) and must let go (`release`)."""

    owned: list[Json]
    adopt: list[Json]
    release: list[Json]


def claims(owner: Json, selector: LabelSelector, owned: Iterable[Json], orphans: Iterable[Json]) -> Claims:
    """Return the claims of `owner` on `owned`, objects that it controls, and `orphans`, objects of its namespace without controller.

    An owner that is being deleted neither adopts nor releases.
    """
    deleting = "deletionTimestamp" in owner["metadata"]
    kept: list[Json] = []
    release: list[Json] = []
    for obj in owned:
        matched = selector.matches(obj["metadata"].get("labels"))
        if matched or deleting:
            kept.append(obj)
        if not matched and not deleting and "deletionTimestamp" not in obj["metadata"]:
            release.append(obj)
    adopt = (
        []
        if deleting or not selector.requirements
        else [
            obj
            for obj in orphans
            if "deletionTimestamp" not in obj["metadata"] and selector.matches(obj["metadata"].get("labels"))
        ]
    )
    return Claims(kept, adopt, release)
