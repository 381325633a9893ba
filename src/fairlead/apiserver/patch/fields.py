"""Sets of fields as managedFields records them (FieldsV1), and what can be done with them.

`f:NAME` is a field, `k:{"name":"x"}` an item of a list by its keys, `v:VALUE` an item of a set. A node without anything below is a member
of the set; one with something below is a member if it holds `.`, too. Nothing here changes its arguments, unless it says so.
Source: structured-merge-diff (fieldpath); KEP-555.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fairlead.apiserver.errors import bad_request
from fairlead.apiserver.patch.schema import FieldSchema

Fields = dict[str, Any]
Path = tuple[str, ...]


def of_value(value: Any, schema: FieldSchema) -> Fields:
    """Return the fields that `value` states; empty for a leaf. Raises 400 for items without identity."""
    if schema.atomic:
        return {}
    if isinstance(value, dict):
        return {f"f:{key}": of_value(inner, schema.field(key)) for key, inner in value.items()}
    if isinstance(value, list) and schema.is_set:
        return {value_name(item): {} for item in value}
    if isinstance(value, list) and schema.keys:
        return {name: {".": {}, **of_value(item, schema)} for name, item in items(value, schema).items()}
    return {}


def items(value: list[Any], schema: FieldSchema) -> dict[str, Any]:
    """Return the items of a list by their names; raises 400 for one without a key and for two of one name."""
    found: dict[str, Any] = {}
    for position, item in enumerate(value):
        name = item_name(item, schema)
        if name is None:
            stated = item if isinstance(item, dict) else {}
            key = next(key for key in schema.keys if stated.get(key, schema.defaults.get(key)) is None)
            raise bad_request(
                "failed to create typed patch object: "
                f'element {position}: associative list with keys has an element that omits key field "{key}"'
            )
        if name in found:
            raise bad_request(f"failed to create typed patch object: duplicate entries for key {text((name,))}")
        found[name] = item
    return found


def item_name(item: Any, schema: FieldSchema) -> str | None:
    """Return how an item of a list is named; None without an identity."""
    if not isinstance(item, dict):
        return None
    found = {}
    for key in schema.keys:
        value = item.get(key, schema.defaults.get(key))
        if value is None:
            return None
        found[key] = value
    return f"k:{_json(found)}"


def value_name(item: Any) -> str:
    """Return how an item of a set is named."""
    return f"v:{_json(item)}"


def is_member(node: Fields) -> bool:
    """Tell whether the path that ends in `node` is itself in the set."""
    return not node or "." in node


def union(one: Fields, other: Fields) -> Fields:
    """Return what is in either set."""
    merged = dict(one)
    for name, below in other.items():
        if name == "." or name not in merged:
            merged[name] = below
        else:
            mine = merged[name]
            both = union(mine, below)
            if both and (is_member(mine) or is_member(below)):
                both = {".": {}, **both}
            merged[name] = both
    return merged


def difference(one: Fields, other: Fields) -> Fields:
    """Return what is in the first set and not in the second."""
    kept: Fields = {}
    for name, below in one.items():
        if name == ".":
            continue
        theirs = other.get(name)
        if theirs is None:
            kept[name] = below
            continue
        rest = difference(below, theirs)
        if is_member(below) and not is_member(theirs):
            kept[name] = {".": {}, **rest} if rest else {}
        elif rest:
            kept[name] = rest
    return kept


def intersection(one: Fields, other: Fields) -> Fields:
    """Return what is in both sets."""
    kept: Fields = {}
    for name in one.keys() & other.keys():
        if name == ".":
            continue
        mine, theirs = one[name], other[name]
        both = intersection(mine, theirs)
        if is_member(mine) and is_member(theirs):
            kept[name] = {".": {}, **both} if both else {}
        elif both:
            kept[name] = both
    return kept


def paths(fields: Fields, above: Path = ()) -> Iterator[Path]:
    """Yield every member as a path."""
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
        elif isinstance(item, dict) and all(item.get(key, value) == value for key, value in wanted.items()):
            return position
    raise KeyError(step)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
