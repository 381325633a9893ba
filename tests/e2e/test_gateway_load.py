"""Gateways under load while what is behind them changes: no request is lost. The long versions of the same are marked soak."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.drivers.xds import load as script
from tests.e2e.conftest import Lab, wait_for
from tests.e2e.rollouts import roll

from fairlead.drivers.xds import generations

pytestmark = pytest.mark.e2e

HOST = "busy.example.com"
OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: busy}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy, namespace: busy}
spec:
  replicas: 3
  selector: {matchLabels: {app: busy}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: busy}}
    spec: {containers: [{name: busy, image: busy, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: busy, namespace: busy}
spec: {selector: {app: busy}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: busy}
spec: {controllerName: fairlead.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: busy, namespace: busy}
spec:
  gatewayClassName: busy
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: busy, namespace: busy}
spec:
  parentRefs: [{name: busy}]
  rules: [{backendRefs: [{name: busy, port: 80}]}]
"""


class Outcome:
    """What came of the requests; filled in when the load ends."""

    good = 0
    failed: dict[str, int] = {}
    slowest_s = 0.0


@pytest.fixture(scope="module")
def busy(lab: Lab) -> Iterator[Lab]:
    lab.apply(OBJECTS)
    rolled_out(lab)
    lab.kubectl("-n", "busy", "wait", "gateway/busy", "--for=condition=Programmed", "--timeout=60s", timeout_s=90)
    yield lab
    lab.kubectl("delete", "namespace/busy", "gatewayclass/busy", "--wait=false")


def load(lab: Lab, version: int = 4, *, keeping: int = 6) -> AbstractContextManager[Outcome]:
    """Have the internet ask the Gateway without a pause."""
    addresses = [each["value"] for each in lab.get("gateway/busy", "-n", "busy")["status"]["addresses"]]
    address = next(each for each in addresses if (":" in each) == (version == 6))
    return asking(lab, "internet", address, 80, keeping=keeping)


@contextmanager
def asking(lab: Lab, whence: str, address: str, port: int, *, keeping: int = 6) -> Iterator[Outcome]:
    """Have a namespace of the lab ask an address without a pause, on so many connections that stay, and on new ones."""
    argv = ["nsenter", f"--net=/run/netns/fl-{lab.name}-{whence}", sys.executable, script.__file__]
    argv += [address, str(port), HOST, str(keeping)]
    outcome = Outcome()
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield outcome
    finally:
        printed, _ = process.communicate(timeout=60)
    found: dict[str, Any] = json.loads(printed)
    print(found)
    outcome.good, outcome.failed, outcome.slowest_s = found["good"], found["failed"], found["slowest_s"]


def rolled_out(lab: Lab) -> None:
    lab.kubectl("-n", "busy", "rollout", "status", "deployment/busy", "--timeout=60s", timeout_s=90)


def test_rolling_updates_lose_no_request(busy: Lab) -> None:
    with load(busy) as outcome:
        roll(busy, "busy", 4)
    assert outcome.good > 100 and not outcome.failed


def test_scaling_loses_no_request(busy: Lab) -> None:
    with load(busy) as outcome:
        for replicas in (6, 1, 3):
            busy.kubectl("-n", "busy", "scale", "deployment/busy", f"--replicas={replicas}")
            rolled_out(busy)
    assert outcome.good > 100 and not outcome.failed


def test_killed_agents_cost_their_proxies_no_request(busy: Lab) -> None:
    """Neither those who ask a node itself, nor the load balancer's clients: it leaves their connections where they are."""
    before, served = proxy(busy), ready(busy)
    with asking(busy, "node-2", *door(busy)) as direct, load(busy, 4) as four, load(busy, 6) as six:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            os.kill(busy.record("agent-node-1")["pid"], number)
            wait_for(lambda served=served: ready(busy) > served, "an agent that has applied something")
            served = ready(busy)
        roll(busy, "busy", 1)
    for outcome in (direct, four, six):
        assert outcome.good > 100 and not outcome.failed
    assert proxy(busy) == before and Path(f"/proc/{before}").exists()


