"""Rights in a running lab: pods call the API as their account, people ask what they may do, a stolen node is worth one node."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.e2e.conftest import Lab, run, wait_for

pytestmark = pytest.mark.e2e

FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
ASK = f"""
import json, os, ssl, urllib.error, urllib.request
folder = "{FOLDER}"
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
host = f"[{{host}}]" if ":" in host else host
namespace = open(f"{{folder}}/namespace").read()
context = ssl.create_default_context(cafile=f"{{folder}}/ca.crt")
headers = {{"Authorization": "Bearer " + open(f"{{folder}}/token").read()}}
for what in ("configmaps", "secrets"):
    url = f"https://{{host}}:{{port}}/api/v1/namespaces/{{namespace}}/{{what}}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context) as answer:
            print(what, answer.status, json.load(answer)["kind"])
    except urllib.error.HTTPError as error:
        print(what, error.code, json.load(error)["message"])
"""
MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: rights}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: rights}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: silent, namespace: rights}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: rights}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: rights}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
---
apiVersion: v1
kind: Secret
metadata: {name: mine, namespace: rights}
stringData: {a: b}
---
apiVersion: v1
kind: Pod
metadata: {name: caller, namespace: rights}
spec:
  serviceAccountName: reader
  nodeName: node-1
  volumes:
  - name: vault
    projected: {sources: [{serviceAccountToken: {audience: vault, path: token, expirationSeconds: 600}}]}
  containers:
  - name: main
    image: sleep
    command: [sleep, "600"]
    env: [{name: A, valueFrom: {secretKeyRef: {name: mine, key: a}}}]
    volumeMounts: [{name: vault, mountPath: /vault}]
---
apiVersion: v1
kind: Pod
metadata: {name: silent, namespace: rights}
spec:
  serviceAccountName: silent
  nodeName: node-2
  containers: [{name: main, image: sleep, command: [sleep, "600"]}]
"""


@pytest.fixture(scope="module")
def world(lab: Lab) -> Lab:
    lab.apply(MANIFEST)
    lab.kubectl("wait", "-n", "rights", "pod/caller", "pod/silent", "--for=condition=Ready", "--timeout=60s")
    yield lab
    lab.kubectl("delete", "ns", "rights", "--wait=false")


def test_a_pod_calls_the_api_as_its_account(world: Lab) -> None:
    # A Service's address works a moment after the node's agent knows it.
    said = wait_for(
        lambda: world.kubectl("exec", "-n", "rights", "caller", "--", "python3", "-c", ASK, ok=False), "an answer"
    )
    assert said.splitlines() == [
        "configmaps 200 ConfigMapList",
        'secrets 403 secrets is forbidden: User "system:serviceaccount:rights:reader" cannot list resource "secrets" '
        'in API group "" in the namespace "rights"',
    ]


def test_tokens_for_others_and_pods_that_want_none(world: Lab) -> None:
    token = world.kubectl("exec", "-n", "rights", "caller", "--", "cat", "/vault/token")
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    for audiences, good in (([], None), (["vault"], True)):
        body["spec"]["audiences"] = audiences
        answer = json.loads(world.kubectl("create", "-o", "json", "-f", "-", given=json.dumps(body)))
        assert answer["status"].get("authenticated") is good
    assert "No such file" in world.kubectl("exec", "-n", "rights", "silent", "--", "ls", FOLDER, ok=False)


