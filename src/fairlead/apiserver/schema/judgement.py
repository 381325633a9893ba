"""The walk of an object's rules: each rule meets its value, in the types that rules see, and the value that was there before.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/cel/validation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from fairlead.apiserver.cel import times
from fairlead.apiserver.cel.values import CelError, KeyedList
from fairlead.apiserver.kinds.field_error import OMITTED, FieldError
from fairlead.apiserver.schema.node import MISSING, Node
from fairlead.apiserver.schema.rules import Judge
from fairlead.apiserver.schema.values import older_item, older_items, same


def judge(value: Any, node: Node, old: Any = MISSING, *, path: str = "") -> list[FieldError]:
    """Return what the rules of `node` and below say against `value`, which stands at `path`.

    With `old`, what is unchanged passes, and rules about transitions count.
    """
    found = Judge()
    _walk(found, value, node, old, path, lambda: False)
    return found.errors


def _walk(judge: Judge, value: Any, node: Node, old: Any, path: str, above: Callable[[], bool]) -> None:
    """Evaluate the rules of `value` and below; `above` tells whether what it is a part of is unchanged."""
    if not node.rules_below or value is None or judge.exhausted:
        return

    def unchanged() -> bool:
        # Asked only when a rule fails: comparing costs as much as the value is large.
        return (old is not MISSING and same(value, old)) or above()

    if node.rules:
        shown = OMITTED if isinstance(value, dict | list) else value
        before = None if old is MISSING else seen(old, node)
        judge.check(node.rules, path, seen(value, node), shown, before, unchanged)
    if isinstance(value, dict):
        earlier = old if isinstance(old, dict) else {}
        for key, inner in value.items():
            below = node.properties.get(key)
            where = f"{path}.{key}" if path else key
            if below is None:
                below, where = node.additional, f"{path}[{key}]"
            if below is not None and below.rules_below:
                _walk(judge, inner, below, earlier.get(key, MISSING), where, unchanged)
    elif isinstance(value, list) and node.items is not None:
        known = older_items(node, old)
        for position, item in enumerate(value):
            _walk(judge, item, node.items, older_item(known, node, item), f"{path}[{position}]", unchanged)


def seen(value: Any, node: Node) -> Any:
    """Return `value` as rules see it: numbers as doubles, times as timestamps, sets without order. The value itself where nothing differs."""
    if not node.converts or value is None:
        return value
    if isinstance(value, dict):
        return {key: _seen_field(inner, node, key) for key, inner in value.items()}
    if isinstance(value, list):
        items = [seen(item, node.items) for item in value] if node.items is not None else value
        return KeyedList(items, node.map_keys) if node.list_type in ("set", "map") else items
    if isinstance(value, str):
        return _text(value, node.format)
    if isinstance(value, int) and not isinstance(value, bool) and node.types == ("number",):
        return float(value)
    return value


def _seen_field(value: Any, node: Node, key: str) -> Any:
    below = node.properties.get(key) or node.additional
    return value if below is None else seen(value, below)


def _text(value: str, form: str) -> Any:
    try:
        match form:
            case "date-time":
                return times.timestamp(value)
            case "date":
                return datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC)
            case "duration":
                return times.duration(value)
            case "byte":
                return base64.b64decode(value, validate=True)
    except (CelError, ValueError, binascii.Error):
        # The format is judged elsewhere; a rule meets the text as it is.
        return value
    return value
