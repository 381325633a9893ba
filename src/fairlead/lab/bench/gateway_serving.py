"""What a request costs: our configuration against one that a person would write for the same Envoy, and nginx and haproxy where they are found.

The hand-written one is of a single host and has what Envoy's documentation advises at the edge, with our retries and our way of sharing
requests out; it counts all that Envoy counts by default, or nothing, as a second peer. It has neither what removes forged headers nor places
for policies. One backend, an Envoy that answers by itself, and one load generator for all of them, in turns; the server under load has a processor of its
own where there are two. All of it on loopback, and all of it is ended when the measurement is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from fairlead.base.errors import UserError
from fairlead.drivers.xds.process import package
from fairlead.lab import ports
from fairlead.lab.bench.processes import cpu_s
from fairlead.lab.bench.report import Measurement

Step = Callable[[str], contextlib.AbstractContextManager[None]]

OURS, PEER, SILENT = "fairlead", "hand-written", "hand-written, no counters"
_OTHERS = ("nginx", "haproxy")
"""Programs that are Debian packages of the same name."""
_CONNECTIONS = 16
_START_S, _POLL_S = 20.0, 0.02
_FIRST_PORT = 21000
_TYPE = "type.googleapis.com/"
_MILLISECONDS: Mapping[str, float] = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Target(msgspec.Struct, frozen=True):
    """A server that hands requests on to the backend."""

    pid: int
    port: int


class Sample(msgspec.Struct, frozen=True):
    """One round of one server."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of the server for one request."""


def require() -> None:
    """Raise UserError without the load generator."""
    if shutil.which("wrk") is None:
        raise UserError("there is no wrk to make the load", fix="apt-get install wrk")


def absent() -> list[str]:
    """Return what to say of peers that are not installed."""
    missing = [each for each in _OTHERS if shutil.which(each, path=_path()) is None]
    return [f"{each} is not there and not measured; apt-get install {each}" for each in missing]


@contextlib.asynccontextmanager
async def backend(folder: Path) -> AsyncIterator[int]:
    """Run what answers every request; yield its port."""
    with ports.chosen(_FIRST_PORT) as port:
        answer = {"status": 200, "body": {"inline_string": "hello\n"}}
        route = {"match": {"prefix": "/"}, "direct_response": answer}
        async with _running(_envoy(folder, "*", port, route, []), port, processor=1):
            yield port


async def serving(
    folder: Path, ours: Target, host: str, path: str, backend_port: int, rounds: int, seconds: int, step: Step
) -> list[Measurement]:
    """Measure requests for `host` and `path` through our Envoy and the peers."""
    samples: dict[str, list[Sample]] = {}
    async with contextlib.AsyncExitStack() as stack:
        targets = {OURS: ours}
        _pin(ours.pid)
        for name, command in _peers(folder, host, backend_port).items():
            port = stack.enter_context(ports.chosen(_FIRST_PORT))
            pid = await stack.enter_async_context(_running(command(port), port, processor=0))
            targets[name] = Target(pid, port)
        for number in range(rounds):
            # To and fro: whatever a server leaves behind it leaves to each of its neighbors.
            for name, target in list(targets.items())[:: -1 if number % 2 else 1]:
                with step(f"requests, round {number + 1} of {rounds}: {name}"):
                    samples.setdefault(name, []).append(await _load(target, host, path, seconds))
    return list(_rows(samples))


def _rows(samples: Mapping[str, Sequence[Sample]]) -> Iterator[Measurement]:
    for metric, unit, key, better in (
        ("requests", "1/s", "per_second", 1),
        ("request, p50", "ms", "p50_ms", -1),
        ("request, p99", "ms", "p99_ms", -1),
        ("processor time per request", "µs", "cpu_us", -1),
    ):
        values = {name: [getattr(each, key) for each in found] for name, found in samples.items()}
        # Of the same round: the machine may be busier in another.
        ratios = [(mine / theirs) ** better for mine, theirs in zip(values[OURS], values[PEER], strict=True)]
        for name, found in values.items():
            against, ratio = (PEER, median(ratios)) if name == OURS else (None, None)
            yield Measurement(
                case=f"serving: {name}", metric=metric, value=median(found), unit=unit, against=against, ratio=ratio
            )


