"""Named network namespaces as `ip netns` sees them, made ready for pods.

`create` leaves the calling thread inside of the new namespace, so it belongs in a thread of its own (`threads.in_thread`). Only
namespaces that the caller names are touched, never the machine's own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import threading
from pathlib import Path

from fairlead.lab.runtime import kernel

RUN = Path("/run/netns")

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_PODS = {
    "ipv4/ip_unprivileged_port_start": "0",
    "ipv4/ping_group_range": "0 2147483647",
}
_QUICK_IPV6 = {
    "ipv6/conf/all/accept_dad": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/all/accept_ra": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
}


def create(path: Path) -> None:
    """Make the namespace at `path` (in RUN) with loopback up and sysctls for pods; an existing one is kept. Some ms.

    Moves the calling thread into it. Raises OSError and leaves no file when the kernel refuses.
    """
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    _share_folder()
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError:
        if path.is_mount():
            return
    try:
        kernel.unshare(kernel.CLONE_NEWNET)
        kernel.mount(f"/proc/self/task/{threading.get_native_id()}/ns/net", str(path), "", kernel.MS_BIND)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    permit_pods()
    for name, value in _QUICK_IPV6.items():
        setting = Path("/proc/sys/net", name)
        if setting.exists():  # a kernel booted without IPv6 has none
            setting.write_text(value)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16xH22x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def _share_folder() -> None:
    """Make /run/netns a shared mount point before anything is mounted in it, as ip-netns(8) does.

    When `ip netns add` did it later, it would bind the folder over itself and what we mounted before would stay
    mounted underneath for ever.
    """
    lock = os.open(RUN, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            kernel.mount("", str(RUN), "none", kernel.MS_SHARED | kernel.MS_REC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            kernel.mount(str(RUN), str(RUN), "none", kernel.MS_BIND | kernel.MS_REC)
            kernel.mount("", str(RUN), "none", kernel.MS_SHARED | kernel.MS_REC)
    finally:
        os.close(lock)


def delete(path: Path) -> None:
    """Remove the name, however often it is mounted; the namespace ends with its last process. Idempotent."""
    while True:
        try:
            kernel.umount(str(path))
        except OSError:
            break
    path.unlink(missing_ok=True)


def is_named() -> bool:
    """Whether the caller is in a namespace that has a name, so not in the machine's own, whose settings are not ours."""
    own = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
    return RUN.exists() and any(os.stat(path).st_ino == own for path in RUN.iterdir())  # noqa: PTH116


def permit_pods() -> None:
    """Let unprivileged processes of the caller's namespace bind low ports and ping, as containers may."""
    for name, value in _PODS.items():
        Path("/proc/sys/net", name).write_text(value)