def test_a_token_ends_with_its_pod(world: Lab) -> None:
    world.kubectl("run", "-n", "rights", "short", "--image=web", "--", "pause")
    token = world.kubectl(
        "create", "token", "-n", "rights", "default", "--bound-object-kind=Pod", "--bound-object-name=short"
    )
    server = yaml.safe_load((world.folder / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
    url = f"{server}/api"
    ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", str(world.folder / "pki/ca.crt")]
    ask += ["-H", f"Authorization: Bearer {token.strip()}", url]
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "200"
    world.kubectl("delete", "pod", "-n", "rights", "short", "--grace-period=0", "--force")
    wait_for(lambda: subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "401", "the token's end")


def test_people_ask_what_they_may_do(world: Lab) -> None:
    account = "system:serviceaccount:rights:reader"
    assert world.kubectl("auth", "can-i", "list", "cm", "-n", "rights", "--as", account) == "yes\n"
    assert world.kubectl("auth", "can-i", "list", "cm", "-n", "default", "--as", account, ok=False) == "no\n"
    listed = world.kubectl("auth", "can-i", "--list", "-n", "rights", "--as", account)
    assert any(line.split()[:1] == ["configmaps"] and line.endswith("[get list]") for line in listed.splitlines())
    assert world.kubectl("auth", "can-i", "*", "*", "-A") == "yes\n"


def test_a_stolen_node_is_worth_one_node(world: Lab, tmp_path: Path) -> None:
    """The credential is the one that node-1's kubelet uses; from the host it is used at the host's address."""
    config = yaml.safe_load((world.folder / "nodes/node-1/kubeconfig").read_text())
    mine = yaml.safe_load((world.folder / "kubeconfig").read_text())
    config["clusters"][0]["cluster"]["server"] = mine["clusters"][0]["cluster"]["server"]
    stolen = tmp_path / "stolen"
    stolen.write_text(yaml.safe_dump(config))

    def kubectl(*arguments: str, ok: bool) -> str:
        argv = ["kubectl", "--kubeconfig", str(stolen), *arguments]
        result = run(argv, world.environment, ok=ok, timeout_s=60)
        assert ok or result.returncode != 0, result.stdout
        return result.stdout + result.stderr

    kubectl("get", "secret", "-n", "rights", "mine", ok=True)
    kubectl("get", "pods", "-A", "--field-selector=spec.nodeName=node-1", ok=True)
    for arguments in (
        ("get", "pods", "-A"),
        ("get", "secrets", "-A"),
        ("get", "secrets", "-n", "rights"),
        ("get", "pod", "-n", "rights", "silent"),
        ("get", "node", "node-2"),
        ("get", "deployments", "-A"),
        ("label", "node", "node-2", "x=y"),
        ("label", "node", "node-1", "node-restriction.kubernetes.io/x=y"),
        ("taint", "node", "node-1", "a=b:NoSchedule"),
        ("delete", "node", "node-2"),
        ("delete", "pod", "-n", "rights", "silent"),
        ("exec", "-n", "rights", "caller", "--", "true"),
        ("run", "evil", "--image=web"),
        ("create", "token", "-n", "rights", "silent"),
        ("create", "clusterrolebinding", "all", "--clusterrole=cluster-admin", "--user=system:node:node-1"),
        ("get", "pods", "-A", "--as=kubernetes-admin", "--as-group=system:masters"),
    ):
        assert "orbidden" in kubectl(*arguments, ok=False), arguments


def test_a_person_gets_a_certificate_by_request(world: Lab, tmp_path: Path) -> None:
    key, request = tmp_path / "key", tmp_path / "csr"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    subprocess.run(["openssl", "req", "-new", "-key", key, "-subj", "/O=devs/CN=carol", "-out", request], check=True)
    spec = {
        "request": base64.b64encode(request.read_bytes()).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "expirationSeconds": 3600,
        "usages": ["client auth"],
    }
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    world.apply(json.dumps({**kind, "metadata": {"name": "carol"}, "spec": spec}))
    assert "Pending" in world.kubectl("get", "csr", "carol")
    world.kubectl("certificate", "approve", "carol")
    signed = wait_for(
        lambda: world.kubectl("get", "csr", "carol", "-o", "jsonpath={.status.certificate}"), "a certificate"
    )
    assert "Approved,Issued" in world.kubectl("get", "csr", "carol")
    config = yaml.safe_load((world.folder / "kubeconfig").read_text())
    config["users"][0]["user"] = {"client-certificate-data": signed, "client-key": str(key)}
    hers = tmp_path / "config"
    hers.write_text(yaml.safe_dump(config))
    argv = ["kubectl", "--kubeconfig", str(hers), "get", "pods", "-n", "rights"]
    assert 'User "carol" cannot list resource "pods"' in run(argv, world.environment, ok=False, timeout_s=60).stderr
    world.kubectl("create", "rolebinding", "-n", "rights", "devs", "--clusterrole=view", "--group=devs")
    wait_for(lambda: run(argv, world.environment, ok=False, timeout_s=60).returncode == 0, "carol sees pods")
    world.kubectl("delete", "csr", "carol")


def test_no_component_is_refused_anything_it_needs(world: Lab) -> None:
    """Components write what they are refused into their logs."""
    refused = [
        line
        for log in (world.folder / "log").glob("*.log")
        for line in log.read_text().splitlines()
        if "is forbidden: User" in line
    ]
    assert not refused, refused[:5]
