"""Whether a schema is structural: what is in it at any depth is said outside of the combinations anyOf, oneOf, allOf and not.

Source: KEP-1693, k8s.io/apiextensions-apiserver, pkg/apiserver/schema (validation.go, complete.go). Works on schemas as they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairlead.apiserver.cel.texts import pattern
from fairlead.apiserver.kinds.field_error import FieldError, forbidden, invalid, required

Json = dict[str, Any]

ROOT, ITEM, FIELD = "at the root", "for specified array items", "for specified object fields"
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING_KEY = "x-kubernetes-int-or-string"
_EMBEDDED = "x-kubernetes-embedded-resource"


def check(schema: Json, path: str) -> list[FieldError]:
    """Return why `schema` is not structural, sorted as the real server sorts; empty if it is."""
    return sorted([*_invariants(schema, ROOT, path), *_complete(schema, schema, path, path)], key=str)


def _subschemas(schema: Json, path: str) -> Iterator[tuple[Json, str, str]]:
    if isinstance(schema.get("items"), dict):
        yield schema["items"], ITEM, f"{path}.items"
    for name, below in (schema.get("properties") or {}).items():
        yield below, FIELD, f"{path}.properties[{name}]"
    if isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"], FIELD, f"{path}.additionalProperties"


def _invariants(schema: Json, level: str, path: str) -> Iterator[FieldError]:
    if schema.get("type") == "array" and schema.get("items") is None:
        yield required(f"{path}.items", "must be specified")
    if schema.get("additionalProperties") is not None and level == ROOT:
        yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
    for below, where, at in _subschemas(schema, path):
        yield from _invariants(below, where, at)
    if schema.get(_INT_OR_STRING_KEY):
        for key in (_PRESERVE, _EMBEDDED):
            if schema.get(key):
                yield invalid(f"{path}.{key}", True, "must be false if x-kubernetes-int-or-string is true")
    any_of, all_of = schema.get("anyOf"), schema.get("allOf") or [{}]
    yield from _combined(
        schema, path, skip_any=any_of == _INT_OR_STRING, skip_all=all_of[0].get("anyOf") == _INT_OR_STRING
    )
    yield from _types(schema, level, path)
    yield from _metadata(schema, level, path)


def _types(schema: Json, level: str, path: str) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    if schema.get(_EMBEDDED):
        text = "must be object if x-kubernetes-embedded-resource is true"
        if not kind:
            yield required(f"{path}.type", text)
        elif kind != "object":
            yield invalid(f"{path}.type", kind, text)
        if schema.get("additionalProperties") is not None:
            text = "must not be used if x-kubernetes-embedded-resource is set"
            yield forbidden(f"{path}.additionalProperties", text)
        if not schema.get(_PRESERVE) and not schema.get("properties"):
            text = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
            yield required(f"{path}.properties", text)
    elif not kind and not schema.get(_INT_OR_STRING_KEY) and not schema.get(_PRESERVE):
        yield required(f"{path}.type", f"must not be empty {level}")
    if level == ROOT and kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")


def _metadata(schema: Json, level: str, path: str) -> Iterator[FieldError]:
    properties = schema.get("properties") or {}
    typed = level == ROOT or schema.get(_EMBEDDED)
    for key in ("kind", "apiVersion"):
        if typed and key in properties and properties[key].get("type") != "string":
            yield invalid(f"{path}.properties[{key}].type", properties[key].get("type") or "", "must be string")
    metadata = properties.get("metadata")
    if metadata is None:
        return
    where = f"{path}.properties[metadata]"
    if typed and metadata.get("type") != "object":
        yield invalid(f"{where}.type", metadata.get("type") or "", "must be object")
    if level == ROOT:
        rest = {key for key, value in metadata.items() if key not in ("type", "default", "properties") and value}
        if rest or not set(metadata.get("properties") or ()) <= {"name", "generateName"}:
            text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield forbidden(where, text)


def _combined(schema: Json, path: str, *, skip_any: bool = False, skip_all: bool = False) -> Iterator[FieldError]:
    """Check the combinations of a schema, and its pattern; `skip_*` leaves out the two forms of int-or-string."""
    if not skip_any:
        for position, below in enumerate(schema.get("anyOf") or ()):
            yield from _nested(below, f"{path}.anyOf[{position}]")
    for position, below in enumerate(schema.get("allOf") or ()):
        yield from _nested(below, f"{path}.allOf[{position}]", skip_any=skip_all and position == 0)
    for position, below in enumerate(schema.get("oneOf") or ()):
        yield from _nested(below, f"{path}.oneOf[{position}]")
    if schema.get("not") is not None:
        yield from _nested(schema["not"], f"{path}.not")
    if schema.get("pattern"):
        try:
            pattern(schema["pattern"])
        except ValueError as error:
            text = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            yield invalid(f"{path}.pattern", schema["pattern"], text)


_FORBIDDEN_WITHIN = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (_PRESERVE, "must be false to be structural"),
    (_EMBEDDED, "must be false to be structural"),
    (_INT_OR_STRING_KEY, "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)


def _nested(schema: Json, path: str, *, skip_any: bool = False) -> Iterator[FieldError]:
    yield from _combined(schema, path, skip_any=skip_any)
    if isinstance(schema.get("items"), dict):
        yield from _nested(schema["items"], f"{path}.items")
    for name, below in (schema.get("properties") or {}).items():
        yield from _nested(below, f"{path}.properties[{name}]")
        if name == "metadata":
            yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")
    for key, text in _FORBIDDEN_WITHIN:
        value = schema.get(key)
        if value or (value is not None and key in ("default", "additionalProperties")):
            yield forbidden(f"{path}.{key}", text)


def _complete(values: Json, schema: Json, path: str, at: str) -> Iterator[FieldError]:
    """Yield what the combinations of `values` (found `at`) speak of though `schema` (at `path`) does not have it."""
    for key in ("allOf", "anyOf", "oneOf"):
        for position, below in enumerate(values.get(key) or ()):
            yield from _complete_nested(below, schema, path, f"{at}.{key}[{position}]")
    if values.get("not") is not None:
        yield from _complete_nested(values["not"], schema, path, f"{at}.not")
    if values is schema:
        for below, _, where in _subschemas(schema, path):
            yield from _complete(below, below, where, where)


def _complete_nested(values: Json, schema: Json | None, path: str, at: str) -> Iterator[FieldError]:
    if schema is None:
        yield required(path, f"because it is defined in {at}")
        return
    yield from _complete(values, schema, path, at)
    if isinstance(values.get("items"), dict):
        items = schema.get("items")
        yield from _complete_nested(
            values["items"], items if isinstance(items, dict) else None, f"{path}.items", f"{at}.items"
        )
    for name, below in (values.get("properties") or {}).items():
        found = (schema.get("properties") or {}).get(name)
        where = f"properties[{name}]"
        yield from _complete_nested(below, found, f"{path}.{where}", f"{at}.{where}")
