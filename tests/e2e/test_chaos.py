"""Processes die in the middle of a rollout, a node falls silent: everything converges, nothing is given twice, nothing is left."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Lab, wait_for
from tests.e2e.leaks import attachments, namespaces, node_names, output, processes, settled, wait_unchanged
from tests.e2e.test_endurance import deployment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PODS = 100


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(name=f"c{os.getpid() % 100000}", home=tmp_path / "home")
    yield lab
    lab.fairlead("down", ok=False)


def fork_server(lab: Lab, node: str) -> int:
    root = str(lab.folder / "nodes" / node / "pods")
    own = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    for pid, argv in processes(lab):
        # Pods' inits are forks of it and look the same; they are in PID namespaces of their own.
        if (
            "fairlead.lab.runtime.forkserver" in argv
            and root in argv
            and own == Path(f"/proc/{pid}/ns/pid").stat().st_ino
        ):
            return pid
    raise AssertionError(f"{node} has no fork server")


def ready(lab: Lab) -> int:
    found = lab.kubectl("get", "deployment/web", "-o", "jsonpath={.status.readyReplicas}", ok=False)
    return int(found) if found.isdigit() else 0


def test_a_rollout_survives_the_death_of_everything(own_lab: Lab) -> None:
    own_lab.fairlead("up", "--nodes", "3", "--zones", "2")
    empty = settled(own_lab)
    own_lab.apply(deployment("web", PODS))
    deaths = {
        10: lambda: own_lab.record("kubelet-node-1")["pid"],
        25: lambda: own_lab.record("agent-node-2")["pid"],
        40: lambda: own_lab.record("apiserver")["pid"],
        55: lambda: fork_server(own_lab, "node-3"),
        70: lambda: own_lab.record("controller")["pid"],
        80: lambda: own_lab.record("kubelet-node-3")["pid"],
    }
    for count, victim in deaths.items():
        wait_for(lambda c=count: ready(own_lab) >= c, f"{count} pods are Ready", timeout_s=60)
        os.kill(victim(), signal.SIGKILL)
    wait_for(lambda: ready(own_lab) == PODS, "all pods are Ready", timeout_s=60)
    wait_for(lambda: own_lab.fairlead("status", ok=False).returncode == 0, "the lab is healthy")

    pods = own_lab.get("pods")["items"]
    assert len(pods) == PODS
    addresses = Counter(entry["ip"] for pod in pods for entry in pod["status"]["podIPs"])
    assert len(addresses) == 2 * PODS, [each for each in addresses.items() if each[1] > 1]
    names = {pod["status"]["podIP"]: pod["metadata"]["name"] for pod in pods}
    for node in node_names(own_lab):
        held = attachments(own_lab, node)
        here = [pod for pod in pods if pod["spec"]["nodeName"] == node]
        assert sorted(each["pod_uid"] for each in held) == sorted(pod["metadata"]["uid"] for pod in here)
        links = output("ip", "-n", f"fl-{own_lab.name}-{node}", "-o", "link", "show", "type", "veth")
        assert len([line for line in links if "fl" in line.split(":")[1]]) == len(held)
    assert len([name for name in namespaces(own_lab) if "-pod-" in name]) == PODS
    assert answers(own_lab, list(names)) == names

    own_lab.kubectl("delete", "deployment/web", "service/web", "--cascade=foreground", "--timeout=60s", timeout_s=90)
    wait_unchanged(own_lab, empty)


ASK = """
import json, sys, urllib.request
for address in sys.argv[1:]:
    print(address, json.load(urllib.request.urlopen(f"http://{address}:8080/", timeout=5))["pod"])
"""


def answers(lab: Lab, addresses: list[str]) -> dict[str, str]:
    """Return address → name of the pod that answers there, asked from a node."""
    asked = lab.fairlead("exec", "node/node-1", "--", "python3", "-c", ASK, *addresses)
    return dict(line.split() for line in asked.stdout.splitlines())


def test_a_silent_node_leaves_the_endpoints_and_comes_back(own_lab: Lab) -> None:
    own_lab.fairlead("up", "--nodes", "2", "--zones", "2")
    own_lab.apply(deployment("web", 4))
    own_lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout_s=90)

    def serving() -> Counter[str]:
        slices = own_lab.get("endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
        return Counter(
            endpoint["nodeName"]
            for each in slices
            if each["addressType"] == "IPv4"
            for endpoint in each.get("endpoints") or ()
            if endpoint["conditions"]["ready"]
        )

    everywhere = wait_for(lambda: (found := serving()).total() == 4 and len(found) == 2 and found, "four endpoints")
    kubelet = own_lab.record("kubelet-node-1")["pid"]
    os.kill(kubelet, signal.SIGSTOP)
    try:
        # Time in which nobody can be heard, as on a busy machine, counts for no node.
        wait_for(lambda: set(serving()) == {"node-2"}, "the silent node's pods leave the endpoints", timeout_s=60)
    finally:
        os.kill(kubelet, signal.SIGCONT)
    wait_for(lambda: serving() == everywhere, "they are back")
