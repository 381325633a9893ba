from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import guardian


def test_what_a_killed_suite_has_left_is_ended(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "suite", tmp_path / "suite-2"
    folder.mkdir()
    elsewhere.mkdir()
    with (
        subprocess.Popen(["sleep", "60"], cwd=folder) as left,
        subprocess.Popen(["sleep", "60"], cwd=elsewhere) as other,
        subprocess.Popen([sys.executable, guardian.__file__, str(folder)], stdin=subprocess.PIPE) as process,
    ):
        try:
            # Removed, as a later suite does with folders of earlier ones.
            folder.rmdir()
            assert process.poll() is None and left.poll() is None, "nothing is ended while the suite runs"
            process.communicate()
            assert left.wait(10) == -9
            assert other.poll() is None
        finally:
            for each in (left, other):
                each.kill()
