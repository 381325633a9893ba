"""System calls that the standard library of Python 3.11 lacks: namespaces, mounts, capabilities, prctl.

Every function raises OSError with the kernel's errno and the name of the call. Nothing here decides anything. The module must
stay free of asyncio and cheap to import: the init process of every pod holds it.
"""

from __future__ import annotations

import ctypes
import os
import platform

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# asm/unistd.h of the two architectures; pivot_root and capset have no wrapper in every C library.
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, call: str, target: str = "") -> None:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{call}: {os.strerror(errno)}", target or None)


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces (CLONE_NEWPID: its next child), man 2 unshare."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespaces `flags` of a namespace file or a pidfd, man 2 setns."""
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount, bind or change propagation, man 2 mount."""
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, os.fsencode(data))
    _check(result, f"mount {kind}".rstrip(), target)


def bind(source: str, target: str, flags: int = 0) -> None:
    """Bind `source` (no submounts) on `target`, then apply `flags` such as MS_RDONLY, which a first bind ignores."""
    mount(source, target, "", MS_BIND)
    if flags:
        mount("", target, "", MS_REMOUNT | MS_BIND | flags)


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """Unmount, lazily unless told otherwise, man 2 umount2."""
    _check(_libc.umount2(os.fsencode(target), flags), "umount", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Swap the root of the mount namespace, man 2 pivot_root."""
    number = _PIVOT_ROOT[platform.machine()]
    _check(_libc.syscall(number, os.fsencode(new_root), os.fsencode(put_old)), "pivot_root", new_root)


def prctl(option: int, value: int = 0, third: int = 0) -> None:
    """Change an attribute of the calling thread, man 2 prctl."""
    _check(_libc.prctl(option, value, third, 0, 0), f"prctl {option}")


def set_process_name(name: str) -> None:
    """Set the name that ps shows in its COMM column (15 bytes at most)."""
    text = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(text))


def drop_bounding_set() -> None:
    """Remove every capability from the bounding and the ambient set; needs CAP_SETPCAP, irrevocable."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # EINVAL: one past the last capability this kernel knows
            break
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def clear_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets of the calling thread, man 2 capset."""
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    _check(_libc.syscall(_CAPSET[platform.machine()], header, (ctypes.c_uint32 * 6)()), "capset")
