"""The OpenAPI documents: whole, and good enough for several versions of kubectl."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.kinds import kubectl_stub
from tests.kubectl_programs import by_age

from fairlead.apiserver.kinds import merge_keys, openapi, registry, schemas

DOCUMENTS = sorted(openapi.v3_index()["paths"])


def references(value: Any) -> set[str]:
    return set(schemas.references(value))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_v3_documents_are_closed_and_hold_their_kinds(name: str) -> None:
    document = json.loads(openapi.v3_document(name))
    held = document["components"]["schemas"]
    assert references(document) <= held.keys()
    kinds = {
        (gvk["group"], gvk["version"], gvk["kind"])
        for schema in held.values()
        for gvk in schema.get("x-kubernetes-group-version-kind", ())
    }
    for kind in schemas.kinds_of(name):
        resource = kind.resource
        assert (resource.group, resource.version, resource.kind) in kinds
        assert resource.path("{namespace}", "{name}") in document["paths"]


def test_unknown_document_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        openapi.v3_document("apis/example.com/v1")


def test_v2_is_closed() -> None:
    document = json.loads(openapi.v2_json())
    assert references(document) <= document["definitions"].keys()
    pod = document["definitions"]["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]


MERGES = {
    "service ports": (("v1", "Service"), "spec.ports", "port", {"merge"}),
    "containers": (("apps/v1", "Deployment"), "spec.template.spec.containers", "name", {"merge"}),
    "environment": (("v1", "Pod"), "spec.containers.env", "name", {"merge"}),
    "mounts": (("v1", "Pod"), "spec.containers.volumeMounts", "mountPath", {"merge"}),
    "volumes": (("v1", "Pod"), "spec.volumes", "name", {"merge", "retainKeys"}),
    "strategy": (("apps/v1", "Deployment"), "spec.strategy", None, {"retainKeys"}),
    "finalizers": (("v1", "ConfigMap"), "metadata.finalizers", None, {"merge"}),
    "tolerations are replaced": (("v1", "Pod"), "spec.tolerations", None, set()),
    "labels are a plain map": (("v1", "Pod"), "metadata.labels.x", None, set()),
    "unknown": (("v1", "Pod"), "spec.nothing.of.it", None, set()),
}


@pytest.mark.parametrize("case", MERGES)
def test_merge_keys(case: str) -> None:
    name, path, key, strategies = MERGES[case]
    kind = registry.by_kind(*name)
    assert kind is not None
    schema = merge_keys.patch_schema(kind)
    for part in path.split("."):
        schema = schema.field(part)
    assert (schema.merge_key, schema.strategies) == (key, strategies)


MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {selector: {a: b}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: nginx, resources: {limits: {cpu: 1}}, ports: [{containerPort: 80}]}]}
"""

KUBECTLS = by_age()


@pytest.mark.parametrize("version", KUBECTLS)
def test_kubectl_explains_and_applies(version: str, tmp_path: Path) -> None:
    kubectl = KUBECTLS[version]
    manifest = tmp_path / "m.yaml"
    manifest.write_text(MANIFEST)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        argv = [str(kubectl), "--server", stub.url, "--cache-dir", str(tmp_path / "cache"), *command.split()]
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=60)

    with kubectl_stub.serving() as stub:
        explained = run("explain pods.spec.containers.ports")
        assert "List of ports to expose from the container" in explained.stdout, explained.stderr
        applied = run(f"apply -f {manifest}")
        assert applied.stdout.splitlines() == ["service/s created", "deployment.apps/d created"], applied.stderr
        dry = run(f"create -f {manifest} --dry-run=server")
        assert "server dry run" in dry.stdout, dry.stderr


def test_old_kubectl_finds_unknown_fields_itself(tmp_path: Path) -> None:
    old = KUBECTLS.get("1.20")
    if old is None:
        pytest.skip("no kubectl 1.20 is installed here")
    manifest = tmp_path / "m.yaml"
    manifest.write_text(MANIFEST.replace("{port: 80}", "{port: 80, foo: 1}"))
    with kubectl_stub.serving() as stub:
        argv = [str(old), "--server", stub.url, "--cache-dir", str(tmp_path / "cache"), "create", "-f", str(manifest)]
        done = subprocess.run(
            argv, capture_output=True, text=True, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        )
    assert 'unknown field "foo" in io.k8s.api.core.v1.ServicePort' in done.stderr
