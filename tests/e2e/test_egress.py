"""Egress gateways in a whole lab: which source the internet sees, and how long a dead gateway is missed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Lab, wait_for

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples/egress/gateway.yaml"
CHOSEN = {4: "203.0.113.200", 6: "fd10:203::c8"}
INTERNET = {4: "198.51.100.10", 6: "[fd10:198::10]"}
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{{labels}}}}}
spec: {{nodeName: node-1, containers: [{{name: c, image: any, ports: [{{containerPort: 8080}}]}}]}}
"""


@pytest.fixture(scope="module")
def gated(lab: Lab) -> Iterator[Lab]:
    """The lab with the example applied, a pod that it is for, and one that it is not."""
    lab.kubectl("label", "node", "node-2", "node-3", "egress=gateway")
    lab.kubectl("apply", "-f", str(EXAMPLE))
    lab.apply(POD.format(name="partner", labels="partner-access: allowed"))
    lab.apply(POD.format(name="other", labels="a: b"))
    lab.kubectl("wait", "pod/partner", "pod/other", "--for=condition=Ready", "--timeout=30s")
    yield lab
    lab.kubectl("delete", "pod", "partner", "other", "--wait=false")
    lab.kubectl("delete", "-f", str(EXAMPLE))
    lab.kubectl("label", "node", "node-2", "node-3", "egress-")


def seen(lab: Lab, pod: str, v: int) -> str | None:
    """Return the source that the internet sees, None when it does not answer within a second."""
    asked = ("curl", "-s", "-m", "1", f"http://{INTERNET[v]}/")
    done = lab.fairlead("exec", f"pod/default/{pod}", "--", *asked, ok=False)
    return str(json.loads(done.stdout)["client"]) if done.returncode == 0 and done.stdout else None


def gateway(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.get("egressgateway", "partners").get("status") or {}
    return found


@pytest.mark.parametrize("v", [4, 6])
def test_the_internet_sees_the_chosen_address_of_chosen_pods(gated: Lab, v: int) -> None:
    wait_for(lambda: CHOSEN[v] in (seen(gated, "partner", v) or ""), "the chosen address")
    assert CHOSEN[v] not in (seen(gated, "other", v) or "")


def test_its_status_names_the_node(gated: Lab) -> None:
    status = wait_for(lambda: gateway(gated), "a status")
    assert status["gateway"] in ("node-2", "node-3")
    assert status["addresses"] == list(CHOSEN.values())
    assert "True" in gated.kubectl("get", "egw", "partners")
    assert "Active" in gated.kubectl("get", "events", "--field-selector", "involvedObject.name=partners")


def test_a_dead_gateway_is_left_within_three_seconds(gated: Lab) -> None:
    active = wait_for(lambda: gateway(gated).get("gateway"), "a gateway")
    wait_for(lambda: CHOSEN[4] in (seen(gated, "partner", 4) or ""), "the chosen address")
    vpc = f"fl-{gated.name}-vpc"
    died = time.monotonic()
    subprocess.run(["ip", "-n", vpc, "link", "set", active, "down"], check=True)
    try:
        last = died
        while (asked := time.monotonic()) < died + 6:
            answer = seen(gated, "partner", 4)
            assert answer is None or CHOSEN[4] in answer, "another source, even for a moment"
            if answer is None:
                last = asked
        assert last - died < 3
        wait_for(lambda: gateway(gated).get("gateway") not in (active, None), "the status says so")
    finally:
        subprocess.run(["ip", "-n", vpc, "link", "set", active, "up"], check=True)
    wait_for(lambda: gateway(gated).get("gateway") == active, "the first choice is back", timeout_s=60)


def test_it_goes_on_without_its_agents(gated: Lab) -> None:
    wait_for(lambda: CHOSEN[4] in (seen(gated, "partner", 4) or ""), "the chosen address")
    killed = {name: gated.record(name)["pid"] for name in ("agent-node-1", "agent-node-2", "agent-node-3")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    for _ in range(5):
        assert CHOSEN[4] in (seen(gated, "partner", 4) or "")
    for name, pid in killed.items():
        wait_for(lambda name=name, pid=pid: gated.record(name)["pid"] != pid, f"{name} is started again")  # type: ignore[misc]
    for _ in range(5):
        assert CHOSEN[4] in (seen(gated, "partner", 4) or "")


def test_without_a_gateway_nothing_leaves(gated: Lab) -> None:
    gated.kubectl("label", "node", "node-2", "node-3", "egress-")
    try:
        wait_for(lambda: seen(gated, "partner", 4) is None, "nothing leaves")
        wait_for(
            lambda: "no node has the labels" in gated.kubectl("get", "egw", "partners", "-o", "yaml"),
            "the status says so",
        )
        assert seen(gated, "other", 4) is not None
    finally:
        gated.kubectl("label", "node", "node-2", "node-3", "egress=gateway")


def test_mistakes_are_refused(gated: Lab) -> None:
    text = EXAMPLE.read_text()
    for wrong, said in (
        (text.replace("203.0.113.200", "here"), "spec.addresses"),
        (text.replace('"fd10:203::c8"', "203.0.113.201"), "different families"),
        (text.replace("addresses: [", "destinations: [10.0.0.0/33]\n  addresses: ["), "spec.destinations"),
        (re.sub(r"subject:\n( {4}.*\n)+", "subject: {}\n", text), "spec.subject"),
    ):
        assert said in gated.kubectl("apply", "-f", "-", given=wrong, ok=False)
