"""What changes under load, and what a record of the cluster is worth without its API server. Real Envoy, real requests."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from tests.drivers.xds.gatewaylab import Backend, GatewayLab
from tests.drivers.xds.load import Load, until
from tests.drivers.xds.test_proxy_life import secret, trusting

from fairlead.agent import facts
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOST = "lasting.example.com"
GATEWAY = """
kind: Gateway
metadata: {name: lasting}
spec:
  gatewayClassName: fairlead
  listeners:
    - {name: plain, port: 80, protocol: HTTP}
    - {name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: lasting}]}}
---
kind: HTTPRoute
metadata: {name: lasting}
spec: {parentRefs: [{name: lasting}], rules: [{backendRefs: [{name: one, port: 80}]}]}
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_rotated_certificates_fail_no_handshake(lab: GatewayLab) -> None:
    # Of issuers of one name but one would be believed.
    secrets = [secret("lasting", f"issuer-{at}.example.com", HOST) for at in range(8)]
    context = trusting(*(chain for _, chain in secrets))
    await lab.apply(f"{GATEWAY}---\n{secrets[0][0]}")
    async with Load(lab.ports["lasting", 443], HOST, tls=context) as load:
        for text, _ in secrets:
            await lab.apply(text)
            await load.more(25)
    assert not load.failed and load.good >= 25 * len(secrets)
    last = trusting(secrets[-1][1])
    assert (await lab.ask(f"https://{HOST}/", gateway="lasting", tls=last)).backend == "one"


async def test_endpoints_that_come_and_go_lose_no_request(lab: GatewayLab) -> None:
    backends = [Backend(f"scaled-{at}") for at in range(3)]
    for each in backends:
        await each.start()
    ports = [each.port for each in backends]
    await lab.serve("scaled", *ports)
    await lab.apply(
        """
kind: HTTPRoute
metadata: {name: scaled}
spec: {parentRefs: [{name: web}], hostnames: [scaled.example.com], rules: [{backendRefs: [{name: scaled, port: 80}]}]}
"""
    )
    async with Load(lab.ports["web", 80], "scaled.example.com") as load:
        for at in range(len(ports)):
            for other in range(len(ports)):
                if other != at:
                    await lab.delete("EndpointSlice", f"scaled-{other}")
            await load.more(25)
            await lab.serve("scaled", *ports)
            await load.more(25)
        for at, each in enumerate(backends[1:], 1):
            await lab.delete("EndpointSlice", f"scaled-{at}")
            await each.stop()
            await load.more(25)
    assert not load.failed
    await backends[0].stop()


async def test_the_record_is_enough_while_the_api_server_is_away(lab: GatewayLab, tmp_path: Path) -> None:
    text, chain = secret("lasting", HOST)
    await lab.apply(f"{GATEWAY}---\n{text}")
    tls, known, snapshot, pid = trusting(chain), dict(lab.pairs), lab.snapshot, lab.driver.pid
    facts.save(tmp_path / "cluster.json", facts.facts_of(snapshot))
    async with (
        Load(lab.ports["lasting", 80], HOST) as plain,
        Load(lab.ports["lasting", 443], HOST, tls=tls) as secure,
    ):
        await lab.driver.close()
        lab.driver = lab.new_driver()
        # Bytes of keys are nowhere but in the API server, the agent's memory and Envoy's.
        lab.pairs.clear()
        lab.snapshot = fold(
            Snapshot(settings=Settings(node=snapshot.settings.node)), facts.load(tmp_path / "cluster.json")
        )
        for _ in range(2):
            failed = (await lab.settle()).failed
            assert {each.table for each in failed} == {"gateway_certificates"}
            await plain.more(50)
            await secure.more(50)
    assert not plain.failed and not secure.failed
    assert lab.driver.pid == pid is not None
    # What the proxy loses with its own end comes back with the API server: keys, and no more.
    os.kill(pid, signal.SIGKILL)
    await until(lambda: lab.driver.pid is None)
    assert {each.table for each in (await lab.settle()).failed} <= {"gateway_certificates", "gateway_listeners"}
    await until(lambda: listens(lab.ports["lasting", 80]))
    assert (await lab.ask(f"http://{HOST}/", gateway="lasting")).backend == "one"
    with pytest.raises(OSError):
        await lab.ask(f"https://{HOST}/", gateway="lasting", tls=tls)
    lab.pairs.update(known)
    lab.snapshot = snapshot
    assert not (await lab.settle()).failed
    assert (await lab.ask(f"https://{HOST}/", gateway="lasting", tls=tls)).backend == "one"


async def test_the_last_gateway_lets_its_clients_finish(lab: GatewayLab) -> None:
    backend = lab.backends["one"]
    backend.delay_s = 0.6
    seen = len(backend.seen)
    asking = asyncio.create_task(lab.ask(f"http://{HOST}/", gateway="lasting"))
    await until(lambda: len(backend.seen) > seen)
    for name in ("lasting", "web"):
        assert not (await lab.delete("Gateway", name)).failed
    with pytest.raises(OSError):
        await lab.ask(f"http://{HOST}/", gateway="lasting")
    assert lab.driver.pid is not None
    assert (await asking).backend == "one"
    await until(lambda: lab.driver.pid is None)
    backend.delay_s = 0.0


async def test_a_gateway_that_comes_while_clients_finish_is_served_by_the_same_proxy(lab: GatewayLab) -> None:
    backend = lab.backends["one"]
    await lab.apply(GATEWAY)
    before = lab.driver.pid
    backend.delay_s = 0.6
    seen = len(backend.seen)
    asking = asyncio.create_task(lab.ask(f"http://{HOST}/", gateway="lasting"))
    await until(lambda: len(backend.seen) > seen)
    await lab.delete("Gateway", "lasting")
    await lab.apply(GATEWAY)
    assert (await asking).backend == "one"
    backend.delay_s = 0.0
    assert (await lab.ask(f"http://{HOST}/", gateway="lasting")).backend == "one"
    assert lab.driver.pid == before is not None
