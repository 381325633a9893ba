"""Request bodies: read within bounds of size and time, decoded from JSON, YAML or protobuf, refused in the real server's words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

from fairlead.apiserver.errors import StatusError, bad_request, request_timeout, too_large, unsupported_media_type
from fairlead.apiserver.store.records import decode
from fairlead.base.yaml_bounds import require_bounded

Json = dict[str, Any]

LIMIT_BYTES = 3 << 20
_TIMEOUT_S = 30.0
_OFFERED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


async def read(request: web.BaseRequest, *, limit: int = LIMIT_BYTES) -> bytes:
    """Return the body; raises 413 above `limit` bytes and 408 when it dawdles."""
    if not request.can_read_body:
        return b""
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise request_timeout() from None
    except (web.RequestPayloadError, ContentEncodingError) as error:
        raise bad_request(f"unable to read the request body: {error}") from None
    return b"".join(chunks)


def media_type(request: web.BaseRequest) -> str:
    """Return the media type of the body, lower case, without parameters."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def decode_object(body: bytes, media: str, expected: str) -> Json:
    """Return the object in `body`; raises 400 for what cannot be parsed and 415 for a form that is not understood.

    `expected` is the kind that errors name.
    """
    if media in ("application/vnd.kubernetes.protobuf",) or body.startswith(b"k8s\0"):
        return _decode_protobuf(body, expected)
    if media in ("application/yaml", "application/x-yaml", "text/yaml"):
        found = decode_yaml(body)
    elif media in (
        "application/json",
        "",
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/octet-stream",
    ):
        found = decode_json(body, expected)
    else:
        raise unsupported_media_type(_OFFERED)
    if not isinstance(found, dict):
        raise _unrecognized(expected, f"json: cannot unmarshal {_go_type(found)} into Go value of type struct", body)
    return found


def decode_json(body: bytes, expected: str) -> Any:
    """Return the JSON value in `body`; raises 400 in the words of Go's decoder."""
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _unrecognized(expected, go_json_error(body), body) from None
    except RecursionError:
        raise _unrecognized(expected, "exceeded max depth", body) from None


def decode_yaml(body: bytes) -> Any:
    """Return the first document of a YAML body; raises 400."""
    import yaml

    try:
        require_bounded(body.decode())
        found = next(iter(yaml.load_all(body, yaml.CSafeLoader)), None)
        # Dates and the like become what JSON would have carried.
        return decode(msgspec.json.encode(found))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise bad_request(f"error converting YAML to JSON: yaml: {' '.join(str(error).split())}") from None
    except (msgspec.EncodeError, TypeError, RecursionError, ValueError) as error:
        raise bad_request(f"error converting YAML to JSON: yaml: {error}") from None


def go_json_error(body: bytes) -> str:
    """Return what Go's encoding/json says about `body`, which is not JSON."""
    text = body.decode("utf-8", "replace")
    try:
        json.loads(text)
    except RecursionError:
        return "exceeded max depth"
    except json.JSONDecodeError as error:
        position = error.pos
        while position < len(text) and text[position] in " \t\r\n":
            position += 1
        if position >= len(text) or error.msg.startswith("Unterminated string"):
            return "unexpected end of JSON input"
        return f"invalid character {_quote(text[position])} {_context(error.msg)}"
    return "invalid UTF-8 in JSON input"


def _context(message: str) -> str:
    for start, words in (
        ("Expecting property name", "looking for beginning of object key string"),
        ("Illegal trailing comma", "looking for beginning of object key string"),
        ("Expecting ':'", "after object key"),
        ("Expecting ','", "after object key:value pair"),
        ("Extra data", "after top-level value"),
        ("Invalid control character", "in string literal"),
        ("Invalid \\escape", "in string escape code"),
    ):
        if message.startswith(start):
            return words
    return "looking for beginning of value"


def _quote(character: str) -> str:
    return {"'": r"'\''", '"': "'\"'", "\n": r"'\n'"}.get(character, f"'{character}'")


def _decode_protobuf(body: bytes, expected: str) -> Json:
    from fairlead.apiserver.kinds import protobuf

    try:
        return protobuf.decode(body)
    except ValueError as error:
        raise bad_request(f"unable to decode the body as {expected}: {error}") from None


def _go_type(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "null"


def _unrecognized(expected: str, problem: str, body: bytes) -> StatusError:
    shown = body[:40].hex() + (" ..." if len(body) > 40 else "")
    return bad_request(
        f"the object provided is unrecognized (must be of type {expected}): "
        f"couldn't get version/kind; json parse error: {problem} ({shown})"
    )
