"""What of an object its schema does not know: found for field validation, removed before the object is stored.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/pruning and defaulting (nulls).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairlead.apiserver.schema.node import ANY, META_FIELDS, Node


def unknown_fields(obj: dict[str, Any], root: Node) -> list[str]:
    """Return the paths of the fields of `obj` that `root` does not specify, sorted.

    apiVersion, kind and metadata of the object and of embedded resources are always known.
    """
    return sorted(path for path, _, _ in _unknown_below(obj, root, "", is_resource=True))


def prune(obj: dict[str, Any], root: Node) -> None:
    """Remove from `obj` (in place) the fields that `root` does not specify."""
    for _, holder, key in list(_unknown_below(obj, root, "", is_resource=True)):
        holder.pop(key, None)


def is_pruned(value: Any, node: Node) -> bool:
    """Tell whether nothing in `value` is unknown to `node`."""
    return next(_unknown(value, node, ""), None) is None


_Found = tuple[str, dict[str, Any], str]
"""A path, the object that holds the field, and its name there."""


def _unknown(value: Any, node: Node, path: str) -> Iterator[_Found]:
    if isinstance(value, dict):
        yield from _unknown_below(value, node, path, is_resource=node.embedded)
    elif isinstance(value, list):
        items = node.items
        for position, item in enumerate(value):
            if isinstance(item, dict | list):
                if items is not None:
                    yield from _unknown(item, items, f"{path}[{position}]")
                elif not node.preserve:
                    yield from _unknown(item, ANY, f"{path}[{position}]")


def _unknown_below(value: dict[str, Any], node: Node, path: str, *, is_resource: bool) -> Iterator[_Found]:
    for key, inner in value.items():
        if is_resource and key in META_FIELDS:
            continue
        below = node.properties.get(key) or node.additional
        where = f"{path}.{key}" if path else key
        if below is not None:
            if isinstance(inner, dict | list):
                yield from _unknown(inner, below, where)
        elif not node.preserve:
            yield where, value, key


def drop_nulls(value: Any, node: Node) -> None:
    """Remove from objects (in place) the nulls that are not allowed and that no default replaces."""
    if isinstance(value, dict):
        for key in list(value):
            below = node.properties.get(key) or node.additional
            if below is None or below is ANY:
                continue
            inner = value[key]
            if inner is None:
                if not below.nullable and below.default is None:
                    del value[key]
            elif isinstance(inner, dict | list):
                drop_nulls(inner, below)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            if isinstance(item, dict | list):
                drop_nulls(item, node.items)
