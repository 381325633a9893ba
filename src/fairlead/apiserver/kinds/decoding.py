"""What the API server answers to JSON whose values have the wrong type: the first error, located as the real server locates it.

Source of the wording: the measured kube-apiserver (jsoniter): Go types from the root to the field, the reader's complaint, and the
bytes around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.apiserver.kinds.registry import Kind
from fairlead.apiserver.kinds.wire import OPAQUE, SCALARS, TIMES, Field, Message, message, message_of
from fairlead.base import quantity

_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


@dataclass(frozen=True, slots=True)
class _Problem:
    go_path: str
    keys: tuple[str | int, ...]
    complaint: str
    located: bool = True


def type_errors(kind: Kind, obj: Any, body: bytes | None = None) -> str | None:
    """Return the 400 message for the first value of a wrong JSON type in `obj`, None if all fit.

    `body` is the request as received; without it the surroundings shown are those of a compact encoding.
    """
    resource = kind.resource
    if not isinstance(obj, dict):
        return "couldn't get version/kind; json parse error: json: cannot unmarshal a value that is no object"
    problem = _message(message_of(kind), obj, (), top=True)
    if problem is None:
        return None
    text = f"{problem.go_path}: {problem.complaint}" if problem.go_path else problem.complaint
    if problem.located:
        text += _surroundings(body if body is not None else msgspec.json.encode(obj), problem.keys)
    return f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {text}'


def _message(kind: Message, obj: dict[Any, Any], keys: tuple[str | int, ...], *, top: bool = False) -> _Problem | None:
    for key, value in obj.items():
        field = kind.by_json.get(key)
        if field is None or value is None:
            continue
        problem = _field(field, value, (*keys, key))
        if problem is not None:
            inner = f"{kind.go_name}.{field.go_name}"
            return _Problem(_join(inner, problem.go_path), problem.keys, problem.complaint, problem.located)
    return None


def _join(outer: str, inner: str) -> str:
    return f"{outer}: {inner}" if inner else outer


def _field(field: Field, value: Any, keys: tuple[str | int, ...]) -> _Problem | None:
    if field.shape == "one":
        return _value(field.type, value, keys)
    if field.shape == "list":
        if not isinstance(value, list):
            return _Problem("", keys, f"decode slice: expect [ or n, but found {_first(value)}")
        for index, item in enumerate(value):
            problem = None if item is None else _value(field.type, item, (*keys, index))
            if problem is not None:
                return _Problem(_join(field.go_type, problem.go_path), problem.keys, problem.complaint, problem.located)
        return None
    if not isinstance(value, dict):
        return _Problem("", keys, f"ReadMapCB: expect {{ or n, but found {_first(value)}")
    for name, item in value.items():
        problem = None if item is None else _value(field.type, item, (*keys, name))
        if problem is not None:
            return problem
    return None


def _first(value: Any) -> str:
    return msgspec.json.encode(value).decode()[0]


def _value(type_name: str, value: Any, keys: tuple[str | int, ...]) -> _Problem | None:
    if type_name in SCALARS:
        complaint = _scalar(type_name, value)
        return _Problem("", keys, complaint) if complaint else None
    if type_name in OPAQUE:
        return None
    special = _special(type_name, value)
    if special is not None:
        return _Problem("", keys, special) if special else None
    inner = message(type_name)
    if inner is None:
        return None
    if not isinstance(value, dict):
        return _Problem("", keys, f"readObjectStart: expect {{ or n, but found {_first(value)}")
    return _message(inner, value, keys)


def _scalar(type_name: str, value: Any) -> str:
    match type_name:
        case "string" | "bytes":
            if not isinstance(value, str):
                return f'ReadString: expects " or n, but found {_first(value)}'
            if type_name == "bytes" and (bad := _base64_problem(value)) is not None:
                return f"base64Codec: illegal base64 data at input byte {bad}"
        case "bool":
            if not isinstance(value, bool):
                return f"ReadBool: expect t or f, but found {_first(value)}"
        case "int32" | "int64":
            if isinstance(value, float):
                return f"Read{type_name.title()}: can not decode float as int"
            if isinstance(value, bool) or not isinstance(value, int):
                return f"readU{type_name}: unexpected character: \ufffd"
            low, high = _RANGES[type_name]
            if not low <= value <= high:
                return f"Read{type_name.title()}: overflow: {value}"
        case _:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return "readFloat64: unexpected character: \ufffd"
    return ""


_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def _base64_problem(text: str) -> int | None:
    """Return where `text` stops being base64, None if it is all of it; line ends do not count."""
    text = text.replace("\n", "").replace("\r", "")
    match = _BASE64.match(text)
    end = match.end() if match else 0
    if end == len(text):
        return None
    stray = re.search(r"[^A-Za-z0-9+/]", text[end:])
    return end + stray.start() if stray else len(text) - len(text) % 4


def _special(type_name: str, value: Any) -> str | None:
    """Return None for an ordinary type, an empty text for a good value of a special type, else the complaint."""
    if type_name == "resource.Quantity":
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return f"unmarshalerDecoder: {quantity.FORMAT_MESSAGE}"
        try:
            quantity.parse(value)
        except quantity.QuantityError as error:
            return f"unmarshalerDecoder: {error}"
        return ""
    if type_name == "intstr.IntOrString":
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return "" if isinstance(value, str) or abs(value) < 2**31 else _unmarshal("number " + str(value))
        return _unmarshal({bool: "bool", dict: "object", list: "array"}.get(type(value), f"number {value}"))
    if type_name in TIMES:
        if not isinstance(value, str):
            return "unmarshalerDecoder: json: cannot unmarshal a value into Go value of type string"
        if value and not _TIME.match(value):
            return f'unmarshalerDecoder: parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
        return ""
    if type_name == "meta/v1.Duration":
        return "" if isinstance(value, str) else "unmarshalerDecoder: time: invalid duration"
    if type_name == "stringlist":
        return "" if isinstance(value, list) else f"decode slice: expect [ or n, but found {_first(value)}"
    return None


def _unmarshal(what: str) -> str:
    return f"unmarshalerDecoder: json: cannot unmarshal {what} into Go value of type int32"


def _surroundings(body: bytes, keys: tuple[str | int, ...]) -> str:
    head = _position(body, keys)
    if head is None:
        return ""
    near = body[max(0, head - 10) : head + 10].decode(errors="replace")
    wide = body[max(0, head - 50) : head + 50].decode(errors="replace")
    return f", error found in #{min(head, 10)} byte of ...|{near}|..., bigger context ...|{wide}|..."


_TOKEN = re.compile(rb'\s*(?:("(?:[^"\\]|\\.)*")|([\[\]{}:,])|([^\s\[\]{}:,"]+))')


def _position(body: bytes, keys: tuple[str | int, ...]) -> int | None:
    """Return the offset just after the first byte of the value at `keys`; the body is JSON that has been decoded before."""
    position = 0
    for key in keys:
        found = _enter(body, position, key)
        if found is None:
            return None
        position = found
    match = re.compile(rb"\s*").match(body, position)
    return (match.end() if match else position) + 1


def _enter(body: bytes, position: int, key: str | int) -> int | None:
    depth, index, last, expects_key = 0, 0, None, False
    found = None
    while (match := _TOKEN.match(body, position)) is not None:
        text, mark, _ = match.groups()
        position = match.end()
        if mark in (b"{", b"["):
            depth += 1
            if depth == 1:
                expects_key = mark == b"{"
                if key == 0 and mark == b"[":
                    return position
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return found
        elif mark == b"," and depth == 1:
            index += 1
            if key == index and not expects_key:
                return position
            last = None
        elif mark == b":" and depth == 1:
            if last is not None and msgspec.json.decode(last) == key:
                found = position
        elif text is not None and depth == 1 and expects_key:
            last = text
    return found
