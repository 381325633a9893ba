"""The defaults of a schema keep the schema's own rules.

Source: KEP-1693, k8s.io/apiextensions-apiserver, pkg/apiserver/schema/defaulting/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.apiserver.kinds.field_error import FieldError, invalid
from fairlead.apiserver.schema import embedded, judgement, lists, pruning, values
from fairlead.apiserver.schema.node import Node


def check(node: Node, path: str) -> Iterator[FieldError]:
    """Yield what is wrong with the defaults of `node` and below; `path` is where its schema stands."""
    if not node.defaults:
        return
    if node.default is not None:
        value, where = node.fresh_default(), f"{path}.default"
        if not pruning.is_pruned(value, node):
            yield invalid(where, value, "must not have unknown fields")
        found = [*embedded.check(value, node, where), *values.check(value, node, prefix=where)]
        found = found or [*lists.check(value, node, where), *judgement.judge(value, node, path=where)]
        yield from found
    if node.items is not None:
        yield from check(node.items, f"{path}.items")
    for name, below in node.properties.items():
        yield from check(below, f"{path}.properties[{name}]")
