"""Rules by domain name in a whole lab: what a pod looked up it may reach, and the agent's death takes nothing back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Lab, wait_for

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples/egress/names.yaml"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: by-name, labels: {app: partner-client}}
spec: {nodeName: node-1, containers: [{name: c, image: any}]}
"""
HOST = {"-4": "198.51.100.10", "-6": "[fd10:198::10]"}


@pytest.fixture(scope="module")
def named(lab: Lab) -> Iterator[Lab]:
    lab.kubectl("apply", "-f", str(EXAMPLE))
    lab.apply(POD)
    lab.kubectl("wait", "pod/by-name", "--for=condition=Ready", "--timeout=30s")
    yield lab
    lab.kubectl("delete", "pod", "by-name", "--wait=false")
    lab.kubectl("delete", "-f", str(EXAMPLE), "--ignore-not-found")


def answers(lab: Lab, url: str, *options: str) -> bool:
    """Tell whether the pod gets a page within two seconds."""
    asked = ("curl", "-sS", "-o", "/dev/null", "-m", "2", *options, url)
    return lab.fairlead("exec", "pod/default/by-name", "--", *asked, ok=False).returncode == 0


def test_a_name_opens_its_addresses_and_nothing_else(named: Lab) -> None:
    for option, host in HOST.items():
        assert not answers(named, f"http://{host}/"), "nobody has looked the name up"
        assert answers(named, "http://www.example.com/", option)
        # The very first connection after each look-up.
        assert answers(named, "http://x.y.any.example.com/", option)
    said = named.kubectl("get", "clusternetworkpolicy", "partners-by-name", "-o", "yaml")
    assert "matches nothing" not in said


def test_the_status_names_a_name_that_is_not_there(named: Lab) -> None:
    rule = '{"op": "add", "path": "/spec/egress/0", "value": {"action": "Accept", "to": [{"domainNames": ["no.example.com"]}]}}'
    named.kubectl("patch", "clusternetworkpolicy", "partners-by-name", "--type=json", "-p", f"[{rule}]")
    try:
        assert not answers(named, "http://no.example.com/")
        resolved = '{.status.conditions[?(@.type=="fairlead.dev/Resolved")].message}'
        wait_for(
            lambda: (
                "spec.egress[0]: there is no name no.example.com"
                in named.kubectl("get", "clusternetworkpolicy", "partners-by-name", "-o", f"jsonpath={resolved}")
            ),
            "the condition says so",
        )
    finally:
        undo = '[{"op": "remove", "path": "/spec/egress/0"}]'
        named.kubectl("patch", "clusternetworkpolicy", "partners-by-name", "--type=json", "-p", undo)


def test_the_agent_s_death_takes_nothing_back(named: Lab) -> None:
    assert answers(named, "http://www.example.com/")
    pid = named.record("agent-node-1")["pid"]
    os.kill(pid, signal.SIGKILL)
    for host in HOST.values():
        assert answers(named, f"http://{host}/")
    wait_for(lambda: named.record("agent-node-1")["pid"] != pid, "the agent is started again")
    assert answers(named, "http://www.example.com/")
    for host in HOST.values():
        assert answers(named, f"http://{host}/")


def test_without_the_rule_the_addresses_are_closed(named: Lab) -> None:
    assert answers(named, "http://www.example.com/")
    patch = '[{"op": "remove", "path": "/spec/egress/0"}]'
    named.kubectl("patch", "clusternetworkpolicy", "partners-by-name", "--type=json", "-p", patch)
    wait_for(lambda: not answers(named, "http://www.example.com/"), "the name is closed")


def test_only_accept_takes_names(named: Lab) -> None:
    wrong = EXAMPLE.read_text().replace("action: Accept", "action: Deny")
    assert "domainNames" in named.kubectl("apply", "-f", "-", given=wrong, ok=False)
