"""Gateways with proxies of their own: what befalls one harms no other, and a Gateway passes from one to another. Real Envoys, real requests."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import Mock

import aiohttp
import pytest
import pytest_asyncio
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.load import Load, until
from tests.drivers.xds.test_proxy_succession import alive, only_one, renewed

from fairlead.aio.backoff import delays
from fairlead.drivers.xds import generations, keeper, process
from fairlead.drivers.xds.admin import Admin
from fairlead.drivers.xds.process import ADMIN_SOCKET
from fairlead.drivers.xds.proxies import OWN
from fairlead.model.compile import Compiler

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEW_AND_MANY = True
DRAIN_S = 3
"""Envoy asks clients to leave after whole seconds: in the first one none, after the last one nobody."""
PARAMETERS = """
kind: GatewayParameters
metadata: {name: own}
spec: {proxy: Dedicated}
---
"""


def gateway(name: str, parameters: str = "own", *, to: str = "two") -> str:
    infrastructure = f"{{parametersRef: {{group: fairlead.dev, kind: GatewayParameters, name: {parameters}}}}}"
    return f"""
kind: Gateway
metadata: {{name: {name}}}
spec:
  gatewayClassName: fairlead
  infrastructure: {infrastructure if parameters else "null"}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
{route(name, to)}"""


def route(gateway: str, to: str, *, name: str = "") -> str:
    return f"""
kind: HTTPRoute
metadata: {{name: {name or gateway}}}
spec:
  parentRefs: [{{name: {gateway}}}]
  hostnames: [{name or gateway}.example.com]
  rules: [{{backendRefs: [{{name: {to}, port: 80}}]}}]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(
    request: pytest.FixtureRequest, network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayLab]:
    """A Gateway `web` at the shared proxy, and one `own` at its own."""
    found = GatewayLab(tmp_path_factory.mktemp("gateways"), drain_s=DRAIN_S, many=request.param)
    try:
        await found.start()
        for name in ("one", "two"):
            await found.backend(name)
        await found.apply(PARAMETERS + gateway("web", "", to="one") + "---" + gateway("own"))
        yield found
    finally:
        await found.stop()


def load(lab: GatewayLab, name: str) -> Load:
    return Load(lab.ports[name, 80], f"{name}.example.com")


async def answer(lab: GatewayLab, name: str) -> str:
    return (await lab.ask(f"http://{name}.example.com/", gateway=name)).backend


async def settled(lab: GatewayLab) -> None:
    """Do what the engine does until nothing is wrong."""
    for pause in delays(first_s=0.05, most_s=0.5):
        if not (await lab.driver.resync(lab.plan)).failed:
            return
        await asyncio.sleep(pause)


def folder(lab: GatewayLab, name: str) -> Path:
    return lab.folder / "envoy" / OWN / f"default.{name}"


async def listening(at: Path) -> set[str]:
    """The listeners of a proxy to which somebody may connect, in its own words."""
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(at / "run" / ADMIN_SOCKET))) as session:
        async with session.get("http://admin/listeners?format=json") as response:
            found = {each["name"] for each in (await response.json(content_type=None))["listener_statuses"]}
            return found - {keeper.NAME}


async def test_each_has_a_process_and_a_folder_of_its_own(lab: GatewayLab) -> None:
    assert (await answer(lab, "web"), await answer(lab, "own")) == ("one", "two")
    assert lab.driver.pids.keys() == {"", "default.own"}
    (shared,) = generations.read(lab.folder / "envoy/process.json")
    (own,) = generations.read(folder(lab, "own") / "process.json")
    assert {shared.pid, own.pid} == set(lab.driver.pids.values())
    assert shared.base != own.base
    # None looks into another's folder, though they are one user's.
    assert stat.S_IMODE((lab.folder / "envoy" / OWN).stat().st_mode) == 0o700
    assert [await listening(at) for at in (lab.folder / "envoy", folder(lab, "own"))] == [
        {"default/web/80"},
        {"default/own/80"},
    ]


@pytest.mark.parametrize("victim", ["own", "web"])
async def test_a_proxy_that_is_killed_harms_no_request_of_another(lab: GatewayLab, victim: str) -> None:
    lost = asyncio.Event()
    lab.driver.on_lost(lost.set)
    other = {"own": "web", "web": "own"}[victim]
    name = {"own": "default.own", "web": ""}
    before = lab.driver.pids
    async with load(lab, other) as requests:
        await requests.more(50)
        os.kill(before[name[victim]], signal.SIGKILL)
        await asyncio.wait_for(lost.wait(), 30)
        await settled(lab)
        await requests.more(50)
    assert not requests.failed
    assert await answer(lab, victim) == {"own": "two", "web": "one"}[victim]
    assert lab.driver.pids[name[other]] == before[name[other]]
    assert lab.driver.pids[name[victim]] != before[name[victim]]


async def test_a_proxy_that_does_not_answer_delays_no_change_of_another(lab: GatewayLab) -> None:
    await lab.driver.close()
    lab.driver = lab.new_driver(patience_s=0.3)
    await settled(lab)
    states = []
    lab.driver.on_states(states.append)
    os.kill(lab.driver.pids["default.own"], signal.SIGSTOP)
    try:
        late = await lab.apply(route("own", "one", name="late") + "---" + route("web", "two", name="soon"), fails=True)
        assert {each.key for each in late.failed} == {("default/own/80",)}
        soon = await lab.ask("http://soon.example.com/", gateway="web")
        assert soon.backend == "two"
        begun = asyncio.get_running_loop().time()
        await lab.apply(route("web", "one", name="soon"), fails=True)
        # Nobody waits twice for one that is late.
        assert asyncio.get_running_loop().time() - begun < 0.3
        assert (await lab.ask("http://soon.example.com/", gateway="web")).backend == "one"
    finally:
        os.kill(lab.driver.pids["default.own"], signal.SIGCONT)
    await settled(lab)
    assert (await lab.ask("http://late.example.com/", gateway="own")).backend == "one"
    await lab.driver.close()
    lab.driver = lab.new_driver()
    await lab.settle()