def test_a_node_that_is_about_to_go_loses_no_request(busy: Lab) -> None:
    """Its endpoint goes first, then its proxy asks those who have connections there to come again."""
    _, port = door(busy)
    taint = "ToBeDeletedByClusterAutoscaler=now:NoSchedule"
    with load(busy, 4) as four, load(busy, 6) as six:
        wait_for(lambda: clients(busy, "node-1", port), "node-1 has clients")
        busy.kubectl("taint", "node", "node-1", taint)
        try:
            leaving = {"ready": False, "serving": True, "terminating": True}
            wait_for(lambda: conditions(busy, "node-1") == leaving, "it is leaving")
            wait_for(lambda: not clients(busy, "node-1", port), "its clients have left")
        finally:
            busy.kubectl("taint", "node", "node-1", f"{taint}-")
        wait_for(lambda: conditions(busy, "node-1")["ready"], "it stays after all")
    for outcome in (four, six):
        assert outcome.good > 100 and not outcome.failed


def test_a_node_that_is_deleted_and_comes_back_loses_no_request(busy: Lab) -> None:
    """It comes back as one that is new: another Node object, an agent that has just been started, a proxy without a past."""
    _, port = door(busy)
    node, taint = "node-2", "ToBeDeletedByClusterAutoscaler=now:NoSchedule"
    with load(busy, 4, keeping=16) as four, load(busy, 6, keeping=16) as six:
        wait_for(lambda: clients(busy, node, port), "it has clients")
        busy.kubectl("taint", "node", node, taint)
        busy.kubectl("drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=60s")
        wait_for(lambda: not clients(busy, node, port), "its clients have left")
        busy.kubectl("delete", "node", node)
        wait_for(lambda: not slices(busy, node), "it is nobody's endpoint")
        wait_for(lambda: not (busy.folder / f"nodes/{node}/agent/envoy/process.json").exists(), "its proxy has ended")
        for record in (f"kubelet-{node}", f"agent-{node}"):
            os.kill(busy.record(record)["pid"], signal.SIGKILL)
        wait_for(lambda: slices(busy, node) and conditions(busy, node)["ready"], "it is back", timeout_s=60)
        wait_for(lambda: clients(busy, node, port), "it has clients again", timeout_s=90)
        roll(busy, "busy", 2)
    for outcome in (four, six):
        assert outcome.good > 100 and not outcome.failed


def test_a_node_that_load_balancers_exclude_keeps_its_connections(busy: Lab) -> None:
    _, port = door(busy)
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    # That none of these is at the node happens once in ten thousand times.
    with load(busy, 4, keeping=16) as four, load(busy, 6, keeping=16) as six:
        wait_for(lambda: newcomers(busy, "node-4", port), "node-4 gets new connections")
        busy.kubectl("label", "node", "node-4", f"{label}=")
        try:
            wait_for(lambda: not newcomers(busy, "node-4", port), "new connections go elsewhere")
            assert clients(busy, "node-4", port), "those that were there stay"
            assert conditions(busy, "node-4")["ready"], "pods may use it"
        finally:
            busy.kubectl("label", "node", "node-4", f"{label}-")
    for outcome in (four, six):
        assert outcome.good > 100 and not outcome.failed


def test_clients_leave_a_dead_node(busy: Lab) -> None:
    _, port = door(busy)
    link = ["ip", "-n", f"fl-{busy.name}-vpc", "link", "set", "node-3"]
    with load(busy, 4, keeping=16) as four, load(busy, 6, keeping=16) as six:
        wait_for(lambda: clients(busy, "node-3", port), "node-3 has clients")
        subprocess.run([*link, "down"], check=True)
        try:
            wait_for(lambda: unheard(busy), "some wait for it")
            wait_for(lambda: not unheard(busy), "nobody does", timeout_s=10)
        finally:
            subprocess.run([*link, "up"], check=True)
    for outcome in (four, six):
        assert outcome.good > 20 and outcome.slowest_s < 10


def slices(lab: Lab, node: str) -> list[dict[str, Any]]:
    selector = f"fairlead.dev/gateway-node={node},kubernetes.io/service-name=fairlead-gateway-busy"
    found: list[dict[str, Any]] = lab.get("endpointslices", "-n", "busy", "-l", selector)["items"]
    return found


