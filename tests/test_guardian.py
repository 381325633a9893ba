from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import guardian

ROOT = Path(__file__).parent.parent


def within(seconds: float, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.05)


@contextlib.contextmanager
def sleeping(cwd: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], cwd=cwd, env=os.environ | variables) as process:
        try:
            yield process
        finally:
            process.kill()


def test_what_a_killed_suite_has_left_is_ended(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "suite", tmp_path / "suite-2"
    folder.mkdir()
    elsewhere.mkdir()
    with (
        sleeping(folder) as left,
        sleeping(Path("/"), FAIRLEAD_HOME=str(folder / "home")) as far,
        sleeping(elsewhere) as other,
        subprocess.Popen([sys.executable, guardian.__file__, str(folder), "0"], stdin=subprocess.PIPE) as process,
    ):
        # Removed, as a later suite does with folders of earlier ones.
        folder.rmdir()
        assert {each.poll() for each in (process, left, far)} == {None}, "nothing is ended while the suite runs"
        process.communicate()
        assert (left.wait(10), far.wait(10)) == (-9, -9)
        assert other.poll() is None


def test_the_next_suite_ends_what_nobody_has(tmp_path: Path) -> None:
    """Where the guardian died as well."""
    gone, alive, own = (tmp_path / "pytest-of-root" / each for each in ("pytest-1", "pytest-2/popen-gw0", "pytest-3"))
    for each in (gone, alive, own):
        each.mkdir(parents=True)
    os.close(guardian.claim(gone))
    locks = [guardian.claim(alive), guardian.claim(own)]
    with sleeping(gone) as left, sleeping(alive) as other, sleeping(own) as mine:
        guardian.earlier(own)
        assert left.wait(10) == -9
        assert (other.poll(), mine.poll()) == (None, None)
    for lock in locks:
        os.close(lock)


@pytest.mark.e2e
@pytest.mark.parametrize("only", [True, False], ids=["pytest alone", "its whole group"])
def test_no_lab_outlives_a_killed_suite(only: bool) -> None:
    """Whether its lab is still on the way when it is killed or complete."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/e2e/test_check.py"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as suite:
        prefix = f"fl-e{suite.pid % 100000}-"
        try:
            within(60, lambda: bool(_left(prefix)))
            if only:
                within(60, lambda: any(_agents(prefix)))
        finally:
            (os.kill if only else os.killpg)(suite.pid, signal.SIGKILL)
    within(30, lambda: not _left(prefix) and not any(_agents(prefix)))


def _left(prefix: str) -> list[str]:
    return [each.name for each in Path("/run/netns").glob(f"{prefix}*")]


def _agents(prefix: str) -> Iterator[str]:
    """Processes of a lab by their titles, which end in its name."""
    name = prefix.removeprefix("fl-").removesuffix("-")
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            title = each.read_text().strip("\0 ")
            if title.startswith("fairlead ") and title.endswith(f" {name}"):
                yield title
