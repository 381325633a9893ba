"""Becomes the proxy's own user and then the proxy: run as a script by root, so only the standard library may be imported here.

The program is given as an open file, as its folder need not be open to that user. Arguments: descriptor, user (0: stay), argument 0 and on.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import sys

_NO_NEW_PRIVILEGES = 38


def main(descriptor: int, user: int, argv: list[str]) -> None:
    """Never returns."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    # A memory image would hold the keys of certificates.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    os.execve(descriptor, argv, {"PATH": "/usr/bin:/bin"})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
