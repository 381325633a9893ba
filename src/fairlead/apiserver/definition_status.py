"""The status of a CustomResourceDefinition: which of its names it got, whether it is served, and how its end goes on.

Source: k8s.io/apiextensions-apiserver, pkg/controller (status, establish, finalizer, apiapproval). Pure; the time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

TABLE = "apiextensions.k8s.io/customresourcedefinitions"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer of a definition whose objects are still to be deleted."""
APPROVAL = "api-approved.kubernetes.io"
"""The annotation that a definition in a protected group needs."""


def settle(definition: Json, others: Iterable[Json], now: str) -> None:
    """Set (in place) accepted names, conditions and stored versions; `others` are all other definitions."""
    spec, status = definition["spec"], definition.setdefault("status", {})
    group = spec["group"]
    conflict = _accept_names(spec["names"], status, [one for one in others if one["spec"]["group"] == group])
    if conflict is None:
        set_condition(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
    else:
        set_condition(status, "NamesAccepted", "False", *conflict, now)
    if not is_true(definition, "Established"):
        if conflict is None:
            text = "the initial names have been accepted"
            set_condition(status, "Established", "True", "InitialNamesAccepted", text, now)
        else:
            set_condition(status, "Established", "False", "NotAccepted", "not all names are accepted", now)
    _set_approval(definition, status, now)
    stored = status.setdefault("storedVersions", [])
    storage = storage_version(spec)
    if storage is not None and storage not in stored:
        stored.append(storage)


def _accept_names(wanted: Json, status: Json, others: list[Json]) -> tuple[str, str] | None:
    """Take the names that nobody else in the group has; return reason and message of the last conflict, None without one."""
    accepted: Json = status.setdefault("acceptedNames", {})
    before = dict(accepted)
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {names.get("plural"), names.get("singular"), *(names.get("shortNames") or ())}  # type: ignore[arg-type]
        kinds |= {names.get("kind"), names.get("listKind")}  # type: ignore[arg-type]
    conflict: tuple[str, str] | None = None
    for key, reason, used in (
        ("plural", "PluralConflict", resources),
        ("singular", "SingularConflict", resources),
        ("shortNames", "ShortNamesConflict", resources),
        ("kind", "KindConflict", kinds),
        ("listKind", "ListKindConflict", kinds),
    ):
        value = wanted.get(key)
        several = value if isinstance(value, list) else [value]
        own = before.get(key)
        mine = own if isinstance(own, list) else [own]
        taken = [name for name in several if name and name not in mine and name in used]
        if taken:
            listed = ", ".join(f'"{name}" is already in use' for name in taken)
            conflict = (reason, listed if len(taken) == 1 else f"[{listed}]")
        elif value:
            accepted[key] = value
        else:
            accepted.pop(key, None)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    else:
        accepted.pop("categories", None)
    return conflict


def _set_approval(definition: Json, status: Json, now: str) -> None:
    group = definition["spec"]["group"]
    if not is_protected(group):
        return
    value = (definition["metadata"].get("annotations") or {}).get(APPROVAL) or ""
    type = "KubernetesAPIApprovalPolicyConformant"
    if value.startswith("unapproved"):
        set_condition(status, type, "False", "UnapprovedAnnotation", f'not approved: "{value}"', now)
    elif value:
        set_condition(status, type, "True", "ApprovedAnnotation", f"approved in {value}", now)


def is_protected(group: str) -> bool:
    """Tell whether a group belongs to the Kubernetes community."""
    return any(group == one or group.endswith(f".{one}") for one in ("k8s.io", "kubernetes.io"))


def begin_deletion(definition: Json, now: str) -> None:
    """Let a definition (in place) wait for the deletion of its objects. A second request changes nothing."""
    metadata = definition["metadata"]
    if "deletionTimestamp" in metadata:
        return
    finalizers = metadata.setdefault("finalizers", [])
    if CLEANUP not in finalizers:
        finalizers.append(CLEANUP)
    text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    set_condition(definition.setdefault("status", {}), "Terminating", "True", "InstanceDeletionPending", text, now)


def is_ending(definition: Json) -> bool:
    """Tell whether the objects of a definition are to be deleted."""
    metadata = definition["metadata"]
    return "deletionTimestamp" in metadata and CLEANUP in (metadata.get("finalizers") or ())


def is_true(definition: Json, type: str) -> bool:
    """Tell whether a condition is true."""
    return any(
        one["type"] == type and one["status"] == "True"
        for one in (definition.get("status") or {}).get("conditions") or ()
    )


def set_condition(status: Json, type: str, value: str, reason: str, message: str, now: str) -> None:
    """Set a condition in place; its time stays while its value does."""
    conditions = status.setdefault("conditions", [])
    old = next((one for one in conditions if one["type"] == type), None)
    at = old["lastTransitionTime"] if old is not None and old["status"] == value else now
    new = {"type": type, "status": value, "lastTransitionTime": at, "reason": reason, "message": message}
    if old is None:
        conditions.append(new)
    else:
        conditions[conditions.index(old)] = new


def storage_version(spec: Json) -> str | None:
    """Return the name of the version in which objects are stored."""
    return next((one["name"] for one in spec.get("versions") or () if one.get("storage")), None)
