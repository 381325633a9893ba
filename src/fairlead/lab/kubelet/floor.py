"""What the kubelet needs from a container runtime: the floor that tests replace by one in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fairlead.lab.runtime.spec import ContainerSpec, ContainerState, SandboxSpec


class Session(Protocol):
    """A process that somebody talks to: exec or attach."""

    async def read(self) -> tuple[int, bytes] | None:
        """Return (1 for stdout or 2 for stderr, bytes), None at the end of both."""

    async def write(self, data: bytes) -> None:
        """Send to standard input."""

    def close_stdin(self) -> None:
        """Declare standard input ended."""

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters."""

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""

    async def kill(self) -> None:
        """End the process at once."""


class Floor(Protocol):
    """Sandboxes and containers of one node; they outlive this process."""

    async def start(self) -> None:
        """Adopt what runs already."""

    async def close(self) -> None:
        """Let go of everything and leave it running."""

    async def create_netns(self, name: str) -> Path:
        """Make a network namespace for a pod and return its path."""

    async def delete_netns(self, name: str) -> None:
        """Remove it; fine when it is not there."""

    async def run_sandbox(self, spec: SandboxSpec) -> None:
        """Start a pod's init process; fine when it runs."""

    async def remove_sandbox(self, uid: str) -> None:
        """End whatever runs in the pod; fine when nothing does. Logs stay."""

    async def start_container(self, uid: str, spec: ContainerSpec) -> None:
        """Start one attempt of a container."""

    async def signal_container(self, uid: str, container: str, signal: int) -> None:
        """Send a signal to the container's main process."""

    def sandboxes(self) -> Mapping[str, SandboxSpec]:
        """Return pod uid → sandbox, also for those whose init was killed: starting a container starts it again."""

    def command_exists(self, argv: Sequence[str], spec: ContainerSpec) -> bool:
        """Tell whether a container as `spec` could execute `argv`."""

    def containers(self, uid: str) -> Mapping[str, ContainerState]:
        """Return name → latest attempt."""

    def on_change(self, callback: Callable[[str], None]) -> None:
        """Call `callback(uid)` after every change of a container's state."""

    async def exec(
        self,
        uid: str,
        container: str,
        argv: Sequence[str],
        *,
        tty: bool,
        stdin: bool,
        env: Mapping[str, str] = ...,
    ) -> Session:
        """Run a command inside a running container."""

    async def attach(self, uid: str, container: str, *, stdin: bool) -> Session:
        """Join the streams of a container's main process."""

    async def dial(self, uid: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a port of the pod's loopback address."""
