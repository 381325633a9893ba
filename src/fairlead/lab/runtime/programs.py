"""Whether a container's command exists at all, judged before the container is made.

Sees the host's file system as the container would: without hidden folders, with the container's volumes. The kubelet asks, to
decide between running a command and answering for it with the responder. A wrong yes costs a StartError, nothing worse.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from fairlead.lab.runtime.layers import below
from fairlead.lab.runtime.spec import AGNHOST, DEFAULT_PATH, NOBODY, ContainerSpec

_HIDDEN = ("/root", "/run", "/var/run", "/tmp", "/var/tmp", "/proc", "/sys", "/dev")


def command_exists(argv: Sequence[str], spec: ContainerSpec, secrets: Iterable[str] = ()) -> bool:
    """Whether `argv[0]` can be executed in the container that `spec` describes; needs no sandbox. Costs a few stat calls."""
    hidden = (*_HIDDEN, *secrets)
    name = argv[0] if argv else ""
    if name == AGNHOST:
        return True
    if "/" in name:
        return _executable(os.path.normpath(Path(spec.working_dir) / name), spec, hidden)
    path = spec.env.get("PATH", DEFAULT_PATH)
    return bool(name) and any(
        _executable(os.path.normpath(Path(spec.working_dir, folder, name)), spec, hidden) for folder in path.split(":")
    )


def _executable(path: str, spec: ContainerSpec, hidden: Sequence[str]) -> bool:
    host = _on_host(path, spec, hidden)
    if host is None:
        return False
    try:
        status = host.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and _may_run(status, spec) and _interpreter_exists(host, spec, hidden)


def _on_host(path: str, spec: ContainerSpec, hidden: Sequence[str]) -> Path | None:
    """The file that the container sees at `path`; None when it sees nothing there."""
    for mount in sorted(spec.mounts, key=lambda mount: -len(mount.destination)):
        if below(path, mount.destination):
            return mount.source / os.path.relpath(path, mount.destination)
    real = Path(path).resolve()
    return None if any(below(str(real), folder) for folder in hidden) else real


def _may_run(status: os.stat_result, spec: ContainerSpec) -> bool:
    uid, groups = spec.uid or NOBODY, {spec.gid or NOBODY, *spec.groups}
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid in groups:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _interpreter_exists(host: Path, spec: ContainerSpec, hidden: Sequence[str]) -> bool:
    """A script without the interpreter that its first line names fails like a missing program."""
    try:
        with host.open("rb") as file:
            first = file.read(256)
    except OSError:
        return True
    if not first.startswith(b"#!"):
        return True
    words = first[2:].split(b"\n", 1)[0].split()
    if not words:
        return True
    interpreter = _on_host(os.path.normpath(os.fsdecode(words[0])), spec, hidden)
    return interpreter is not None and interpreter.exists()
