"""The supervisor restarts what ends, adopts what lives, and its own death ends nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fairlead.lab.home import MARK, LabHome
from fairlead.lab.processes import Record, kill_all, recorded

# The components run this instead of our command line: it says its arguments, then sleeps.
PROGRAM = """
import sys, time
from pathlib import Path
from fairlead.lab.components import Component
from fairlead.lab.home import LabHome
from fairlead.lab import supervisor

def main():
    print("runs", *sys.argv[1:], flush=True)
    if "fails" in sys.argv:
        sys.exit("cannot")
    time.sleep(600)

supervisor._SHARED = ("json",)
home = LabHome(name="x", folder=Path(sys.argv[1]))
names = sys.argv[2:]
supervisor.Supervisor(home, [Component(name=name, argv=(name,)) for name in names], main).run()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[LabHome]:
    home = LabHome(name="x", folder=tmp_path / "x")
    home.folder.mkdir()
    yield home
    kill_all(home, {})


@pytest.fixture
def supervise(home: LabHome) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*names: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(home.folder), *names],
            stderr=subprocess.DEVNULL,
            env=os.environ | {MARK: str(home.folder)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def running(home: LabHome, name: str, *, other_than: Record | None = None) -> Record:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        record = recorded(home, name)
        if record is not None and record.alive and record != other_than:
            return record
        time.sleep(0.01)
    raise AssertionError(f"{name} does not run")


def log_lines(home: LabHome, name: str) -> list[str]:
    return (home.log / f"{name}.log").read_text().splitlines()


def test_what_is_killed_is_started_again(home: LabHome, supervise: Callable[..., object]) -> None:
    supervise("one", "two")
    two = running(home, "two")
    one = running(home, "one")
    os.kill(one.pid, signal.SIGKILL)
    assert running(home, "one", other_than=one).argv == ("one",)
    assert running(home, "two") == two


def test_the_next_supervisor_adopts(home: LabHome, supervise: Callable[..., subprocess.Popen[bytes]]) -> None:
    first = supervise("one", "two")
    before = [running(home, name) for name in ("one", "two")]
    first.kill()
    first.wait()
    assert all(record.alive for record in before)
    os.kill(before[0].pid, signal.SIGKILL)
    supervise("one", "two")
    again = running(home, "one", other_than=before[0])
    assert running(home, "two") == before[1]
    os.kill(before[1].pid, signal.SIGKILL)
    running(home, "two", other_than=before[1])
    assert again.alive


def test_what_fails_at_once_is_tried_again_with_pauses(home: LabHome, supervise: Callable[..., object]) -> None:
    supervise("fails", "one")
    running(home, "one")
    deadline = time.monotonic() + 10
    while len(log_lines(home, "fails")) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert set(log_lines(home, "fails")) == {"runs fails", "cannot"}
    assert log_lines(home, "one") == ["runs one"]


def test_a_component_carries_the_labs_mark_and_its_name(home: LabHome, supervise: Callable[..., object]) -> None:
    supervise("one")
    record = running(home, "one")
    deadline = time.monotonic() + 10
    while "runs one" not in log_lines(home, "one"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert Path(f"/proc/{record.pid}/cmdline").read_text().startswith("fairlead one")
    assert f"{MARK}={home.folder}".encode() in Path(f"/proc/{record.pid}/environ").read_bytes().split(b"\0")
    assert os.getsid(record.pid) == record.pid
