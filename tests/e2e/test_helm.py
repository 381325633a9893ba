"""Helm itself (its own code, as a library) against a lab: a release from installation to its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Lab, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

Helm = Callable[..., Any]


@pytest.fixture
def helm(lab: Lab) -> Helm:
    """Run one step (tests/e2e/helm_release.py) and return what Helm says."""
    script = str(Path(__file__).with_name("helm_release.py"))

    def step(*arguments: str, ok: bool = True) -> Any:
        argv = [sys.executable, script, str(lab.folder / "kubeconfig"), *arguments]
        result = run(argv, lab.environment, ok=ok, timeout_s=100)
        return json.loads(result.stdout) if ok else result.stderr

    return step


def test_a_release_is_installed_upgraded_rolled_back_and_removed(lab: Lab, helm: Helm, tmp_path: Path) -> None:
    chart = str(tmp_path / "shopfront")
    helm("create", chart)
    assert "kind: Deployment" in helm("trial", chart, "2")["manifest"]
    installed = helm("install", chart, "2")
    assert (installed["revision"], installed["status"]) == (1, "deployed")
    assert ready(lab) == 2
    helm("upgrade", chart, "3")
    assert ready(lab) == 3
    helm("rollback")
    assert ready(lab) == 2
    assert helm("history") == [[1, "superseded"], [2, "superseded"], [3, "deployed"]]
    assert helm("list") == ["front"]
    helm("uninstall")
    assert helm("list") == []
    kinds = "deployments,services,serviceaccounts,secrets"
    assert lab.kubectl("get", kinds, "-l", "app.kubernetes.io/instance=front") == ""


def test_what_the_server_refuses_is_told(helm: Helm, tmp_path: Path) -> None:
    chart = str(tmp_path / "broken")
    helm("create", chart)
    assert "must be greater than or equal to 0" in helm("install", chart, "-1", ok=False)
    helm("uninstall")


def ready(lab: Lab) -> int:
    found: int = lab.get("deployment", "front-shopfront")["status"]["readyReplicas"]
    return found
