"""One proxy follows another under load: what was asked is answered, whoever is killed on the way. Real Envoy, real requests."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.drivers.xds.gatewaylab import DRAIN_S, NODE, GatewayLab
from tests.drivers.xds.l4 import Echoes, ask, ask_udp, connected, exchange
from tests.drivers.xds.load import Load, until
from tests.drivers.xds.test_proxy_life import broken

from fairlead.drivers.xds import generations, process
from fairlead.drivers.xds.admin import Admin

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROUTE = """
kind: HTTPRoute
metadata: {name: load}
spec: {parentRefs: [{name: web}], hostnames: [load.example.com], rules: [{backendRefs: [{name: one, port: 80}]}]}
"""
CRASH = """
import asyncio, os, pathlib, signal, sys
from fairlead.drivers.xds import process

folder, node, drain_s, interval, step = sys.argv[1:]
bootstrap, spawn = process.bootstrap, process.Process._spawn
process.bootstrap = lambda *those: bootstrap(*those) | {"stats_flush_interval": interval}

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def spawn_and_die(*given):
    spawn(*given)
    die()

if step == "before it starts":
    process.Process._spawn = die
elif step == "when it started":
    process.Process._spawn = spawn_and_die
elif step == "when it is written down":
    process.Process._has_come = die
asyncio.run(process.Process(pathlib.Path(folder), node, drain_s=int(drain_s)).ensure())
die()
"""


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    """One for the module: what is renewed stays so, and no test begins with a proxy that follows another."""
    with pytest.MonkeyPatch.context() as found:
        yield found


def renewed(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Have the next bootstrap be another one."""
    before = process.bootstrap
    monkeypatch.setattr(process, "bootstrap", lambda *those: before(*those) | changes)


def alive(lab: GatewayLab) -> list[generations.Generation]:
    return [each for each in generations.read(lab.folder / "envoy/process.json") if each.alive]


async def only_one(lab: GatewayLab) -> generations.Generation:
    await until(lambda: len(alive(lab)) == 1)
    return alive(lab)[0]


def open_files(pid: int | None) -> set[str]:
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(each.readlink()))
    return found


async def resync(lab: GatewayLab) -> None:
    assert not (await lab.driver.resync(lab.compiler.compile(lab.snapshot).plan)).failed


async def test_a_successor_takes_over_and_no_request_is_lost(lab: GatewayLab, patch: pytest.MonkeyPatch) -> None:
    await lab.apply(ROUTE)
    before = await only_one(lab)
    async with Load(lab.ports["web", 80], "load.example.com") as load:
        await load.more(100)
        renewed(patch, stats_flush_interval="7s")
        await resync(lab)
        await load.more(100)
        after = await only_one(lab)
        await load.more(100)
    assert not load.failed
    assert (after.epoch, after.base) == (before.epoch + 1, before.base) and after.pid != before.pid
    await resync(lab)
    assert lab.driver.pid == after.pid


CONNECTIONS = """
kind: Gateway
metadata: {name: raw}
spec:
  gatewayClassName: fairlead
  listeners: [{name: t, port: 7, protocol: TCP}, {name: u, port: 7, protocol: UDP}]
---
kind: TCPRoute
metadata: {name: raw}
spec: {parentRefs: [{name: raw}], rules: [{backendRefs: [{name: echo, port: 7}]}]}
---
kind: UDPRoute
metadata: {name: raw}
spec: {parentRefs: [{name: raw}], rules: [{backendRefs: [{name: u-echo, port: 7}]}]}
"""


