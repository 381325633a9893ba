"""The types of the built-in API objects as clients encode them: fields, numbers, pointers and what an empty value means.

One table (`wire_types.json`, made by tools/wire_types.py from the declarations upstream) serves decoding errors, unknown-field
checks, the protobuf decoder, and `normalize`: what remains of an object after the real server decoded and encoded it. The table
is loaded at first use, never at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from fairlead.apiserver.kinds.registry import Kind
from fairlead.base import quantity

SCALARS = frozenset({"string", "bool", "int32", "int64", "float64", "bytes"})
TIMES = frozenset({"meta/v1.Time", "meta/v1.MicroTime"})
OPAQUE = frozenset(
    {
        "runtime.RawExtension",
        "meta/v1.FieldsV1",
        "apiextensions/v1.JSON",
        "apiextensions/v1.JSONSchemaPropsOrArray",
        "apiextensions/v1.JSONSchemaPropsOrBool",
        "apiextensions/v1.JSONSchemaPropsOrStringArray",
        "apiextensions/v1.CustomResourceSubresourceStatus",
    }
)
"""Types whose JSON is kept as it came."""

STRUCTS_KEPT_OUT = TIMES | OPAQUE | {"resource.Quantity", "intstr.IntOrString"}
"""Non-pointer types for which no empty value is written when the field is absent."""

_NULLS: dict[str, Any] = {"intstr.IntOrString": 0, "stringlist": []}
"""What null means inside of a list or map."""

_OBJECTS_WITHIN = frozenset({"core/v1.PersistentVolumeClaim", "meta/v1.DeleteOptions"})
"""Messages that carry apiVersion and kind also inside of other objects."""

_GROUPS = {
    "": "core",
    "networking.k8s.io": "networking",
    "discovery.k8s.io": "discovery",
    "rbac.authorization.k8s.io": "rbac",
    "coordination.k8s.io": "coordination",
    "storage.k8s.io": "storage",
    "scheduling.k8s.io": "scheduling",
    "authorization.k8s.io": "authorization",
    "authentication.k8s.io": "authentication",
    "events.k8s.io": "events",
    "admissionregistration.k8s.io": "admissionregistration",
    "apiextensions.k8s.io": "apiextensions",
    "certificates.k8s.io": "certificates",
    "node.k8s.io": "node",
    "meta.k8s.io": "meta",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    `name` is the JSON name, empty when the fields of `type` stand directly in the parent (`inline`). `shape` is one of
    "one", "list", "map" (string keys). `type` is a scalar (SCALARS), a special type or a message name. `merge_key` and
    `strategies` say how a strategic merge patch treats the field.
    """

    number: int
    name: str
    type: str
    go_name: str
    shape: str
    pointer: bool
    omit_empty: bool
    merge_key: str | None = None
    strategies: frozenset[str] = frozenset()

    @property
    def go_type(self) -> str:
        """Return the declared type as Go prints it, such as `[]v1.ServicePort`."""
        base = {"bytes": "[]uint8"}.get(self.type, self.type.rsplit("/", 1)[-1])
        return {"one": base, "list": f"[]{base}", "map": f"map[string]{base}"}[self.shape]


class Message:
    """One struct type. `by_json` holds the fields of inlined structs too; `by_number` only its own."""

    __slots__ = ("by_json", "by_number", "fields", "name", "written_when_absent")

    def __init__(self, name: str, fields: tuple[Field, ...], by_json: dict[str, Field]) -> None:
        self.name = name
        self.fields = fields
        self.by_number = {field.number: field for field in fields}
        self.by_json = by_json
        self.written_when_absent: tuple[tuple[str, Callable[[], Any]], ...] = tuple(
            (field.name, make) for field in by_json.values() if (make := _absent_value(field)) is not None
        )

    @property
    def go_name(self) -> str:
        """Return the type's name as Go prints it, such as `v1.ServiceSpec`."""
        return self.name.rsplit("/", 1)[-1]


def _absent_value(field: Field) -> Callable[[], Any] | None:
    if field.pointer or field.shape != "one" or field.name in ("", "apiVersion", "kind"):
        return None
    if field.type in SCALARS:
        zeros: dict[str, Callable[[], Any]] = {"string": str, "bool": bool, "int32": int, "int64": int, "float64": int}
        return None if field.omit_empty else zeros.get(field.type)
    if field.type in STRUCTS_KEPT_OUT:
        return None
    return dict


