"""Taking privileges away from a process that is about to run a pod's program; every step is irrevocable.

Order matters: limits and the OOM score need root, the capability bounding set needs CAP_SETPCAP, the seccomp filter needs
no_new_privs and comes last.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterable
from pathlib import Path

from fairlead.lab.runtime import kernel, seccomp
from fairlead.lab.runtime.spec import NOBODY

_LIMITS = {
    resource.RLIMIT_NOFILE: (65536, 65536),
    # Counted over all processes of one user on the machine: generous for 500 pods, small enough to stop a fork bomb.
    resource.RLIMIT_NPROC: (16384, 16384),
    resource.RLIMIT_CORE: (0, 0),
    resource.RLIMIT_MEMLOCK: (8 << 20, 8 << 20),
    resource.RLIMIT_MSGQUEUE: (819200, 819200),
    resource.RLIMIT_RTPRIO: (0, 0),
    resource.RLIMIT_NICE: (0, 0),
}
_OOM_SCORE = "900"


def drop_privileges(uid: int, gid: int, groups: Iterable[int]) -> None:
    """Become an unprivileged user without capabilities, for good; 0 becomes 65534. Raises OSError when the kernel refuses."""
    for limit, values in _LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        wanted = values[1] if hard == resource.RLIM_INFINITY else min(values[1], hard)
        resource.setrlimit(limit, (min(values[0], wanted), wanted))
    Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    uid, gid = uid or NOBODY, gid or NOBODY
    os.setgroups(sorted({group for group in groups if group}))
    os.setresgid(gid, gid, gid)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    _drop_and_change_user(uid)
    seccomp.install()


def _drop_and_change_user(uid: int) -> None:
    # The user changes between the bounding set (needs CAP_SETPCAP) and the final capset: leaving uid 0 clears
    # the permitted and effective sets, capset then clears the inheritable one.
    kernel.drop_bounding_set()
    os.setresuid(uid, uid, uid)
    kernel.clear_capabilities()


def default_signals() -> None:
    """Undo what the interpreter and the init changed: a program must find every signal at its default and none blocked."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
