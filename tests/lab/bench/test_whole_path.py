"""The benchmark of the whole path: each change is seen in the kernel, and its lab is gone afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.lab.bench.test_bench_sync import silent

from fairlead.lab.bench import whole_path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_changes_are_followed_from_the_api_to_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRLEAD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(whole_path, "_WARM_UP", 1)
    rows = list(whole_path.run(8, 3, 10, step=silent))
    found = {row.metric: row.value for row in rows}
    assert {row.case for row in rows} == {"8 services x 3 endpoints, API to kernel"}
    assert 0 < found["one endpoint, p50"] <= found["one endpoint, p99"]
    assert found["memory of the agent"] > 10
    assert not (tmp_path / "home").exists()
    assert f"bench{os.getpid()}" not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
