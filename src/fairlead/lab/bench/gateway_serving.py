"""What a request costs: through our Envoy and through the peers, in turns.

One backend, an Envoy that answers by itself, and one load generator for all of them; the server under load has a processor of its own where there are
two. All of it on loopback, and all of it is ended when the measurement is.
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
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from fairlead.base.errors import UserError
from fairlead.lab import ports
from fairlead.lab.bench import gateway_peers
from fairlead.lab.bench.gateway_peers import AS_MANY, ONE_HOST
from fairlead.lab.bench.gateway_rounds import Sample, rows
from fairlead.lab.bench.processes import cpu_s
from fairlead.lab.bench.report import Measurement

Step = Callable[[str], contextlib.AbstractContextManager[None]]

OURS = "fairlead"
AGAINST = (ONE_HOST, AS_MANY)
"""Peers that ours is compared with, in every round."""
_SELDOM = 4
"""The others are measured once in so many rounds."""
_CONNECTIONS = 16
_START_S, _POLL_S = 20.0, 0.02
_FIRST_PORT = 21000
_MILLISECONDS: Mapping[str, float] = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Target(msgspec.Struct, frozen=True):
    """A server that hands requests on to the backend."""

    pid: int
    port: int


def require() -> None:
    """Raise UserError without the load generator."""
    if shutil.which("wrk") is None:
        raise UserError("there is no wrk to make the load", fix="apt-get install wrk")


@contextlib.asynccontextmanager
async def backend(folder: Path) -> AsyncIterator[int]:
    """Run what answers every request; yield its port."""
    with ports.chosen(_FIRST_PORT) as port:
        async with _running(gateway_peers.backend(folder, port), port, processor=1):
            yield port


async def serving(
    folder: Path,
    ours: Target,
    hosts: Sequence[str],
    path: str,
    backend_port: int,
    rounds: int,
    seconds: int,
    step: Step,
) -> list[Measurement]:
    """Measure requests for the first of `hosts`, which are all that ours has, and `path` through our Envoy and the peers."""
    samples: dict[str, list[Sample]] = {}
    async with contextlib.AsyncExitStack() as stack:
        targets = {OURS: ours}
        _pin(ours.pid)
        commands = gateway_peers.envoys(folder, hosts, backend_port) | gateway_peers.others(folder, backend_port)
        for name, command in commands.items():
            port = stack.enter_context(ports.chosen(_FIRST_PORT))
            with step(f"starting {name}"):
                pid = await stack.enter_async_context(_running(command(port), port, processor=0))
            targets[name] = Target(pid, port)
        for number in range(rounds):
            names = [each for each in targets if each in (OURS, *AGAINST) or number % _SELDOM == 0]
            # To and fro: whatever a server leaves behind it leaves to each of its neighbors.
            for name in names[:: -1 if number % 2 else 1]:
                with step(f"requests, round {number + 1} of {rounds}: {name}"):
                    samples.setdefault(name, []).append(await _load(targets[name], hosts[0], path, seconds))
    return list(rows(samples, OURS, AGAINST))


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
