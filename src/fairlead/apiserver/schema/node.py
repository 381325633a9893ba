"""A schema as a tree of nodes, with what walks need to know of the parts below: whether defaults, rules or keyed lists are there at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairlead.apiserver.schema.rules import Rule, compile_rules

Json = dict[str, Any]

META_FIELDS = frozenset({"apiVersion", "kind", "metadata"})


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
"""Where no value is, not even null."""


@dataclass(slots=True, eq=False, kw_only=True)
class Node:
    """One schema. `types` is empty where any type goes; `default` is encoded JSON.

    `defaults`, `rules_below`, `keyed_lists` and `embedded_below` tell whether this or anything below has such.
    """

    types: tuple[str, ...] = ()
    format: str = ""
    nullable: bool = False
    preserve: bool = False
    embedded: bool = False
    closed: bool = False
    properties: dict[str, Node] = field(default_factory=dict)
    additional: Node | None = None
    items: Node | None = None
    list_type: str = ""
    map_keys: tuple[str, ...] = ()
    default: bytes | None = None
    enum: tuple[Any, ...] | None = None
    required: tuple[str, ...] = ()
    maximum: float | None = None
    minimum: float | None = None
    exclusive_maximum: bool = False
    exclusive_minimum: bool = False
    multiple_of: float | None = None
    max_length: int | None = None
    min_length: int | None = None
    pattern: str = ""
    max_items: int | None = None
    min_items: int | None = None
    max_properties: int | None = None
    min_properties: int | None = None
    all_of: tuple[Node, ...] = ()
    any_of: tuple[Node, ...] = ()
    one_of: tuple[Node, ...] = ()
    negated: Node | None = None
    rules: tuple[Rule, ...] = ()
    defaults: bool = False
    rules_below: bool = False
    keyed_lists: bool = False
    embedded_below: bool = False
    converts: bool = False
    """Whether rules see another value than the JSON one here or below: times, bytes, doubles, lists without order."""

    def fresh_default(self) -> Any:
        """Return the default, decoded anew; only where there is one."""
        assert self.default is not None, "callers ask only where a default is"
        return msgspec.json.decode(self.default)


ANY = Node()
"""What a schema without any word allows."""


def compile_schema(schema: Json) -> Node:
    """Return the tree of a structural schema, which must have been found valid. Costs some 10 µs per property."""
    node = Node(
        types=_types(schema),
        format=_format(schema),
        nullable=bool(schema.get("nullable")),
        preserve=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        properties={name: compile_schema(each) for name, each in (schema.get("properties") or {}).items()},
        items=compile_schema(schema["items"]) if isinstance(schema.get("items"), dict) else None,
        list_type=schema.get("x-kubernetes-list-type") or "",
        map_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        default=msgspec.json.encode(schema["default"]) if schema.get("default") is not None else None,
        enum=tuple(schema["enum"]) if schema.get("enum") else None,
        required=tuple(schema.get("required") or ()),
        maximum=schema.get("maximum"),
        minimum=schema.get("minimum"),
        exclusive_maximum=bool(schema.get("exclusiveMaximum")),
        exclusive_minimum=bool(schema.get("exclusiveMinimum")),
        multiple_of=schema.get("multipleOf"),
        max_length=schema.get("maxLength"),
        min_length=schema.get("minLength"),
        pattern=schema.get("pattern") or "",
        max_items=schema.get("maxItems"),
        min_items=schema.get("minItems"),
        max_properties=schema.get("maxProperties"),
        min_properties=schema.get("minProperties"),
        all_of=tuple(map(compile_schema, schema.get("allOf") or ())),
        any_of=tuple(map(compile_schema, schema.get("anyOf") or ())),
        one_of=tuple(map(compile_schema, schema.get("oneOf") or ())),
        negated=compile_schema(schema["not"]) if schema.get("not") is not None else None,
        rules=compile_rules(schema),
    )
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        node.additional = compile_schema(additional)
    elif additional is True:
        node.additional = ANY
    node.closed = additional is False
    _sum_up(node)
    return node


def _types(schema: Json) -> tuple[str, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    return (schema["type"],) if schema.get("type") else ()


_NUMBER_FORMATS = {"integer": ("int32", "int64"), "number": ("float", "double")}


def _format(schema: Json) -> str:
    """Return the format if the server knows it for this type; unknown ones count as none."""
    from fairlead.apiserver.kinds.string_formats import check_of

    name, kind = schema.get("format") or "", schema.get("type") or ""
    if schema.get("x-kubernetes-int-or-string"):
        return ""
    if kind in ("", "string"):
        return name if check_of(name) is not None else ""
    return name if name in _NUMBER_FORMATS.get(kind, ()) else ""


_CONVERTED_FORMATS = frozenset({"date", "date-time", "duration", "byte"})


def _sum_up(node: Node) -> None:
    below = [*node.properties.values(), *(one for one in (node.additional, node.items) if one is not None)]
    node.defaults = node.default is not None or any(one.defaults for one in below)
    node.rules_below = bool(node.rules) or any(one.rules_below for one in below)
    node.keyed_lists = node.list_type in ("set", "map") or any(one.keyed_lists for one in below)
    node.embedded_below = node.embedded or any(one.embedded_below for one in below)
    node.converts = (
        node.types == ("number",)
        or node.list_type in ("set", "map")
        or node.format in _CONVERTED_FORMATS
        or any(one.converts for one in below)
    )
