"""What a forked child of a pod's init does until it is the container's program, or a program executed beside it.

The child talks to the init over a report socket that closes by itself when the program starts: `host_pid` and a container's `console`
(with the terminal's master as descriptor) come first, `error` means that it never started. Nothing here may return to the init's
loop: every path ends in exec or `os._exit`.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import socket
import stat
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from fairlead.lab.runtime import confine, kernel, rootfs, wire
from fairlead.lab.runtime.layers import Layers
from fairlead.lab.runtime.spec import AGNHOST, DEFAULT_PATH, NOBODY, ContainerSpec, SandboxSpec

Stdio = tuple[int, int, int]
_SETUP_FAILED = 128
_TIOCGPTN = 0x80045430
_TIOCSPTLCK = 0x40045431


def run_container(
    sandbox: SandboxSpec, spec: ContainerSpec, layers: Layers, scratch: str, stdio: Stdio | None, report: socket.socket
) -> NoReturn:
    """Become the main process of a container. `stdio` None asks for a terminal of the container's own."""

    def prepare() -> None:
        wire.send(report, {"host_pid": int(os.readlink("/proc/self"))})  # noqa: PTH115
        rootfs.enter(sandbox, spec, layers, scratch)

    env = environment(sandbox, spec, {})
    if spec.argv is None or spec.argv[0] == AGNHOST:
        _run(prepare, spec, stdio, report, report, lambda: _run_built_in(spec, env, report))
    argv = spec.argv
    _run(prepare, spec, stdio, report, report, lambda: _execute(argv, env))


def run_beside(
    sandbox: SandboxSpec,
    spec: ContainerSpec,
    pidfd: int,
    argv: Sequence[str],
    env: Mapping[str, str],
    stdio: Stdio | None,
    report: socket.socket,
    console: socket.socket,
) -> NoReturn:
    """Become a program inside a running container, whose main process `pidfd` refers to.

    `stdio` None opens a terminal in the container and sends its master over `console`.
    """

    def prepare() -> None:
        kernel.setns(pidfd, kernel.CLONE_NEWNS)
        Path(spec.working_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
        os.chdir(spec.working_dir)

    merged = environment(sandbox, spec, env)
    _run(prepare, spec, stdio, report, console, lambda: _execute(argv, merged))


def environment(sandbox: SandboxSpec, spec: ContainerSpec, extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of a container's process: a runtime's own defaults under those of the container."""
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": sandbox.hostname, "HOME": "/tmp"}
    if spec.tty:
        env["TERM"] = "xterm"
    return {**env, **spec.env, **extra}


def find_program(name: str, path: str) -> str:
    """Where execvp would find `name`. Raises OSError with the OCI runtime's wording when it is absent or not executable."""
    if "/" in name:
        if not os.path.lexists(name):
            raise OSError(errno.ENOENT, f'exec: "{name}": stat {name}: no such file or directory')
        if not _is_program(name):
            raise OSError(errno.EACCES, f'exec: "{name}": permission denied')
        return name
    for folder in path.split(":"):
        candidate = f"{folder or '.'}/{name}"
        if _is_program(candidate):
            return candidate
    raise OSError(errno.ENOENT, f'exec: "{name}": executable file not found in $PATH')


def _is_program(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK)  # noqa: PTH116
    except OSError:
        return False


def _run(
    prepare: Callable[[], None],
    spec: ContainerSpec,
    stdio: Stdio | None,
    report: socket.socket,
    console: socket.socket,
    program: Callable[[], NoReturn],
) -> NoReturn:
    try:
        os.setsid()
        prepare()
        confine.default_signals()
        stdio = stdio or _open_console(console, spec.uid or NOBODY)
        for fd in (0, 1, 2):
            os.dup2(stdio[fd], fd)
        if os.isatty(0):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.umask(0o022)
        keep = report.fileno()  # nothing else of the init's may survive
        os.closerange(3, keep)
        os.closerange(keep + 1, 1 << 20)
        confine.drop_privileges(spec.uid, spec.gid, spec.groups)
        program()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException as error:
        _report_failure(report, error)
    os._exit(_SETUP_FAILED)


def _report_failure(report: socket.socket, error: BaseException) -> None:
    text = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
    if isinstance(error, OSError) and error.filename:
        text = f"{text} ({os.fsdecode(error.filename)})"
    try:
        wire.send(report, {"error": text, "errno": getattr(error, "errno", None)})
    except (OSError, wire.Closed):
        pass


def _open_console(console: socket.socket, uid: int) -> Stdio:
    """Open a terminal in the container's own devpts, hand its master to the init and keep the other side."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    number = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, b"\0\0\0\0"))[0]
    path = f"/dev/pts/{number}"
    terminal = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    os.chown(path, uid, -1)
    wire.send(console, {"console": True}, (master,))
    os.close(master)
    return terminal, terminal, terminal


def _execute(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    program = find_program(argv[0], env.get("PATH", DEFAULT_PATH))
    try:
        os.execve(program, list(argv), dict(env))
    except OSError as error:
        # The file exists: what is missing is the interpreter in its first line, or it is no program at all.
        text = f"exec {program}: {(error.strerror or 'failed').lower()}"
        raise OSError(error.errno, text) from error


def _run_built_in(spec: ContainerSpec, env: Mapping[str, str], report: socket.socket) -> NoReturn:
    """Run the responder or the agnhost stand-in in this very process: the modules are loaded, exec would cost 10 MB each."""
    os.environ.clear()
    os.environ.update(env)
    if spec.argv is None:
        module = importlib.import_module("fairlead.lab.responder.main")
        os._exit(module.run(spec.identity, spec.ports, report.close))
    module = importlib.import_module("fairlead.lab.agnhost.main")
    report.close()
    os._exit(module.main(list(spec.argv[1:])))
