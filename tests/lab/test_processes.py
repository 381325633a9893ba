"""Processes of a lab are recorded, recognized, and all found again, also those nobody recorded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.lab.home import MARK, LabHome
from fairlead.lab.processes import Record, kill_all, recorded, spawn, start_time_of

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[LabHome]:
    home = LabHome(name="x", folder=tmp_path / "x")
    home.folder.mkdir()
    yield home
    kill_all(home, {})


def wait_until(condition: object, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def test_a_started_process_is_recorded_and_logged(home: LabHome) -> None:
    record = spawn(home, "sleeper", SLEEP)
    assert record.alive
    assert recorded(home, "sleeper") == record
    wait_until(lambda: (home.log / "sleeper.log").read_text() == "here\n")
    environment = Path(f"/proc/{record.pid}/environ").read_bytes()
    assert f"{MARK}={home.folder}".encode() in environment.split(b"\0")


def test_another_process_under_the_same_pid_is_not_ours() -> None:
    now = start_time_of(os.getpid())
    assert now is not None
    assert Record(pid=os.getpid(), start_time=now, argv=()).alive
    assert not Record(pid=os.getpid(), start_time=now - 1, argv=()).alive


def test_kill_all_finds_unrecorded_processes_and_no_others(home: LabHome) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        spawn(home, "one", SLEEP)
        child = f"import subprocess, sys, time; subprocess.Popen({SLEEP!r}); time.sleep(600)"
        spawn(home, "two", [sys.executable, "-c", child])
        wait_until(lambda: (home.log / "two.log").read_text() == "here\n")
        (home.run / "one.json").unlink()
        assert kill_all(home, {}) == 3
        assert kill_all(home, {}) == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_damaged_record_is_no_record(home: LabHome) -> None:
    home.run.mkdir()
    (home.run / "one.json").write_text("{")
    assert recorded(home, "one") is None
    assert recorded(home, "never") is None
