"""The part of JSONPath that printer columns use: fields, indexes, `[*]`, and filters comparing one field with a literal.

Source: apiextensions.k8s.io/v1, additionalPrinterColumns[].jsonPath. A path that is not understood finds nothing.
"""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(
    r"""
    \.?(?P<field>[A-Za-z_][\w/-]*(?:\\\.[\w/-]+)*)
    | \[\s*(?P<index>-?\d+)\s*\]
    | (?:\[\s*\*\s*\]|\.\*)(?P<every>)
    | \[\s*['"](?P<quoted>[^'"]+)['"]\s*\]
    | \[\?\(\s*@\.(?P<key>[\w.]+)\s*(?P<operator>==|!=)\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>\w+))\s*\)\]
    """,
    re.VERBOSE,
)


def find(document: Any, path: str) -> list[Any]:
    """Return every value at `path` (`.spec.ports[0].name`), in order; empty when nothing is there."""
    path = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    found = [document]
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return []
        found = [inner for value in found for inner in _take(value, step)]
        position = step.end()
    return [value for value in found if value is not None]


def _take(value: Any, step: re.Match[str]) -> list[Any]:
    name = step["field"] or step["quoted"]
    if name is not None:
        name = name.replace("\\.", ".")
        return [value[name]] if isinstance(value, dict) and name in value else []
    if step["every"] is not None:
        return list(value) if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    if not isinstance(value, list):
        return []
    if step["index"] is not None:
        index = int(step["index"])
        return [value[index]] if -len(value) <= index < len(value) else []
    wanted = next(text for text in (step["double"], step["single"], step["bare"]) if text is not None)
    equal = step["operator"] == "=="
    return [item for item in value if (_text(item, step["key"]) == wanted) is equal]


def _text(value: Any, key: str) -> str | None:
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
