"""Lists that are sets or maps: no item twice.

Source: KEP-555; k8s.io/apiextensions-apiserver, pkg/apiserver/schema/listtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fairlead.apiserver.kinds.field_error import FieldError, duplicate, invalid
from fairlead.apiserver.schema.node import Node


def check(value: Any, node: Node, path: str = "") -> Iterator[FieldError]:
    """Yield an error for each item that occurs again, once per item."""
    if not node.keyed_lists:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            below = node.properties.get(key)
            if below is not None:
                yield from check(inner, below, f"{path}.{key}" if path else key)
            elif node.additional is not None:
                yield from check(inner, node.additional, f"{path}[{key}]")
    elif isinstance(value, list):
        if node.list_type == "set":
            yield from (duplicate(f"{path}[{position}]", value[position]) for position in _repeated(value))
        elif node.list_type == "map":
            yield from _check_map(value, node, path)
        if node.items is not None:
            for position, item in enumerate(value):
                yield from check(item, node.items, f"{path}[{position}]")


def _check_map(value: list[Any], node: Node, path: str) -> Iterator[FieldError]:
    for position, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            yield invalid(f"{path}[{position}]", item, "must be an object for an array of list-type map")
            return
    keys = [key_of(item, node) for item in value]
    yield from (duplicate(f"{path}[{position}]", keys[position]) for position in _repeated(keys))


def key_of(item: Any, node: Node) -> dict[str, Any]:
    """Return what tells an item of a list of type map from the others."""
    return {key: item[key] for key in node.map_keys if key in item} if isinstance(item, dict) else {}


def _repeated(values: list[Any]) -> Iterator[int]:
    """Yield the position of the second occurrence of each value that occurs more than once."""
    seen: dict[bytes, int] = {}
    for position, value in enumerate(values):
        key = msgspec.json.encode(value, order="deterministic")
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 2:
            yield position
