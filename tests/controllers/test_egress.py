"""Which node an egress gateway's status names, and why none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairlead.api.egressgateway import EgressGateway, candidates
from fairlead.api.node import Node
from fairlead.controllers.egress.core import status

Json = dict[str, Any]


def node(name: str, *, ready: bool = True, **labels: str) -> Json:
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"10.0.0.{name[1:]}"}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def gateway(*addresses: str, selector: Json | None = None, **extra: Any) -> Json:
    spec = {
        "subject": {"namespaces": {}},
        "nodeSelector": selector or {"matchLabels": {"gate": "yes"}},
        "addresses": list(addresses),
    }
    return {"metadata": {"name": "way", "generation": 3}, "spec": spec, **extra}


def order(*names: str) -> list[str]:
    typed = msgspec.convert(gateway(), EgressGateway)
    return [
        each.metadata.name for each in candidates(typed, [msgspec.convert(node(n, gate="yes"), Node) for n in names])
    ]


FIRST, SECOND = order("n1", "n2")
CASES: dict[str, tuple[Json, list[Json], str | None, list[str] | None, str]] = {
    "the first choice": (
        gateway("203.0.113.5"), [node("n1", gate="yes"), node("n2", gate="yes")], FIRST, ["203.0.113.5"], "Active",
    ),
    "the second, while the first is not ready": (
        gateway(), [node(FIRST, ready=False, gate="yes"), node(SECOND, gate="yes")], SECOND, [f"10.0.0.{SECOND[1:]}"], "Active",
    ),
    "none is ready": (gateway(), [node("n1", ready=False, gate="yes")], None, None, "NoReadyNode"),
    "none is labeled": (gateway(), [node("n1")], None, None, "NoNode"),
    "an address that is none": (gateway("here"), [node("n1", gate="yes")], None, None, "Invalid"),
    "a selector that makes no sense": (
        gateway(selector={"matchExpressions": [{"key": "a", "operator": "Near"}]}), [node("n1")], None, None, "Invalid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_status(case: str) -> None:
    subject, nodes, chosen, addresses, reason = CASES[case]
    found = status(subject, nodes, 0.0)
    assert (found.get("gateway"), found.get("addresses")) == (chosen, addresses)
    (ready,) = found["conditions"]
    assert (ready["status"], ready["reason"], ready["observedGeneration"]) == (str(chosen is not None), reason, 3)
    # What is said stays said, with its time.
    assert status({**subject, "status": found}, nodes, 99.0) == found


def test_a_gateway_that_loses_its_last_node_names_none() -> None:
    before = status(gateway("203.0.113.5"), [node("n1", gate="yes")], 0.0)
    after = status(gateway("203.0.113.5", status=before), [], 1.0)
    assert "gateway" not in after and "addresses" not in after
