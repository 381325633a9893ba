"""Gateways in a running lab: reached from outside, their conditions, and what happens when a proxy dies."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Lab, wait_for

pytestmark = pytest.mark.e2e

BACKEND = """
apiVersion: v1
kind: Namespace
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello, namespace: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec: {containers: [{name: hello, image: hello, ports: [{containerPort: 8080}, {containerPort: 8081, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: hello, namespace: web}
spec:
  selector: {app: hello}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: udp, port: 80, targetPort: 8081, protocol: UDP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: fairlead}
spec: {controllerName: fairlead.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: web}
spec:
  gatewayClassName: fairlead
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: hello, namespace: web}
spec:
  parentRefs: [{name: web}]
  hostnames: [hello.example.com]
  rules: [{backendRefs: [{name: hello, port: 80}]}]
"""


@pytest.fixture(scope="module")
def web(lab: Lab) -> Iterator[Lab]:
    lab.apply(BACKEND)
    lab.kubectl("-n", "web", "rollout", "status", "deployment/hello", "--timeout=60s", timeout_s=90)
    lab.kubectl("-n", "web", "wait", "gateway/web", "--for=condition=Programmed", "--timeout=60s", timeout_s=90)
    yield lab
    lab.kubectl("delete", "namespace/web", "gatewayclass/fairlead", "--wait=false")


def ask(lab: Lab, address: str, name: str = "hello.example.com") -> dict[str, Any] | None:
    host = f"[{address}]" if ":" in address else address
    command = ["curl", "-s", "-g", "-m", "5", "-H", f"Host: {name}", f"http://{host}/"]
    argv = ["nsenter", f"--net=/run/netns/fl-{lab.name}-internet", *command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 and done.stdout.startswith("{") else None


def status_of(lab: Lab, address: str, *options: str, name: str = "hello.example.com") -> str:
    host = f"[{address}]" if ":" in address else address
    command = ["curl", "-s", "-g", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {name}", *options]
    argv = ["nsenter", f"--net=/run/netns/fl-{lab.name}-internet", *command, f"http://{host}/"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout


def addresses(lab: Lab) -> list[str]:
    return [each["value"] for each in lab.get("gateway/web", "-n", "web")["status"]["addresses"]]


def test_the_internet_reaches_the_pods_behind_a_gateway(web: Lab) -> None:
    found = addresses(web)
    assert [":" in each for each in found] == [False, True]
    for address in found:
        answer = wait_for(lambda address=address: ask(web, address), f"an answer of {address}")
        assert answer["pod"].startswith("hello-")
        # The client is known to the backend, though the connection comes from a node.
        assert answer["headers"]["x-forwarded-for"] in ("198.51.100.10", "fd10:198::10")


def test_conditions_say_what_every_node_has_acknowledged(web: Lab) -> None:
    status = web.get("gateway/web", "-n", "web")["status"]
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    assert conditions == {"Accepted": "True", "Programmed": "True"}
    assert [(each["name"], each["attachedRoutes"]) for each in status["listeners"]] == [("http", 1)]
    parents = web.get("httproute/hello", "-n", "web")["status"]["parents"]
    assert [{each["type"]: each["status"] for each in parent["conditions"]} for parent in parents] == [
        {"Accepted": "True", "ResolvedRefs": "True"}
    ]
    slices = web.get("endpointslices", "-n", "web", "-l", "gateway.networking.k8s.io/gateway-name=web")["items"]
    assert len(slices) == 2 * len(web.get("nodes")["items"])


def test_status_and_metrics_tell_of_gateways_and_proxies(web: Lab) -> None:
    web.apply(
        """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: lacking, namespace: web}
spec:
  gatewayClassName: fairlead
  listeners: [{name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: nobody}]}}]
