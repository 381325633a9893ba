"""Strategic merge patch: lists of objects merge by their key, directives say what merging cannot.

Source: "Update API Objects in Place Using kubectl patch" and apimachinery's strategicpatch: `$patch` (replace, delete, merge),
`$retainKeys`, `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`. Pure: documents in, document out.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.errors import bad_request
from fairlead.apiserver.patch.schema import PatchSchema

Json = dict[str, Any]

_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def strategic_merge(original: Json, patch: Json, schema: PatchSchema) -> Json:
    """Return `original` after `patch`; raises 400 for directives that make no sense. `original` may be changed."""
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unrecognized type: {directive} of $patch")
    keep = patch.get("$retainKeys")
    if keep is not None:
        if not isinstance(keep, list):
            raise bad_request("$retainKeys should be a list")
        missing = [key for key in patch if not key.startswith("$") and patch[key] is not None and key not in keep]
        if missing:
            raise bad_request("the keys of the patch must be listed in $retainKeys: " + ", ".join(sorted(missing)))
        original = {key: value for key, value in original.items() if key in keep}
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM):
            field = key.removeprefix(_DELETE_FROM)
            if not isinstance(value, list):
                raise bad_request(f"{key} should be a list")
            if isinstance(original.get(field), list):
                original[field] = [item for item in original[field] if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            original.pop(key, None)
        else:
            original[key] = _merge_value(original.get(key), value, schema.field(key), patch.get(_ORDER + key))
    for key, order in patch.items():
        field = key.removeprefix(_ORDER)
        if key.startswith(_ORDER) and field not in patch and isinstance(original.get(field), list):
            original[field] = _ordered(original[field], original[field], order, schema.field(field).merge_key)
    return original


def _merge_value(current: Any, value: Any, schema: PatchSchema, order: list[Any] | None) -> Any:
    if isinstance(value, dict):
        if "replace" in schema.strategies and "$patch" not in value:
            return _without_directives(value)
        return strategic_merge(current if isinstance(current, dict) else {}, value, schema)
    if isinstance(value, list):
        return _merge_list(current if isinstance(current, list) else [], value, schema, order)
    return value


def _merge_list(current: list[Any], patch: list[Any], schema: PatchSchema, order: list[Any] | None) -> list[Any]:
    if any(isinstance(item, dict) and item.get("$patch") == "replace" and len(item) == 1 for item in patch):
        return [_without_directives(item) for item in patch if item != {"$patch": "replace"}]
    if "merge" not in schema.strategies:
        return [_without_directives(item) for item in patch]
    key = schema.merge_key
    if key is None or not all(isinstance(item, dict) for item in patch):
        merged = list(current)
        merged += [item for position, item in enumerate(patch) if item not in current and item not in patch[:position]]
        return _ordered(merged, current, order, None) if order is not None else merged
    merged = list(current)
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        position = next(
            (i for i, one in enumerate(merged) if isinstance(one, dict) and one.get(key) == item[key]), None
        )
        directive = item.get("$patch")
        if directive == "delete":
            merged = [one for one in merged if not (isinstance(one, dict) and one.get(key) == item[key])]
        elif position is None:
            merged.append(_without_directives(strategic_merge({}, item, schema)))
        else:
            merged[position] = strategic_merge(dict(merged[position]), item, schema)
    return _ordered(merged, current, order, key) if order is not None else merged


def _ordered(merged: list[Any], original: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """Return `merged` with the items of `order` in that order and the server's own items about where they were."""

    def name(item: Any) -> Any:
        found = item.get(key) if key is not None and isinstance(item, dict) else item
        if isinstance(found, dict | list):
            raise bad_request(f"{item} cannot be put into order: it has no name")
        return found

    if not isinstance(order, list):
        raise bad_request("$setElementOrder should be a list")

    wanted = {name(item): position for position, item in enumerate(order)}
    place = {name(item): position for position, item in enumerate(original)}
    mine = sorted((item for item in merged if name(item) in wanted), key=lambda item: wanted[name(item)])
    others = [item for item in merged if name(item) not in wanted]
    found: list[Any] = []
    while mine and others:
        if place.get(name(others[0]), len(place)) < place.get(name(mine[0]), -1):
            found.append(others.pop(0))
        else:
            found.append(mine.pop(0))
    return found + mine + others


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_directives(inner)
            for key, inner in value.items()
            if inner is not None and not key.startswith(("$patch", "$retainKeys", _DELETE_FROM, _ORDER))
        }
    if isinstance(value, list):
        return [_without_directives(item) for item in value]
    return value
