"""What a request costs: through our Envoy and through the peers, in turns.

One backend, an Envoy that answers by itself, and one load generator for all of them; the server under load has a processor of its own where there are
two, and one worker. All of it on loopback, and all of it is ended when the measurement is.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from fairlead.lab.bench.gateway_rounds import Sample, Start
from fairlead.lab.bench.processes import CLIENTS, SERVERS, cpu_s, on
from fairlead.lab.bench.report import quantile

Step = Callable[[str], contextlib.AbstractContextManager[None]]
Command = Callable[[int], list[str]]
"""Port → the words that start a server there."""

OURS = "fairlead"
_SELDOM = 5
"""The others are measured once in so many rounds."""
_CONNECTIONS = 64
"""Enough that the server is what has no time left."""
_START_S, _POLL_S = 20.0, 0.02
_FIRST_PORT = 21000
_OK = "200"


class Target(msgspec.Struct, frozen=True):
    """A server that hands requests on to the backend."""

    pid: int
    port: int


class Request(msgspec.Struct, frozen=True):
    """What is asked for, and how often in a round."""

    host: str
    path: str
    count: int


def require() -> None:
    """Raise UserError without the load generator."""
    if shutil.which("h2load") is None:
        raise UserError("there is no h2load to make the load", fix="apt-get install nghttp2-client")


@contextlib.asynccontextmanager
async def backend(folder: Path) -> AsyncIterator[int]:
    """Run what answers every request; yield its port."""
    with ports.chosen(_FIRST_PORT) as port:
        async with _running(gateway_peers.backend(folder, port), port, processor=CLIENTS):
            yield port


async def serving(
    folder: Path,
    ours: Target,
    peers: Mapping[str, Command],
    others: Mapping[str, Command],
    request: Request,
    rounds: int,
    step: Step,
) -> Start:
    """Start the others and measure requests through our Envoy and through them, in turns; `others` take part in some rounds only."""
    samples: dict[str, list[Sample]] = {}
    async with contextlib.AsyncExitStack() as stack:
        targets = {OURS: ours}
        for name, command in {**peers, **others}.items():
            port = stack.enter_context(ports.chosen(_FIRST_PORT))
            with step(f"starting {name}"):
                pid = await stack.enter_async_context(_running(command(port), port, processor=SERVERS))
            targets[name] = Target(pid, port)
        for target in targets.values():
            # What is first done with the first requests is not measured.
            await _load(folder, target, request)
        with step(f"requests, {rounds} rounds"):
            for number in range(rounds):
                names = [each for each in targets if each not in others or number % _SELDOM == 0]
                # To and fro: whatever a server leaves behind it leaves to each of its neighbors.
                for name in names[:: -1 if number % 2 else 1]:
                    samples.setdefault(name, []).append(await _load(folder, targets[name], request))
    return samples


async def _load(folder: Path, target: Target, request: Request) -> Sample:
    log = folder / "requests"
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", "-t1", f"-c{_CONNECTIONS}", f"-n{request.count}", f"--log-file={log}"]
    before = cpu_s(target.pid)
    with on(CLIENTS):
        process = await asyncio.create_subprocess_exec(
            *(*command, "-H", f":authority: {request.host}", f"http://127.0.0.1:{target.port}{request.path}"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    await process.wait()
    spent_s = cpu_s(target.pid) - before
    return _sample(log.read_text() if log.exists() else "", request.count, spent_s)


def _sample(log: str, requests: int, spent_s: float) -> Sample:
    """Read the load generator's log: of each request its start, its status, and how long it took, in microseconds.

    Raises UserError when requests failed.
    """
    answered = [fields for line in log.splitlines() if (fields := line.split("\t"))[1:2] == [_OK]]
    if len(answered) != requests:
        raise UserError(f"requests failed: {len(answered)} of {requests} were answered with {_OK}")
    begun, took = ([int(each[at]) for each in answered] for at in (0, 2))
    last = max(begin + each for begin, each in zip(begun, took, strict=True))
    return Sample(
        per_second=requests / (last - min(begun)) * 1e6,
        p50_ms=quantile(took, 0.5) / 1000,
        p99_ms=quantile(took, 0.99) / 1000,
        cpu_us=spent_s / requests * 1e6,
    )


@contextlib.asynccontextmanager
async def _running(command: Sequence[str], port: int, *, processor: int) -> AsyncIterator[int]:
    """Run a server and wait until it listens; yield its process. Raises UserError with what it says when it ends before."""
    with tempfile.TemporaryFile() as said:
        # A session of its own, as the proxy has: the kernel shares a processor out among sessions.
        with on(processor):
            process = await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
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
