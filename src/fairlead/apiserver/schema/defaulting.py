"""Defaults of a schema, filled in where an object says nothing.

Source: KEP-1693; k8s.io/apiextensions-apiserver, pkg/apiserver/schema/defaulting.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.schema.node import Node


def default(value: Any, node: Node) -> None:
    """Fill in (in place) what is absent, or null where null is not allowed. Idempotent; walks only where defaults are."""
    if not node.defaults:
        return
    if isinstance(value, dict):
        for key, below in node.properties.items():
            if below.default is not None and (key not in value or _is_void(value[key], below)):
                value[key] = below.fresh_default()
            if below.defaults and key in value:
                default(value[key], below)
        additional = node.additional
        if additional is not None and additional.defaults:
            for key, inner in value.items():
                if key in node.properties:
                    continue
                if additional.default is not None and _is_void(inner, additional):
                    value[key] = additional.fresh_default()
                default(value[key], additional)
    elif isinstance(value, list) and node.items is not None:
        items = node.items
        for position, item in enumerate(value):
            if items.default is not None and _is_void(item, items):
                value[position] = items.fresh_default()
            default(value[position], items)


def _is_void(value: Any, node: Node) -> bool:
    return value is None and not node.nullable
