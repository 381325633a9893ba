"""Ends what a suite has started in its folder when the suite is gone, however it ended: proxies outlive whoever starts them.

`python guardian.py FOLDER` waits for the end of its standard input, then for nobody.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path


def inside(folder: Path) -> Iterator[int]:
    """Yield the processes whose working directory is in a folder, also one that is removed."""
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            with contextlib.suppress(OSError):
                cwd = Path(os.readlink(each / "cwd").removesuffix(" (deleted)"))
                if cwd.is_relative_to(folder):
                    yield int(each.name)


def end(folder: Path) -> None:
    """End the processes of a folder; `pidfd_open` makes sure that none is meant that has taken a number over."""
    for pid in inside(folder):
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                if pid in inside(folder):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(Path(sys.argv[1]))
