"""Whether the words of a schema have values of the right JSON type: what is not decoded field by field may hold anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairlead.apiserver.kinds.field_error import FieldError, invalid

Json = dict[str, Any]

DEEPEST = 100
"""Levels of a schema."""

_TEXTS = ("type", "format", "title", "description", "pattern", "x-kubernetes-list-type", "x-kubernetes-map-type")
_FLAGS = (
    "nullable",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "uniqueItems",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
)
_COUNTS = ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties")
_NUMBERS = ("maximum", "minimum", "multipleOf")
_RULE_TEXTS = ("rule", "message", "messageExpression", "reason", "fieldPath")


def check(schema: Any, path: str, depth: int = 0) -> Iterator[FieldError]:
    """Yield each word of `schema` and below whose value has the wrong type."""
    if not isinstance(schema, dict):
        yield invalid(path, schema, "must be a schema object")
        return
    if depth > DEEPEST:
        yield invalid(path, "", f"must not be nested more than {DEEPEST} levels deep")
        return
    for keys, wanted, text in (
        (_TEXTS, str, "must be a string"),
        (_FLAGS, bool, "must be a boolean"),
        (_COUNTS, int, "must be an integer"),
        (_NUMBERS, int | float, "must be a number"),
        (("enum", "x-kubernetes-validations", "allOf", "anyOf", "oneOf"), list, "must be a list"),
        (("properties",), dict, "must be an object"),
    ):
        for key in keys:
            value = schema.get(key)
            if value is not None and (
                not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)
            ):
                yield invalid(f"{path}.{key}", value, text)
    for key in ("required", "x-kubernetes-list-map-keys"):
        value = schema.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            yield invalid(f"{path}.{key}", value, "must be a list of strings")
    yield from _rules(schema.get("x-kubernetes-validations"), f"{path}.x-kubernetes-validations")
    yield from _below(schema, path, depth)


def _rules(rules: Any, path: str) -> Iterator[FieldError]:
    for position, rule in enumerate(rules if isinstance(rules, list) else ()):
        if not isinstance(rule, dict):
            yield invalid(f"{path}[{position}]", rule, "must be an object")
            continue
        for key in _RULE_TEXTS:
            if rule.get(key) is not None and not isinstance(rule[key], str):
                yield invalid(f"{path}[{position}].{key}", rule[key], "must be a string")
        if not isinstance(rule.get("optionalOldSelf"), bool | None):
            yield invalid(f"{path}[{position}].optionalOldSelf", rule["optionalOldSelf"], "must be a boolean")


def _below(schema: Json, path: str, depth: int) -> Iterator[FieldError]:
    properties = schema.get("properties")
    for name, below in properties.items() if isinstance(properties, dict) else ():
        yield from check(below, f"{path}.properties[{name}]", depth + 1)
    for key in ("allOf", "anyOf", "oneOf"):
        several = schema.get(key)
        for position, below in enumerate(several if isinstance(several, list) else ()):
            yield from check(below, f"{path}.{key}[{position}]", depth + 1)
    if schema.get("not") is not None:
        yield from check(schema["not"], f"{path}.not", depth + 1)
    items, additional = schema.get("items"), schema.get("additionalProperties")
    if items is not None and not isinstance(items, list):
        yield from check(items, f"{path}.items", depth + 1)
    if additional is not None and not isinstance(additional, bool):
        yield from check(additional, f"{path}.additionalProperties", depth + 1)
