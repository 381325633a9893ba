"""Becomes the proxy's own user and then the proxy: run as a script by root, so only the standard library may be imported here.

Whoever started it may be gone by now: it writes itself down before it becomes the proxy, and holds a lock until then, so that the next one
who looks finds either no process or one that is in the record. Arguments: one JSON object (`Launch` in `process`), argument 0 and on.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

_NO_NEW_PRIVILEGES = 38
_POLL_S = 0.001


def main(launch: dict[str, Any], argv: list[str]) -> None:
    """Never returns."""
    _leave_parent()
    _write_down(launch)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    # A memory image would hold the keys of certificates.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The program is an open file, as its folder need not be open to that user.
    for descriptor in (launch["program"], launch["lock"]):
        fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    if launch["user"]:
        os.setgroups([])
        os.setgid(launch["user"])
        os.setuid(launch["user"])
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    os.execve(launch["program"], argv, {"PATH": "/usr/bin:/bin"})


def _leave_parent() -> None:
    """Become nobody's child: Envoy asks to be ended with its parent when it can be restarted hot, and the agent is not to be that."""
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == parent:
        time.sleep(_POLL_S)


def _write_down(launch: dict[str, Any]) -> None:
    started = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    own = {"pid": os.getpid(), "started": started, **{name: launch[name] for name in ("config", "epoch", "base")}}
    temporary = Path(launch["record"] + ".new")
    temporary.write_text(json.dumps([*launch["former"], own]), encoding="utf-8")
    temporary.replace(launch["record"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
