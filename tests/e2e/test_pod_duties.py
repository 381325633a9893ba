"""What pods are promised and networks meet: names, host ports, gates, hooks, and how their endpoints end; in a running lab."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.conftest import Lab, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: duties}
---
apiVersion: v1
kind: Service
metadata: {name: inner, namespace: duties}
spec: {clusterIP: None, selector: {app: named}, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: named, namespace: duties, labels: {app: named}}
spec:
  hostname: front
  subdomain: inner
  setHostnameAsFQDN: true
  terminationGracePeriodSeconds: 1
  hostAliases: [{ip: 192.0.2.7, hostnames: [elder.example, elder]}]
  readinessGates: [{conditionType: example.com/admitted}]
  containers:
  - {name: web, image: "example.com/web:1", ports: [{containerPort: 80, name: http, hostPort: 18080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: hooked, namespace: duties, labels: {app: hooked}}
spec:
  terminationGracePeriodSeconds: 20
  containers:
  - name: web
    image: "example.com/web:1"
    command: [python3, -u, -m, http.server, "8080", --directory, /etc/skel]
    ports: [{containerPort: 8080, name: http}]
    readinessProbe: {tcpSocket: {port: http}, periodSeconds: 1}
    lifecycle:
      preStop: {httpGet: {path: "/?stopping", port: http}}
---
apiVersion: v1
kind: Pod
metadata: {name: greeted, namespace: duties}
spec:
  containers:
  - name: good
    image: "example.com/web:1"
    ports: [{containerPort: 80, name: http}]
    lifecycle: {postStart: {httpGet: {path: /, port: http}}}
  - name: bad
    image: "busybox:1"
    command: [sleep, "1000"]
    lifecycle: {postStart: {httpGet: {path: /, port: 9}}}
---
apiVersion: v1
kind: Service
metadata: {name: hooked, namespace: duties}
spec: {selector: {app: hooked}, ports: [{port: 80, targetPort: http}]}
"""


@pytest.fixture(scope="module")
def duties(lab: Lab) -> Iterator[Lab]:
    lab.apply(MANIFEST)
    lab.kubectl("-n", "duties", "wait", "pod/hooked", "--for=condition=Ready", "--timeout=40s")
    lab.kubectl("-n", "duties", "wait", "pod/named", "--for=condition=ContainersReady", "--timeout=40s")
    yield lab
    lab.kubectl("delete", "namespace", "duties", "--wait=false")


def inside(lab: Lab, *command: str) -> str:
    return lab.kubectl("-n", "duties", "exec", "named", "--", *command)


def conditions(lab: Lab, pod: str) -> dict[str, str]:
    status = lab.get("-n", "duties", "pod", pod)["status"]
    return {one["type"]: one["status"] for one in status["conditions"]}


def set_status(lab: Lab, pod: str, patch: Any) -> None:
    """Patch a pod's status, as the controller behind a readiness gate would; old kubectls cannot."""
    context = ssl.create_default_context(cafile=str(lab.folder / "pki/ca.crt"))
    context.load_cert_chain(lab.folder / "pki/admin.crt", lab.folder / "pki/admin.key")
    server = lab.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    request = urllib.request.Request(
        f"{server}/api/v1/namespaces/duties/pods/{pod}/status",
        data=json.dumps(patch).encode(),
        method="PATCH",
        headers={"Content-Type": "application/strategic-merge-patch+json"},
    )
    urllib.request.urlopen(request, context=context, timeout=10).close()


def test_names(duties: Lab) -> None:
    assert inside(duties, "hostname") == "front.inner.duties.svc.cluster.local\n"
    hosts = [line.split() for line in inside(duties, "cat", "/etc/hosts").splitlines()]
    assert ["192.0.2.7", "elder.example", "elder"] in hosts
    addresses = [one["ip"] for one in duties.get("-n", "duties", "pod", "named")["status"]["podIPs"]]
    for address in addresses:
        assert [address, "front.inner.duties.svc.cluster.local", "front"] in hosts


def test_a_readiness_gate_holds_back_readiness_alone(duties: Lab) -> None:
    found = conditions(duties, "named")
    assert (found["ContainersReady"], found["Ready"]) == ("True", "False")
    ready = "{.subsets[*].addresses[*].ip}"
    assert duties.kubectl("-n", "duties", "get", "endpoints", "inner", "-o", f"jsonpath={ready}") == ""
    patch = {"status": {"conditions": [{"type": "example.com/admitted", "status": "True"}]}}
    set_status(duties, "named", patch)
    duties.kubectl("-n", "duties", "wait", "pod/named", "--for=condition=Ready", "--timeout=20s")
    wait_for(
        lambda: duties.kubectl("-n", "duties", "get", "endpoints", "inner", "-o", f"jsonpath={ready}"), "the endpoint"
    )
    types = [one["type"] for one in duties.get("-n", "duties", "pod", "named")["status"]["conditions"]]
    assert types == [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
        "example.com/admitted",
    ]


def test_a_host_port_leads_to_the_pod_from_other_nodes(duties: Lab) -> None:
    pod = duties.get("-n", "duties", "pod", "named")
    node = pod["spec"]["nodeName"]
    other = next(name for name in ("node-1", "node-2", "node-3", "node-4") if name != node)
    for host in [one["ip"] for one in pod["status"]["hostIPs"]]:
        shown = f"[{host}]" if ":" in host else host
        answer = duties.fairlead("exec", f"node/{other}", "--", "curl", "-sS", "-m", "10", f"http://{shown}:18080/x")
        assert json.loads(answer.stdout)["pod"] == "named"


def test_a_hook_after_the_start_that_fails_ends_its_container_alone(duties: Lab) -> None:
    def told() -> str:
        return duties.kubectl("-n", "duties", "get", "events", "--field-selector", "involvedObject.name=greeted")

    wait_for(lambda: "FailedPostStartHook" in told(), "the event")
    assert "Started container good" in told()
    by_name = {one["name"]: one for one in duties.get("-n", "duties", "pod", "greeted")["status"]["containerStatuses"]}
    assert (by_name["good"]["ready"], by_name["bad"]["ready"]) == (True, False)


def test_the_hook_before_the_end_is_heard_while_the_endpoint_still_serves(duties: Lab) -> None:
    seen: list[dict[str, bool]] = []
    deleted = threading.Event()

    def follow() -> None:
        while not deleted.is_set():
            for one in duties.get("-n", "duties", "endpointslices", "-l", "kubernetes.io/service-name=hooked")["items"]:
                seen.extend(each["conditions"] for each in one["endpoints"] or [])

    argv = ["kubectl", "-n", "duties", "logs", "-f", "hooked"]
    follower = threading.Thread(target=follow)
    with subprocess.Popen(argv, env=duties.environment, stdout=subprocess.PIPE, text=True) as logs:
        assert logs.stdout is not None and "Serving HTTP" in logs.stdout.readline()
        follower.start()
        try:
            duties.kubectl("-n", "duties", "delete", "pod", "hooked")
        finally:
            deleted.set()
            follower.join()
            # It ends by itself with the container.
            said, _ = logs.communicate(timeout=30)
    assert "GET /?stopping" in said
    ending = [one for one in seen if one["terminating"]]
    assert all(not one["ready"] for one in ending)
