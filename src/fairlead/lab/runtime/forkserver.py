"""The process from which every pod's init of one node is forked, so that a pod costs some milliseconds and a few megabytes.

Single-threaded, loads everything an init or a built-in program will ever need, then forks on request and reaps. It ends when its
runtime does; the inits live on. `python -m fairlead.lab.runtime.forkserver FD ROOT SECRET...`, FD being a Unix stream socket
that speaks `wire`.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from fairlead.lab.agnhost import main as agnhost
from fairlead.lab.responder import h2c as _h2c  # noqa: F401 loaded for the forked children
from fairlead.lab.responder import main as _responder  # noqa: F401 loaded for the forked children
from fairlead.lab.runtime import codec, kernel, wire
from fairlead.lab.runtime.init import SCRATCH, PodInit
from fairlead.lab.runtime.layers import Layers, prepare
from fairlead.lab.runtime.spec import SandboxSpec

SOCKET = "init.sock"


def main(argv: list[str]) -> None:
    """Serve one runtime until it hangs up."""
    control = socket.socket(fileno=int(argv[0]))
    root = Path(argv[1])
    agnhost.preload()
    layers = prepare(root, tuple(argv[2:]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the inits
    os.umask(0o022)
    os.chdir("/")
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    gc.collect()
    gc.freeze()
    wire.send(control, {"ready": True, "hidden": layers.hidden, "binds": layers.binds})
    decoder = wire.Decoder()
    while True:
        try:
            messages = wire.receive(control, decoder)
        except wire.Closed:
            return
        for message in messages:
            wire.send(control, {"id": message["id"], **_spawn(message, root, layers, own_pids, control)})


def _spawn(message: wire.Message, root: Path, layers: Layers, own_pids: int, control: socket.socket) -> wire.Message:
    """Fork one init and wait until it listens or has failed."""
    sandbox = codec.convert(message["spec"], SandboxSpec)
    network: int | None = message["fds"][0] if message["fds"] else None
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                control.close()
                os.close(ready_read)
                _become_init(sandbox, root / sandbox.uid, layers, network, ready_write)
        finally:
            kernel.setns(own_pids, kernel.CLONE_NEWPID)
        os.close(ready_write)
        ready_write = -1
        problem = os.read(ready_read, 4096)
        if problem == b"ok":
            return {"pid": pid}
        return {"error": problem.decode() or "the pod's init died while it started", "kind": "fault"}
    except OSError as error:
        return {"error": f"cannot fork the pod's init: {error.strerror}", "kind": "fault"}
    finally:
        for fd in (ready_read, ready_write, *message["fds"]):
            if fd >= 0:
                os.close(fd)


def _become_init(sandbox: SandboxSpec, folder: Path, layers: Layers, network: int | None, ready: int) -> NoReturn:
    try:
        os.setsid()
        kernel.set_process_name(f"pod:{sandbox.name}")
        if network is not None:
            kernel.setns(network, kernel.CLONE_NEWNET)
            os.close(network)
        kernel.unshare(kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC)
        socket.sethostname(sandbox.hostname)
        for name, value in sandbox.sysctls:
            _write_sysctl(name, value)
        init = PodInit(sandbox, layers, folder, _listen(folder))
    except BaseException as error:
        os.write(ready, str(error).encode()[:4000] or b"unknown")
        os._exit(1)
    os.write(ready, b"ok")
    os.close(ready)
    try:
        init.run()
    finally:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _listen(folder: Path) -> socket.socket:
    """The init's socket; listen(2) is called here, in the init, so that peers learn its pid by SO_PEERCRED."""
    (folder / SCRATCH).mkdir(mode=0o700, exist_ok=True)
    (folder / SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    # By descriptor: a path of a lab deep in the file system exceeds the 108 bytes of an address.
    listener.bind(f"/proc/self/fd/{place}/{SOCKET}")
    os.close(place)
    (folder / SOCKET).chmod(0o600)
    listener.listen(16)
    return listener


def _write_sysctl(name: str, value: str) -> None:
    try:
        Path("/proc/sys", *name.split(".")).write_text(value)
    except OSError as error:
        raise ValueError(f'sysctl "{name}" cannot be set to "{value}": {error.strerror}') from error


if __name__ == "__main__":
    main(sys.argv[1:])
