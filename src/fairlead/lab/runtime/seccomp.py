"""The system calls that no pod process may make: those that open a way out of namespaces or into the kernel.

A classic BPF program for seccomp(2), the same for every container, so it is built once and copied by fork. It refuses with
EPERM; `clone3` with ENOSYS, because its flags lie behind a pointer that BPF cannot read and C libraries then fall back to
`clone`. It is a second wall: the first are missing capabilities and no_new_privs.
"""

from __future__ import annotations

import ctypes
import platform
import struct

from fairlead.lab.runtime import kernel

_ALLOW = 0x7FFF0000
_EPERM = 0x00050000 | 1
_ENOSYS = 0x00050000 | 38
_KILL = 0x80000000

_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARG0 = 0, 4, 16  # struct seccomp_data, little-endian

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
_AF_VSOCK = 40

_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "clone": 56, "socket": 41, "clone3": 435,
        "ptrace": 101, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165, "umount2": 166, "swapon": 167,
        "swapoff": 168, "reboot": 169, "init_module": 175, "delete_module": 176, "quotactl": 179,
        "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
    },
    "aarch64": {
        "clone": 220, "socket": 198, "clone3": 435,
        "ptrace": 117, "pivot_root": 41, "chroot": 51, "acct": 89, "mount": 40, "umount2": 39, "swapon": 224,
        "swapoff": 225, "reboot": 142, "init_module": 105, "delete_module": 106, "quotactl": 60,
        "kexec_load": 104, "add_key": 217, "request_key": 218, "keyctl": 219, "unshare": 97, "perf_event_open": 241,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "finit_module": 273, "kexec_file_load": 294, "bpf": 280, "userfaultfd": 282,
    },
}  # fmt: skip
# From here on the numbers are the same on every architecture: io_uring, the new mount API, pidfd_getfd, mount_setattr.
_COMMON = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442)
_X32 = 0x40000000


def _op(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, k)


def program(machine: str) -> bytes:
    """The filter for an architecture as packed sock_filter instructions; raises KeyError for an unknown one."""
    numbers = dict(_NUMBERS[machine])
    clone, socket, clone3 = numbers.pop("clone"), numbers.pop("socket"), numbers.pop("clone3")
    lines = [
        _op(_LOAD, _OFFSET_ARCH),
        _op(_EQUAL, _ARCH[machine], 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, _OFFSET_NUMBER),
        _op(_GREATER_EQUAL, _X32, 0, 1),
        _op(_RETURN, _ENOSYS),
        _op(_EQUAL, clone3, 0, 1),
        _op(_RETURN, _ENOSYS),
        _op(_EQUAL, clone, 0, 4),
        _op(_LOAD, _OFFSET_ARG0),
        _op(_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        _op(_RETURN, _EPERM),
        _op(_RETURN, _ALLOW),
        _op(_EQUAL, socket, 0, 4),
        _op(_LOAD, _OFFSET_ARG0),
        _op(_EQUAL, _AF_VSOCK, 0, 1),
        _op(_RETURN, _EPERM),
        _op(_RETURN, _ALLOW),
    ]
    for number in sorted([*numbers.values(), *_COMMON]):
        lines += [_op(_EQUAL, number, 0, 1), _op(_RETURN, _EPERM)]
    lines.append(_op(_RETURN, _ALLOW))
    return b"".join(lines)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install() -> None:
    """Put the filter on the calling thread and all its children; needs no_new_privs. Raises OSError without CONFIG_SECCOMP_FILTER."""
    code = _CODE
    argument = _Program(len(code) // 8, code)
    kernel.prctl(kernel.PR_SET_SECCOMP, 2, ctypes.addressof(argument))


_CODE = program(platform.machine())
