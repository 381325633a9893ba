"""A running lab for tests, and kubectl against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Lab:
    """A lab of a FAIRLEAD_HOME of its own, driven as a user would: by its command line and kubectl."""

    name: str
    home: Path

    @property
    def folder(self) -> Path:
        return self.home / self.name

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"FAIRLEAD_HOME": str(self.home), "KUBECONFIG": str(self.folder / "kubeconfig")}

    def fairlead(self, *arguments: str, ok: bool = True, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command of ours; `--name` is added, `--` and what follows kept last."""
        command, *rest = arguments
        argv = [sys.executable, "-m", "fairlead", command, "--name", self.name, *rest]
        return run(argv, self.environment, ok=ok, timeout_s=timeout_s)

    def kubectl(self, *arguments: str, ok: bool = True, given: str = "", timeout_s: float = 60) -> str:
        """Run kubectl and return what it printed; raises with its words when it fails."""
        result = run(["kubectl", *arguments], self.environment, ok=ok, given=given, timeout_s=timeout_s)
        return result.stdout if ok else result.stdout + result.stderr

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return what `kubectl get ... -o json` says."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def apply(self, manifest: str) -> None:
        """Apply a manifest given as text."""
        self.kubectl("apply", "-f", "-", given=manifest)

    def record(self, component: str) -> dict[str, Any]:
        """Return the record of a component's process."""
        found: dict[str, Any] = json.loads((self.folder / "run" / f"{component}.json").read_text())
        return found


def run(
    argv: list[str], environment: dict[str, str], *, ok: bool, given: str = "", timeout_s: float
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        argv, env=environment, input=given, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if ok and result.returncode != 0:
        raise AssertionError(f"{' '.join(argv)} → {result.returncode}\n{result.stdout}{result.stderr}")
    return result


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    """Wait until `condition` returns something true, and return it."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab of four nodes in three zones, so that direct routes and tunnels both occur, for all tests that do not break it."""
    lab = Lab(name=f"e{os.getpid() % 100000}", home=tmp_path_factory.mktemp("fairlead"))
    try:
        lab.fairlead("up", "--nodes", "4", "--zones", "3")
        yield lab
    finally:
        lab.fairlead("down", ok=False)
