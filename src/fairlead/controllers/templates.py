"""Pods made from a template, and how templates are compared and named.

Source: core/v1 PodTemplateSpec. The hash in a name must be stable for equal templates across restarts and versions; its value has no meaning
of its own.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

# The letters of generated names: without vowels and without what looks like another one.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
_LONGEST_PREFIX = 63 - _SUFFIX


def canonical(value: Any) -> Any:
    """Return a JSON value without what says nothing: nulls, and empty maps and lists inside of maps."""
    if isinstance(value, Mapping):
        cleaned = {key: canonical(member) for key, member in value.items()}
        return {key: member for key, member in cleaned.items() if member is not None and member != {} and member != []}
    if isinstance(value, list):
        return [canonical(member) for member in value]
    return value


def equal(one: Json, other: Json, *, ignore_label: str | None = None) -> bool:
    """Tell whether two pod templates mean the same, a label of the controller's own left aside."""
    return bool(_comparable(one, ignore_label) == _comparable(other, ignore_label))


def _comparable(template: Json, ignore_label: str | None) -> Any:
    cleaned = canonical(template)
    labels = cleaned.get("metadata", {}).get("labels")
    if ignore_label is not None and labels and ignore_label in labels:
        rest = {key: value for key, value in labels.items() if key != ignore_label}
        metadata = {**cleaned["metadata"], "labels": rest}
        return canonical({**cleaned, "metadata": metadata})
    return cleaned


def short_hash(value: Any, collisions: int = 0) -> str:
    """Return a short name part for a JSON value; another one for each number of `collisions`."""
    data = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"))
    if collisions:
        data += f"#{collisions}"
    number = int.from_bytes(hashlib.sha256(data.encode()).digest()[:4], "big")
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(number))


def random_suffix() -> str:
    """Return five letters as the API server appends to generateName."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))


def pod_from(
    template: Json,
    *,
    namespace: str,
    owner: Json,
    name: str | None = None,
    prefix: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    finalizers: list[str] | None = None,
) -> Json:
    """Return the pod that `template` describes, controlled by the owner reference `owner`.

    Exactly one of `name` and `prefix` (for generateName) is given. The spec is shared with the template and must not be changed in place.
    """
    source = template.get("metadata") or {}
    metadata: Json = {"namespace": namespace, "ownerReferences": [owner]}
    if name is not None:
        metadata["name"] = name
    else:
        metadata["generateName"] = (prefix or "")[:_LONGEST_PREFIX]
    for field, more in (("labels", labels), ("annotations", annotations)):
        merged = {**(source.get(field) or {}), **(more or {})}
        if merged:
            metadata[field] = merged
    kept = [*(source.get("finalizers") or ()), *(finalizers or ())]
    if kept:
        metadata["finalizers"] = kept
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