"""
    )
    try:

        def shown() -> dict[str, Any]:
            found = json.loads(web.fairlead("status", "-o", "json").stdout)
            return {each["name"]: each for each in found["gateways"]} | {"": found}

        wait_for(lambda: "lacking" in shown() and "nobody" in shown()["lacking"]["problem"], "what is wrong is told")
        found = shown()
        assert found["web"]["programmed"] and not found["lacking"]["programmed"]
        assert found["web"]["addresses"] == addresses(web)
        assert [(each["name"], each["routes"]) for each in found["web"]["listeners"]] == [("http", 1)]
        # Objects of users do not make a lab sick.
        assert found[""]["healthy"]
        assert any(each["object"] == "Gateway/web/lacking" for each in found[""]["problems"])
        proxies = [each for each in found[""]["components"] if each["component"].startswith("proxy ")]
        assert len(proxies) == len(web.get("nodes")["items"])
        text = web.fairlead("status").stdout
        assert "✓ gateway web/web" in text and "✗ gateway web/lacking" in text
    finally:
        web.kubectl("-n", "web", "delete", "gateway/lacking")
    assert ask(web, addresses(web)[0]) is not None
    labels = 'namespace="web",gateway="web",port="80",protocol="TCP"'
    served = 0
    for node in web.get("nodes")["items"]:
        where = f"node/{node['metadata']['name']}"
        page = web.fairlead("exec", where, "--", "curl", "-s", "http://127.0.0.1:10249/metrics").stdout.splitlines()
        assert f"fairlead_gateway_listener_ready{{{labels}}} 1" in page
        counted = f'fairlead_gateway_requests_total{{{labels},code_class="2xx"}} '
        served += sum(int(line.removeprefix(counted)) for line in page if line.startswith(counted))
    assert served >= 1


RAW = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: raw, namespace: web}
spec:
  gatewayClassName: fairlead
  listeners:
    - {name: tcp, port: 9000, protocol: TCP}
    - {name: udp, port: 9000, protocol: UDP}
    - {name: tls, port: 9443, protocol: TLS, tls: {mode: Passthrough}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: raw, namespace: web}
spec: {parentRefs: [{name: raw}], rules: [{backendRefs: [{name: hello, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: raw, namespace: web}
spec: {parentRefs: [{name: raw}], rules: [{backendRefs: [{name: hello, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: raw, namespace: web}
spec: {parentRefs: [{name: raw}], hostnames: [raw.example.com], rules: [{backendRefs: [{name: sealed, port: 443}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: sealed, namespace: web, labels: {app: sealed}}
spec:
  containers:
    - name: sealed
      image: openssl
      command: [sh, -c, "cd /tmp && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=sealed
        -keyout key -out cert && exec openssl s_server -accept 8443 -key key -cert cert -rev"]
      ports: [{containerPort: 8443}]
---
apiVersion: v1
kind: Service
metadata: {name: sealed, namespace: web}
spec: {selector: {app: sealed}, ports: [{port: 443, targetPort: 8443}]}
"""
DATAGRAM = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(2)
    client.sendto(b"hello", (address, port))
    print(client.recv(100).decode())
"""


def outside(lab: Lab, *command: str, said: str = "") -> str:
    """What a command prints on the internet, empty when it fails."""
    argv = ["nsenter", f"--net=/run/netns/fl-{lab.name}-internet", *command]
    done = subprocess.run(argv, input=said, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout if done.returncode == 0 else ""


def test_the_internet_reaches_ports_of_tcp_udp_and_tls(web: Lab) -> None:
    web.apply(RAW)
    web.kubectl("-n", "web", "wait", "gateway/raw", "--for=condition=Programmed", "--timeout=60s", timeout_s=90)
    found = [each["value"] for each in web.get("gateway/raw", "-n", "web")["status"]["addresses"]]
    assert [":" in each for each in found] == [False, True]
    for address in found:
        host = f"[{address}]" if ":" in address else address

        def tls(name: str, host: str = host) -> str:
            command = ("openssl", "s_client", "-quiet", "-connect", f"{host}:9443", "-servername", name)
            return outside(web, "timeout", "3", *command, said="hello\nCLOSE\n")

        wait_for(lambda host=host: '"pod": "hello-' in outside(web, "curl", "-sgm5", f"http://{host}:9000/"), "TCP")
        wait_for(lambda at=address: "hello" in outside(web, sys.executable, "-c", DATAGRAM, at, "9000"), "UDP")
        wait_for(lambda tls=tls: "olleh" in tls("raw.example.com"), "TLS")
        assert tls("other.example.com") == ""
    for kind in ("tcproute", "udproute", "tlsroute"):
        (parent,) = web.get(f"{kind}/raw", "-n", "web")["status"]["parents"]
        assert {each["type"]: each["status"] for each in parent["conditions"]} == {
            "Accepted": "True",
            "ResolvedRefs": "True",
        }


QUICK = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: quick, namespace: web, annotations: {fairlead.dev/certificate: lab}}
spec:
  gatewayClassName: fairlead
  listeners:
    - {name: https, port: 443, protocol: HTTPS, hostname: quick.example.com, tls: {certificateRefs: [{name: quick}]}}
---
apiVersion: fairlead.dev/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: quick, namespace: web}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: quick}]
  http3: {}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: quick, namespace: web}
spec: {parentRefs: [{name: quick}], rules: [{backendRefs: [{name: hello, port: 80}]}]}
"""


def test_the_internet_speaks_http3(web: Lab, tmp_path: Path) -> None:
    web.apply(QUICK)
    served = '--for=jsonpath={.status.listeners[0].conditions[?(@.type=="fairlead.dev/HTTP3")].status}=True'
    web.kubectl("-n", "web", "wait", "gateway/quick", served, "--timeout=60s", timeout_s=90)
    (tmp_path / "ca.pem").write_bytes(base64.b64decode(web.get("secret/quick", "-n", "web")["data"]["ca.crt"]))
    found = [each["value"] for each in web.get("gateway/quick", "-n", "web")["status"]["addresses"]]
    assert [":" in each for each in found] == [False, True]
    host, authority = "quick.example.com", str(tmp_path / "ca.pem")
    for address in found:
        ask = (sys.executable, "-m", "tests.drivers.xds.h3", address, "443", host, authority)
        status, _, body = wait_for(lambda ask=ask: outside(web, *ask), "an answer over HTTP/3").partition(" ")
        said = json.loads(body)
        # The client's own address, as the load balancer and the node leave it alone.
        client = "fd10:198::10" if ":" in address else "198.51.100.10"
        assert (status, said["headers"]["x-forwarded-for"]) == ("200", client)
        at = f"[{address}]" if ":" in address else address
        over_tcp = (
            "curl",
            "-sgm5",
            "-D",
            "-",
            "--cacert",
            authority,
            "--resolve",
            f"{host}:443:{at}",
            f"https://{host}/",
        )
        assert 'alt-svc: h3=":443"' in outside(web, *over_tcp)
    web.kubectl("-n", "web", "delete", "gateway/quick", "clienttrafficpolicy/quick", "httproute/quick")


