"""What patches must know of a kind: how lists and maps merge, and how their fields are owned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class PatchSchema(Protocol):
    """The merge rules of one field, and of the fields below it (for a list: of its items)."""

    merge_key: str | None
    strategies: frozenset[str]

    def field(self, name: str) -> PatchSchema:
        """Return the rules of a field below."""


class FieldSchema(Protocol):
    """The ownership rules of one field, and of the fields below it (for a list: of its items).

    `atomic`: it has one owner as a whole. `keys`: what identifies the items of a list, absent ones having the values in `defaults`.
    `is_set`: a list of values that are their own identity. `always`: it is there in an object that was given nothing.
    """

    atomic: bool
    keys: tuple[str, ...]
    defaults: Mapping[str, Any]
    is_set: bool
    always: bool

    def field(self, name: str) -> FieldSchema:
        """Return the rules of a field below."""


class _Plain:
    merge_key: str | None = None
    strategies: frozenset[str] = frozenset()

    def field(self, name: str) -> PatchSchema:
        """Return itself: nothing below merges specially either."""
        return self


PLAIN: PatchSchema = _Plain()
"""The rules where nothing is known: maps merge, lists are replaced."""


def of(schema: PatchSchema | None) -> PatchSchema:
    """Return `schema`, or PLAIN for None."""
    return PLAIN if schema is None else schema


class DeclaredFields:
    """The ownership rules in an OpenAPI schema, as custom resources declare them; where it is silent, lists are atomic and maps are not.

    `metadata` are the rules of the metadata, which custom resources do not declare.
    """

    __slots__ = ("_fields", "_schema", "always", "atomic", "defaults", "is_set", "keys")

    def __init__(self, schema: Mapping[str, Any], *, metadata: FieldSchema | None = None) -> None:
        list_type = schema.get("x-kubernetes-list-type")
        self.keys: tuple[str, ...] = tuple(schema.get("x-kubernetes-list-map-keys") or ()) if list_type == "map" else ()
        self.is_set = list_type == "set"
        self.atomic = schema.get("x-kubernetes-map-type") == "atomic"
        self.always = False
        if schema.get("type") == "array":
            self.atomic = not (self.keys or self.is_set)
            schema = schema.get("items") or {}
        properties = schema.get("properties") or {}
        self.defaults: Mapping[str, Any] = {
            key: properties[key]["default"] for key in self.keys if "default" in (properties.get(key) or {})
        }
        self._schema = schema
        self._fields: dict[str, FieldSchema] = {} if metadata is None else {"metadata": metadata}

    def field(self, name: str) -> FieldSchema:
        """Return the rules of a field below."""
        known = self._fields.get(name)
        if known is None:
            below = (self._schema.get("properties") or {}).get(name)
            if below is None:
                more = self._schema.get("additionalProperties")
                below = more if isinstance(more, dict) else {}
            known = self._fields[name] = DeclaredFields(below)
        return known
