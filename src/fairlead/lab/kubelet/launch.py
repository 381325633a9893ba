"""From a container of a pod's spec to what the runtime is asked to start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.lab.kubelet import volumes
from fairlead.lab.kubelet.commands import Chosen, choose, responder_ports
from fairlead.lab.kubelet.env import Surroundings, container_env
from fairlead.lab.kubelet.pod import Container, Pod
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.runtime.spec import ContainerSpec, Identity, Mount

_MESSAGE_BYTES = 4096
_LOG_TAIL_BYTES = 2048
_LOG_TAIL_LINES = 80
_KEPT_LOGS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start, and what was chosen in place of an image."""

    spec: ContainerSpec
    chosen: Chosen


def container_folder(settings: Settings, uid: str, container: str) -> Path:
    """Return the folder of a container's logs and termination message; the runtime's own state lies elsewhere and goes earlier."""
    return settings.pods / uid / "logs" / container


def log_file(settings: Settings, uid: str, container: str, attempt: int) -> Path:
    """Return the log of one attempt."""
    return container_folder(settings, uid, container) / f"{attempt}.log"


def prepare(
    settings: Settings,
    pod: Pod,
    container: Container,
    attempt: int,
    *,
    around: Surroundings,
    folders: Mapping[str, Path],
    missing: bool,
    exists: Callable[[Sequence[str], ContainerSpec], bool],
) -> Launch:
    """Return what to start for this attempt and make its files; raises ConfigError.

    `exists` tells whether a container could execute a command: `Floor.command_exists`.
    """
    env = container_env(pod, container, around)
    binds = volumes.mounts(container, folders, volumes.writable(pod), env)
    folder = container_folder(settings, pod.uid, container.name)
    folder.mkdir(parents=True, exist_ok=True)
    _drop_old_logs(folder, attempt)
    message = folder / "termination-log"
    message.write_bytes(b"")
    message.chmod(0o666)
    binds += (Mount(source=message, destination=container.termination_message_path),)

    uid, gid, groups = volumes.identity(pod, container)
    spec = ContainerSpec(
        name=container.name,
        attempt=attempt,
        argv=None,
        env={"HOSTNAME": pod.spec.hostname or pod.metadata.name} | env,
        working_dir=container.working_dir or "/",
        uid=uid,
        gid=gid,
        groups=groups,
        mounts=binds,
        tty=bool(container.tty),
        stdin=bool(container.stdin),
        stdin_once=bool(container.stdin_once),
        log_path=log_file(settings, pod.uid, container.name, attempt),
        identity=Identity(
            pod=pod.metadata.name, namespace=pod.metadata.namespace, node=settings.node, zone=settings.zone
        ),
    )
    chosen = choose(
        pod,
        container,
        env,
        strict=settings.strict_commands,
        exists=lambda argv: exists(argv, spec),
        missing=missing,
    )
    if chosen.argv is None:
        return Launch(spec=replace(spec, ports=responder_ports(pod, container)), chosen=chosen)
    return Launch(spec=replace(spec, argv=chosen.argv), chosen=chosen)


def termination_message(settings: Settings, pod: Pod, container: Container, attempt: int, exit_code: int) -> str | None:
    """Return what the container left at terminationMessagePath, or the end of its log where its policy says so."""
    try:
        text = (container_folder(settings, pod.uid, container.name) / "termination-log").read_bytes()[:_MESSAGE_BYTES]
    except OSError:
        text = b""
    if text or container.termination_message_policy != "FallbackToLogsOnError" or exit_code == 0:
        return text.decode(errors="replace") or None
    try:
        raw = log_file(settings, pod.uid, container.name, attempt).read_bytes()[-4 * _LOG_TAIL_BYTES :]
    except OSError:
        return None
    lines = [line.split(b" ", 3)[3] for line in raw.splitlines() if line.count(b" ") >= 3]
    return b"\n".join(lines[-_LOG_TAIL_LINES:])[-_LOG_TAIL_BYTES:].decode(errors="replace") or None


def _drop_old_logs(folder: Path, attempt: int) -> None:
    for log in folder.glob("*.log*"):
        number = log.name.partition(".")[0]
        if number.isdecimal() and int(number) <= attempt - _KEPT_LOGS:
            log.unlink(missing_ok=True)