def test_the_host_reaches_it_through_loopback(web: Lab) -> None:
    printed = web.fairlead("up", timeout_s=120).stdout
    (line,) = [each for each in printed.splitlines() if each.startswith("gateway ")]
    plain = line.split()[1].rstrip(",")
    assert plain.startswith("http://127.0.0.1:")

    def answer() -> bool:
        command = ["curl", "-s", "-m", "5", "-H", "Host: hello.example.com", plain]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return '"pod": "hello-' in done.stdout

    wait_for(answer, f"an answer of {plain}")


# The password is `open sesame`.
POLICY = """
apiVersion: v1
kind: Secret
metadata: {name: users, namespace: web, labels: {fairlead.dev/credentials: ''}}
stringData: {auth: 'ali:{SHA}W8r/fyL/UzygmbNAjq2HbA67qac='}
---
apiVersion: fairlead.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: users, namespace: web}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: guarded}]
  basicAuth: {users: {name: users}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guarded, namespace: web}
spec:
  parentRefs: [{name: web}]
  hostnames: [guarded.example.com]
  rules: [{backendRefs: [{name: hello, port: 80}]}]
"""


def test_a_policy_with_a_labeled_secret_guards_a_route(web: Lab) -> None:
    web.apply(POLICY)
    for address in addresses(web):

        def statuses(address: str = address) -> list[str]:
            options: list[tuple[str, ...]] = [(), ("-u", "ali:open sesame"), ("-u", "ali:open barley")]
            return [status_of(web, address, *each, name="guarded.example.com") for each in options]

        wait_for(lambda statuses=statuses: statuses() == ["401", "200", "401"], "the policy to be in force")
    wait_for(
        lambda: "users" in str(web.get("httproute/guarded", "-n", "web").get("status")), "the route to name the policy"
    )
    (parent,) = web.get("httproute/guarded", "-n", "web")["status"]["parents"]
    (affected,) = [each for each in parent["conditions"] if each["type"] == "fairlead.dev/PolicyAffected"]
    assert affected["message"] == "basicAuth: SecurityPolicy/web/users"
    # Whoever takes the Secret away closes the route.
    web.kubectl("-n", "web", "label", "secret/users", "fairlead.dev/credentials-")
    first = addresses(web)[0]
    wait_for(lambda: status_of(web, first, name="guarded.example.com") == "500", "the route to be closed")
    assert status_of(web, first) == "200"
    web.kubectl("-n", "web", "delete", "securitypolicy/users")
    wait_for(lambda: status_of(web, first, name="guarded.example.com") == "200", "the route to be open")
    for name in ("httproute/guarded", "secret/users"):
        web.kubectl("-n", "web", "delete", name)


INGRESS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: fairlead}
spec: {controller: fairlead.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: hello, namespace: web}
spec:
  ingressClassName: fairlead
  rules: [{host: ingress.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: hello, port: {number: 80}}}}]}}]
"""


def test_the_internet_reaches_the_pods_behind_an_ingress(web: Lab) -> None:
    web.apply(INGRESS)

    def given() -> list[str]:
        status = web.get("ingress/hello", "-n", "web").get("status") or {}
        return [each["ip"] for each in status.get("loadBalancer", {}).get("ingress") or ()]

    for address in wait_for(given, "the address of the Ingress"):
        wait_for(lambda address=address: ask(web, address, "ingress.example.com"), f"an answer of {address}")
    web.kubectl("delete", "ingressclass/fairlead", "ingress/hello", "-n", "web", "--wait=false")


def proxy(lab: Lab, node: str) -> int:
    """The number of a node's proxy; 0 while one that was killed is gone and the next is not there."""
    try:
        found: int = json.loads((_folder(lab, node) / "process.json").read_text())[-1]["pid"]
    except FileNotFoundError:
        return 0
    return found


def _folder(lab: Lab, node: str) -> Path:
    return lab.folder / "nodes" / node / "agent/envoy"


def test_a_killed_proxy_and_a_killed_agent_are_replaced(web: Lab) -> None:
    before = proxy(web, "node-1")
    os.kill(web.record("agent-node-1")["pid"], signal.SIGKILL)
    wait_for(lambda: (web.folder / "run/agent-node-1.json").exists(), "the agent's record")
    assert proxy(web, "node-1") == before
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: proxy(web, "node-1") not in (0, before), "another proxy")
    for address in addresses(web):
        for _ in range(8):
            wait_for(lambda address=address: ask(web, address), f"an answer of {address}")
