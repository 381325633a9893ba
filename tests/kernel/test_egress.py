"""Egress gateways: three nodes, pods on each, an outside that says which source it saw; IPv4 and IPv6 on the real kernel."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.kernel.netlab import NetLab, inside, netns, node_ips
from tests.kernel.test_podnet import MTU, NODES, attachment, exchange, node_objects, ping, pod_ips

from fairlead.api.clusterpolicy import Subject
from fairlead.api.egressgateway import EgressGateway, EgressGatewaySpec
from fairlead.api.meta import ObjectMeta
from fairlead.api.pod import Namespace, Pod, PodIP, PodSpec, PodStatus
from fairlead.api.selector import Selector
from fairlead.drivers.netlink.driver import NetlinkDriver
from fairlead.drivers.nft.driver import NftDriver
from fairlead.drivers.nft.egress.driver import EgressDriver
from fairlead.drivers.protocol import Driver
from fairlead.engine.gate import KINDS
from fairlead.engine.reconcile import Engine
from fairlead.world.events import InterfacesObserved, KindReplaced, ObjectChanged, ReachabilityObserved
from fairlead.world.settings import Settings

pytestmark = pytest.mark.kernel

OUTSIDE = {4: "198.51.100.10", 6: "fd10:198::10"}
CHOSEN = {4: "203.0.113.50", 6: "fd10:203::50"}
SETTINGS = {"cluster_cidrs": ("10.244.0.0/16", "fd10:244::/48"), "service_cidrs": ("10.96.0.0/16",)}


def nodes() -> KindReplaced:
    """Nodes whose label `gate` is their name."""
    found = node_objects()
    objects = {
        key: msgspec.structs.replace(node, metadata=ObjectMeta(name=key[1], labels={"gate": key[1]}))
        for key, node in found.objects.items()
    }
    return KindReplaced("Node", objects, "1")


def pod(node: str, **labels: str) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=node, namespace="default", labels=labels or None),
        spec=PodSpec(node_name=node),
        status=PodStatus(pod_ips=tuple(PodIP(ip) for ip in pod_ips(node))),
    )


def gateway(*allowed: str, addresses: tuple[str, ...] = tuple(CHOSEN.values()), **more: object) -> EgressGateway:
    expressions = msgspec.convert(
        {"matchExpressions": [{"key": "gate", "operator": "In", "values": list(allowed)}]}, Selector
    )
    subject = msgspec.convert(
        {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"way": "out"}}}}, Subject
    )
    return EgressGateway(
        metadata=ObjectMeta(name="way"),
        spec=EgressGatewaySpec(subject=subject, node_selector=expressions, addresses=addresses, **more),  # type: ignore[arg-type]
    )


class Cluster:
    """Engines by node."""

    def __init__(self) -> None:
        self.engines: dict[str, Engine] = {}
        self.stack = contextlib.AsyncExitStack()

    def push(self, *events: object) -> None:
        for engine in self.engines.values():
            engine.push(*events)  # type: ignore[arg-type]

    async def settle(self) -> None:
        """Wait until every driver of every node has applied what was pushed."""
        for engine in self.engines.values():
            async with asyncio.timeout(10), engine._compiles:
                await engine._compiles.wait_for(lambda engine=engine: engine._taken >= engine._pushed)  # type: ignore[misc]
                numbers = list(engine._numbers)
            for worker, number in zip(engine._workers, numbers, strict=True):
                assert list(await worker.wait_for_plan(number)) == []

    async def set(self, *gateways: EgressGateway) -> None:
        """Let these gateways be all there are; lead the chosen addresses to the first candidate."""
        self.push(KindReplaced("EgressGateway", {("", each.metadata.name): each for each in gateways}))
        await self.settle()


@contextlib.asynccontextmanager
async def agent(node: str) -> AsyncIterator[Engine]:
    drivers: list[Driver] = [NetlinkDriver(namespace=netns(node)), NftDriver(netns(node)), EgressDriver(netns(node))]
    for driver in drivers:
        await driver.start()
    engine = Engine(Settings(node=node, **SETTINGS), drivers)  # type: ignore[arg-type]
    netlink = drivers[0]
    assert isinstance(netlink, NetlinkDriver)
    engine.push(InterfacesObserved(await netlink.interfaces()), nodes())
    engine.push(KindReplaced("Namespace", {("", "default"): Namespace(metadata=ObjectMeta(name="default"))}))
    engine.push(*(KindReplaced(kind, {}) for kind in KINDS - {"Node", "Namespace"}))
    task = asyncio.create_task(engine.run())
    try:
        async with asyncio.timeout(10):
            await engine.wait_ready()
        yield engine
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for driver in drivers:
            await driver.close()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    found = Cluster()
    with NetLab(*NODES) as lab:
        for v, length in ((4, 32), (6, 128)):
            nodad = ("nodad",) if v == 6 else ()
            inside("router", "ip", "address", "add", f"{OUTSIDE[v]}/{length}", "dev", "lo", *nodad)
        async with contextlib.AsyncExitStack() as stack:
            for node in NODES:
                found.engines[node] = await stack.enter_async_context(agent(node))
                lab.add_namespace(f"pod-{node}")
                await found.engines[node].attach(attachment(node, MTU["auto"]))
            found.push(*(ObjectChanged("Pod", ("default", node), pod(node, way="out")) for node in NODES))
            await found.settle()
            yield found


def lead(node: str) -> None:
    """Let the outside send what is for the chosen addresses to a node, as a cloud does."""
    for v, address in zip((4, 6), node_ips(node), strict=True):
        inside("router", "ip", "route", "replace", CHOSEN[v], "via", address)


async def seen(client: str, v: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    """Return the source that the outside sees."""
    return await exchange(f"pod-{client}", "router", OUTSIDE[v], kind)


def leaves(client: str, v: int) -> bool:
    """Tell whether the outside answers a pod."""
    return ping(f"pod-{client}", OUTSIDE[v], 100)


@pytest.mark.parametrize("by", ["n2", "n3"])
async def test_pods_of_every_node_leave_with_the_chosen_address(cluster: Cluster, by: str) -> None:
    await cluster.set(gateway(by))
    lead(by)
    for client in NODES:
        for v in (4, 6):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                assert await seen(client, v, kind) == CHOSEN[v], (client, v, kind)
    # Inside of the cluster everything is as before.
    for client, server in (("n1", "n2"), ("n1", "n3"), ("n2", "n1")):
        for v, address in zip((4, 6), pod_ips(server), strict=True):
            own = pod_ips(client)[v == 6]
            assert await exchange(f"pod-{client}", f"pod-{server}", address, socket.SOCK_STREAM) == own


async def test_without_addresses_it_is_the_gateway_s_own(cluster: Cluster) -> None:
    await cluster.set(gateway("n3", addresses=()))
    for client in NODES:
        for v in (4, 6):
            assert await seen(client, v) == node_ips("n3")[v == 6]


async def test_others_and_exceptions_leave_as_ever(cluster: Cluster) -> None:
    cluster.push(ObjectChanged("Pod", ("default", "n1"), pod("n1", way="in")))
    await cluster.set(gateway("n2"))
    lead("n2")
    assert await seen("n1", 4) == node_ips("n1")[0]
    assert await seen("n3", 4) == CHOSEN[4]
    await cluster.set(gateway("n2", exceptions=("198.51.100.0/24",)))
    assert await seen("n3", 4) == node_ips("n3")[0]
    assert await seen("n3", 6) == CHOSEN[6]
    await cluster.set(gateway("n2", destinations=("192.0.2.0/24",)))
    assert await seen("n3", 4) == node_ips("n3")[0]


async def test_another_node_takes_over_and_none_means_that_nothing_leaves(cluster: Cluster) -> None:
    await cluster.set(gateway("n2", "n3"))
    (first,) = {
        str(row.via)
        for (_, ipv6), row in cluster.engines["n1"].plan.table("egress_routes").items()  # type: ignore[union-attr]
        if row.kind == "unicast" and not ipv6  # type: ignore[union-attr]
    }
    active = "n2" if first == node_ips("n2")[0] else "n3"
    other = "n3" if active == "n2" else "n2"
    lead(active)
    assert await seen("n1", 4) == CHOSEN[4]
    for link in (f"to-{active}",):
        inside("router", "ip", "link", "set", link, "down")
    cluster.engines["n1"].push(ReachabilityObserved(frozenset({node_ips(active)[0]})))
    cluster.engines[other].push(ReachabilityObserved(frozenset({node_ips(active)[0]})))
    await cluster.settle()
    lead(other)
    for v in (4, 6):
        assert await seen("n1", v) == CHOSEN[v]
        assert await seen(other, v) == CHOSEN[v]
    cluster.engines["n1"].push(ReachabilityObserved(frozenset({node_ips("n2")[0], node_ips("n3")[0]})))
    await cluster.settle()
    for v in (4, 6):
        assert not leaves("n1", v)


async def test_a_pod_that_is_not_known_yet_does_not_leave(cluster: Cluster) -> None:
    await cluster.set(gateway("n2"))
    lead("n2")
    cluster.push(ObjectChanged("Pod", ("default", "n1"), None))
    await cluster.settle()
    assert not leaves("n1", 4)
    cluster.push(ObjectChanged("Pod", ("default", "n1"), pod("n1")))
    await cluster.settle()
    assert await seen("n1", 4) == node_ips("n1")[0]


async def test_a_restart_changes_nothing_and_the_last_gateway_leaves_nothing(cluster: Cluster) -> None:
    inside("n1", "ip", "rule", "add", "fwmark", "0x77", "lookup", "77", "priority", "7900")
    await cluster.set(gateway("n2"))
    for node in NODES:
        plan = cluster.engines[node].plan
        assert plan is not None
        for driver in (NetlinkDriver(namespace=netns(node)), EgressDriver(netns(node))):
            await driver.start()
            try:
                assert (await driver.apply(plan)).applied == 0, (node, driver.name)
                assert (await driver.resync(plan)).applied == 0, (node, driver.name)
            finally:
                await driver.close()
    assert "fairlead-egress" in inside("n1", "nft", "list", "ruleset")
    for damage in (
        ("ip", "rule", "del", "priority", "7900", "fwmark", hex(next(iter(marks(cluster, "n1"))))),
        ("nft", "flush", "chain", "inet", "fairlead-egress", "postrouting"),
        ("nft", "flush", "map", "inet", "fairlead-egress", "marks4"),
    ):
        inside("n1", *damage)
        plan = cluster.engines["n1"].plan
        assert plan is not None
        for driver in (NetlinkDriver(namespace=netns("n1")), EgressDriver(netns("n1"))):
            await driver.start()
            await driver.resync(plan)
            assert (await driver.resync(plan)).applied == 0
            await driver.close()
    lead("n2")
    assert await seen("n1", 4) == CHOSEN[4]
    await cluster.set()
    for node in NODES:
        assert "fairlead-egress" not in inside(node, "nft", "list", "tables")
        rules = inside(node, "ip", "rule") + inside(node, "ip", "-6", "rule")
        assert "0xfa1" not in rules
        tables = inside(node, "ip", "route", "show", "table", "all") + inside(
            node, "ip", "-6", "route", "show", "table", "all"
        )
        assert "table 26" not in tables
    assert "0x77" in inside("n1", "ip", "rule")
    assert await seen("n1", 4) == node_ips("n1")[0]


def marks(cluster: Cluster, node: str) -> set[int]:
    plan = cluster.engines[node].plan
    assert plan is not None
    return {row.mark for row in plan.table("egress_routes").values()}  # type: ignore[union-attr]


async def test_what_comes_unasked_to_the_chosen_address_is_dropped(cluster: Cluster) -> None:
    await cluster.set(gateway("n2"))
    lead("n2")
    for v in (4, 6):
        assert not ping("router", CHOSEN[v], 100)
    assert "packets 0 " not in inside("n2", "nft", "list", "counter", "inet", "fairlead-egress", "unsolicited")
