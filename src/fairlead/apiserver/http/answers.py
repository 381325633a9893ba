"""Answers: objects, lists and refusals as HTTP responses."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from fairlead.apiserver.errors import StatusError
from fairlead.apiserver.http.forms import Encoding
from fairlead.apiserver.http.negotiation import Form
from fairlead.apiserver.store.records import Entry, encode

Json = dict[str, Any]

_JSON = "application/json"


def of_bytes(
    content: bytes, *, code: int = 200, warnings: list[str] | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a JSON answer of encoded `content`."""
    response = web.Response(body=content, status=code, headers=headers)
    response.headers["Content-Type"] = _JSON
    response.headers["Cache-Control"] = "no-cache, private"
    for warning in warnings or ():
        response.headers.add("Warning", f"299 - {_quoted(warning)}")
    return response


def of_object(obj: Any, *, code: int = 200, warnings: list[str] | None = None) -> web.Response:
    """Return a JSON answer of an object that is not stored."""
    return of_bytes(encode(obj), code=code, warnings=warnings)


def of_result(
    result: Entry | Json, encoding: Encoding, *, code: int = 200, warnings: list[str] | None = None
) -> web.Response:
    """Return the answer that carries a stored object in the negotiated form, or a Status as it is."""
    content = encoding.entry(result) if isinstance(result, Entry) else encode(result)
    return _in_form(content, encoding.form, code=code, warnings=warnings)


def of_list(content: bytes, form: Form, *, warnings: list[str] | None = None) -> web.Response:
    """Return the answer that carries an encoded list."""
    return _in_form(content, form, code=200, warnings=warnings)


def of_error(error: StatusError) -> web.Response:
    """Return the answer that refuses."""
    return of_bytes(encode(error.status), code=error.code, headers=error.headers)


def _in_form(content: bytes, form: Form, *, code: int, warnings: list[str] | None) -> web.Response:
    if not form.yaml:
        return of_bytes(content, code=code, warnings=warnings)
    import yaml

    text = yaml.safe_dump(msgspec.json.decode(content), sort_keys=False)
    response = of_bytes(text.encode(), code=code, warnings=warnings)
    response.headers["Content-Type"] = "application/yaml"
    return response


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
    return f'"{escaped}"'
