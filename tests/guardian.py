"""Ends what a suite has started when the suite is gone, however it ended: labs and proxies outlive whoever starts them.

`python guardian.py FOLDER PID` waits for the end of its standard input, then for nobody. Where it was killed too, the next suite does its work
(`earlier`). It must never touch a suite that lives: each holds a lock in its folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_LOCK = "guarded"
_LAB, _HOME = "FAIRLEAD_LAB", "FAIRLEAD_HOME"
_NAMESPACES, _PROCESSES = Path("/run/netns"), Path("/proc")


def claim(folder: Path) -> int:
    """Lock a suite's folder for as long as this process lives, and return the lock's descriptor."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, str(os.getpid()).encode())
    return lock


def earlier(folder: Path) -> None:
    """End what suites have left whose folders are beside this one's and that nobody has ended yet."""
    root = next((each for each in folder.parents if each.name.startswith("pytest-of-")), folder)
    for pattern in ("pytest-*", "pytest-*/popen-*"):
        for lock in root.glob(f"{pattern}/{_LOCK}"):
            with contextlib.suppress(OSError, ValueError), lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                end(lock.parent, int(file.read()))
                lock.unlink()


def end(folder: Path, pid: int) -> None:
    """End the processes, labs and network namespaces of a suite that was process `pid` and is gone. Repeatable."""
    labs = {*_labs(folder)}
    # What dies may have started something a moment ago.
    while sum(_kill(each, folder) for each in inside(folder)):
        pass
    for lab in labs:
        command = [sys.executable, "-m", "fairlead", "down", "--name", lab.name]
        subprocess.run(command, env=os.environ | {_HOME: str(lab.parent)}, stdout=subprocess.DEVNULL)
    own = re.compile(rf"(flt-[a-z]+-|fl-bench(-dns)?-|fl-t[a-z]+){pid}(-.*)?")
    for namespace in _NAMESPACES.iterdir() if _NAMESPACES.is_dir() else ():
        if own.fullmatch(namespace.name):
            found = subprocess.run(["ip", "netns", "pids", namespace.name], capture_output=True, text=True)
            for each in found.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(each), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", namespace.name], capture_output=True)


def inside(folder: Path) -> Iterator[int]:
    """Yield the processes that are at work in a folder, also one that is removed: by working directory, and by their lab."""
    for each in _PROCESSES.iterdir():
        if each.name.isdecimal() and int(each.name) != os.getpid() and _belongs(each, folder):
            yield int(each.name)


def _belongs(process: Path, folder: Path) -> bool:
    with contextlib.suppress(OSError):
        cwd = Path(os.readlink(process / "cwd").removesuffix(" (deleted)"))
        return cwd.is_relative_to(folder) or any(each.is_relative_to(folder) for each in _marks(process).values())
    return False


def _marks(process: Path) -> dict[str, Path]:
    """What a process knows of its lab; raises OSError."""
    variables = (each.partition("=") for each in os.fsdecode((process / "environ").read_bytes()).split("\0"))
    return {name: Path(value) for name, _, value in variables if name in (_LAB, _HOME)}


def _labs(folder: Path) -> Iterator[Path]:
    """Yield the folders of labs: those that stand, and those that processes name."""
    for depth in ("*", "*/*", "*/*/*"):
        yield from (each.parent for each in folder.glob(f"{depth}/lab.json"))
    for pid in inside(folder):
        with contextlib.suppress(OSError):
            lab = _marks(_PROCESSES / str(pid)).get(_LAB)
            if lab is not None:
                yield lab


def _kill(pid: int, folder: Path) -> bool:
    """End a process of a folder; `pidfd_open` makes sure that none is meant that has taken its number over."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if _belongs(_PROCESSES / str(pid), folder):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(Path(sys.argv[1]), int(sys.argv[2]))
