"""The values that the kubelet and the runtime exchange: what a pod's sandbox and its containers should be, and what they are.

They travel as JSON to the pod's init process and lie in the pod's state folder, so that a restarted kubelet finds them again.
This module must never import asyncio or do I/O: the init process of every pod loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["created", "running", "exited"]
"""CRI's ContainerState without UNKNOWN: what cannot be known any more has exited."""

NOBODY = 65534
"""The user and group of a container that names none, and of one that asks for 0: no pod process is ever the host's root."""

LOG_MAX_BYTES = 8 << 20
"""A container's log is renamed to `<log_path>.1` (replacing the one before) when it has grown to this size."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of a container that sets none, as the OCI image specification's usual default."""

AGNHOST = "/agnhost"
"""An executable at this path exists in every container: the stand-in for agnhost. As argv[0] it runs without exec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or folder of the host bound into a container (nosuid, nodev). The destination is created where it is missing."""

    source: Path
    """Existing path on the host, on a file system that was mounted before the runtime started."""
    destination: str
    """Absolute path inside the container; symbolic links in it are followed inside the container only."""
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the built-in responder says of itself in each answer."""

    pod: str
    namespace: str
    node: str
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """A pod without its containers: namespaces and the files all its containers share."""

    uid: str
    namespace: str
    name: str
    hostname: str
    """Host name of the pod's UTS namespace (spec.hostname or the pod's name, at most 63 characters)."""
    netns: Path | None
    """Path of the pod's network namespace; None for a hostNetwork pod, which gets that of the caller."""
    resolv_conf: str
    """Content of /etc/resolv.conf."""
    hosts: str
    """Content of /etc/hosts."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Names with dots (`net.core.somaxconn`) and values of spec.securityContext.sysctls, written into the pod's namespaces."""
    share_pids: bool = False
    """spec.shareProcessNamespace. Else each container has its own PID namespace and its main process is 1 there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One attempt to run one container."""

    name: str
    attempt: int
    """Restart count; containers of one name run one after the other."""
    argv: tuple[str, ...] | None
    """Command and arguments; None runs the built-in responder on every one of `ports`."""
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    uid: int = NOBODY
    """0 is replaced by 65534."""
    gid: int = NOBODY
    """0 is replaced by 65534."""
    groups: tuple[int, ...] = ()
    """Supplementary groups; 0 is left out."""
    mounts: tuple[Mount, ...] = ()
    ports: tuple[tuple[str, int, str], ...] = ()
    """(name, number, protocol) with protocol TCP, UDP or SCTP."""
    tty: bool = False
    stdin: bool = False
    """Whether stdin stays open for attach; else it is /dev/null."""
    stdin_once: bool = False
    """Close stdin when the first attached client ends its input."""
    log_path: Path
    """File of the host in the CRI's log format; its folder exists. Surviving lines are bounded by LOG_MAX_BYTES."""
    identity: Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """The latest attempt of a container, as CRI's ContainerStatus says it. Times are Unix seconds."""

    name: str
    attempt: int
    state: Phase
    pid: int | None = None
    """Process id in the kubelet's PID namespace while it runs."""
    exit_code: int | None = None
    """128 + signal when a signal ended it, 128 when it never started."""
    signal: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    reason: str | None = None
    """Completed (exit code 0), Error, or StartError (never ran)."""
    message: str | None = None


class RuntimeFault(Exception):
    """The runtime could not do what was asked; the message has the wording of a container runtime."""


class SandboxMissing(RuntimeFault):
    """No sandbox of this uid exists (or remove_sandbox ran meanwhile)."""


class ContainerMissing(RuntimeFault):
    """No container of this name exists in the sandbox, or it does not run where it must."""


class CommandMissing(RuntimeFault):
    """An exec's program cannot be started; the message is the OCI runtime's (`exec: "foo": executable file not found in $PATH`)."""
