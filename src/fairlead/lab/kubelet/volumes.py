"""Volumes as folders of the host: made before a pod's containers, kept current while it runs, removed with it.

Files that come from API objects change all at once: the folder holds links to `..data`, itself a link that is replaced by a rename
(the kubelet's AtomicWriter). No file system is mounted, so that nothing can be left mounted; `medium: Memory` is therefore a folder too.
Nothing of the host is ever written: a hostPath is read-only, one that does not exist is an empty private folder.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from fairlead.lab.kubelet.content import File, volume_files
from fairlead.lab.kubelet.env import ConfigError, Surroundings, expand
from fairlead.lab.kubelet.pod import Container, Json, Pod
from fairlead.lab.runtime.spec import NOBODY, Mount

_DATA = "..data"
_FOLDER = 0o755
_SHARED = 0o777
_SETGID = 0o2000


class MountError(Exception):
    """A volume cannot be set up; the message is the FailedMount event's."""


def identity(pod: Pod, container: Container | None = None) -> tuple[int, int, tuple[int, ...]]:
    """Return (uid, gid, supplementary groups) of a container, by default of the pod; never root."""
    contexts = [container.security_context if container else None, pod.spec.security_context]
    uid = next((context.run_as_user for context in contexts if context and context.run_as_user is not None), 0)
    gid = next((context.run_as_group for context in contexts if context and context.run_as_group is not None), 0)
    groups: tuple[int, ...] = ()
    if (context := pod.spec.security_context) is not None:
        groups = tuple(context.supplemental_groups or ())
        if context.fs_group is not None:
            groups = (context.fs_group, *groups)
    return uid or NOBODY, gid or NOBODY, tuple(group for group in dict.fromkeys(groups) if group)


def set_up(pod: Pod, folder: Path, claims: Path, around: Surroundings) -> dict[str, Path]:
    """Make or refresh all volumes of `pod` below `folder`; return name → folder or file on the host. Raises MountError."""
    return {
        volume["name"]: _set_up(pod, volume, folder / str(volume["name"]), claims, around)
        for volume in pod.spec.volumes or ()
    }


def mounts(
    container: Container, volumes: Mapping[str, Path], writable: Mapping[str, bool], env: Mapping[str, str]
) -> tuple[Mount, ...]:
    """Return the binds of a container, outer destinations first; raises ConfigError."""
    found = []
    for mount in container.volume_mounts or ():
        source = volumes.get(mount.name)
        if source is None:
            raise ConfigError(f'volume "{mount.name}" of container "{container.name}" is not a volume of the pod')
        sub_path = expand(mount.sub_path_expr, env) if mount.sub_path_expr else mount.sub_path or ""
        if sub_path:
            source = _inside(source, sub_path)
        read_only = bool(mount.read_only) or not writable.get(mount.name, True)
        found.append(Mount(source=source, destination=mount.mount_path.rstrip("/") or "/", read_only=read_only))
    return tuple(sorted(found, key=lambda mount: mount.destination.count("/")))


def writable(pod: Pod) -> dict[str, bool]:
    """Return for each volume whether containers may write to it."""
    fixed = ("configMap", "secret", "downwardAPI", "projected", "hostPath", "image")
    return {
        volume["name"]: not any(kind in volume for kind in fixed) or _is_private(volume)
        for volume in pod.spec.volumes or ()
    }


def remove(folder: Path) -> None:
    """Remove all volumes below `folder`; persistent claims lie elsewhere and stay."""
    shutil.rmtree(folder, ignore_errors=True)


def _is_private(volume: Json) -> bool:
    path = (volume.get("hostPath") or {}).get("path")
    return path is not None and not Path(path).exists()


