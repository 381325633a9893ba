"""kubectl itself, in every version that is installed here."""

from __future__ import annotations

from pathlib import Path

import apiserver_pki
import pytest
from apiserver_client import Http
from apiserver_kubectl import Kubectl
from tests.kubectl_programs import by_age

from fairlead.apiserver.server import Server

PROGRAMS = by_age()

SHOWS: dict[str, tuple[str, ...]] = {"1.20": ()}
HIDES = {"1.20": ("-o", "name")}
"""The oldest always shows who owns what; the others on demand."""

MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1", ports: [{containerPort: 80}]}]}
"""


@pytest.mark.parametrize("version", PROGRAMS)
async def test_kubectl(version: str, server: Server, http: Http, certificates: Path, tmp_path: Path):
    apiserver_pki.kubeconfig(certificates, server.ports[0], tmp_path / "config")
    kubectl = Kubectl(PROGRAMS[version], tmp_path)
    assert (await kubectl("apply", "-f", "-", stdin=MANIFEST)).splitlines() == [
        "namespace/shop created",
        "service/web created",
        "deployment.apps/web created",
    ]
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "serverside-applied" in await kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    assert "configured" in await kubectl(
        "apply", "-f", "-", stdin=MANIFEST.replace("port: 80}]}\n---", "port: 81}]}\n---")
    )
    (tmp_path / "shop.yaml").write_text(MANIFEST)
    (tmp_path / "kustomization.yaml").write_text("resources: [shop.yaml]\nnamePrefix: kust-\nnamespace: kust-shop\n")
    assert "deployment.apps/kust-web created" in await kubectl("apply", "-k", str(tmp_path))
    assert "0/2" in await kubectl("get", "deploy", "-n", "shop", "-o", "wide")
    assert "Selector:" in await kubectl("describe", "deploy", "web", "-n", "shop")
    await kubectl("create", "configmap", "c", "--from-literal=a=b")
    assert await kubectl("get", "cm", "c", "-o", "jsonpath={.data.a}") == "b"
    assert "managedFields" not in await kubectl("get", "cm", "c", "-o", "yaml", *HIDES.get(version, ()))
    assert "f:data" in await kubectl("get", "cm", "c", "-o", "yaml", *SHOWS.get(version, ("--show-managed-fields",)))
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: z}\n"
    told = await kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other, code=1)
    assert 'conflict with "kubectl-create" using v1: .data.a' in " ".join(told.split())
    await kubectl("label", "cm", "c", "x=y")
    await kubectl("annotate", "cm", "c", "x=y")
    assert "c" in await kubectl("get", "cm", "-l", "x=y", "-o", "name")
    await kubectl("patch", "cm", "c", "-p", '{"data":{"a":"c"}}')
    await kubectl("scale", "deploy", "web", "-n", "shop", "--replicas=5")
    assert await kubectl("get", "deploy", "web", "-n", "shop", "-o", "jsonpath={.spec.replicas}") == "5"
    await kubectl("set", "image", "deploy/web", "web=web:2", "-n", "shop")
    await kubectl("rollout", "restart", "deploy/web", "-n", "shop")
    await kubectl("run", "p", "--image=web:1")
    if version != "1.20":  # waits for conditions alone
        await kubectl("wait", "pod/p", "--for=jsonpath={.status.phase}=Pending")
    await kubectl("create", "job", "j", "--image=web:1", "--", "true")
    await kubectl("create", "deployment", "d", "--image=web:1", "--replicas=3")
    await kubectl("expose", "deploy", "d", "--port=80", "--type=NodePort")
    assert await kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "containers" in await kubectl("explain", "pod.spec")
    assert "deployments" in await kubectl("api-resources")
    assert "apps/v1" in await kubectl("api-versions")
    wrong = await kubectl(
        "apply", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndta: {}\n", code=1
    )
    assert 'unknown field "dta"' in wrong
    assert "not found" in await kubectl("get", "pod", "nobody", code=1)
    await kubectl("delete", "svc,deploy,pod,job", "--all")
    await kubectl("delete", "ns", "shop", "--wait=false")
    assert await kubectl("get", "ns", "shop", "-o", "jsonpath={.status.phase}") == "Terminating"
