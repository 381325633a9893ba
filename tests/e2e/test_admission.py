"""Admission that users define, in a running lab: a webhook in a pod behind a Service, a policy, as kubectl sees them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.apiserver.apiserver_pki import Authority
from tests.e2e.conftest import Lab, wait_for

pytestmark = pytest.mark.e2e

SERVER = """
import base64, http.server, json, ssl
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        patch = [{"op": "add", "path": "/data/touched", "value": request["userInfo"]["username"]}]
        answer = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch",
                  "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        if "forbidden" in request["object"]["data"]:
            answer = {"uid": request["uid"], "allowed": False, "status": {"message": "not here"}}
        body = json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/certs/tls.crt", "/certs/tls.key")
server = http.server.HTTPServer(("", 8443), Hook)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few-replicas}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  validations:
  - expression: object.spec.replicas <= 2
    messageExpression: "'at most 2 replicas, not ' + string(object.spec.replicas)"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few-replicas}
spec:
  policyName: few-replicas
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: hooks}}}
"""


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("hook")
    Authority(folder).issue("tls", "hook", hosts=("hook.hooks.svc",), addresses=("127.0.0.1",))
    tls = {"tls.crt": encoded(folder / "tls.crt"), "tls.key": encoded(folder / "tls.key")}
    container: dict[str, Any] = {
        "name": "hook",
        "image": "python",
        "command": ["python3", "-c", SERVER],
        "ports": [{"containerPort": 8443}],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
        "volumeMounts": [{"name": "certs", "mountPath": "/certs"}],
    }
    pod = {"containers": [container], "volumes": [{"name": "certs", "secret": {"secretName": "tls"}}]}
    labels = {"app": "hook"}
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    hook = {
        "name": "hook.example.org",
        "clientConfig": {
            "service": {"namespace": "hooks", "name": "hook", "path": "/x"},
            "caBundle": encoded(folder / "ca.crt"),
        },
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "hooks"}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hooks"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls", "namespace": "hooks"}, "data": tls},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "hook", "namespace": "hooks", "labels": labels},
            "spec": pod,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "hook", "namespace": "hooks"},
            "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]},
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "hook"},
            "webhooks": [hook],
        },
    ]
    try:
        for one in objects[:-1]:
            lab.apply(json.dumps(one))
        lab.kubectl("wait", "-n", "hooks", "pod/hook", "--for=condition=Ready", "--timeout=60s")
        lab.apply(json.dumps(objects[-1]))
        lab.apply(POLICY)
        yield lab
    finally:
        lab.kubectl("delete", "mutatingwebhookconfiguration/hook", ok=False)
        lab.kubectl(
            "delete", *(f"{one['kind']}/{one['metadata']['name']}" for one in yaml.safe_load_all(POLICY)), ok=False
        )
        lab.kubectl("delete", "ns", "hooks", "--wait=false", ok=False)


def test_a_webhook_in_a_pod_changes_and_refuses(world: Lab) -> None:
    # Its endpoint appears a moment after its pod is ready.
    wait_for(
        lambda: "created" in world.kubectl("create", "cm", "-n", "hooks", "a", "--from-literal=x=y", ok=False),
        "an endpoint",
    )
    assert world.get("cm", "-n", "hooks", "a")["data"] == {"x": "y", "touched": "kubernetes-admin"}
    said = world.kubectl("create", "cm", "-n", "hooks", "b", "--from-literal=forbidden=y", ok=False)
    assert 'admission webhook "hook.example.org" denied the request: not here' in said
    world.kubectl("create", "cm", "b", "--from-literal=forbidden=y")
    world.kubectl("delete", "cm", "b")


def test_a_policy_is_told_by_kubectl(world: Lab) -> None:
    world.kubectl("create", "deployment", "-n", "hooks", "web", "--image=web", "--replicas=2")
    said = world.kubectl("scale", "deployment", "-n", "hooks", "web", "--replicas=2")
    assert "scaled" in said
    said = world.kubectl("create", "deployment", "-n", "hooks", "big", "--image=web", "--replicas=3", ok=False)
    assert (
        "ValidatingAdmissionPolicy 'few-replicas' with binding 'few-replicas' denied request: at most 2 replicas, not 3"
        in said
    )


def test_a_webhook_that_is_gone_refuses(world: Lab) -> None:
    world.kubectl("delete", "pod", "-n", "hooks", "hook", "--grace-period=0", "--force")
    said = wait_for(
        lambda: (
            world.kubectl("create", "cm", "-n", "hooks", "c", "--from-literal=x=y", "--dry-run=server", ok=False)
            if not world.get("endpointslices", "-n", "hooks")["items"][0].get("endpoints")
            else ""
        ),
        "a refusal",
    )
    assert 'failed calling webhook "hook.example.org"' in said and 'no endpoints available for service "hook"' in said
