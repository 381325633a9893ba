"""Manifests in the manner of well-known applications come up Ready as they are, although none of their images exists here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MANIFESTS = Path(__file__).parent / "applications"
"""A guest book on replicated storage, a boutique of gRPC services, a book catalog in several versions, a blog with its database."""


@pytest.fixture
def namespace(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"app-{request.node.callspec.params['manifest'].stem}"
    lab.kubectl("create", "namespace", name)
    yield name
    lab.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("manifest", sorted(MANIFESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_it_comes_up(lab: Lab, manifest: Path, namespace: str) -> None:
    lab.kubectl("apply", "-n", namespace, "-f", str(manifest))
    for kind in ("deployments", "statefulsets", "daemonsets"):
        for name in lab.kubectl("get", kind, "-n", namespace, "-o", "name").split():
            lab.kubectl("rollout", "status", name, "-n", namespace, "--timeout=60s", timeout_s=70)
    for job in lab.kubectl("get", "jobs", "-n", namespace, "-o", "name").split():
        lab.kubectl("wait", job, "-n", namespace, "--for=condition=complete", "--timeout=60s", timeout_s=70)
    pods = lab.get("pods", "-n", namespace)["items"]
    restarted = [
        (pod["metadata"]["name"], status["name"])
        for pod in pods
        for status in pod["status"].get("containerStatuses", ())
        if status["restartCount"]
    ]
    assert restarted == []
    # What calls for it in the manifest reaches it: every Service with a port answers by its name.
    caller = next(pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running")
    for service in lab.get("services", "-n", namespace)["items"]:
        port = service["spec"]["ports"][0]["port"]
        host = f"{service['metadata']['name']}.{namespace}.svc.cluster.local"
        check = f"import socket; socket.create_connection(('{host}', {port}), timeout=5)"
        lab.kubectl("exec", "-n", namespace, caller, "--", "python3", "-c", check)
