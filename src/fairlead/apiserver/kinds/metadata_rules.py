"""The rules that the metadata of every object must keep, and the names that each kind may have.

Source: apimachinery `api/validation` (ValidateObjectMeta and its update twin).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.field_error import FieldError, duplicate, forbidden, invalid, required, too_long
from fairlead.apiserver.kinds.registry import Kind

NameRule = Callable[[str], list[str]]

ANNOTATIONS_LIMIT_BYTES = 256 * 1024


def _cron_job_name(value: str) -> list[str]:
    return formats.dns_subdomain(value) + (["must be no more than 52 characters"] if len(value) > 52 else [])


def _ip_name(value: str) -> list[str]:
    address = formats.parse_ip(value)
    if address is None or str(address) != value:
        return ["must be a valid address in canonical form"]
    return []


_NAME_RULES: dict[str, NameRule] = {
    "Namespace": formats.dns_label,
    "Service": formats.dns_1035_label,
    "CronJob": _cron_job_name,
    "IPAddress": _ip_name,
    "Role": formats.path_segment,
    "RoleBinding": formats.path_segment,
    "ClusterRole": formats.path_segment,
    "ClusterRoleBinding": formats.path_segment,
}


def name_rule(kind: Kind) -> NameRule:
    """Return the check of names of `kind`: a DNS subdomain unless the kind asks for something else."""
    return _NAME_RULES.get(kind.resource.kind, formats.dns_subdomain)


def validate_labels(labels: dict[str, str], field: str) -> list[FieldError]:
    """Check the keys and values of labels."""
    errors = []
    for key, value in labels.items():
        errors += [invalid(field, key, text) for text in formats.qualified_name(key)]
        errors += [invalid(field, value, text) for text in formats.label_value(value)]
    return errors


def validate_annotations(annotations: dict[str, str], field: str) -> list[FieldError]:
    """Check the keys and the total size of annotations."""
    errors = []
    total = 0
    for key, value in annotations.items():
        errors += [invalid(field, key, text) for text in formats.qualified_name(key.lower())]
        total += len(key.encode()) + len(value.encode())
    if total > ANNOTATIONS_LIMIT_BYTES:
        errors.append(too_long(field, ANNOTATIONS_LIMIT_BYTES))
    return errors


def validate_metadata(kind: Kind, meta: dict[str, Any], field: str = "metadata") -> list[FieldError]:
    """Check the metadata of an object to create; names and namespace included."""
    rule = name_rule(kind)
    errors = []
    if prefix := meta.get("generateName"):
        masked = prefix[:-1] + "a" if prefix.endswith("-") and rule is not formats.path_segment else prefix
        errors += [invalid(f"{field}.generateName", prefix, text) for text in rule(masked)]
    name = meta.get("name")
    if not name:
        errors.append(required(f"{field}.name", "name or generateName is required"))
    else:
        errors += [invalid(f"{field}.name", name, text) for text in rule(name)]
    namespace = meta.get("namespace")
    if kind.resource.namespaced:
        if not namespace:
            errors.append(required(f"{field}.namespace"))
        else:
            errors += [invalid(f"{field}.namespace", namespace, text) for text in formats.dns_label(namespace)]
    elif namespace:
        errors.append(forbidden(f"{field}.namespace", "not allowed on this type"))
    return errors + _common(meta, field)


def _common(meta: dict[str, Any], field: str) -> list[FieldError]:
    errors = []
    if meta.get("generation", 0) < 0:
        errors.append(invalid(f"{field}.generation", meta["generation"], "must be greater than or equal to 0"))
    errors += validate_labels(meta.get("labels", {}), f"{field}.labels")
    errors += validate_annotations(meta.get("annotations", {}), f"{field}.annotations")
    errors += _owner_references(meta.get("ownerReferences", []), f"{field}.ownerReferences")
    for finalizer in meta.get("finalizers", []):
        errors += [invalid(f"{field}.finalizers", finalizer, text) for text in formats.qualified_name(finalizer)]
    return errors


def _owner_references(references: list[dict[str, Any]], field: str) -> list[FieldError]:
    errors = []
    controller = ""
    for reference in references:
        if not reference.get("apiVersion", "").rpartition("/")[2]:
            errors.append(invalid(f"{field}.apiVersion", reference.get("apiVersion", ""), "version must not be empty"))
        errors += [
            invalid(f"{field}.{part}", "", "must not be empty")
            for part in ("kind", "name", "uid")
            if not reference.get(part)
        ]
        if reference.get("controller"):
            name = reference.get("name", "")
            if controller:
                text = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {name}'
                )
                errors.append(invalid(field, references, text))
            controller = name
    return errors


_IMMUTABLE = "field is immutable"


def validate_metadata_update(
    kind: Kind, new: dict[str, Any], old: dict[str, Any], field: str = "metadata"
) -> list[FieldError]:
    """Check changed metadata: identity stays, labels and annotations keep the rules, no finalizer joins a dying object."""
    errors = [
        invalid(f"{field}.{key}", new.get(key, ""), _IMMUTABLE)
        for key in ("name", "namespace", "uid", "creationTimestamp")
        if new.get(key) != old.get(key)
    ]
    if old.get("deletionTimestamp"):
        added = [item for item in new.get("finalizers", []) if item not in old.get("finalizers", [])]
        if added:
            text = f"no new finalizers can be added if the object is being deleted, found new finalizers {_go_strings(added)}"
            errors.append(forbidden(f"{field}.finalizers", text))
    return errors + _common(new, field)


def _go_strings(items: list[str]) -> str:
    return "[]string{" + ", ".join(f'"{item}"' for item in items) + "}"


def unique(values: list[str], field: str) -> list[FieldError]:
    """Return a Duplicate error for every repeated value, at `field[index]`."""
    seen: set[str] = set()
    errors = []
    for index, value in enumerate(values):
        if value in seen:
            errors.append(duplicate(f"{field}[{index}]", value))
        seen.add(value)
    return errors
