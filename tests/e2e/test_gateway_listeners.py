"""A tenant's listeners in a running lab: certificates that the lab issues, and clients that show certificates of their own."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Lab, wait_for
from tests.pki import Authority

pytestmark = pytest.mark.e2e

HOST = "tenant.example.com"
OBJECTS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: shared}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: tenant}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: hello, namespace: tenant}}
spec:
  selector: {{matchLabels: {{app: hello}}}}
  template:
    metadata: {{labels: {{app: hello}}}}
    spec: {{containers: [{{name: hello, image: hello, ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: hello, namespace: tenant}}
spec: {{selector: {{app: hello}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: shared}}
spec: {{controllerName: fairlead.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: shared, namespace: shared}}
spec:
  gatewayClassName: shared
  allowedListeners: {{namespaces: {{from: All}}}}
  tls: {{frontend: {{default: {{validation: {{caCertificateRefs: [{{group: '', kind: ConfigMap, name: clients}}]}}}}}}}}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: tenant, namespace: tenant, annotations: {{fairlead.dev/certificate: lab}}}}
spec:
  parentRef: {{name: shared, namespace: shared}}
  listeners:
  - {{name: https, port: 443, protocol: HTTPS, hostname: {HOST}, tls: {{certificateRefs: [{{name: tenant}}]}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: hello, namespace: tenant}}
spec:
  parentRefs: [{{kind: ListenerSet, name: tenant}}]
  rules: [{{backendRefs: [{{name: hello, port: 80}}]}}]
"""


@pytest.fixture
def tenant(lab: Lab) -> Iterator[Lab]:
    lab.apply(OBJECTS)
    yield lab
    lab.kubectl("delete", "namespace/tenant", "namespace/shared", "gatewayclass/shared", "--wait=false")


def test_a_tenants_listener_has_a_certificate_and_knows_its_clients(tenant: Lab, tmp_path: Path) -> None:
    believed, other = Authority("believed"), Authority("other")
    for name, authority in (("believed", believed), ("other", other)):
        pair = authority.issue(f"{name}.example.com")
        (tmp_path / f"{name}.pem").write_bytes(pair.chain + pair.key)
    believe(tenant, believed)
    tenant.kubectl("-n", "tenant", "rollout", "status", "deployment/hello", "--timeout=60s", timeout_s=90)
    tenant.kubectl(
        "-n", "tenant", "wait", "listenerset/tenant", "--for=condition=Programmed", "--timeout=60s", timeout_s=90
    )
    assert tenant.get("gateway/shared", "-n", "shared")["status"]["attachedListenerSets"] == 1
    secret = tenant.get("secret/tenant", "-n", "tenant")
    (tmp_path / "ca.pem").write_bytes(base64.b64decode(secret["data"]["ca.crt"]))
    address = tenant.get("gateway/shared", "-n", "shared")["status"]["addresses"][0]["value"]

    def asked_by(name: str) -> dict[str, Any] | None:
        options = ["--cert", str(tmp_path / f"{name}.pem")] if name else []
        command = ["curl", "-s", "-m", "5", "--cacert", str(tmp_path / "ca.pem"), "--resolve", f"{HOST}:443:{address}"]
        argv = ["nsenter", f"--net=/run/netns/fl-{tenant.name}-internet", *command, *options, f"https://{HOST}/"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        return dict(json.loads(done.stdout)) if done.returncode == 0 and done.stdout.startswith("{") else None

    answer = wait_for(lambda: asked_by("believed"), "an answer for who is believed")
    assert answer["pod"].startswith("hello-")
    assert "CN=believed.example.com" in answer["headers"]["x-forwarded-client-cert"]
    assert asked_by("other") is None
    assert asked_by("") is None
    believe(tenant, other)
    wait_for(lambda: asked_by("other"), "an answer for who is believed now")
    assert asked_by("believed") is None


def believe(lab: Lab, authority: Authority) -> None:
    lab.apply("apiVersion: v1\n" + authority.configmap("clients", "shared"))
