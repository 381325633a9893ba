"""What a snapshot remembers of the folds that led to it."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.api.decode import decode
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot, Token

KEY = ("shop", "web")
SPECS: dict[str, Any] = {
    "HTTPRoute": {"hostnames": ["a.test"]},
    "GRPCRoute": {"hostnames": ["a.test"]},
    "TLSRoute": {"hostnames": ["a.test"]},
    "TCPRoute": {"rules": []},
    "UDPRoute": {"rules": []},
    "Ingress": {"rules": [{"host": "a.test"}]},
}


def _event(kind: str, spec: dict[str, Any] | None, name: str = KEY[1]) -> Event:
    obj = {"metadata": {"name": name, "namespace": KEY[0]}, "spec": spec}
    return ObjectChanged(kind, (KEY[0], name), None if spec is None else decode(kind, obj))


@pytest.mark.parametrize("kind", SPECS)
def test_routes_that_changed_are_known_by_name(kind: str) -> None:
    start = Snapshot(settings=Settings(node="n1"))
    made = fold(start, [_event(kind, SPECS[kind]), _event(kind, SPECS[kind], "other")])
    again = fold(made, [_event(kind, SPECS[kind])])
    gone = fold(again, [_event(kind, None)])

    assert made.routes_changed_since(start.token) == {(kind, KEY), (kind, (KEY[0], "other"))}
    assert again is made, "what says nothing new is no change"
    assert gone.routes_changed_since(made.token) == {(kind, KEY)}
    assert gone.routes_changed_since(start.token) == {(kind, KEY), (kind, (KEY[0], "other"))}
    assert gone.routes_changed_since(gone.token) == frozenset()
    assert gone.services_changed_since(start.token) == frozenset()


def test_services_are_no_routes() -> None:
    start = Snapshot(settings=Settings(node="n1"))
    made = fold(start, [_event("Service", {"clusterIP": "10.96.0.1"})])
    assert made.services_changed_since(start.token) == {KEY}
    assert made.routes_changed_since(start.token) == frozenset()


def test_what_is_long_ago_is_not_known() -> None:
    start = latest = Snapshot(settings=Settings(node="n1"))
    assert start.routes_changed_since(Token()) is None
    for number in range(100):
        latest = fold(latest, [_event("HTTPRoute", {"hostnames": [f"h{number}.test"]})])
    assert latest.routes_changed_since(start.token) is None
