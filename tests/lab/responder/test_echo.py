"""What the responder says."""

from __future__ import annotations

import json

import pytest

from fairlead.lab.responder.echo import Who, answer
from fairlead.lab.responder.http1 import Request

WHO = Who("web-1", "shop", "node-1", "zone-a")


def ask(target: str) -> Request:
    request = Request("GET", target, {"host": "web", "x-a": "b"}, True)
    request.client = "10.244.2.3:4711"
    return request


def test_the_keys_are_a_contract() -> None:
    response = answer(WHO, ask("/a/b?x=1"))
    assert (response.status, response.content_type) == (200, "application/json")
    assert json.loads(response.body) == {
        "pod": "web-1", "namespace": "shop", "node": "node-1", "zone": "zone-a", "path": "/a/b", "query": "x=1",
        "method": "GET", "host": "web", "headers": {"host": "web", "x-a": "b"}, "client": "10.244.2.3:4711",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez", "/anything"])
def test_every_path_is_healthy(path: str) -> None:
    assert answer(WHO, ask(path)).status == 200


def test_knobs() -> None:
    assert answer(WHO, ask("/?status=503")).status == 503
    assert answer(WHO, ask("/?delay_ms=250")).delay_s == 0.25
    assert len(answer(WHO, ask("/?size=100000")).body) == 100000


@pytest.mark.parametrize("query", ["status=abc", "status=99", "status=101", "size=-1", "delay_ms=9999999999", "size="])
def test_a_wrong_knob_is_named(query: str) -> None:
    response = answer(WHO, ask(f"/?{query}"))
    assert response.status == 400
    assert response.body.startswith(query.partition("=")[0].encode() + b": ")
