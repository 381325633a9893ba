"""A container's own view of the file system, built by the container's process just before it gives up its privileges.

Must run in a freshly forked process: it leaves the old root for good. Nothing of the host stays mounted except the layers below the
overlay; everything the process can write is a bounded tmpfs or a volume that it was given.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fairlead.lab.runtime import kernel
from fairlead.lab.runtime.layers import Layers, overlay_escape
from fairlead.lab.runtime.spec import ContainerSpec, SandboxSpec

_SCRATCH_SIZE = "size=256m,nr_inodes=65536,mode=0755"
_SAFE = kernel.MS_NOSUID | kernel.MS_NODEV
_TTY_GROUP = 5  # Debian's static gid of group tty, as in every container runtime


def enter(sandbox: SandboxSpec, container: ContainerSpec, layers: Layers, scratch: str) -> None:
    """Build the root over the empty folder `scratch` and move into it. Raises OSError naming the path that failed."""
    kernel.unshare(kernel.CLONE_NEWNS)
    sources = [os.open(mount.source, os.O_PATH | os.O_CLOEXEC) for mount in container.mounts]
    shared = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in (*layers.binds, layers.empty, layers.dev)]
    kernel.mount("tmpfs", scratch, "tmpfs", _SAFE, _SCRATCH_SIZE)
    shared.append(_overlay(sandbox, layers, Path(scratch)))
    os.chdir(f"{scratch}/merged")
    kernel.pivot_root(".", ".")
    # From here on absolute paths are the container's, while the host's mounts stay reachable by descriptor until the last line.
    kernel.mount("proc", "/proc", "proc", _SAFE | kernel.MS_NOEXEC)
    *binds, empty, dev, shm = shared
    for path, fd in zip(layers.binds, binds, strict=True):
        _bind(fd, path, _SAFE | kernel.MS_RDONLY)
    for path in (*layers.masks, *_homes_of(container.uid)):
        _bind(empty, path, _SAFE | kernel.MS_RDONLY)
    kernel.mount("sysfs", "/sys", "sysfs", _SAFE | kernel.MS_NOEXEC | kernel.MS_RDONLY)
    _bind(dev, "/dev", kernel.MS_NOSUID | kernel.MS_NOEXEC | kernel.MS_RDONLY)
    pts_options = f"newinstance,ptmxmode=0666,mode=0620,gid={_TTY_GROUP}"
    kernel.mount("devpts", "/dev/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, pts_options)
    _bind(shm, "/dev/shm", _SAFE)
    for mount, fd in zip(container.mounts, sources, strict=True):
        _mount_point(mount.destination, stat.S_ISDIR(os.fstat(fd).st_mode))
        _bind(fd, mount.destination, _SAFE | (kernel.MS_RDONLY if mount.read_only else 0))
    for fd in (*sources, *shared):
        os.close(fd)
    kernel.umount(".")
    Path(container.working_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
    os.chdir(container.working_dir)


def _overlay(sandbox: SandboxSpec, layers: Layers, scratch: Path) -> int:
    """Mount the overlay at `scratch`/merged; returns a descriptor of the folder that becomes /dev/shm."""
    upper, work, merged, shm = (scratch / name for name in ("upper", "work", "merged", "shm"))
    for folder in (upper, work, merged, shm):
        folder.mkdir(mode=0o755)
    shm.chmod(0o1777)
    etc = upper / "etc"
    etc.mkdir(mode=0o755)
    for name, text in (
        ("hostname", sandbox.hostname + "\n"),
        ("hosts", sandbox.hosts),
        ("resolv.conf", sandbox.resolv_conf),
    ):
        (etc / name).write_text(text)
        (etc / name).chmod(0o644)
    upper_option, work_option = overlay_escape(str(upper)), overlay_escape(str(work))
    options = f"lowerdir={layers.lower},upperdir={upper_option},workdir={work_option},index=off,metacopy=off"
    kernel.mount("overlay", str(merged), "overlay", _SAFE, options)
    return os.open(shm, os.O_PATH | os.O_CLOEXEC)


def _homes_of(uid: int) -> list[str]:
    """Home folders that a container's user id happens to own on the host: its private keys are none of the pod's business."""
    try:
        return [entry.path for entry in os.scandir("/home") if entry.is_dir() and entry.stat().st_uid == uid]
    except OSError:
        return []


def _bind(fd: int, target: str, flags: int) -> None:
    kernel.bind(f"/proc/self/fd/{fd}", target, flags)


def _mount_point(path: str, folder: bool) -> None:
    """Make sure that something of the right type exists to mount on."""
    point = Path(path)
    if point.exists():
        return
    if folder:
        point.mkdir(mode=0o755, parents=True)
    else:
        point.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        point.touch(mode=0o644)