def conditions(lab: Lab, node: str) -> dict[str, bool]:
    """The conditions of a node's proxy, the same in both families."""
    first, second = (each["endpoints"][0]["conditions"] for each in slices(lab, node))
    return dict(first) if first == second else {}


def sockets(lab: Lab, where: str, *wanted: str) -> list[list[str]]:
    """What ss(8) lists in a namespace, in its columns."""
    argv = ["ip", "netns", "exec", f"fl-{lab.name}-{where}", "ss", "-Hton", "state", "established", *wanted]
    return [line.split() for line in subprocess.check_output(argv, text=True).splitlines()]


def clients(lab: Lab, node: str, port: int) -> set[str]:
    """Who has a connection to the proxy of a node, which listens on `port`."""
    return {each[3] for each in sockets(lab, node, f"sport = :{port}")}


def newcomers(lab: Lab, node: str, port: int) -> set[str]:
    """Who connects to the proxy of a node within a moment."""
    known = clients(lab, node, port)
    return set().union(*(clients(lab, node, port) for _ in range(20))) - known


def unheard(lab: Lab) -> list[list[str]]:
    """Connections of the internet on which something has been sent again, as nobody acknowledged it."""
    return [each for each in sockets(lab, "internet", "dport = :80") if len(each) > 4 and not each[4].endswith(",0)")]


def test_a_gateway_gets_an_envoy_of_its_own_and_gives_it_back_without_a_lost_request(busy: Lab) -> None:
    busy.apply(
        """
apiVersion: fairlead.dev/v1alpha1
kind: GatewayParameters
metadata: {name: own, namespace: busy}
spec: {proxy: Dedicated}
"""
    )
    reference = {"group": "fairlead.dev", "kind": "GatewayParameters", "name": "own"}

    def choose(infrastructure: object) -> None:
        patch = json.dumps({"spec": {"infrastructure": infrastructure}})
        busy.kubectl("-n", "busy", "patch", "gateway/busy", "--type=merge", "--patch", patch)

    def own() -> list[int]:
        """The proxies of its own that run, one for each node."""
        records = busy.folder.glob("nodes/*/agent/envoy/gateways/busy.busy/process.json")
        return [each.pid for record in records for each in generations.read(record) if each.alive]

    def programmed() -> bool:
        found = busy.get("gateway/busy", "-n", "busy")
        (each,) = (each for each in found["status"]["conditions"] if each["type"] == "Programmed")
        return bool(each["status"] == "True" and each["observedGeneration"] == found["metadata"]["generation"])

    with load(busy, 4) as four, load(busy, 6) as six:
        choose({"parametersRef": reference})
        wait_for(lambda: len(own()) == len(busy.get("nodes")["items"]), "a proxy of its own on each node")
        wait_for(programmed, "every node has acknowledged it")
        components = json.loads(busy.fairlead("status", "-o", "json").stdout)["components"]
        assert "proxy node-1 busy.busy" in {each["component"] for each in components}
        # The shared one has nothing to serve any more, and comes back when it has.
        choose(None)
        wait_for(programmed, "every node has acknowledged that")
        wait_for(lambda: not own(), "the proxies of its own are gone", timeout_s=90)
    for outcome in (four, six):
        assert outcome.good > 100 and not outcome.failed


def door(lab: Lab) -> tuple[str, int]:
    """Where the proxy of node-1 listens."""
    (own,) = (each for each in slices(lab, "node-1") if each["addressType"] == "IPv4")
    return own["endpoints"][0]["addresses"][0], own["ports"][0]["port"]


def proxy(lab: Lab) -> int:
    found: int = json.loads((lab.folder / "nodes/node-1/agent/envoy/process.json").read_text())[-1]["pid"]
    return found


def ready(lab: Lab) -> int:
    """How often proxies have connected to an agent of the node."""
    return (lab.folder / "log/agent-node-1.log").read_text().count("proxy connected")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_rolling_updates_lose_no_request(busy: Lab) -> None:
    with load(busy) as outcome:
        roll(busy, "busy", 200)
    assert outcome.good > 10_000 and not outcome.failed
