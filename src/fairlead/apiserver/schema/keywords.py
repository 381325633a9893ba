"""What a schema of a definition may say, keyword by keyword: types, lists, maps, defaults, rules.

Source: k8s.io/apiextensions-apiserver, pkg/apis/apiextensions/validation. Works on schemas as they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fairlead.apiserver.kinds.field_error import FieldError, forbidden, invalid, not_supported, required

Json = dict[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_META = frozenset({"metadata", "kind", "apiVersion"})
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the schemas above allow here. `no_defaults` is why defaults are not; `uncorrelated` the path from which on items have no past.

    `above` are the lists and maps that the schema is an item of.
    """

    no_defaults: str = ""
    in_metadata: bool = False
    uncorrelated: str = ""
    above: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruled:
    """A schema with rules, its path, and where it stands."""

    schema: Json
    path: str
    place: Place


def check(
    schema: Json, path: str, found: list[FieldError], place: Place | None = None, *, root: bool = True
) -> Iterator[Ruled]:
    """Add to `found` what is wrong with `schema` and below, and yield the schemas with rules, which are checked when all else is well."""
    place = place or Place()
    found += _keywords(schema, path, place)
    found += _lists(schema, path)
    if schema.get("x-kubernetes-validations"):
        found += _rules(schema["x-kubernetes-validations"], f"{path}.x-kubernetes-validations")
        yield Ruled(schema, path, place)
    additional = schema.get("additionalProperties")
    if additional is not None:
        if schema.get("properties") and additional is not True:
            text = "additionalProperties and properties are mutual exclusive"
            found.append(forbidden(f"{path}.additionalProperties", text))
        if isinstance(additional, dict):
            inside = "inside additionalProperties applying to object metadata"
            below = replace(place, above=(*place.above, schema))
            if place.in_metadata:
                below = replace(below, no_defaults=inside)
            yield from check(additional, f"{path}.additionalProperties", found, below, root=False)
    for name, inner in (schema.get("properties") or {}).items():
        below = place
        if (root or schema.get("x-kubernetes-embedded-resource")) and name in _META:
            below = replace(place, in_metadata=True, no_defaults=f"in top-level {name}" if root else place.no_defaults)
        yield from check(inner, f"{path}.properties[{name}]", found, below, root=False)
    for key in ("allOf", "oneOf", "anyOf"):
        for position, inner in enumerate(schema.get(key) or ()):
            yield from check(inner, f"{path}.{key}[{position}]", found, place, root=False)
    if schema.get("not") is not None:
        yield from check(schema["not"], f"{path}.not", found, place, root=False)
    if isinstance(schema.get("items"), dict):
        below = replace(place, above=(*place.above, schema))
        if schema.get("x-kubernetes-list-type") != "map" and not place.uncorrelated:
            below = replace(below, uncorrelated=path)
        yield from check(schema["items"], f"{path}.items", found, below, root=False)


def _keywords(schema: Json, path: str, place: Place) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    if kind and kind not in _TYPES:
        yield not_supported(f"{path}.type", kind, _TYPES)
    if kind == "null":
        yield forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if schema.get("default") is not None and place.no_defaults:
        yield forbidden(f"{path}.default", f"must not be set {place.no_defaults}")
    for key in _UNSUPPORTED:
        if schema.get(key):
            yield forbidden(f"{path}.{key}", f"{key} is not supported")
    if isinstance(schema.get("items"), list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if place.in_metadata and schema.get("x-kubernetes-embedded-resource"):
        yield forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", text)
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")


def _wrong_type(path: str, kind: str, text: str) -> FieldError:
    return invalid(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)


def _lists(schema: Json, path: str) -> Iterator[FieldError]:
    kind, items = schema.get("type") or "", schema.get("items")
    map_type, list_type = schema.get("x-kubernetes-map-type"), schema.get("x-kubernetes-list-type")
    if map_type is not None:
        if kind != "object":
            yield _wrong_type(path, kind, "must be object if x-kubernetes-map-type is specified")
        if map_type not in ("atomic", "granular"):
            yield not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))
    if list_type is not None:
        if kind != "array":
            yield _wrong_type(path, kind, "must be array if x-kubernetes-list-type is specified")
        elif list_type == "set" and isinstance(items, dict):
            yield from _set_items(items, f"{path}.items")
        if list_type not in ("atomic", "set", "map"):
            yield not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"))
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if keys and list_type != "map":
        where, text = f"{path}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty"
        yield required(where, text) if list_type is None else invalid(where, list_type, text)
    if list_type == "map":
        yield from _map_items(items, keys, path)
    if list_type in ("set", "map") and isinstance(items, dict) and items.get("nullable"):
        yield forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")


def _set_items(items: Json, path: str) -> Iterator[FieldError]:
    text = "must be atomic as item of a list with x-kubernetes-list-type=set"
    list_type, map_type = items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type")
    if items.get("type") == "array" and list_type not in (None, "atomic"):
        yield invalid(f"{path}.x-kubernetes-list-type", list_type, text)
    if items.get("type") == "object" and map_type != "atomic":
        yield invalid(f"{path}.x-kubernetes-map-type", "null" if map_type is None else map_type, text)


def _map_items(items: Any, keys: list[str], path: str) -> Iterator[FieldError]:
    if not keys:
        yield required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{path}.items.type", items.get("type") or "", text)
        return
    properties, seen = items.get("properties") or {}, set()
    for key in keys:
        if key not in properties:
            yield invalid(f"{path}.x-kubernetes-list-map-keys", keys, "entries must all be names of item properties")
        else:
            yield from _map_key(properties[key], key, items, f"{path}.items.properties[{key}]")
        if key in seen:
            yield invalid(f"{path}.x-kubernetes-list-map-keys", keys, "must not contain duplicate entries")
        seen.add(key)


def _map_key(schema: Json, key: str, items: Json, path: str) -> Iterator[FieldError]:
    if schema.get("type") in ("array", "object"):
        text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{path}.type", schema["type"], text)
    if key not in (items.get("required") or ()) and schema.get("default") is None:
        text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
        yield required(f"{path}.default", text)
    if schema.get("nullable"):
        yield forbidden(f"{path}.nullable", "this property is in x-kubernetes-list-map-keys, so it cannot be nullable")


_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")


def _has_newlines(text: str) -> bool:
    return "\n" in text or "\r" in text


def _rules(rules: list[Json], path: str) -> Iterator[FieldError]:
    for position, rule in enumerate(rules):
        where = f"{path}[{position}]"
        text, message = rule.get("rule") or "", rule.get("message") or ""
        if not text.strip():
            yield required(f"{where}.rule", "rule is not specified")
        elif message and not message.strip():
            yield invalid(f"{where}.message", message, "must be non-empty if specified")
        elif _has_newlines(message.strip()):
            yield invalid(f"{where}.message", message, "must not contain line breaks")
        elif _has_newlines(text.strip()) and not message.strip():
            yield required(f"{where}.message", "message must be specified if rule contains line breaks")
        expression = rule.get("messageExpression") or ""
        if expression and not expression.strip():
            yield required(f"{where}.messageExpression", "messageExpression must be non-empty if specified")
        if rule.get("reason") and rule["reason"] not in _REASONS:
            yield not_supported(f"{where}.reason", rule["reason"], _REASONS)
        field_path = rule.get("fieldPath") or ""
        if field_path and not field_path.strip():
            yield invalid(f"{where}.fieldPath", field_path, "must be non-empty if specified")
        elif _has_newlines(field_path):
            yield invalid(f"{where}.fieldPath", field_path, "must not contain line breaks")
