"""Which fields differ between two versions of an object, as sets of fields: what ownership follows.

Items of lists that have an identity are compared by it, wherever they stand; of items with the same identity the first counts. Runs with
every write, so what exists on one side alone is not compared but walked. Source: structured-merge-diff (typed.Compare).
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.patch.fields import Fields, item_name, value_name
from fairlead.apiserver.patch.schema import FieldSchema

_ABSENT: Any = object()


def compare(old: Any, new: Any, schema: FieldSchema) -> tuple[Fields, Fields]:
    """Return the fields that are new or different in `new`, and those that only `old` has."""
    changed: Fields = {}
    gone: Fields = {}
    if isinstance(old, list) or isinstance(new, list):
        before, after = _by_name(old, schema), _by_name(new, schema)
        for name, value in after.items():
            _field(name, before.get(name, _ABSENT), value, schema, changed, gone)
        for name, value in before.items():
            if name not in after:
                gone[name] = whole(value, schema)
        return changed, gone
    before = old if isinstance(old, dict) else {}
    after = new if isinstance(new, dict) else {}
    for key, value in after.items():
        below = schema.field(key)
        # An empty object holds some fields already, so these are changed rather than added.
        known = before.get(key, None if below.always else _ABSENT)
        _field(f"f:{key}", known, value, below, changed, gone)
    for key, value in before.items():
        if key not in after:
            gone[f"f:{key}"] = whole(value, schema.field(key))
    return changed, gone


def whole(value: Any, schema: FieldSchema) -> Fields:
    """Return the node of a field that exists on one side alone: itself and everything below it."""
    if not value or schema.atomic:
        return {}
    if isinstance(value, dict):
        node: Fields = {".": {}}
        for key, inner in value.items():
            node[f"f:{key}"] = whole(inner, schema.field(key)) if isinstance(inner, dict | list) else {}
        return node
    if isinstance(value, list) and (schema.keys or schema.is_set):
        return {".": {}} | {name: whole(item, schema) for name, item in _by_name(value, schema).items()}
    return {}


def _field(name: str, old: Any, new: Any, schema: FieldSchema, changed: Fields, gone: Fields) -> None:
    """Add what differs in one field that `new` has."""
    if old is _ABSENT:
        changed[name] = whole(new, schema)
        return
    if old is new or old == new or not (old or new or _differ_as_scalars(old, new)):
        return
    if schema.atomic or not _have_parts(old, new, schema):
        changed[name] = {}
        return
    more, less = compare(old, new, schema)
    if more:
        changed[name] = more
    if less:
        gone[name] = less


def _differ_as_scalars(old: Any, new: Any) -> bool:
    """Tell empty values apart that are none of map, list and null."""
    return isinstance(old, str | int | float) or isinstance(new, str | int | float)


def _have_parts(old: Any, new: Any, schema: FieldSchema) -> bool:
    """Tell whether two values, of which one may be nothing, are made of fields or items with an identity."""
    kind = type(old if old is not None else new)
    if not isinstance(new, kind | None):
        return False
    return kind is dict or (kind is list and bool(schema.keys or schema.is_set))


def _by_name(value: Any, schema: FieldSchema) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in value if isinstance(value, list) else ():
        name = value_name(item) if schema.is_set else item_name(item, schema)
        if name is not None:
            found.setdefault(name, item)
    return found
