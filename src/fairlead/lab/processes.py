"""The processes of a lab: started apart from whoever started them, recorded, and found again.

A process is identified by its pid and start time, so that a reused pid is never taken for it. Every process of a lab carries the
environment variable FAIRLEAD_LAB; what crashed without a record is found by it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

import msgspec
import setproctitle

from fairlead.lab.home import MARK, LabHome
from fairlead.lab.netns import enter


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A process that was started: who it is and how."""

    pid: int
    start_time: int
    """Clock ticks after boot, field 22 of /proc/PID/stat."""
    argv: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Tell whether this very process still runs; a zombie does not."""
        return start_time_of(self.pid) == self.start_time


def start_time_of(pid: int) -> int | None:
    """Return when process `pid` started, or None if there is none that runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name in parentheses may hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def spawn(home: LabHome, component: str, argv: Sequence[str]) -> Record:
    """Start the program `argv` as `component` in a session of its own, logging to its file, and record it."""
    with _log(home, component) as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | _environment(home),
            cwd="/",
        )
    # Nobody here will ever wait for it; Popen must not complain.
    process.returncode = 0
    return _record(home, component, process.pid, argv)


def fork(
    home: LabHome, component: str, argv: Sequence[str], *, namespace: str | None, main: Callable[[], object]
) -> Record:
    """Fork this process to run `main` with `argv` as its command line as `component`, like `spawn`, and record it.

    `namespace` is the name of the network namespace to run in; None: that of the caller. The caller must have no other thread.
    """
    with _log(home, component) as log:
        pid = os.fork()
        if pid == 0:
            _become(home, component, argv, namespace, log.fileno(), main)
    return _record(home, component, pid, argv)


def _become(
    home: LabHome,
    component: str,
    argv: Sequence[str],
    namespace: str | None,
    log: int,
    main: Callable[[], object],
) -> NoReturn:
    code = 70
    try:
        os.setsid()
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        os.closerange(3, 1024)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if namespace is not None:
            enter(Path("/run/netns", namespace))
        os.environ.update(_environment(home))
        sys.argv = ["fairlead", *argv]
        setproctitle.setproctitle(f"fairlead {component} {home.name}")
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # What was registered for the parent's exit is none of ours.
        os._exit(code)


def _environment(home: LabHome) -> dict[str, str]:
    return {
        MARK: str(home.folder),
        "FAIRLEAD_HOME": str(home.folder.parent),
        # Components trust the lab's own authority alone; reading the machine's takes a tenth of their start.
        "SSL_CERT_FILE": os.devnull,
        "SSL_CERT_DIR": os.devnull,
        # The title must not overwrite the environment, by which `kill_all` knows a process of the lab.
        "SPT_NOENV": "1",
    }


def _log(home: LabHome, component: str) -> IO[bytes]:
    home.log.mkdir(parents=True, exist_ok=True)
    return (home.log / f"{component}.log").open("ab")


def _record(home: LabHome, component: str, pid: int, argv: Sequence[str]) -> Record:
    record = Record(pid=pid, start_time=start_time_of(pid) or 0, argv=tuple(argv))
    home.run.mkdir(parents=True, exist_ok=True)
    scratch = home.run / f".{component}.json"
    scratch.write_bytes(msgspec.json.encode(record))
    scratch.replace(home.run / f"{component}.json")
    return record


def recorded(home: LabHome, component: str) -> Record | None:
    """Return the last recorded process of `component`, alive or not."""
    try:
        return msgspec.json.decode((home.run / f"{component}.json").read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def kill_all(home: LabHome, namespaces: Mapping[str, int]) -> int:
    """Kill every process of the lab and those in `namespaces` (name → inode); return how many.

    Repeats until none is left, as a process may fork while the others are being killed. Never kills the caller.
    """
    killed: set[int] = set()
    inodes = set(namespaces.values())
    while pids := [pid for pid in _all_pids() if pid != os.getpid() and _belongs(pid, home, inodes)]:
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                # Looked at again under the pidfd: it cannot have become another process since.
                if _belongs(pid, home, inodes):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    killed.add(pid)
            except ProcessLookupError:
                pass
            finally:
                os.close(descriptor)
        reap()
    return len(killed)


def namespace_inodes(names: Sequence[str]) -> dict[str, int]:
    """Return the inode of each named network namespace that is mounted below /run/netns."""
    inodes: dict[str, int] = {}
    host = Path("/proc/self/ns/net").stat().st_ino
    for name in names:
        try:
            inode = Path("/run/netns", name).stat().st_ino
        except FileNotFoundError:
            continue
        # A name whose mount was lost is an ordinary file of tmpfs; ours must never be taken for it.
        if inode != host:
            inodes[name] = inode
    return inodes


def _all_pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _belongs(pid: int, home: LabHome, inodes: set[int]) -> bool:
    if start_time_of(pid) is None:
        return False
    try:
        if Path(f"/proc/{pid}/ns/net").stat().st_ino in inodes:
            return True
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return f"{MARK}={home.folder}".encode() in environment


def reap(pid: int = -1) -> None:
    """Collect the exit status of child `pid` (-1: of every child) that has ended; no error if there is none."""
    try:
        while os.waitpid(pid, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
