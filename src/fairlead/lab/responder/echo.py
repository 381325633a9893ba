"""What the responder says: who it is and what it was asked, as JSON; knobs for tests in the query.

`?status=503` answers with that status, `?delay_ms=200` after that time, `?size=100000` with that many bytes instead of JSON. Pure.
"""

from __future__ import annotations

import json

from fairlead.lab.responder.http1 import Request, Response

_MAX_SIZE = 64 << 20
_MAX_DELAY_MS = 600_000


class Who:
    """The pod that answers."""

    __slots__ = ("namespace", "node", "pod", "zone")

    def __init__(self, pod: str, namespace: str, node: str, zone: str) -> None:
        self.pod, self.namespace, self.node, self.zone = pod, namespace, node, zone

    def line(self) -> bytes:
        """The line that plain TCP clients get first."""
        return f"{self.pod} {self.namespace} {self.node} {self.zone}\n".encode()


def describe(who: Who, request: Request) -> dict[str, object]:
    """The JSON object of an answer; its keys are a contract."""
    return {
        "pod": who.pod,
        "namespace": who.namespace,
        "node": who.node,
        "zone": who.zone,
        "path": request.path,
        "query": request.target.partition("?")[2],
        "method": request.method,
        "host": request.headers.get("host", ""),
        "headers": request.headers,
        "client": request.client,
    }


def answer(who: Who, request: Request) -> Response:
    """The response to any request; every path exists. A malformed knob is answered with 400 naming it."""
    query = request.query
    try:
        status = _number(query, "status", 200, 100, 599)
        delay_ms = _number(query, "delay_ms", 0, 0, _MAX_DELAY_MS)
        size = _number(query, "size", -1, 0, _MAX_SIZE)
    except ValueError as error:
        return Response(f"{error}\n".encode(), status=400)
    if status < 200:
        return Response(b"status: an interim status cannot be the answer; use 200 to 599\n", status=400)
    if size >= 0:
        return Response(b"x" * size, status=status, delay_s=delay_ms / 1000)
    body = json.dumps(describe(who, request)).encode() + b"\n"
    return Response(body, status=status, content_type="application/json", delay_s=delay_ms / 1000)


def _number(query: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise ValueError(f"{name}: {text[:40]!r} is not a number from {low} to {high}")
    return int(text)
