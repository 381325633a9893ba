"""How fields of the built-in kinds are owned: which lists have items with an identity, which maps are owned as a whole.

Source: the x-kubernetes-list-type, list-map-keys and map-type of the published schemas, as `field_types.json` holds them (made by
tools/field_types.py). The table is loaded at first use, never at import.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from fairlead.apiserver.kinds.registry import Kind
from fairlead.apiserver.kinds.wire import SCALARS, STRUCTS_KEPT_OUT, Field, Message, message, message_of

_KEY_DEFAULTS = {"protocol": "TCP"}
_WHOLE = "atomic"


class FieldSchema:
    """The ownership rules of one field and of what is below it (for a list: of its items). See `patch.schema.FieldSchema`."""

    __slots__ = ("_fields", "_message", "always", "atomic", "defaults", "is_set", "keys")

    def __init__(
        self, below: Message | None, declared: Field | None = None, rule: list[str] | str | None = None
    ) -> None:
        self._message = below
        self._fields: dict[str, FieldSchema] = {}
        of_type = _table().get(below.name, {}).get("") if below else None
        is_list = declared is not None and (declared.shape == "list" or declared.type == "stringlist")
        self.keys: tuple[str, ...] = tuple(rule) if isinstance(rule, list) else ()
        self.defaults: Mapping[str, Any] = _KEY_DEFAULTS
        self.is_set = rule == "set"
        self.atomic = rule == _WHOLE or (not rule and (is_list or of_type == _WHOLE))
        self.always = declared is not None and _always(declared)

    def field(self, name: str) -> FieldSchema:
        """Return the rules of the field `name` below; plain ones for fields that are not known."""
        known = self._fields.get(name)
        if known is None:
            known = self._fields[name] = self._find(name)
        return known

    def _find(self, name: str) -> FieldSchema:
        found = self._message.by_json.get(name) if self._message else None
        if found is None or self._message is None:
            return _PLAIN
        rule = _table().get(self._message.name, {}).get(name)
        return FieldSchema(None if found.shape == "map" else message(found.type), found, rule)


def _always(field: Field) -> bool:
    """Tell whether upstream's encoder writes the field of an empty object too."""
    if field.pointer or field.name == "":
        return False
    if field.shape != "one" or field.type == "stringlist":
        return not field.omit_empty
    return field.type not in SCALARS and field.type not in STRUCTS_KEPT_OUT


@cache
def _table() -> dict[str, dict[str, list[str] | str]]:
    data = (Path(__file__).parent / "field_types.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, dict[str, list[str] | str]])


@cache
def field_schema(kind: Kind) -> FieldSchema:
    """Return the rules of the objects of `kind`."""
    return FieldSchema(message_of(kind))


@cache
def metadata_schema() -> FieldSchema:
    """Return the rules of the metadata of any object."""
    return FieldSchema(message("meta/v1.ObjectMeta"))


_PLAIN = FieldSchema(None)
