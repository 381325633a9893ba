"""Process 1 of a pod: starts, signals, reaps and logs its containers, and keeps doing so while no kubelet runs.

It alone knows how a container ended, so it writes every change to the container's `status.json` before it tells anybody. Killing
it is the way to end a pod: the kernel then kills everything in the pod's PID namespace. It must never wait for a
container, a client or a kubelet, and must import nothing after it was forked.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead.lab.loop import Loop
from fairlead.lab.runtime import codec, process, wire
from fairlead.lab.runtime.children import Beside, Container, PidNamespaces, Report, kill_leftovers, mount_namespace
from fairlead.lab.runtime.crilog import CriLog
from fairlead.lab.runtime.layers import Layers
from fairlead.lab.runtime.peer import Peer
from fairlead.lab.runtime.spec import LOG_MAX_BYTES, ContainerSpec, ContainerState, SandboxSpec
from fairlead.lab.runtime.streams import Streams

SCRATCH = "scratch"
"""Empty folder in the pod's state folder over which each container's process mounts its own tmpfs, unseen by others."""


class _Refused(Exception):
    """A request cannot be fulfilled; `kind` tells the runtime which exception to raise."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class PodInit:
    """The init of one pod; `folder` is the pod's state folder, `listener` its listening socket."""

    def __init__(self, sandbox: SandboxSpec, layers: Layers, folder: Path, listener: socket.socket) -> None:
        self._sandbox, self._layers, self._folder, self._listener = sandbox, layers, folder, listener
        self._loop = Loop()
        self._loop.on_child(self._exited)
        self._peers: set[Peer] = set()
        self._containers: dict[str, Container] = {}
        self._by_pid: dict[int, Container | Beside] = {}
        self._namespaces = PidNamespaces()
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve until killed."""
        self._listener.setblocking(False)
        self._loop.add(self._listener.fileno(), select.EPOLLIN, self._accept)
        self._loop.run()

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        peer = Peer(self._loop, sock, self._request, self._gone)
        self._peers.add(peer)
        peer.send({"event": "states", "states": [entry.state for entry in self._containers.values()]})

    def _gone(self, peer: Peer) -> None:
        self._peers.discard(peer)
        for pid, child in self._by_pid.items():
            if isinstance(child, Beside) and child.peer is peer:
                os.kill(pid, signal.SIGKILL)

    def _request(self, peer: Peer, message: wire.Message) -> None:
        handler = getattr(self, f"_on_{message['op']}")
        try:
            answer = handler(peer, message)
        except _Refused as refusal:
            answer = {"error": str(refusal), "kind": refusal.kind}
        except OSError as error:
            answer = {"error": f"{message['op']}: {error.strerror}", "kind": "fault"}
        finally:
            for fd in message["fds"]:
                os.close(fd)
        if answer is not None:
            peer.send({"id": message["id"], **answer})

    # Requests. Each returns the answer, or None when it comes later.

    def _on_start(self, peer: Peer, message: wire.Message) -> dict[str, Any] | None:
        spec = codec.convert(message["spec"], ContainerSpec)
        current = self._containers.get(spec.name)
        if current is not None and current.state.state != "exited":
            raise _Refused("fault", f'container "{spec.name}" is still {current.state.state}')
        streams = Streams(self._loop, CriLog(str(spec.log_path), LOG_MAX_BYTES))
        stdio = None if spec.tty else self._pipes(spec, streams)
        own, childs = socket.socketpair()
        sandbox, layers, scratch = self._sandbox, self._layers, str(self._folder / SCRATCH)
        try:
            pid = self._namespaces.fork(
                lambda: process.run_container(sandbox, spec, layers, scratch, stdio, childs),
                new=not sandbox.share_pids,
            )
        except OSError:
            own.close()
            streams.finish()
            raise
        finally:
            childs.close()
            for fd in set(stdio or ()) - {self._null}:
                os.close(fd)
        container = Container(
            spec=spec, streams=streams, pidfd=os.pidfd_open(pid),
            state=ContainerState(name=spec.name, attempt=spec.attempt, state="created"),
            answer=lambda answer: peer.send({"id": message["id"], **answer}),
        )  # fmt: skip
        self._containers[spec.name] = self._by_pid[pid] = container
        self._publish(container, container.state)
        container.report = Report(self._loop, own, lambda news: self._container_news(container, news))
        return None

    def _on_signal(self, _peer: Peer, message: wire.Message) -> dict[str, Any]:
        container, number = self._running(message["container"]), message["signal"]
        if not self._sandbox.share_pids and container.would_ignore(number):
            container.killed_as, number = number, signal.SIGKILL
        try:
            signal.pidfd_send_signal(container.pidfd, number)
        except ProcessLookupError:  # it has just ended; its exit is on the way
            pass
        return {}

    def _on_exec(self, peer: Peer, message: wire.Message) -> None:
        container, fds = self._running(message["container"]), message["fds"]
        own, report = socket.socketpair()
        stdio = None if message["tty"] else (fds[0], fds[1], fds[2])
        console = socket.socket(fileno=os.dup(fds[0])) if message["tty"] else report
        sandbox, spec, pidfd = self._sandbox, container.spec, container.pidfd
        argv, env = message["argv"], message["env"]
        try:
            pid = self._namespaces.fork(
                lambda: process.run_beside(sandbox, spec, pidfd, argv, env, stdio, report, console),
                enter=None if sandbox.share_pids else pidfd,
            )
        except OSError:
            own.close()
            raise
        finally:
            report.close()
            console.close()
        beside = self._by_pid[pid] = Beside(message["id"], peer)
        beside.report = Report(self._loop, own, lambda news: self._beside_news(beside, news))

    def _on_kill(self, peer: Peer, message: wire.Message) -> dict[str, Any]:
        for pid, child in self._by_pid.items():
            if isinstance(child, Beside) and child.peer is peer and child.number == message["exec"]:
                os.kill(pid, signal.SIGKILL)
        return {}

    def _on_attach(self, _peer: Peer, message: wire.Message) -> dict[str, Any]:
        container, fds = self._running(message["container"]), message["fds"]
        stdin = os.dup(fds[0]) if message["stdin"] else None
        container.streams.attach(stdin, os.dup(fds[1]), os.dup(fds[2]))
        return {}

    def _on_resize(self, _peer: Peer, message: wire.Message) -> dict[str, Any]:
        self._running(message["container"]).streams.resize(message["width"], message["height"])
        return {}

    def _running(self, name: str) -> Container:
        container = self._containers.get(name)
        if container is None:
            raise _Refused("container", f'container "{name}" not found in pod "{self._sandbox.name}"')
        if container.state.state != "running":
            raise _Refused("container", f'container "{name}" is not running: it is {container.state.state}')
        return container

    def _pipes(self, spec: ContainerSpec, streams: Streams) -> process.Stdio:
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        streams.add_output(out_read, "stdout")
        streams.add_output(err_read, "stderr")
        if not spec.stdin:
            return self._null, out_write, err_write
        in_read, in_write = os.pipe2(os.O_CLOEXEC)
        streams.set_input(in_write, spec.stdin_once)
        return in_read, out_write, err_write

    # What children report and how they end.

    def _container_news(self, container: Container, news: wire.Message | None) -> None:
        if news is None:
            if container.failure is None:
                container.mount_namespace = mount_namespace(container.state.pid)
                self._publish(container, container.started())
                container.answer({})
        elif "host_pid" in news:
            container.state = replace(container.state, pid=news["host_pid"])
        elif "console" in news:
            container.streams.set_console(news["fds"][0])
        else:
            container.failure = (
                f"OCI runtime create failed: unable to start container process: {news['error']}: unknown"
            )

    def _beside_news(self, beside: Beside, news: wire.Message | None) -> None:
        if news is not None:
            beside.failure = (
                f"OCI runtime exec failed: exec failed: unable to start container process: {news['error']}: unknown"
            )
        elif beside.failure is None:
            beside.peer.send({"id": beside.number})
        else:
            beside.peer.send({"id": beside.number, "error": beside.failure, "kind": "command"})

    def _exited(self, pid: int, code: int) -> None:
        child = self._by_pid.pop(pid, None)
        if child is None:  # an orphan of a pod that shares its PID namespace
            return
        if child.report is not None:
            child.report.drain()
        if isinstance(child, Beside):
            if child.failure is None:
                child.peer.send({"event": "exec", "exec": child.number, "code": code if code >= 0 else 128 - code})
            return
        os.close(child.pidfd)
        if self._sandbox.share_pids:
            kill_leftovers(child.mount_namespace)
        child.streams.finish()
        self._publish(child, child.ended(code))
        if child.failure is not None:
            child.answer({"error": child.failure, "kind": "start"})

    def _publish(self, container: Container, state: ContainerState) -> None:
        container.state = state
        folder = self._folder / "containers" / state.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fresh = folder / "status.json.new"
            fresh.write_bytes(codec.encode(state))
            fresh.replace(folder / "status.json")
        except OSError:  # a full disk or a folder that is being removed: the peers still learn it
            pass
        for peer in list(self._peers):
            peer.send({"event": "state", "state": state})
