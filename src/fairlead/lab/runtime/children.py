"""The children of a pod's init: containers' main processes and programs executed beside them.

Only the init process uses this. Forking, entering PID namespaces and judging an exit live here; requests and peers in
`init`. Nothing here may wait for a child.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairlead.lab.loop import Loop
from fairlead.lab.runtime import kernel, wire
from fairlead.lab.runtime.peer import Peer
from fairlead.lab.runtime.spec import ContainerSpec, ContainerState
from fairlead.lab.runtime.streams import Streams

_PASSIVE = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT, signal.SIGSTOP, signal.SIGKILL}


class Report:
    """What a child tells before its program starts; `on_news` gets each message, then None once at the end."""

    def __init__(self, loop: Loop, sock: socket.socket, on_news: Callable[[wire.Message | None], None]) -> None:
        sock.setblocking(False)
        self._loop, self._sock, self._on_news = loop, sock, on_news
        self._decoder = wire.Decoder()
        self._open = True
        loop.add(sock.fileno(), select.EPOLLIN, lambda _events: self.drain())

    def drain(self) -> None:
        """Deliver everything that has arrived; after the child's death that includes the end."""
        while self._open:
            try:
                for message in wire.receive(self._sock, self._decoder):
                    self._on_news(message)
            except BlockingIOError:
                return
            except wire.Closed:
                self._open = False
                self._loop.remove(self._sock.fileno())
                self._sock.close()
                self._on_news(None)


@dataclass(slots=True)
class Container:
    """A container's latest attempt with the handles the init holds."""

    spec: ContainerSpec
    state: ContainerState
    streams: Streams
    pidfd: int
    answer: Callable[[dict[str, Any]], None]
    """Replies to the request that started it, once."""
    report: Report | None = None
    mount_namespace: str | None = None
    failure: str | None = None
    killed_as: int | None = None
    """The signal whose default action was carried out with SIGKILL."""

    def started(self) -> ContainerState:
        """The state once the program runs."""
        return replace(self.state, state="running", started_at=time.time())

    def ended(self, code: int) -> ContainerState:
        """The state after the main process ended with a code of os.waitstatus_to_exitcode."""
        now = time.time()
        if self.failure is not None:
            return replace(
                self.state, state="exited", pid=None, exit_code=128, finished_at=now,
                reason="StartError", message=self.failure,
            )  # fmt: skip
        killer = -code if code < 0 else 0
        if killer == signal.SIGKILL and self.killed_as is not None:
            killer = self.killed_as
        exit_code = 128 + killer if killer else code
        return replace(
            self.state, state="exited", pid=None, exit_code=exit_code, signal=killer or None, finished_at=now,
            reason="Error" if exit_code else "Completed",
        )  # fmt: skip

    def would_ignore(self, number: int) -> bool:
        """Whether the kernel would drop the signal only because its target is process 1 of its namespace.

        A program that neither handles nor ignores SIGTERM expects to die by it. As process 1 it would sit out the whole
        grace period instead; a lab has better things to do than to wait 30 s for each `sleep`.
        """
        if number in _PASSIVE:
            return False
        try:
            text = Path(f"/proc/{self.state.pid}/status").read_text()
        except OSError:
            return False
        masks = [int(line.split()[1], 16) for line in text.splitlines() if line.startswith(("SigIgn", "SigCgt"))]
        return not any(mask >> (number - 1) & 1 for mask in masks)


@dataclass(slots=True)
class Beside:
    """A program executed beside a container's main process."""

    number: int
    """The request's id, by which its peer knows it."""
    peer: Peer
    report: Report | None = None
    failure: str | None = None


class PidNamespaces:
    """Forks children into PID namespaces below the init's own."""

    def __init__(self) -> None:
        self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def fork(self, child: Callable[[], object], *, enter: int | None = None, new: bool = False) -> int:
        """Fork into a new namespace, that of the process behind the pidfd `enter`, or the init's own; returns the child's pid.

        `child` must not return. Raises OSError when the namespace has ended or processes are exhausted.
        """
        if new:
            kernel.unshare(kernel.CLONE_NEWPID)
        elif enter is not None:
            kernel.setns(enter, kernel.CLONE_NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    child()
                finally:
                    os._exit(1)
            return pid
        finally:
            kernel.setns(self._own, kernel.CLONE_NEWPID)


def mount_namespace(pid: int | None) -> str | None:
    """Identity of a process's mount namespace by its pid on the host, which each container has to itself."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")  # noqa: PTH115
    except OSError:
        return None


def kill_leftovers(namespace: str | None) -> None:
    """Kill what an ended container of a pod with one shared PID namespace has left running. Costs a walk of /proc."""
    for entry in os.scandir("/proc") if namespace else ():
        if entry.name.isdigit() and mount_namespace(int(entry.name)) == namespace:
            try:
                fd = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                # The init cannot name a host's pid, but a /proc folder is as good as a pidfd.
                if mount_namespace(int(entry.name)) == namespace:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            except OSError:
                pass
            finally:
                os.close(fd)
