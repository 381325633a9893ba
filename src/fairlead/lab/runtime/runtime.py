"""Runs pods for a kubelet: sandboxes and containers as processes in namespaces, which outlive the kubelet.

What containerd is to a real kubelet. It keeps nothing that it could not read back: each pod's state folder holds `sandbox.json`, the
socket of the pod's init and the containers' last states, so `start` adopts whatever runs. It must never decide what should run,
restart a container by itself, or touch a process that is not behind one of its sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from fairlead.lab.runtime import codec, forkclient, netns, threads, wire
from fairlead.lab.runtime.channel import Channel
from fairlead.lab.runtime.programs import command_exists
from fairlead.lab.runtime.session import STDERR, STDOUT, ExecSession
from fairlead.lab.runtime.spec import (
    ContainerMissing,
    ContainerSpec,
    ContainerState,
    RuntimeFault,
    SandboxMissing,
    SandboxSpec,
)

log = logging.getLogger(__name__)

_SPEC, _SOCKET, _SCRATCH, _CONTAINERS, _STATUS = "sandbox.json", "init.sock", "scratch", "containers", "status.json"
_HELLO_TIMEOUT_S = 10.0


@dataclass(slots=True)
class _Pod:
    """What is known of one sandbox; `channel` is None while no init of it runs."""

    spec: SandboxSpec
    folder: Path
    channel: Channel | None = None
    pidfd: int | None = None
    hello: asyncio.Event = field(default_factory=asyncio.Event)
    states: dict[str, ContainerState] = field(default_factory=dict)
    sessions: dict[int, ExecSession] = field(default_factory=dict)
    early_exits: dict[int, int] = field(default_factory=dict)
    attached: list[tuple[str, ExecSession]] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Runtime:
    """All sandboxes below one folder. Not safe for use from several event loops or by two processes at once."""

    def __init__(self, root: Path, *, netns_prefix: str) -> None:
        """`root` holds one state folder per pod uid; network namespaces must carry the prefix to be deleted here."""
        self._root = root
        self._prefix = netns_prefix
        self._pods: dict[str, _Pod] = {}
        self._callbacks: list[Callable[[str], None]] = []
        self._forks = forkclient.ForkServer(root)

    async def start(self) -> None:
        """Adopt every sandbox in the state folder. The fork server starts meanwhile; only the first sandbox waits for it."""
        self._root.mkdir(mode=0o755, parents=True, exist_ok=True)
        if netns.is_named():  # the node's, which hostNetwork pods share
            netns.permit_pods()
        found = []
        for folder in self._root.iterdir():
            try:
                spec = codec.decode((folder / _SPEC).read_bytes(), SandboxSpec)
            except (OSError, msgspec.DecodeError):
                continue
            self._pods[spec.uid] = pod = _Pod(spec, folder)
            found.append(self._adopt(pod))
        self._forks.launch()
        await asyncio.gather(*found)

    async def close(self) -> None:
        """Let go of everything; pods go on running."""
        pods, self._pods = self._pods, {}
        self._callbacks.clear()
        for pod in pods.values():
            self._disconnect(pod)
        await self._forks.close()

    async def create_netns(self, name: str) -> Path:
        """The network namespace /run/netns/`name`, loopback up, low ports and ping open to all users; idempotent."""
        self._check_prefix(name)
        path = netns.RUN / name
        await threads.in_thread(lambda: netns.create(path))
        return path

    async def delete_netns(self, name: str) -> None:
        """Remove the name of a network namespace; idempotent. The kernel ends it with its last process."""
        self._check_prefix(name)
        await threads.in_thread(lambda: netns.delete(netns.RUN / name))

    async def run_sandbox(self, spec: SandboxSpec) -> None:
        """Start the pod's init; a sandbox that runs is left alone. Raises RuntimeFault when it cannot start."""
        pod = self._pods.setdefault(spec.uid, _Pod(spec, self._root / spec.uid))
        async with pod.lock:
            if pod.channel is not None:
                return
            pod.spec = spec
            pod.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            _write(pod.folder / _SPEC, codec.encode(spec))
            try:
                await self._forks.spawn(spec)
            except OSError as error:
                raise RuntimeFault(f"cannot start pod {spec.namespace}/{spec.name}: {error}") from error
            await self._connect(pod)

    async def start_container(self, uid: str, spec: ContainerSpec) -> None:
        """Run one attempt; returns when its program runs. A sandbox whose init was killed is started again first.

        A program that cannot be started is no exception: the container is then exited with reason StartError. Raises
        SandboxMissing, RuntimeFault.
        """
        pod = self._pod(uid)
        if pod.channel is None:
            await self.run_sandbox(pod.spec)
        try:
            await self._request(pod, {"op": "start", "spec": spec})
        except ContainerMissing:
            raise
        except RuntimeFault as fault:
            state = pod.states.get(spec.name)
            if state is None or state.attempt != spec.attempt or state.reason != "StartError":
                raise fault from None

    async def signal_container(self, uid: str, container: str, signal: int) -> None:
        """Send a signal to the main process. One that is neither handled nor ignored ends even process 1.

        Raises SandboxMissing, or ContainerMissing when it does not run.
        """
        await self._request(self._pod(uid), {"op": "signal", "container": container, "signal": int(signal)})

    async def remove_sandbox(self, uid: str) -> None:
        """Kill everything in the sandbox and remove its state; idempotent. Returns when no process is left."""
        pod = self._pods.get(uid) or _Pod(_unknown(uid), self._root / uid)
        async with pod.lock:
            if pod.channel is None:
                with contextlib.suppress(OSError, RuntimeFault):
                    await self._connect(pod)
            self._pods.pop(uid, None)
            pidfd, pod.pidfd = pod.pidfd, None
            if pidfd is not None:
                await _kill_and_wait(pidfd)
            self._disconnect(pod)
            await asyncio.to_thread(_remove_state, pod.folder)

    def containers(self, uid: str) -> Mapping[str, ContainerState]:
        """The latest attempt of each container by name; empty for an unknown sandbox."""
        pod = self._pods.get(uid)
        return dict(pod.states) if pod is not None else {}

    def sandboxes(self) -> Mapping[str, SandboxSpec]:
        """All sandboxes by uid, also those whose init has been killed."""
        return {uid: pod.spec for uid, pod in self._pods.items()}

    def is_running(self, uid: str) -> bool:
        """Whether the sandbox exists and its init runs."""
        pod = self._pods.get(uid)
        return pod is not None and pod.channel is not None

    def fork_server_pid(self) -> int | None:
        """Process id of the fork server, None while none runs. Killing it costs the next sandbox some 100 ms."""
        return self._forks.pid

    def on_change(self, callback: Callable[[str], None]) -> None:
        """Call back with the pod's uid after each change of a container's state, from the event loop."""
        self._callbacks.append(callback)

    def command_exists(self, argv: Sequence[str], spec: ContainerSpec) -> bool:
        """Whether a container as `spec` could execute `argv`; needs no sandbox."""
        return command_exists(argv, spec, secrets=self._forks.secrets())

    async def exec(
        self, uid: str, container: str, argv: Sequence[str], *, tty: bool, stdin: bool, env: Mapping[str, str] = {}
    ) -> ExecSession:
        """Start a program in a running container's namespaces, root and user.

        Raises CommandMissing when it cannot be started, ContainerMissing when the container does not run, SandboxMissing.
        """
        pod = self._pod(uid)
        request = {"op": "exec", "container": container, "argv": list(argv), "tty": tty, "env": dict(env)}
        if tty:
            return await self._exec_on_terminal(pod, request, stdin)
        return await self._exec_on_pipes(pod, request, stdin)

    async def attach(self, uid: str, container: str, *, stdin: bool) -> ExecSession:
        """The running container's own streams from now on; `wait` gives the container's exit code."""
        pod = self._pod(uid)
        in_read, in_write = os.pipe2(os.O_CLOEXEC)
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        request = {"op": "attach", "container": container, "stdin": stdin}
        try:
            await self._request(pod, request, (in_read, out_write, err_write))
        except BaseException:
            _close(in_write, out_read, err_read)
            raise
        finally:
            _close(in_read, out_write, err_write)
        if not stdin:
            _close(in_write)

        async def on_kill() -> None:
            return

        async def on_resize(width: int, height: int) -> None:
            message = {"op": "resize", "container": container, "width": width, "height": height}
            with contextlib.suppress(RuntimeFault):
                await self._request(pod, message)

        session = ExecSession(
            outputs={out_read: STDOUT, err_read: STDERR}, stdin=in_write if stdin else None, console=None,
            on_kill=on_kill, on_resize=on_resize,
        )  # fmt: skip
        pod.attached.append((container, session))
        self._end_attachments(pod)
        return session

    async def dial(self, uid: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection to 127.0.0.1 or else ::1 at `port` in the pod's network namespace. Raises OSError when refused."""
        path = self._pod(uid).spec.netns
        loop = asyncio.get_running_loop()
        refusal: OSError | None = None
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):

            def make(family: socket.AddressFamily = family) -> socket.socket:
                return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

            sock = make() if path is None else await threads.inside(path, make)
            try:
                await loop.sock_connect(sock, (address, port))
                return await asyncio.open_connection(sock=sock)
            except OSError as error:
                sock.close()
                refusal = refusal or error
            except BaseException:
                sock.close()
                raise
        assert refusal is not None
        raise refusal

    async def _exec_on_pipes(self, pod: _Pod, request: wire.Message, stdin: bool) -> ExecSession:
        in_read, in_write = os.pipe2(os.O_CLOEXEC) if stdin else (os.open("/dev/null", os.O_RDONLY), -1)
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        try:
            number = await self._request(pod, request, (in_read, out_write, err_write))
        except BaseException:
            _close(in_write, out_read, err_read)
            raise
        finally:
            _close(in_read, out_write, err_write)
        outputs = {out_read: STDOUT, err_read: STDERR}
        return self._session(pod, number, outputs, in_write if stdin else None, None)

    async def _exec_on_terminal(self, pod: _Pod, request: wire.Message, stdin: bool) -> ExecSession:
        ours, theirs = socket.socketpair()
        with ours:
            try:
                number = await self._request(pod, request, (theirs.fileno(),))
            finally:
                theirs.close()
            # The child sent it before its program started, so it is here already.
            ours.setblocking(False)
            master = wire.receive(ours, wire.Decoder())[0]["fds"][0]
        return self._session(pod, number, {master: STDOUT}, master if stdin else None, master)

    def _session(
        self, pod: _Pod, number: int, outputs: dict[int, int], stdin: int | None, console: int | None
    ) -> ExecSession:
        async def on_kill() -> None:
            with contextlib.suppress(RuntimeFault):
                await self._request(pod, {"op": "kill", "exec": number})

        session = ExecSession(outputs=outputs, stdin=stdin, console=console, on_kill=on_kill)
        if number in pod.early_exits:
            session.set_exit(pod.early_exits.pop(number))
        elif pod.channel is None:
            session.set_exit(128 + signal.SIGKILL)
        else:
            pod.sessions[number] = session
        return session

    def _pod(self, uid: str) -> _Pod:
        pod = self._pods.get(uid)
        if pod is None:
            raise SandboxMissing(f'sandbox "{uid}" not found')
        return pod

    def _check_prefix(self, name: str) -> None:
        if not name.startswith(self._prefix) or "/" in name:
            raise ValueError(
                f"network namespace {name!r} is not one of this lab's: its name must begin with {self._prefix!r}"
            )

    async def _request(self, pod: _Pod, message: wire.Message, fds: tuple[int, ...] = ()) -> int:
        """Ask the pod's init and return the request's number."""
        if pod.channel is None:
            raise ContainerMissing(f'pod "{pod.spec.name}" has no running containers')
        try:
            return int((await pod.channel.request(message, fds))["id"])
        except wire.Closed:
            raise RuntimeFault(f'the init of pod "{pod.spec.name}" has ended') from None

    async def _adopt(self, pod: _Pod) -> None:
        for status in pod.folder.glob(f"{_CONTAINERS}/*/{_STATUS}"):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                state = codec.decode(status.read_bytes(), ContainerState)
                pod.states[state.name] = state
        try:
            await self._connect(pod)
        except (OSError, RuntimeFault):
            self._bury(pod)

    async def _connect(self, pod: _Pod) -> None:
        """Connect to a running init. Raises OSError when there is none, RuntimeFault when it does not speak."""
        pod.hello = asyncio.Event()
        channel = Channel.connect(
            pod.folder, _SOCKET, lambda message: self._event(pod, message), lambda: self._lost(pod, channel)
        )
        pod.channel = channel
        try:
            pod.pidfd = os.pidfd_open(channel.peer_pid())
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                await pod.hello.wait()
        except TimeoutError:
            raise RuntimeFault(f'the init of pod "{pod.spec.name}" does not answer') from None
        if not channel.is_open:
            raise RuntimeFault(f'the init of pod "{pod.spec.name}" died while it started')

    def _disconnect(self, pod: _Pod) -> None:
        channel, pod.channel = pod.channel, None
        if channel is not None:
            channel.close()
        if pod.pidfd is not None:
            os.close(pod.pidfd)
            pod.pidfd = None
        for session in [*pod.sessions.values(), *(session for _name, session in pod.attached)]:
            session.set_exit(128 + signal.SIGKILL)
        pod.sessions.clear()
        pod.attached.clear()

    def _event(self, pod: _Pod, message: wire.Message) -> None:
        match message.get("event"):
            case "states":
                for entry in message["states"]:
                    state = codec.convert(entry, ContainerState)
                    pod.states[state.name] = state
                pod.hello.set()
            case "state":
                state = codec.convert(message["state"], ContainerState)
                pod.states[state.name] = state
                self._end_attachments(pod)
                self._notify(pod)
            case "exec":
                session = pod.sessions.pop(message["exec"], None)
                if session is not None:
                    session.set_exit(message["code"])
                else:
                    pod.early_exits[message["exec"]] = message["code"]

    def _end_attachments(self, pod: _Pod) -> None:
        for name, session in list(pod.attached):
            state = pod.states[name]
            if state.state == "exited":
                pod.attached.remove((name, session))
                session.set_exit(state.exit_code if state.exit_code is not None else 128)

    def _lost(self, pod: _Pod, channel: Channel) -> None:
        """The connection has ended: either this runtime hung up, or the init is dead and with it all its processes."""
        pod.hello.set()
        if pod.channel is channel:
            log.info("pod's init has ended", extra={"pod": f"{pod.spec.namespace}/{pod.spec.name}"})
            self._disconnect(pod)
            self._bury(pod)

    def _bury(self, pod: _Pod) -> None:
        """Mark as killed what a dead init can no longer report."""
        for name, state in list(pod.states.items()):
            if state.state == "exited":
                continue
            pod.states[name] = dead = replace(
                state, state="exited", pid=None, exit_code=128 + signal.SIGKILL, signal=int(signal.SIGKILL),
                finished_at=time.time(), reason="Error", message="the pod's init process was killed",
            )  # fmt: skip
            with contextlib.suppress(OSError):
                _write(pod.folder / _CONTAINERS / name / _STATUS, codec.encode(dead))
        self._notify(pod)

    def _notify(self, pod: _Pod) -> None:
        for callback in self._callbacks:
            callback(pod.spec.uid)


def _unknown(uid: str) -> SandboxSpec:
    """Stands for a folder whose sandbox.json is lost."""
    return SandboxSpec(uid=uid, namespace="", name=uid, hostname="", netns=None, resolv_conf="", hosts="")


async def _kill_and_wait(pidfd: int) -> None:
    """SIGKILL, wait for the end (process 1 of a namespace ends after all others in it) and close the descriptor."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _remove_state(folder: Path) -> None:
    """Remove what the runtime made in a pod's folder, and the folder if nothing else is in it."""
    for name in (_SPEC, _SOCKET):
        (folder / name).unlink(missing_ok=True)
    for name in (_SCRATCH, _CONTAINERS):
        shutil.rmtree(folder / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _write(path: Path, data: bytes) -> None:
    """Replace a file atomically, readable by its owner only."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(data)
    fresh.chmod(0o600)
    fresh.replace(path)


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)
