"""The benchmark of the lab: it measures what it promises on a tiny lab, and an interrupted one leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.lab.bench.test_bench_sync import silent

from fairlead.lab.bench import lab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_a_tiny_lab_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRLEAD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(lab, "_CNI_ROUNDS", 2)
    monkeypatch.setattr(lab, "_SINGLE_PODS", 1)
    report = lab.run(small=(1, 2), large=(1, 2), rounds=1, step=silent)
    found = {(row.case, row.metric): row.value for row in report.rows}
    assert all(value > 0 for value in found.values())
    assert {"up until ready", "2 pods at once", "CNI ADD, p50", "CNI ADD, p99", "down"} <= {
        metric for case, metric in found if case == "1 nodes"
    }
    assert found["1 nodes, 2 pods", "processes per pod"] == 2
    assert found["1 nodes, 2 pods", "most pods on a node"] == 2
    assert not (tmp_path / "home").exists()


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "fairlead", "bench", "lab", "--rounds", "1", "--no-large"],
        env=os.environ | {"FAIRLEAD_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Whoever runs the tests in the background ignores the signal, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 60
        while not list(home.glob("*/run/kubelet-node-3.json")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # As a terminal does on Ctrl-C: every process in the foreground gets it.
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert not home.exists()
    assert f"bench{process.pid}" not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