async def test_a_gateway_passes_to_another_proxy_and_no_request_is_lost(lab: GatewayLab) -> None:
    await lab.apply(gateway("mover", ""))
    shared = Admin(lab.folder / "envoy" / "run" / ADMIN_SOCKET)
    async with load(lab, "mover") as requests:
        await requests.more(100)
        await lab.apply(gateway("mover"))
        assert "default.mover" in lab.driver.pids
        while await shared.connections():
            await requests.more(20)
        await lab.apply(gateway("mover", ""))
        await until(lambda: "default.mover" not in lab.driver.pids)
        await requests.more(100)
    assert not requests.failed
    await lab.settle()
    assert not folder(lab, "mover").exists()
    await lab.delete("Gateway", "mover")


async def test_the_former_proxy_serves_until_the_next_one_can(lab: GatewayLab) -> None:
    """A proxy that cannot come up is one whose folder cannot be made."""
    await lab.apply(gateway("stays", ""))
    obstacle = folder(lab, "stays")
    obstacle.write_text("in the way")
    await lab.apply(gateway("stays"), fails=True)
    assert await answer(lab, "stays") == "two"
    await lab.apply(route("stays", "one"), fails=True)
    assert await answer(lab, "stays") == "one"
    obstacle.unlink()
    await settled(lab)
    assert "default.stays" in lab.driver.pids
    assert await answer(lab, "stays") == "one"
    await lab.delete("Gateway", "stays")
    await until(lambda: "default.stays" not in lab.driver.pids)


async def test_the_next_agent_adopts_all_and_ends_what_nobody_wants(lab: GatewayLab) -> None:
    await lab.apply(gateway("gone") + "---" + gateway("back"))
    before = dict(lab.driver.pids)
    async with load(lab, "own") as requests, load(lab, "web") as others, load(lab, "back") as moved:
        await requests.more(20)
        await lab.driver.close()
        # While nobody looks one Gateway goes, and another one is to share a proxy.
        lab.compiler = Compiler()
        lab.remove("Gateway", "gone")
        lab.add(gateway("back", ""))
        lab.driver = lab.new_driver()
        await lab.driver.start()
        assert not (await lab.settle()).failed
        await until(lambda: lab.driver.pids.keys() == {"", "default.own"})
        await requests.more(20)
        await moved.more(20)
    assert not requests.failed
    assert not others.failed
    assert not moved.failed
    assert {name: before[name] for name in ("", "default.own")} == lab.driver.pids
    await lab.settle()
    assert not folder(lab, "gone").exists()
    await lab.delete("Gateway", "back")


async def test_a_gateway_that_comes_back_while_its_proxy_leaves_is_served(lab: GatewayLab) -> None:
    await lab.apply(gateway("again"))
    _, writer = await asyncio.open_connection("127.0.0.1", lab.ports["again", 80])
    await lab.driver.close()
    lab.compiler = Compiler()
    lab.remove("Gateway", "again")
    lab.driver = lab.new_driver()
    await lab.driver.start()
    await lab.settle()
    # Somebody is connected still.
    assert "default.again" in lab.driver.pids
    await lab.apply(gateway("again"))
    assert await answer(lab, "again") == "two"
    writer.close()
    await lab.delete("Gateway", "again")


@pytest.mark.parametrize("is_killed", [False, True], ids=["", "the agent is killed on the way"])
async def test_a_successor_that_gets_nothing_serves_beside_the_former_one_first(
    lab: GatewayLab, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    await lab.apply(gateway("web", "", to="one"))
    before = await only_one(lab)
    # Where the two speak of it in different ways nothing is handed over.
    for each in (lab.folder / "envoy/run").glob("hot_*"):
        each.unlink()
    renewed(monkeypatch, stats_flush_interval=f"{9 + is_killed}s")
    async with load(lab, "web") as requests:
        await requests.more(100)
        if is_killed:
            with monkeypatch.context() as dying:
                dying.setattr(process.Process, "_part_with", Mock(side_effect=OSError("killed")))
                assert (await lab.driver.resync(lab.plan)).failed
            assert len(alive(lab)) == 2
            await requests.more(100)
        await settled(lab)
        await requests.more(100)
    assert not requests.failed
    after = await only_one(lab)
    assert after.base != before.base and after.epoch == 0
    assert await answer(lab, "web") == "one"


async def test_a_gateway_that_goes_takes_its_proxy_along(lab: GatewayLab) -> None:
    await lab.apply(gateway("leaves"))
    pid = lab.driver.pids["default.leaves"]
    base = generations.read(folder(lab, "leaves") / "process.json")[0].base
    await lab.delete("Gateway", "leaves")
    await until(lambda: generations.started(pid) is None)
    await lab.settle()
    assert not folder(lab, "leaves").exists()
    assert not Path(f"/dev/shm/envoy_shared_memory_{base * 10}").exists()
    # The same name again is another proxy.
    await lab.apply(gateway("leaves"))
    assert await answer(lab, "leaves") == "two"
    await lab.delete("Gateway", "leaves")
