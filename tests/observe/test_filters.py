"""Which flows are shown, and how they are named."""

from __future__ import annotations

import pytest

from fairlead.observe.filters import Filter, is_place
from fairlead.observe.flows import Flow, FlowEnd

FLOW = Flow(
    time="2026-01-01T00:00:00.000000Z",
    node="node-1",
    verdict="denied",
    protocol="tcp",
    source=FlowEnd(address="10.244.1.2", port=4321, namespace="shop", pod="web"),
    destination=FlowEnd(address="10.10.0.11", port=80, node="node-1"),
    rules=("NetworkPolicy/shop/deny-all/egress",),
)
MATCHES: dict[str, tuple[Filter, bool]] = {
    "anything": (Filter(), True),
    "verdict": (Filter(verdict="denied"), True),
    "another verdict": (Filter(verdict="allowed"), False),
    "pod": (Filter(source="pod/shop/web"), True),
    "namespace": (Filter(source="ns/shop"), True),
    "a node is in no namespace": (Filter(destination="ns/"), False),
    "address": (Filter(source="10.244.1.2"), True),
    "node": (Filter(destination="node/node-1"), True),
    "the other end": (Filter(destination="pod/shop/web"), False),
    "either end": (Filter(either="node/node-1"), True),
    "port": (Filter(port=80), True),
    "the port of the source": (Filter(port=4321), False),
    "policy": (Filter(policy="shop/deny-all"), True),
    "another policy": (Filter(policy="shop/allow"), False),
    "protocol": (Filter(protocol="udp"), False),
}


@pytest.mark.parametrize("case", MATCHES)
def test_matches(case: str) -> None:
    wanted, expected = MATCHES[case]
    assert wanted.matches(FLOW) is expected


def test_places() -> None:
    assert all(map(is_place, ("pod/a/b", "ns/a", "node/a", "10.0.0.1", "fd10::1")))
    assert not any(map(is_place, ("pod/a", "a", "svc/a/b", "ns/a/b")))


def test_ends_are_written_as_people_say_them() -> None:
    assert str(FLOW.source) == "shop/web:4321"
    assert str(FLOW.destination) == "node/node-1:80"
    assert str(FlowEnd(address="fd10::1", port=80)) == "[fd10::1]:80"
    assert str(FlowEnd(address="10.0.0.1")) == "10.0.0.1"
