"""Read request bodies in the Kubernetes protobuf encoding and give them back as the JSON object they stand for.

A body is the four bytes `k8s\\0` and a `runtime.Unknown` message that names the kind. Go writes the zero value of every field that
is no pointer; what JSON would omit is omitted here too, so that both encodings give the same object. Never fails but with
ProtobufError, and never makes more of a body than a fixed multiple of its size.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from fairlead.apiserver.kinds.wire import SCALARS, Field, Message, message, message_name

Json = dict[str, Any]

MAGIC = b"k8s\x00"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAX_DEPTH = 64
_MAX_VALUES = 500_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class ProtobufError(ValueError):
    """A body that is no Kubernetes protobuf message; the text says what is wrong with it."""


class _Budget:
    """How many values a body may still hold: empty messages cost two bytes on the wire and far more in memory."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MAX_VALUES

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ProtobufError(f"the message holds more than {_MAX_VALUES} values")


def decode(body: bytes) -> Json:
    """Return the object in `body`, apiVersion and kind included. Raises ProtobufError."""
    return _decode(body, 0, _Budget())


def _decode(body: bytes, depth: int, budget: _Budget) -> Json:
    if not body.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = content_type = encoding = ""
    raw = b""
    for number, wire_type, value in _fields(body[len(MAGIC) :]):
        if wire_type != _BYTES:
            continue
        match number:
            case 1:
                names = {n: _text(v) for n, w, v in _fields(value) if w == _BYTES}
                api_version, kind = names.get(1, ""), names.get(2, "")
            case 2:
                raw = value
            case 3:
                encoding = _text(value)
            case 4:
                content_type = _text(value)
    if encoding:
        raise ProtobufError(f"the content encoding {encoding!r} is not supported")
    if content_type == "application/json":
        return _json_object(raw)
    found = message(message_name(api_version, kind)) or message(f"meta/v1.{kind}")
    if found is None:
        raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"kind": kind, "apiVersion": api_version} | _read(found, raw, depth, budget)