@cache
def _table() -> dict[str, list[tuple[int, str, str, str, str]]]:
    data = (Path(__file__).parent / "wire_types.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, list[tuple[int, str, str, str, str]]])


def _field(number: int, name: str, declared: str, go_name: str, flags: str) -> Field:
    pointer = declared.startswith("*")
    declared = declared.lstrip("*")
    shape = "one"
    if declared == "[]byte":
        declared = "bytes"
    elif declared.startswith("[]"):
        shape, declared = "list", declared[2:].lstrip("*")
    elif declared.startswith("map["):
        shape, declared = "map", declared.partition("]")[2].lstrip("*")
    if declared == "[]byte":
        declared = "bytes"
    declared = {"int": "int64", "[]string": "stringlist"}.get(declared, declared)
    if declared.endswith(".ExtraValue"):
        declared = "stringlist"
    omits, _, patching = flags.partition("|")
    strategies, _, merge_key = patching.partition("|")
    listed = frozenset(strategies.split(",")) - {""}
    return Field(number, name, declared, go_name, shape, pointer, bool(omits), merge_key or None, listed)


@cache
def message(name: str) -> Message | None:
    """Return the message called `name` (such as `core/v1.PodSpec`), or None when it is a special type or unknown."""
    rows = _table().get(name)
    if rows is None:
        return None
    fields = tuple(_field(*row) for row in rows)
    by_json: dict[str, Field] = {}
    for field in fields:
        if field.name:
            by_json[field.name] = field
        else:
            inner = message(field.type)
            assert inner is not None, f"{name} inlines {field.type}"
            by_json |= inner.by_json
    return Message(name, fields, by_json)


def message_name(api_version: str, kind: str) -> str:
    """Return the name that the message of a kind would have."""
    group, _, version = api_version.rpartition("/")
    return f"{_GROUPS.get(group, group)}/{version}.{kind}"


def message_of(kind: Kind) -> Message:
    """Return the message of a served kind."""
    found = message(message_name(kind.resource.api_version, kind.resource.kind))
    if found is None:
        raise LookupError(f"the wire types have no {kind.resource.api_version} {kind.resource.kind}")
    return found


def normalize(kind: Kind, obj: dict[str, Any]) -> None:
    """Leave in `obj` what the real server would keep after decoding: known fields, no nulls, no empty optional values.

    Structs that upstream always writes appear as `{}`. Quantities become canonical. `obj` must have passed `type_errors`.
    """
    _normalize(message_of(kind), obj, top=True)


def _normalize(message_type: Message, obj: dict[str, Any], *, top: bool = False) -> None:
    by_json = message_type.by_json
    typed = top or message_type.name in _OBJECTS_WITHIN
    for key in list(obj):
        field = by_json.get(key)
        if field is None:
            if not (typed and key in ("apiVersion", "kind")):
                del obj[key]
            continue
        value = obj[key]
        if value is None:
            if field.shape != "one" or field.omit_empty or field.pointer or field.type not in SCALARS:
                del obj[key]
            else:
                obj[key] = _zero(field.type)
            continue
        if field.shape == "one":
            value = _normalize_value(field.type, value)
        elif field.shape == "list":
            value = [_normalize_value(field.type, item) for item in value]
        else:
            value = {name: _normalize_value(field.type, item) for name, item in value.items()}
        if not value and field.omit_empty and not field.pointer and _drops_when_empty(field):
            del obj[key]
        else:
            obj[key] = value
    for name, make in message_type.written_when_absent:
        if name not in obj:
            value = make()
            obj[name] = value
            if isinstance(value, dict):
                _normalize(_known(by_json[name].type), value)


def _known(name: str) -> Message:
    found = message(name)
    assert found is not None, name
    return found


def _zero(scalar: str) -> Any:
    return {"string": "", "bool": False, "bytes": ""}.get(scalar, 0)


def _drops_when_empty(field: Field) -> bool:
    return field.shape != "one" or field.type in SCALARS


def _normalize_value(type_name: str, value: Any) -> Any:
    if type_name in SCALARS:
        return _zero(type_name) if value is None else value
    if type_name == "resource.Quantity":
        return "0" if value is None else quantity.canonical(value)
    if value is None and type_name in _NULLS:
        return copy(_NULLS[type_name])
    if type_name in OPAQUE:
        return value
    inner = message(type_name)
    if inner is None:
        return value
    if value is None:
        value = {}
    _normalize(inner, value)
    return value


def unknown_fields(kind: Kind, obj: dict[str, Any]) -> Iterator[str]:
    """Yield the path of every field that the kind does not have, in document order."""
    yield from _unknown(message_of(kind), obj, "", top=True)


def unknown_metadata(metadata: dict[str, Any]) -> Iterator[str]:
    """Yield the path of every field that the metadata of objects does not have."""
    yield from _unknown(_object_meta(), metadata, "metadata")


def drop_unknown_metadata(metadata: dict[str, Any]) -> None:
    """Remove (in place) the fields that the metadata of objects does not have."""
    for key in metadata.keys() - _object_meta().by_json.keys():
        del metadata[key]


def _object_meta() -> Message:
    found = message("meta/v1.ObjectMeta")
    assert found is not None, "the table holds it"
    return found


def _unknown(message_type: Message, obj: dict[str, Any], path: str, *, top: bool = False) -> Iterator[str]:
    typed = top or message_type.name in _OBJECTS_WITHIN
    for key, value in obj.items():
        field = message_type.by_json.get(key)
        where = f"{path}.{key}" if path else key
        if field is None:
            if not (typed and key in ("apiVersion", "kind")):
                yield where
            continue
        if field.type in SCALARS or field.type in OPAQUE or value is None:
            continue
        inner = message(field.type)
        if inner is None:
            continue
        if field.shape == "one" and isinstance(value, dict):
            yield from _unknown(inner, value, where)
        elif field.shape == "list" and isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    yield from _unknown(inner, item, f"{where}[{index}]")
        elif field.shape == "map" and isinstance(value, dict):
            for name, item in value.items():
                if isinstance(item, dict):
                    yield from _unknown(inner, item, f"{where}.{name}")
