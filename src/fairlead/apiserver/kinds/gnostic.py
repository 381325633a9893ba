"""Write an OpenAPI v2 document as gnostic's protobuf, the form in which older kubectl versions ask for it.

The tables give field numbers of the messages of package `openapi.v2` (gnostic, OpenAPIv2.proto); values without a table entry
are vendor extensions, which travel as YAML text (JSON is YAML). Only what our documents hold is covered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]


def encode(document: Json) -> bytes:
    """Return the bytes of `openapi.v2.Document`."""
    return (
        _text(1, document["swagger"])
        + _field(2, _message(document["info"], _INFO, extensions=7))
        + encode_parts(document)
    )


def encode_parts(document: Json) -> bytes:
    """Return `paths` and `definitions` of a document alone, to be joined to the bytes of another one."""
    return _field(8, b"".join(_named(2, path, _path_item(item)) for path, item in document["paths"].items())) + _field(
        9, b"".join(_named(1, name, _schema(schema)) for name, schema in document["definitions"].items())
    )


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode()) if text else b""


def _texts(number: int, items: list[str]) -> bytes:
    return b"".join(_field(number, item.encode()) for item in items)


def _flag(number: int, value: bool) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _any(number: int, value: Any) -> bytes:
    return _field(number, _text(2, msgspec.json.encode(value).decode()))


def _named(number: int, name: str, payload: bytes) -> bytes:
    return _field(number, _text(1, name) + _field(2, payload))


Writer = Callable[[Any], bytes]


def _message(value: Json, table: Mapping[str, Writer], *, extensions: int) -> bytes:
    parts = []
    for key, item in value.items():
        write = table.get(key)
        if write is not None:
            parts.append(write(item))
        elif key.startswith("x-"):
            parts.append(_field(extensions, _text(1, key) + _any(2, item)))
    return b"".join(parts)


_INFO: Mapping[str, Writer] = {"title": lambda text: _text(1, text), "version": lambda text: _text(2, text)}


def _schema(value: Json) -> bytes:
    return _message(value, _SCHEMA, extensions=31)


def _properties(value: Json) -> bytes:
    return _field(25, b"".join(_named(1, name, _schema(item)) for name, item in value.items()))


_SCHEMA: Mapping[str, Writer] = {
    "$ref": lambda text: _text(1, text),
    "format": lambda text: _text(2, text),
    "title": lambda text: _text(3, text),
    "description": lambda text: _text(4, text),
    "default": lambda value: _any(5, value),
    "pattern": lambda text: _text(13, text),
    "uniqueItems": lambda value: _flag(16, value),
    "required": lambda items: _texts(19, items),
    "enum": lambda items: b"".join(_any(20, item) for item in items),
    "additionalProperties": lambda value: _field(21, _field(1, _schema(value))),
    "type": lambda text: _field(22, _text(1, text)),
    "items": lambda value: _field(23, _field(1, _schema(value))),
    "properties": _properties,
}


def _path_item(item: Json) -> bytes:
    return _message(item, _PATH_ITEM, extensions=10)


def _operation(value: Json) -> bytes:
    return _message(value, _OPERATION, extensions=13)


_PATH_ITEM: Mapping[str, Writer] = {
    "get": lambda value: _field(2, _operation(value)),
    "put": lambda value: _field(3, _operation(value)),
    "post": lambda value: _field(4, _operation(value)),
    "delete": lambda value: _field(5, _operation(value)),
    "patch": lambda value: _field(8, _operation(value)),
    "parameters": lambda items: b"".join(_field(9, _parameter(item)) for item in items),
}

_OPERATION: Mapping[str, Writer] = {
    "tags": lambda items: _texts(1, items),
    "description": lambda text: _text(3, text),
    "operationId": lambda text: _text(5, text),
    "produces": lambda items: _texts(6, items),
    "consumes": lambda items: _texts(7, items),
    "parameters": lambda items: b"".join(_field(8, _parameter(item)) for item in items),
    "responses": lambda value: _field(9, b"".join(_named(1, code, _response(item)) for code, item in value.items())),
    "schemes": lambda items: _texts(10, items),
}


def _response(value: Json) -> bytes:
    schema = _field(2, _field(1, _schema(value["schema"]))) if "schema" in value else b""
    return _field(1, _text(1, value["description"]) + schema)


def _parameter(value: Json) -> bytes:
    match value["in"]:
        case "body":
            return _field(1, _field(1, _message(value, _BODY_PARAMETER, extensions=6)))
        case "query":
            return _field(1, _field(2, _field(3, _message(value, _QUERY_PARAMETER, extensions=23))))
        case _:
            return _field(1, _field(2, _field(4, _message(value, _PATH_PARAMETER, extensions=22))))


_BODY_PARAMETER: Mapping[str, Writer] = {
    "description": lambda text: _text(1, text),
    "name": lambda text: _text(2, text),
    "in": lambda text: _text(3, text),
    "required": lambda value: _flag(4, value),
    "schema": lambda value: _field(5, _schema(value)),
}
_PARAMETER: dict[str, Writer] = {
    "required": lambda value: _flag(1, value),
    "in": lambda text: _text(2, text),
    "description": lambda text: _text(3, text),
    "name": lambda text: _text(4, text),
}
_QUERY_PARAMETER: Mapping[str, Writer] = _PARAMETER | {
    "type": lambda text: _text(6, text),
    "uniqueItems": lambda value: _flag(20, value),
}
_PATH_PARAMETER: Mapping[str, Writer] = _PARAMETER | {
    "type": lambda text: _text(5, text),
    "uniqueItems": lambda value: _flag(19, value),
}
