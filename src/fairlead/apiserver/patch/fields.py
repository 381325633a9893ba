"""Sets of fields as managedFields records them (FieldsV1), and what can be done with them.

`f:NAME` is a field, `k:{"name":"x"}` an item of a list by its key, `v:VALUE` an item of a set, `.` the item itself. A leaf is an empty
map. Source: structured-merge-diff; KEP-555.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fairlead.apiserver.patch.schema import PatchSchema

Fields = dict[str, Any]
Path = tuple[str, ...]


def of_value(value: Any, schema: PatchSchema) -> Fields:
    """Return the fields that `value` sets; empty for a leaf."""
    if isinstance(value, dict):
        return {f"f:{key}": of_value(inner, schema.field(key)) for key, inner in value.items()}
    if isinstance(value, list) and "merge" in schema.strategies:
        key = schema.merge_key
        if key is None:
            return {f"v:{_json(item)}": {} for item in value}
        if all(isinstance(item, dict) and key in item for item in value):
            return {item_name(item, key): {".": {}, **of_value(item, schema)} for item in value}
    return {}


def item_name(item: dict[str, Any], key: str) -> str:
    """Return how an item of a list is named."""
    return f"k:{_json({key: item[key]})}"


def paths(fields: Fields, above: Path = ()) -> Iterator[Path]:
    """Yield every leaf, and every item (`.`), as a path."""
    for name, below in fields.items():
        if name == ".":
            yield above
        elif below:
            yield from paths(below, (*above, name))
        else:
            yield (*above, name)


def lookup(value: Any, path: Path) -> Any:
    """Return what stands at `path`; raises LookupError when nothing does."""
    for step in path:
        value = _step(value, step)
    return value


def remove(value: Any, path: Path) -> None:
    """Take out of `value` (in place) what stands at `path`, if anything does."""
    try:
        holder = lookup(value, path[:-1])
        last = path[-1]
        if last.startswith("f:"):
            holder.pop(last[2:], None)
        else:
            del holder[_position(holder, last)]
    except (LookupError, AttributeError, TypeError):
        return


def text(path: Path) -> str:
    """Return a path as conflicts name it: `.spec.containers[name="web"].image`."""
    found = ""
    for step in path:
        if step.startswith("f:"):
            found += f".{step[2:]}"
        elif step.startswith("v:"):
            found += f"[={step[2:]}]"
        else:
            keys = msgspec.json.decode(step[2:])
            found += "[" + ",".join(f"{key}={_json(value)}" for key, value in keys.items()) + "]"
    return found


def _step(value: Any, step: str) -> Any:
    if step.startswith("f:"):
        if not isinstance(value, dict):
            raise KeyError(step)
        return value[step[2:]]
    return value[_position(value, step)]


def _position(items: Any, step: str) -> int:
    if not isinstance(items, list):
        raise KeyError(step)
    wanted = msgspec.json.decode(step[2:])
    for position, item in enumerate(items):
        if step.startswith("v:"):
            if item == wanted:
                return position
        elif isinstance(item, dict) and all(item.get(key) == value for key, value in wanted.items()):
            return position
    raise KeyError(step)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