def _json_object(raw: bytes) -> Json:
    value = _json(raw)
    if not isinstance(value, dict):
        raise ProtobufError("the JSON inside of the message is no object")
    return value


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtobufError(f"the JSON inside of the message: {error}") from None


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield (field number, wire type, value) of a message; lengths are checked against what is there."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ProtobufError("illegal tag 0")
        if wire_type == _VARINT:
            value, position = _varint(data, position)
            yield number, wire_type, value
        elif wire_type == _BYTES:
            length, position = _varint(data, position)
            if length > end - position:
                raise ProtobufError("unexpected EOF")
            yield number, wire_type, data[position : position + length]
            position += length
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
            if size > end - position:
                raise ProtobufError("unexpected EOF")
            yield number, wire_type, data[position : position + size]
            position += size
        else:
            raise ProtobufError(f"illegal wire type {wire_type}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if position >= len(data):
            raise ProtobufError("unexpected EOF")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift > 63:
            raise ProtobufError("integer overflow")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ProtobufError("a string is not valid UTF-8") from None


def _read(kind: Message, data: bytes, depth: int, budget: _Budget) -> Json:
    if depth > _MAX_DEPTH:
        raise ProtobufError(f"the message is nested deeper than {_MAX_DEPTH} levels")
    result: Json = {}
    for number, wire_type, value in _fields(data):
        field = kind.by_number.get(number)
        if field is None:
            continue
        budget.take()
        if field.name == "":
            inner = message(field.type)
            if inner is not None and wire_type == _BYTES:
                result |= _read(inner, value, depth + 1, budget)
        elif field.shape == "map":
            _read_entry(result, field, value, wire_type, depth, budget)
        elif field.shape == "list":
            items = result.setdefault(field.name, [])
            if wire_type == _BYTES and field.type in ("int32", "int64", "bool"):
                items += _packed(field.type, value, budget)
            else:
                items.append(_value(field.type, wire_type, value, depth, budget))
        else:
            decoded = _value(field.type, wire_type, value, depth, budget)
            if decoded is None or (not decoded and field.omit_empty and not field.pointer and field.type in SCALARS):
                result.pop(field.name, None)
            else:
                result[field.name] = decoded
    return result


def _read_entry(result: Json, field: Field, value: Any, wire_type: int, depth: int, budget: _Budget) -> None:
    if wire_type != _BYTES:
        raise ProtobufError(f"wrong wire type {wire_type} for field {field.go_name}")
    key, item = "", None
    for number, inner_type, inner in _fields(value):
        if number == 1 and inner_type == _BYTES:
            key = _text(inner)
        elif number == 2:
            item = _value(field.type, inner_type, inner, depth, budget)
    if item is None:
        item = _empty(field.type)
    result.setdefault(field.name, {})[key] = item


def _empty(type_name: str) -> Any:
    if type_name in ("string", "bytes"):
        return ""
    if type_name in SCALARS:
        return False if type_name == "bool" else 0
    return {"resource.Quantity": "0", "stringlist": []}.get(type_name, {})


def _packed(type_name: str, data: bytes, budget: _Budget) -> list[Any]:
    items, position = [], 0
    while position < len(data):
        number, position = _varint(data, position)
        budget.take()
        items.append(_integer(type_name, number))
    return items


def _integer(type_name: str, number: int) -> Any:
    if type_name == "bool":
        return number != 0
    if type_name == "int32":
        number &= 0xFFFFFFFF
        return number - 2**32 if number >= 2**31 else number
    return number - 2**64 if number >= 2**63 else number


_WIRE_TYPES = {"bool": _VARINT, "int32": _VARINT, "int64": _VARINT, "float64": _FIXED64}


def _value(type_name: str, wire_type: int, value: Any, depth: int, budget: _Budget) -> Any:
    if wire_type != _WIRE_TYPES.get(type_name, _BYTES):
        raise ProtobufError(f"wrong wire type {wire_type} for a value of type {type_name}")
    match type_name:
        case "string":
            return _text(value)
        case "bool" | "int32" | "int64":
            return _integer(type_name, value)
        case "bytes":
            return base64.b64encode(value).decode()
        case "float64":
            number = struct.unpack("<d", value)[0]
            if number - number != 0:
                raise ProtobufError("a number is not finite")
            return number
    special = _SPECIAL.get(type_name)
    if special is not None:
        return special(value, depth + 1, budget)
    inner = message(type_name)
    if inner is None:
        raise ProtobufError(f"values of type {type_name} cannot be read")
    return _read(inner, value, depth + 1, budget)


def _simple(data: bytes) -> dict[int, Any]:
    return {number: value for number, _, value in _fields(data)}


def _signed(value: Any, type_name: str = "int64") -> int:
    return int(_integer(type_name, value)) if isinstance(value, int) else 0


def _time(data: bytes, depth: int, budget: _Budget) -> str | None:
    return _moment(data, micro=False)


def _micro_time(data: bytes, depth: int, budget: _Budget) -> str | None:
    return _moment(data, micro=True)


def _moment(data: bytes, *, micro: bool) -> str | None:
    if not data:
        return None
    parts = _simple(data)
    seconds, nanos = _signed(parts.get(1, 0)), _signed(parts.get(2, 0), "int32")
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        raise ProtobufError("a time is out of range") from None
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{text}.{nanos // 1000 % 1_000_000:06d}Z" if micro else f"{text}Z"


def _duration(data: bytes, depth: int, budget: _Budget) -> str:
    nanos = _signed(_simple(data).get(1, 0))
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    if nanos == 0:
        return "0s"
    if nanos < 1_000_000_000:
        unit, size = ("ms", 10**6) if nanos >= 10**6 else ("µs", 10**3) if nanos >= 10**3 else ("ns", 1)
        return f"{sign}{_decimal(nanos, size)}{unit}"
    seconds, rest = divmod(nanos, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(seconds * 10**9 + rest, 10**9)}s"
    if minutes or hours:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _decimal(number: int, size: int) -> str:
    whole, rest = divmod(number, size)
    digits = str(rest).rjust(len(str(size)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _quantity(data: bytes, depth: int, budget: _Budget) -> str:
    text = _simple(data).get(1, b"")
    return (_text(text) if isinstance(text, bytes) else "") or "0"


def _int_or_string(data: bytes, depth: int, budget: _Budget) -> int | str:
    parts = _simple(data)
    if parts.get(1, 0) == 1:
        text = parts.get(3, b"")
        return _text(text) if isinstance(text, bytes) else ""
    return _signed(parts.get(2, 0), "int32")


def _raw_json(data: bytes, depth: int, budget: _Budget) -> Any:
    raw = _simple(data).get(1, b"")
    if not isinstance(raw, bytes) or not raw:
        return None
    if raw.startswith(MAGIC):
        if depth > _MAX_DEPTH:
            raise ProtobufError(f"the message is nested deeper than {_MAX_DEPTH} levels")
        return _decode(raw, depth + 1, budget)
    return _json(raw)


def _string_list(data: bytes, depth: int, budget: _Budget) -> list[str]:
    items = []
    for number, wire_type, value in _fields(data):
        if number == 1 and wire_type == _BYTES:
            budget.take()
            items.append(_text(value))
    return items


def _schema_at(data: bytes, depth: int, budget: _Budget) -> Any:
    return _value("apiextensions/v1.JSONSchemaProps", _BYTES, data, depth, budget)


def _schema_or_array(data: bytes, depth: int, budget: _Budget) -> Any:
    schemas, single = [], None
    for number, wire_type, value in _fields(data):
        if wire_type == _BYTES and number == 1:
            single = _schema_at(value, depth, budget)
        elif wire_type == _BYTES and number == 2:
            schemas.append(_schema_at(value, depth, budget))
    return schemas or single


def _schema_or_bool(data: bytes, depth: int, budget: _Budget) -> Any:
    parts = _simple(data)
    schema = parts.get(2)
    return _schema_at(schema, depth, budget) if isinstance(schema, bytes) else bool(parts.get(1))


def _schema_or_strings(data: bytes, depth: int, budget: _Budget) -> Any:
    names: list[str] = []
    for number, wire_type, value in _fields(data):
        if wire_type == _BYTES and number == 1:
            return _schema_at(value, depth, budget)
        if wire_type == _BYTES and number == 2:
            budget.take()
            names.append(_text(value))
    return names


def _nothing(data: bytes, depth: int, budget: _Budget) -> Json:
    return {}


_SPECIAL: dict[str, Callable[[bytes, int, _Budget], Any]] = {
    "meta/v1.Time": _time,
    "meta/v1.MicroTime": _micro_time,
    "meta/v1.Duration": _duration,
    "resource.Quantity": _quantity,
    "intstr.IntOrString": _int_or_string,
    "meta/v1.FieldsV1": _raw_json,
    "runtime.RawExtension": _raw_json,
    "apiextensions/v1.JSON": _raw_json,
    "apiextensions/v1.JSONSchemaPropsOrArray": _schema_or_array,
    "apiextensions/v1.JSONSchemaPropsOrBool": _schema_or_bool,
    "apiextensions/v1.JSONSchemaPropsOrStringArray": _schema_or_strings,
    "apiextensions/v1.CustomResourceSubresourceStatus": _nothing,
    "stringlist": _string_list,
}
