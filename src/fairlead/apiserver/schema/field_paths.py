"""JSON paths that name one field of a schema: `.spec.a`, `.spec['a.b']`.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/cel (ValidFieldPath).
"""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]

_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\['(?P<quoted>(?:\\.|[^'\\])*)'\]")


class FieldPathError(ValueError):
    """A path that names no field of the schema; the text says why."""


def resolve(path: str, schema: Json, *, brackets: bool = True) -> tuple[tuple[str, ...], Json]:
    """Return the steps of `path` and the schema of the field; raises FieldPathError."""
    steps: list[str] = []
    position = 0
    while position < len(path):
        if path[position] == "[" and not brackets:
            raise FieldPathError("array notation is not allowed")
        match = _STEP.match(path, position)
        if match is None:
            raise FieldPathError(f"expected [ or . but got: {path[position:]}")
        name = match["name"] or re.sub(r"\\(.)", r"\1", match["quoted"] or "")
        properties, additional = schema.get("properties"), schema.get("additionalProperties")
        below = properties.get(name) if properties else additional
        if not isinstance(below, dict):
            raise FieldPathError("does not refer to a valid field")
        steps.append(name)
        schema, position = below, match.end()
    if not steps:
        raise FieldPathError("unexpected end of JSON path")
    return tuple(steps), schema
