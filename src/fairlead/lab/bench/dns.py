"""How many questions a second the node's resolver answers, against unbound with one thread on the same names.

Server and asking side are two network namespaces of the benchmark's own, joined by a veth pair; each has a processor of its own where
there are two. Rounds of both servers alternate and medians are reported. It must never touch the namespace that it was started in.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec

from fairlead.base.errors import UserError
from fairlead.drivers.dns import wire
from fairlead.lab.bench.dns_load import names, question
from fairlead.lab.bench.processes import CLIENTS, SERVERS, cpu_s, on
from fairlead.lab.bench.report import Measurement, Report, machine
from fairlead.lab.netns import make_socket

SERVER, CLIENT = "10.99.0.1", "10.99.0.2"
_START_S = 20.0

Step = Callable[[str], contextlib.AbstractContextManager[None]]


class Sample(msgspec.Struct, frozen=True):
    """One round of one server."""

    per_second: float
    cpu_us: float
    """Processor time of the server for one question."""


def run(*, count: int, rounds: int, seconds: float, step: Step) -> Report:
    """Measure and report; `step` shows progress. Raises UserError without unbound."""
    if shutil.which("unbound", path=_path()) is None:
        raise UserError("there is no unbound to compare with", fix="apt-get install unbound")
    samples: dict[str, list[Sample]] = {"fairlead": [], "unbound": []}
    with _places() as (server, client), tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder:
        commands = {"fairlead": _ours(count), "unbound": _unbound(Path(folder), count)}
        for number in range(rounds):
            for name, command in commands.items():
                with step(f"round {number + 1} of {rounds}: {name}"):
                    samples[name].append(_measure(command, server, client, count, seconds))
    case = f"{count} names"
    rows: list[Measurement] = []
    for metric, unit, key, better in (
        ("queries", "1/s", "per_second", 1),
        ("processor time per query", "µs", "cpu_us", -1),
    ):
        ours, theirs = (median(getattr(each, key) for each in samples[name]) for name in ("fairlead", "unbound"))
        rows.append(Measurement(case=f"unbound, one thread, {case}", metric=metric, value=theirs, unit=unit))
        ratio = (ours / theirs) ** better
        rows.append(
            Measurement(case=f"fairlead, {case}", metric=metric, value=ours, unit=unit, against="unbound", ratio=ratio)
        )
    return Report(name="dns", machine=machine(), rows=tuple(rows))


def _measure(command: Sequence[str], server: Path, client: Path, count: int, seconds: float) -> Sample:
    with _running(command, server) as process:
        _wait_until_answering(client, count, process)
        load = [f"--net={client}", sys.executable, "-m", "fairlead.lab.bench.dns_load", SERVER, str(count)]
        _asked(load, 0.5)
        # nsenter has become the server by exec.
        before = cpu_s(process.pid)
        found = _asked(load, seconds)
        spent_s = cpu_s(process.pid) - before
    if not found["answered"]:
        raise UserError(f"{command[0]} answered nothing")
    return Sample(found["answered"] / found["seconds"], spent_s / found["answered"] * 1e6)


def _asked(load: Sequence[str], seconds: float) -> dict[str, float]:
    with on(CLIENTS):
        done = subprocess.run(["nsenter", *load, str(seconds)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the load generator failed: {done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def _running(command: Sequence[str], namespace: Path) -> Iterator[subprocess.Popen[bytes]]:
    with on(SERVERS):
        process = subprocess.Popen(
            ["nsenter", f"--net={namespace}", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_until_answering(client: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Ask for the last name until the right answer comes."""
    name, address = names(count)[-1]
    packed = socket.inet_aton(address)
    deadline = time.monotonic() + _START_S
    with make_socket(client, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect((SERVER, 53))
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                sock.send(question(name, 1))
                reply = sock.recv(512)
                if wire.HEADER.unpack_from(reply)[3] == 1 and packed in reply:
                    return
            time.sleep(0.05)
    raise UserError(f"the server does not answer for {name}")


def _ours(count: int) -> list[str]:
    return [sys.executable, "-m", "fairlead.lab.bench.dns_server", SERVER, str(count)]


def _unbound(folder: Path, count: int) -> list[str]:
    program = shutil.which("unbound", path=_path())
    assert program is not None
    lines = [
        "server:",
        "  num-threads: 1",
        f"  interface: {SERVER}",
        "  do-daemonize: no",
        '  username: ""',
        '  chroot: ""',
        f'  directory: "{folder}"',
        f'  pidfile: "{folder}/unbound.pid"',
        "  use-syslog: no",
        '  logfile: "/dev/null"',
        "  access-control: 0.0.0.0/0 allow",
        '  module-config: "iterator"',
        "  so-rcvbuf: 4m",
        "  so-sndbuf: 4m",
        '  local-zone: "cluster.local." static',
        *(f'  local-data: "{name}. 5 IN A {address}"' for name, address in names(count)),
        "remote-control:",
        "  control-enable: no",
    ]
    file = folder / "unbound.conf"
    file.write_text("\n".join(lines) + "\n")
    return [program, "-d", "-c", str(file)]


@contextlib.contextmanager
def _places() -> Iterator[tuple[Path, Path]]:
    """Make the two namespaces and their link; remove them in the end."""
    server, client = (f"fl-bench-dns-{os.getpid()}-{side}" for side in ("server", "client"))
    commands = [
        f"netns add {server}",
        f"netns add {client}",
        f"-n {client} link add eth0 type veth peer name eth0 netns {server}",
        f"-n {server} address add {SERVER}/24 dev eth0",
        f"-n {client} address add {CLIENT}/24 dev eth0",
        f"-n {server} link set lo up",
        f"-n {server} link set eth0 up",
        f"-n {client} link set eth0 up",
    ]
    try:
        for command in commands:
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
            if done.returncode:
                raise UserError(f"ip {command}: {done.stderr.strip()}", fix="run as root")
        yield Path("/run/netns", server), Path("/run/netns", client)
    finally:
        for name in (server, client):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _path() -> str:
    # Debian's servers are in /usr/sbin, which is not in everybody's path.
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