async def _load(target: Target, host: str, path: str, seconds: int) -> Sample:
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--latency", "-H", f"Host: {host}"]
    before = cpu_s(target.pid)
    process = await asyncio.create_subprocess_exec(
        *(*_on(1), *command, f"http://127.0.0.1:{target.port}{path}"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    return _sample(output, cpu_s(target.pid) - before)


def _sample(output: str, spent_s: float) -> Sample:
    """Read the load generator's report; raises UserError when requests failed."""
    count = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    latency = {name: _ms(*found) for name, *found in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s|m)\b", output)}
    if count is None or rate is None or len(latency) != 2 or not int(count[1]) or "Non-2xx" in output:
        raise UserError(f"requests failed: {output.strip()}")
    return Sample(float(rate[1]), latency["50"], latency["99"], spent_s / int(count[1]) * 1e6)


def _ms(number: str, unit: str) -> float:
    return float(number) * _MILLISECONDS[unit]


def _peers(folder: Path, host: str, backend_port: int) -> dict[str, Callable[[int], list[str]]]:
    others = f"{_TYPE}envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    retries = {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 5,
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": others}}
        ],
        "host_selection_retry_max_attempts": 10,
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s", "retry_policy": retries}}
    found: dict[str, Callable[[int], list[str]]] = {
        PEER: lambda port: _envoy(folder, host, port, route, [_cluster(backend_port)]),
        SILENT: lambda port: _envoy(folder, host, port, route, [_cluster(backend_port)], counts=False),
    }
    if program := shutil.which("nginx", path=_path()):
        found["nginx"] = lambda port: _nginx(program, folder, port, backend_port)
    if other := shutil.which("haproxy", path=_path()):
        found["haproxy"] = lambda port: _haproxy(other, folder, port, backend_port)
    return found


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _envoy(
    folder: Path,
    domain: str,
    port: int,
    route: dict[str, Any],
    clusters: list[dict[str, Any]],
    *,
    counts: bool = True,
) -> list[str]:
    """Return an Envoy of one host, as its documentation advises for proxies at the edge."""
    router: dict[str, Any] = {"@type": f"{_TYPE}envoy.extensions.filters.http.router.v3.Router"}
    if not counts:
        router["dynamic_stats"] = False
    manager = {
        "@type": f"{_TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "common_http_protocol_options": {"idle_timeout": "300s", "headers_with_underscores_action": "REJECT_REQUEST"},
        "stream_idle_timeout": "300s",
        "request_headers_timeout": "10s",
        "route_config": {"virtual_hosts": [{"name": domain, "domains": [domain], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "edge", "address": _address(port), "filter_chains": [{"filters": filters}]}
    config: dict[str, Any] = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    if not counts:
        config["stats_config"] = {"stats_matcher": {"reject_all": True}}
    path = folder / f"envoy-{port}.json"
    path.write_bytes(msgspec.json.encode(config))
    return [
        str(package()[0]),
        "-c",
        str(path),
        "--disable-hot-restart",
        "--concurrency",
        str(len(os.sched_getaffinity(0))),
        "--log-level",
        "error",
    ]


def _cluster(port: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    assignment = {"cluster_name": "backend", "endpoints": endpoints}
    return {
        "name": "backend",
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "5s",
        "load_assignment": assignment,
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _nginx(program: str, folder: Path, port: int, backend_port: int) -> list[str]:
    places = "".join(
        f"{each}_temp_path {folder}/nginx-{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"""daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; {places}
  upstream backend {{ server 127.0.0.1:{backend_port}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
    }}
  }}
}}
"""
    )
    return [program, "-e", f"{folder}/nginx.log", "-c", str(path)]


def _haproxy(program: str, folder: Path, port: int, backend_port: int) -> list[str]:
    path = folder / "haproxy.cfg"
    path.write_text(
        f"""global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen edge
  bind 127.0.0.1:{port}
  server backend 127.0.0.1:{backend_port}
"""
    )
    return [program, "-db", "-q", "-f", str(path)]


@contextlib.asynccontextmanager
async def _running(command: Sequence[str], port: int, *, processor: int) -> AsyncIterator[int]:
    """Run a server and wait until it listens; yield its process. Raises UserError with what it says when it ends before."""
    with tempfile.TemporaryFile() as said:
        # A session of its own, as the proxy has: the kernel shares a processor out among sessions.
        process = await asyncio.create_subprocess_exec(
            *(*_on(processor), *command),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + _START_S
            while not await _listens(port):
                if process.returncode is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise UserError(f"{command[0]} does not serve: {said.read().decode(errors='replace').strip()}")
                await asyncio.sleep(_POLL_S)
            yield process.pid
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.transport.abort()
    return True


def _on(index: int) -> list[str]:
    """Return the words that start a program on one processor: where gRPC has threads, no code may run between fork and exec."""
    return ["taskset", "--cpu-list", str(_processor(index))]


def _pin(pid: int) -> None:
    """Put a process that runs already on the processor of the servers under load."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {_processor(0)})


def _processor(index: int) -> int:
    processors = sorted(os.sched_getaffinity(0))
    return processors[index % len(processors)]
