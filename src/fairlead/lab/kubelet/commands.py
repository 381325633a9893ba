"""What a container runs, since no image can be pulled: its command from the host, the agnhost stand-in, or the responder.

Pure but for the question whether a program exists, which the caller answers. A pod that Kubernetes would run must come up here too, so a
missing program is replaced and reported, unless commands are strict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.lab.kubelet.env import expand
from fairlead.lab.kubelet.pod import Container, Handler, Pod, Probe
from fairlead.lab.runtime.spec import AGNHOST

RESPONDER = "fairlead://responder"
HOST = "fairlead://host"
STAND_IN = "fairlead://agnhost"
NOTHING = "fairlead://nothing"
COMMAND_NOT_ON_HOST = "CommandNotOnHost"
SHELL_NOT_FOUND = (126, 127)
"""Exit codes by which a shell says that what it was to run is missing."""

_DONE = ("true",)
_AGNHOST_DEFAULT = "pause"
_INTERACTIVE = ("sh",)
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "busybox", "env"})

Exists = Callable[[Sequence[str]], bool]
"""Command → whether the container could execute it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What to run: `argv` None is the responder. `warning` says what had to be replaced."""

    argv: tuple[str, ...] | None
    image_id: str
    warning: str | None = None


def choose(
    pod: Pod, container: Container, env: Mapping[str, str], *, strict: bool, exists: Exists, missing: bool = False
) -> Chosen:
    """Return what `container` runs; `missing` tells that an earlier attempt's shell did not find its program."""
    args = tuple(expand(arg, env) for arg in container.args or ())
    ends = pod.job or (any(container is other for other in pod.init) and not pod.is_sidecar(container))
    if container.command:
        argv = tuple(expand(part, env) for part in container.command) + args
        program = argv[0]
        if program.rpartition("/")[2] == "agnhost":
            return Chosen(argv=(AGNHOST, *argv[1:]), image_id=STAND_IN)
        if strict:
            return Chosen(argv=argv, image_id=HOST)
        if not missing and exists(argv):
            return Chosen(argv=argv, image_id=HOST)
        return _replaced(container, f'command "{" ".join(argv) if missing else program}"', ends)
    if is_agnhost(container.image):
        return Chosen(argv=(AGNHOST, *(args or (_AGNHOST_DEFAULT,))), image_id=STAND_IN)
    alone = args or (_INTERACTIVE if container.stdin and container.tty else ())
    if alone and not missing and exists(alone):
        # Images of tools have no program of their own: `kubectl run --image=busybox -- sh -c ...` gives arguments alone.
        return Chosen(argv=alone, image_id=HOST)
    if ends:
        # The image's own program would end; the responder never does, and the pod would hang in its initialization.
        return _replaced(container, f'the command of image "{container.image}"', ends)
    return Chosen(argv=None, image_id=RESPONDER)


def is_agnhost(image: str) -> bool:
    """Tell whether the last part of an image's path is `agnhost`, whatever its registry, tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0] == "agnhost"


def runs_shell(container: Container) -> bool:
    """Tell whether the command is a shell that looks for the real program itself."""
    return bool(container.command) and (container.command or ("",))[0].rpartition("/")[2] in _SHELLS


def responder_ports(pod: Pod, container: Container) -> tuple[tuple[str, int, str], ...]:
    """Return (name, number, protocol) on which the responder of `container` answers: its ports, and those that its probes ask.

    A probe may name a number that is not declared; the application would listen there.
    """
    found: dict[tuple[int, str], str] = {
        (port.container_port, port.protocol): port.name or "" for port in container.ports or ()
    }
    others = {
        (port.container_port, port.protocol)
        for other in (*pod.init, *pod.spec.containers)
        if other is not container
        for port in other.ports or ()
    }
    for number in _probed(container):
        if (number, "TCP") not in others:
            found.setdefault((number, "TCP"), "")
    return tuple((name, number, protocol) for (number, protocol), name in found.items())


def _probed(container: Container) -> list[int]:
    asked: list[int] = []
    handlers: Sequence[Probe | Handler | None] = (
        container.startup_probe,
        container.readiness_probe,
        container.liveness_probe,
        container.lifecycle.post_start if container.lifecycle else None,
        container.lifecycle.pre_stop if container.lifecycle else None,
    )
    for handler in handlers:
        if handler is None:
            continue
        for action in (handler.http_get, handler.tcp_socket):
            if action is not None and not action.host:
                number = container.port_number(action.port)
                asked += [] if number is None else [number]
        if isinstance(handler, Probe) and handler.grpc is not None:
            asked.append(handler.grpc.port)
    return asked


def _replaced(container: Container, what: str, ends: bool) -> Chosen:
    stand_in = "it is taken as completed" if ends else "the responder answers in its place"
    warning = f"Container {container.name}: {what} is not on this host, {stand_in}"
    if ends:
        return Chosen(argv=_DONE, image_id=NOTHING, warning=warning)
    return Chosen(argv=None, image_id=RESPONDER, warning=warning)
