"""The runtime's handle on its fork server: started when needed, started again when it has died."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

from fairlead.lab.runtime import wire
from fairlead.lab.runtime.channel import Channel
from fairlead.lab.runtime.layers import FOLDER
from fairlead.lab.runtime.spec import RuntimeFault, SandboxSpec

_ENVIRONMENT = ("FAIRLEAD_LAB", "FAIRLEAD_HOME", "PATH", "PYTHONPATH", "LANG")
"""What inits inherit; FAIRLEAD_LAB is how `fairlead down` finds them."""


class ForkServer:
    """Spawns pods' inits below `root`. Pods do not depend on it once they run."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs now."""
        return self._process.pid if self._process is not None and self._channel is not None else None

    def launch(self) -> None:
        """Start a server unless one runs; does not wait for it. Raises OSError when processes are exhausted."""
        if self._channel is None or not self._channel.is_open:
            self._launch()

    async def ready(self) -> None:
        """Make sure that a server runs. Raises RuntimeFault naming its log when it does not come up."""
        self.launch()
        assert self._ready is not None
        try:
            await asyncio.shield(self._ready)
        except wire.Closed:
            raise RuntimeFault(f"the fork server did not start: see {self._log()}") from None

    async def spawn(self, spec: SandboxSpec) -> int:
        """Fork the init of a pod and return its process id once it listens on its socket."""
        await self.ready()
        assert self._channel is not None
        fds = () if spec.netns is None else (os.open(spec.netns, os.O_RDONLY | os.O_CLOEXEC),)
        try:
            answer = await self._channel.request({"op": "sandbox", "spec": spec}, fds)
        except wire.Closed:
            raise RuntimeFault("the fork server died while it started a pod") from None
        finally:
            for fd in fds:
                os.close(fd)
        pid: int = answer["pid"]
        return pid

    async def close(self) -> None:
        """End the server and wait until it has gone; pods stay."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)

    def secrets(self) -> tuple[str, ...]:
        """Folders with keys and other pods' state, which no container may see."""
        home = os.environ.get("FAIRLEAD_HOME") or str(Path("~/.fairlead").expanduser())
        return tuple(path for path in (home, os.environ.get("FAIRLEAD_LAB"), str(self._root)) if path)

    def _log(self) -> Path:
        return self._root / "forkserver.log"

    def _launch(self) -> None:
        self._reap()
        ours, theirs = socket.socketpair()
        env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        (self._root / FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)
        with theirs, self._log().open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fairlead.lab.runtime.forkserver", str(theirs.fileno()), self._root, *self.secrets()],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd="/",
            )  # fmt: skip
        ready = self._ready = asyncio.get_running_loop().create_future()

        def on_event(message: wire.Message) -> None:
            if message.get("ready") and not ready.done():
                ready.set_result(None)

        def on_close() -> None:
            if not ready.done():
                ready.set_exception(wire.Closed())
                ready.exception()  # nobody may be waiting yet

        self._channel = Channel(ours, on_event, on_close)

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
