"""What all containers of a node share of the file system, prepared once by the fork server in a mount namespace of its own.

A container's root is an overlay of three layers: the host's root file system (lowest, never written), a middle layer that covers what
a pod must not see and adds `/agnhost`, and the container's own upper layer. Covering is done with opaque folders of the
overlay, which cost no mount. The fork server's namespace, which the pods' inits share and which every container's begins as a copy of,
keeps only mounts that hold programs or pods' state: it must never keep a network namespace's file or removable media
busy.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fairlead.lab.runtime import kernel
from fairlead.lab.runtime.spec import AGNHOST

FOLDER = ".runtime"
"""Folder below the runtime's root where the fork server mounts its tmpfs; no pod's uid begins with a dot."""

_DISK_TYPES = frozenset("ext2,ext3,ext4,xfs,btrfs,f2fs,zfs,erofs,squashfs,overlay,virtiofs,9p,nfs,nfs4".split(","))
_SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/etc", "/var", "/home", "/srv", "/nix", "/gnu")
_HIDDEN = {"/root": 0o711, "/run": 0o755, "/tmp": 0o1777, "/var/tmp": 0o1777}
_EMPTY = ("/proc", "/sys", "/dev")
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_CODE_FOLDER = "/opt/fairlead"
_CODE = ("__init__.py", "lab/__init__.py", "lab/responder", "lab/agnhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Where the shared parts lie in the fork server's mount namespace."""

    lower: str
    """Value of the overlay's `lowerdir`."""
    dev: str
    """Folder to bind as /dev."""
    binds: tuple[str, ...]
    """Folders of the host that an overlay of `/` does not reach (other file systems) or hides (Python), bound read-only."""
    masks: tuple[str, ...]
    """Hidden folders inside of `binds`: covered with the folder `empty`."""
    empty: str
    hidden: tuple[str, ...]
    """All hidden folders."""


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One line of /proc/self/mountinfo (proc_pid_mountinfo(5)), as far as it matters here."""

    path: str
    kind: str


def mount_points(text: str) -> list[MountPoint]:
    """Parse mountinfo, in the order of mounting."""
    found = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        path = head.split()[4].encode("latin-1", "replace").decode("unicode_escape")
        found.append(MountPoint(path, tail.split()[0]))
    return found


def below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def kept(points: list[MountPoint], needed: tuple[str, ...]) -> set[str]:
    """Which mount points a pod can need: disks in system folders, and whatever the paths `needed` lie on."""
    keep = {"/", "/proc", "/dev"}
    for point in points:
        system = any(below(point.path, folder) for folder in _SYSTEM_FOLDERS)
        if (system and point.kind in _DISK_TYPES) or any(below(path, point.path) for path in needed):
            keep.add(point.path)
    return keep


def overlay_escape(path: str) -> str:
    """A path as a value in overlayfs's options, where colons and commas separate."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def isolate(needed: tuple[str, ...]) -> list[str]:
    """Move to an own, private mount namespace without the mounts that `kept` does not name; returns the kept ones."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    points = mount_points(Path("/proc/self/mountinfo").read_text())
    keep = kept(points, needed)
    for point in reversed(points):
        if point.path not in keep:
            try:
                kernel.umount(point.path)
            except OSError:  # hidden below a later mount on a parent: unreachable for containers as well
                continue
    return sorted({point.path for point in points if point.path in keep and Path(point.path).is_dir()})


def prepare(root: Path, secrets: tuple[str, ...]) -> Layers:
    """Build the shared parts for pods below `root`; `secrets` are folders no container may see. Costs some ms, once per node."""
    python = _python_folder()
    top = root / FOLDER
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    points = isolate((str(root), python))
    kernel.mount("tmpfs", str(top), "tmpfs", kernel.MS_NOSUID, "mode=0755,size=16m")
    hidden = (*_HIDDEN, *(str(Path(path).resolve()) for path in secrets))
    layer, dev, empty = top / "layer", top / "dev", top / "empty"
    for folder in (layer, dev, empty):
        folder.mkdir(mode=0o755)
    for path in _EMPTY:
        _opaque(layer, path, 0o755)
    for path in hidden:
        if not any(below(path, other) for other in hidden if other != path):
            _opaque(layer, path, _HIDDEN.get(path, 0o711))
    (layer / "run/lock").mkdir(mode=0o1777)
    binds = [path for path in points if path not in ("/", "/proc", "/dev") and not _covered(path, hidden)]
    if _covered(python, hidden):
        (layer / python[1:]).mkdir(mode=0o711, parents=True, exist_ok=True)
        binds.append(python)
    masks = tuple(path for path in hidden for bound in binds if below(path, bound) and path != bound)
    _install_code(layer)
    _make_devices(dev)
    return Layers(
        lower=f"{overlay_escape(str(layer))}:/",
        dev=str(dev),
        binds=tuple(binds),
        masks=masks,
        empty=str(empty),
        hidden=hidden,
    )


def _covered(path: str, hidden: tuple[str, ...]) -> bool:
    return any(below(path, folder) for folder in hidden)


def _python_folder() -> str:
    """The installation that a virtual environment is made from: what `/agnhost` needs to run."""
    return str(Path(sys.base_prefix).resolve())


def _opaque(layer: Path, path: str, mode: int) -> None:
    """An empty folder that replaces the host's one; its parents keep the host's modes and contents."""
    current = layer
    for part in Path(path).parts[1:]:
        current = current / part
        if current.exists():
            continue
        current.mkdir()
        host = Path("/") / current.relative_to(layer)
        if host.is_dir():
            status = host.stat()
            current.chmod(stat.S_IMODE(status.st_mode))
            os.chown(current, status.st_uid, status.st_gid)
    current.chmod(mode)
    os.setxattr(current, "trusted.overlay.opaque", b"y")


def _install_code(layer: Path) -> None:
    """Put `/agnhost` and the modules it runs where an unprivileged user can read them, wherever the checkout lies."""
    package = Path(__file__).resolve().parents[2]
    target = layer / _CODE_FOLDER[1:] / package.name
    for name in _CODE:
        source, copy = package / name, target / name
        copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy)
        elif source.exists():
            shutil.copy(source, copy)
    launcher = layer / AGNHOST[1:]
    launcher.write_text(_launcher(_executable()))
    for path in (launcher, *_walk(layer / _CODE_FOLDER[1:])):
        path.chmod(0o755 if path.is_dir() or path == launcher else 0o644)


def _executable() -> str:
    base = getattr(sys, "_base_executable", sys.executable)
    return str(Path(base).resolve())


def _launcher(python: str) -> str:
    return (
        f"#!{python} -IS\nimport sys\nsys.path.insert(0, {_CODE_FOLDER!r})\n"
        "from fairlead.lab.agnhost.main import main\nsys.exit(main(sys.argv[1:]))\n"
    )


def _walk(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.rglob("*")


def _make_devices(dev: Path) -> None:
    for name, (major, minor) in _DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        (dev / name).chmod(0o666)
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
    for name, target in links.items():
        (dev / name).symlink_to(target)
    for name in ("pts", "shm"):
        (dev / name).mkdir(mode=0o755)
    (dev / "termination-log").touch()