def _set_up(pod: Pod, volume: Json, target: Path, claims: Path, around: Surroundings) -> Path:
    try:
        files = volume_files(pod, volume, around)
        if files is not None:
            publish(target, files, owner=_owner(pod, str(volume["name"])), group=_fs_group(pod))
            return target
        if (host := volume.get("hostPath")) is not None and Path(host["path"]).exists():
            if host.get("type") in ("Directory", "DirectoryOrCreate") and not Path(host["path"]).is_dir():
                raise MountError(f"hostPath type check failed: {host['path']} is not a directory")
            return Path(host["path"])
        if (host := volume.get("hostPath")) is not None and host.get("type") in ("FileOrCreate", "File"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch(mode=0o666)
            target.chmod(0o666)
            return target
        if (claim := volume.get("persistentVolumeClaim")) is not None:
            target = claims / pod.metadata.namespace / str(claim["claimName"])
        _shared_folder(target, _fs_group(pod))
    except (ConfigError, MountError) as error:
        raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
    except OSError as error:
        raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
    return target


def publish(target: Path, files: Mapping[str, File], *, owner: int, group: int | None) -> None:
    """Make `target` show exactly `files`, all of them at once; does nothing where it does already."""
    target.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
    data = target / _DATA
    old = data.resolve() if data.is_symlink() else None
    if old is not None and _same(old, files):
        return
    new = target / f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{time.time_ns() % 10**9}"
    new.mkdir()
    new.chmod(_FOLDER)
    for path, file in files.items():
        destination = new / path
        for parent in reversed(destination.relative_to(new).parents[:-1]):
            (new / parent).mkdir(mode=_FOLDER, exist_ok=True)
            (new / parent).chmod(_FOLDER)
        destination.write_bytes(file.content)
        # As upstream, members of fsGroup may read what the mode withholds from others.
        destination.chmod(file.mode if group is None else file.mode | 0o440)
        os.chown(destination, owner, NOBODY if group is None else group)
    link = target / f"{_DATA}_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(new.name)
    link.replace(data)
    wanted = {path.partition("/")[0] for path in files}
    for name in wanted:
        shown = target / name
        if not shown.is_symlink():
            shown.symlink_to(f"{_DATA}/{name}")
    for shown in target.iterdir():
        if shown.is_symlink() and shown.name != _DATA and shown.name not in wanted:
            shown.unlink()
    if old is not None and old.parent == target.resolve():
        shutil.rmtree(old, ignore_errors=True)


def _same(folder: Path, files: Mapping[str, File]) -> bool:
    try:
        present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return present == set(files) and all(
            (folder / path).read_bytes() == file.content and (folder / path).stat().st_mode & file.mode == file.mode
            for path, file in files.items()
        )
    except OSError:
        return False


def _shared_folder(target: Path, group: int | None) -> None:
    if target.is_dir():
        return
    target.mkdir(parents=True)
    if group is not None:
        os.chown(target, NOBODY, group)
    target.chmod(_SHARED | (_SETGID if group is not None else 0))


def _inside(volume: Path, sub_path: str) -> Path:
    """Return the real path of `sub_path`, made as a folder where it is missing; it must not lead out of the volume."""
    if sub_path.startswith("/") or ".." in sub_path.split("/"):
        raise ConfigError(f"subPath {sub_path!r} leaves its volume")
    root = volume.resolve()
    target = (root / sub_path).resolve()
    if not target.is_relative_to(root):
        raise ConfigError(f"subPath {sub_path!r} leaves its volume")
    if not target.exists():
        target.mkdir(parents=True)
        for folder in (target, *target.parents):
            if folder == root:
                break
            folder.chmod(_SHARED)
    return target


def _owner(pod: Pod, volume: str) -> int:
    """Return the user of the containers that mount the volume; a file of mode 0400 is meant for it."""
    for container in pod.all_containers:
        if any(mount.name == volume for mount in container.volume_mounts or ()):
            return identity(pod, container)[0]
    return identity(pod)[0]


def _fs_group(pod: Pod) -> int | None:
    context = pod.spec.security_context
    return context.fs_group if context is not None and context.fs_group else None
