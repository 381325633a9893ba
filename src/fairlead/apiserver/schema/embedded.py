"""Resources inside of resources (x-kubernetes-embedded-resource): they need a type, and metadata that keeps the rules of all metadata.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/objectmeta.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.field_error import FieldError, invalid, required
from fairlead.apiserver.kinds.metadata_rules import validate_annotations, validate_labels
from fairlead.apiserver.schema.node import Node


def check(value: Any, node: Node, path: str = "") -> Iterator[FieldError]:
    """Yield what is wrong with the embedded resources of `value`."""
    if not node.embedded_below:
        return
    if isinstance(value, dict):
        if node.embedded:
            yield from _resource(value, path)
        for key, inner in value.items():
            below = node.properties.get(key)
            if below is not None:
                yield from check(inner, below, f"{path}.{key}" if path else key)
            elif node.additional is not None:
                yield from check(inner, node.additional, f"{path}[{key}]")
    elif isinstance(value, list) and node.items is not None:
        for position, item in enumerate(value):
            yield from check(item, node.items, f"{path}[{position}]")


def _resource(value: dict[str, Any], path: str) -> Iterator[FieldError]:
    yield from (required(f"{path}.{key}") for key in ("apiVersion", "kind") if key not in value)
    if "apiVersion" in value:
        yield from _api_version(value["apiVersion"], f"{path}.apiVersion")
    if "kind" in value:
        yield from _kind(value["kind"], f"{path}.kind")
    if "metadata" in value:
        yield from _metadata(value["metadata"], f"{path}.metadata")


def _api_version(value: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(value, str):
        yield invalid(path, value, "must be a string")
    elif not value:
        yield invalid(path, value, "must not be empty")
    elif value.count("/") > 1:
        yield invalid(path, value, f"unexpected GroupVersion string: {value}")


def _kind(value: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(value, str):
        yield invalid(path, value, "must be a string")
    elif not value:
        yield invalid(path, value, "must not be empty")
    else:
        for complaint in formats.dns_1035_label(value.lower()):
            yield invalid(path, value, f"may have mixed case, but should otherwise match: {complaint}")


def _metadata(value: Any, path: str) -> Iterator[FieldError]:
    problem = metadata_problem(value)
    if problem is not None:
        yield invalid(path, value, problem)
        return
    for key in ("name", "generateName"):
        if name := value.get(key):
            yield from (invalid(f"{path}.{key}", name, text) for text in formats.path_segment(name))
    if namespace := value.get("namespace"):
        yield from (invalid(f"{path}.namespace", namespace, text) for text in formats.dns_label(namespace))
    yield from validate_labels(value.get("labels") or {}, f"{path}.labels")
    yield from validate_annotations(value.get("annotations") or {}, f"{path}.annotations")


_TEXTS = ("name", "namespace", "generateName", "uid", "resourceVersion")


def metadata_problem(value: Any) -> str | None:
    """Return why `value` cannot be decoded as metadata, None if it can."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return "must be an object"
    for key in ("labels", "annotations"):
        inner = value.get(key)
        if inner is not None and not isinstance(inner, dict):
            return f"{key} must be a map"
        if inner and not all(isinstance(item, str) for item in inner.values()):
            return f"{key}: values must be strings"
    for key in ("finalizers", "ownerReferences"):
        if not isinstance(value.get(key) or [], list):
            return f"{key} must be a list"
    for key in _TEXTS:
        if not isinstance(value.get(key) or "", str):
            return f"{key} must be a string"
    return None