async def test_connections_and_datagrams_go_through_a_succession(lab: GatewayLab, patch: pytest.MonkeyPatch) -> None:
    echoes = Echoes(lab)
    try:
        await echoes.tcp("echo")
        await echoes.udp("u-echo")
        await lab.apply(CONNECTIONS)
        before = await only_one(lab)
        tcp, udp = lab.ports["raw", 7], lab.udp_ports["raw", 7]
        answers = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            async with connected(tcp) as (reader, writer):
                answers += [await exchange(reader, writer), await ask_udp(udp, sock=client)]
                renewed(patch, stats_flush_interval="8s")
                renewal = asyncio.create_task(resync(lab))
                while not renewal.done():
                    answers += [await ask(tcp), await ask_udp(udp), await ask_udp(udp, sock=client)]
                await renewal
                # The former proxy has until its end for what it began.
                if len(alive(lab)) > 1:
                    answers.append(await exchange(reader, writer))
            after = await only_one(lab)
            answers += [await ask(tcp), await ask_udp(udp), await ask_udp(udp, sock=client)]
        assert set(answers) == {"echo", "u-echo"}
        assert after.pid != before.pid
        await lab.delete("Gateway", "raw")
    finally:
        await echoes.stop()


@pytest.mark.parametrize(
    ("at", "step"), [*enumerate(("before it starts", "when it started", "when it is written down", "afterwards"))]
)
async def test_the_next_agent_ends_what_a_killed_one_began(
    lab: GatewayLab, patch: pytest.MonkeyPatch, at: int, step: str
) -> None:
    await lab.apply(ROUTE)
    before = await only_one(lab)
    interval = f"{at + 20}s"
    async with Load(lab.ports["web", 80], "load.example.com") as load:
        await lab.driver.close()
        arguments = [str(lab.folder / "envoy"), NODE, str(DRAIN_S), interval, step]
        killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", CRASH, *arguments])
        assert killed.returncode == -signal.SIGKILL
        # Envoy asks the kernel to end it with its parent.
        assert step != "afterwards" or alive(lab)[-1].epoch == before.epoch + 1
        renewed(patch, stats_flush_interval=interval)
        lab.driver = lab.new_driver()
        await resync(lab)
        await load.more(100)
        after = await only_one(lab)
        await load.more(100)
    assert not load.failed
    assert after.epoch == before.epoch + 1


async def test_a_successor_that_cannot_come_up_leaves_the_former_one(
    lab: GatewayLab, patch: pytest.MonkeyPatch
) -> None:
    await lab.apply(ROUTE)
    before = await only_one(lab)
    async with Load(lab.ports["web", 80], "load.example.com") as load:
        with patch.context() as broken:
            renewed(broken, nothing_that_envoy_knows=1)
            for _ in range(2):
                await resync(lab)
                await load.more(50)
    assert not load.failed
    assert await only_one(lab) == before
    assert Admin(lab.folder / "envoy/run/admin.sock").pid == before.pid


async def test_its_log_does_not_grow_without_bound(lab: GatewayLab, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.apply(ROUTE)
    log = lab.folder / "envoy/run/envoy.log"
    before = log.stat().st_ino
    found = process.Process(lab.folder / "envoy", NODE)
    await found.bound_log()
    assert log.stat().st_ino == before
    # Envoy looks after a log from the first line on that it writes there.
    await lab.driver.apply(broken(lab.plan, "load.example.com"))
    await until(lambda: log.stat().st_size > 0)
    await lab.settle()
    monkeypatch.setattr(process, "MOST_LOG_BYTES", 0)
    log.write_text("something")
    await found.bound_log()
    await until(lambda: open_files(lab.driver.pid) & {str(log), str(log.with_suffix(".old"))} == {str(log)})
    assert log.with_suffix(".old").stat().st_ino == before


async def test_nothing_of_all_of_them_is_left(lab: GatewayLab) -> None:
    bases = {each.base for each in generations.read(lab.folder / "envoy/process.json")}
    await lab.delete("Gateway", "web")
    assert lab.driver.pid is None and bases
    assert not any(Path(f"/dev/shm/envoy_shared_memory_{base * 10}").exists() for base in bases)
    assert not list((lab.folder / "envoy/run").glob("hot_*"))
