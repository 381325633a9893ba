"""Services of a whole lab, with real packets from `internet`, nodes and pods."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Lab, wait_for

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples/services"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: my-app}}, {spec}}}\n"


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Lab]:
    """The lab with the examples applied."""
    lab.kubectl("apply", "-f", str(EXAMPLES))
    lab.kubectl("rollout", "status", "deployment/my-app", "--timeout=60s", timeout_s=90)
    yield lab
    lab.kubectl("delete", "-f", str(EXAMPLES), "--wait=false")


def inside(lab: Lab, where: str, *argv: str, timeout_s: float = 10) -> subprocess.CompletedProcess[str]:
    """Run a command in one of the lab's namespaces (`internet`, `node-1`)."""
    command = ["nsenter", f"--net=/run/netns/fl-{lab.name}-{where}", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def get(lab: Lab, where: str, address: str, port: int = 80) -> dict[str, Any] | None:
    """Return the responder's answer, None when there is none within a second."""
    host = f"[{address}]" if ":" in address else address
    done = inside(lab, where, "curl", "-s", "-m", "1", f"http://{host}:{port}/")
    return dict(json.loads(done.stdout)) if done.returncode == 0 and done.stdout else None


def eventually(lab: Lab, where: str, address: str, port: int = 80, *, seconds: float = 30) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = get(lab, where, address, port)
        if answer is not None:
            return answer
    raise AssertionError(f"{address}:{port} does not answer {where}")


def steadily(lab: Lab, where: str, address: str, times: int) -> list[dict[str, Any]]:
    """Return the first `times` answers in a row: until each node has heard of the Service, one or the other refuses."""

    def all_answer() -> list[dict[str, Any]] | None:
        answers = [answer for _ in range(times) if (answer := get(lab, where, address)) is not None]
        return answers if len(answers) == times else None

    found: list[dict[str, Any]] = wait_for(all_answer, f"{address} answers {where} {times} times in a row")
    return found


def ingress(lab: Lab, name: str) -> list[str]:
    """Return the addresses of a load balancer as soon as it has them."""
    path = "{.status.loadBalancer.ingress[*].ip}"
    lab.kubectl("wait", f"service/{name}", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "--timeout=30s")
    return lab.kubectl("get", "service", name, "-o", f"jsonpath={path}").split()


def create(lab: Lab, name: str, spec: str) -> list[str]:
    lab.apply(SERVICE.format(name=name, spec=spec))
    return ingress(lab, name)


def test_the_examples_work_as_written(served: Lab) -> None:
    cluster_ip = served.kubectl("get", "service", "my-service", "-o", "jsonpath={.spec.clusterIP}")
    assert eventually(served, "node-1", cluster_ip)["namespace"] == "default"
    for where, address in (("node-2", "10.10.0.11"), ("vpc", "10.10.16.12"), ("node-1", "10.10.0.11")):
        assert eventually(served, where, address, 30007)["namespace"] == "default"
    (address,) = ingress(served, "my-loadbalancer-service")
    assert address.startswith("203.0.113.")
    # Thirty choices among three nodes leave one out with a chance of 2 in 100,000.
    answers = steadily(served, "internet", address, 30)
    assert {answer["node"] for answer in answers} == {"node-1", "node-2", "node-3"}
    for where in ("node-1", "node-3"):
        assert eventually(served, where, address)["namespace"] == "default"
    done = inside(served, "internet", "curl", "-s", "-m", "2", f"http://{address}:81/")
    assert done.returncode == 7, "an unknown port of a load balancer's address is refused at once"


def test_policy_local_keeps_the_clients_address_on_both_families(served: Lab) -> None:
    spec = "type: LoadBalancer, externalTrafficPolicy: Local, ipFamilyPolicy: RequireDualStack, ports: [{port: 80, targetPort: 8080}]"
    addresses = create(served, "keeps-clients", spec)
    try:
        assert len(addresses) == 2
        for address, client in zip(addresses, ("198.51.100.10", "fd10:198::10"), strict=True):
            answers = steadily(served, "internet", address, 10)
            assert all(client in str(answer["client"]) for answer in answers), answers
        port = served.kubectl("get", "service", "keeps-clients", "-o", "jsonpath={.spec.healthCheckNodePort}")
        health = inside(served, "vpc", "curl", "-s", "-m", "2", f"http://10.10.0.11:{port}/healthz").stdout
        assert json.loads(health)["service"] == {"namespace": "default", "name": "keeps-clients"}
        assert json.loads(health)["localEndpoints"] == 1
    finally:
        served.kubectl("delete", "service", "keeps-clients")


def test_requested_and_exhausted_addresses(served: Lab) -> None:
    spec = "type: LoadBalancer, loadBalancerIP: 203.0.113.77, ports: [{port: 80, targetPort: 8080}]"
    assert create(served, "wishes", spec) == ["203.0.113.77"]
    served.apply(SERVICE.format(name="wishes-too", spec=spec))
    served.apply(
        SERVICE.format(
            name="elsewhere", spec=spec.replace("loadBalancerIP", "loadBalancerClass: x.y/z, loadBalancerIP")
        )
    )
    try:
        taken = "belongs to Service default/wishes already"
        wait_for(lambda: taken in served.kubectl("get", "events"), "an event tells who has the address")
        assert served.get("service", "elsewhere")["status"] == {"loadBalancer": {}}
        served.kubectl("delete", "service", "wishes")
        assert ingress(served, "wishes-too") == ["203.0.113.77"]
        served.kubectl("patch", "service", "wishes-too", "-p", '{"spec":{"type":"ClusterIP","loadBalancerIP":null}}')
        wait_for(
            lambda: served.get("service", "wishes-too")["status"] == {"loadBalancer": {}}, "its address is taken back"
        )
    finally:
        served.kubectl("delete", "service", "wishes", "wishes-too", "elsewhere", "--ignore-not-found")


def test_a_load_balancer_leaves_a_dead_node_within_three_seconds(served: Lab) -> None:
    (address,) = ingress(served, "my-loadbalancer-service")
    spec = "type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80, targetPort: 8080}]"
    (local,) = create(served, "leaves-the-dead", spec)
    try:
        for each in (address, local):
            steadily(served, "internet", each, 10)
        died = time.monotonic()
        subprocess.run(["ip", "-n", f"fl-{served.name}-vpc", "link", "set", "node-2", "down"], check=True)
        last = died
        while (asked := time.monotonic()) < died + 6:
            if get(served, "internet", local) is None:
                last = asked
        assert last - died < 3
    finally:
        subprocess.run(["ip", "-n", f"fl-{served.name}-vpc", "link", "set", "node-2", "up"], check=True)
        served.kubectl("delete", "service", "leaves-the-dead")


def test_metrics_and_health_of_the_proxy(served: Lab) -> None:
    health = inside(served, "node-1", "curl", "-s", "http://10.10.0.11:10256/healthz").stdout
    assert json.loads(health)["nodeEligible"] is True
    alive = inside(
        served, "node-1", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://10.10.0.11:10256/livez"
    )
    assert alive.stdout == "200"
    metrics = inside(served, "node-1", "curl", "-s", "http://127.0.0.1:10249/metrics").stdout
    names = {line.split("{")[0].split(" ")[0] for line in metrics.splitlines() if not line.startswith("#")}
    assert {
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket",
        "kubeproxy_network_programming_duration_seconds_count",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total",
        "kubeproxy_sync_proxy_rules_service_changes_pending",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    } <= names


def test_traffic_distribution_prefers_the_own_zone(served: Lab) -> None:
    served.apply(
        SERVICE.format(name="near", spec="trafficDistribution: PreferSameZone, ports: [{port: 80, targetPort: 8080}]")
    )
    try:
        address = served.kubectl("get", "service", "near", "-o", "jsonpath={.spec.clusterIP}")
        eventually(served, "node-1", address)
        for node, zone in (("node-1", "zone-a"), ("node-3", "zone-c")):
            wait_for(
                lambda node=node, zone=zone: (
                    {(get(served, node, address) or {}).get("zone") for _ in range(10)} == {zone}
                ),
                f"{node} asks {zone} alone",
            )
    finally:
        served.kubectl("delete", "service", "near")


def test_affinity_and_traffic_outlive_a_killed_agent(served: Lab) -> None:
    served.apply(SERVICE.format(name="sticks", spec="sessionAffinity: ClientIP, ports: [{port: 80, targetPort: 8080}]"))
    try:
        address = served.kubectl("get", "service", "sticks", "-o", "jsonpath={.spec.clusterIP}")
        first = eventually(served, "node-1", address)["pod"]
        pid = served.record("agent-node-1")["pid"]
        os.kill(pid, signal.SIGKILL)
        answers = [get(served, "node-1", address) for _ in range(20)]
        assert {answer and answer["pod"] for answer in answers} == {first}
        wait_for(lambda: served.record("agent-node-1")["pid"] != pid, "the agent is started again")
        wait_for(lambda: inside(served, "node-1", "curl", "-sf", "http://127.0.0.1:10256/healthz").stdout, "it works")
        answers = [get(served, "node-1", address) for _ in range(20)]
        assert {answer and answer["pod"] for answer in answers} == {first}
    finally:
        served.kubectl("delete", "service", "sticks")
