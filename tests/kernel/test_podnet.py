"""Three nodes, two in one subnet, pods on each: the whole way from nodes and attachments to packets on the real kernel."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest
from tests.kernel.netlab import NetLab, inside, netns, node_ips

from fairlead.api.meta import ObjectMeta
from fairlead.api.node import Node, NodeAddress, NodeSpec, NodeStatus
from fairlead.drivers.netlink import link
from fairlead.drivers.netlink.driver import NetlinkDriver
from fairlead.drivers.netlink.socket import enter
from fairlead.engine.gate import KINDS
from fairlead.engine.reconcile import Engine
from fairlead.world.attachment import Attachment
from fairlead.world.events import InterfacesObserved, KindReplaced
from fairlead.world.settings import Settings, TunnelMode

pytestmark = pytest.mark.kernel

T = TypeVar("T")
NODES = ("n1", "n2", "n3")
MTU = {"auto": 1450, "vxlan": 1450, "direct": 1500}


def node_objects() -> KindReplaced:
    return KindReplaced(
        "Node",
        {
            ("", name): Node(
                metadata=ObjectMeta(name=name),
                spec=NodeSpec(pod_cidrs=(f"10.244.{name[1]}.0/24", f"fd10:244:0:{name[1]}::/64")),
                status=NodeStatus(addresses=tuple(NodeAddress("InternalIP", each) for each in node_ips(name))),
            )
            for name in NODES
        },
        "1",
    )


def pod_ips(node: str) -> tuple[str, str]:
    return f"10.244.{node[1]}.5", f"fd10:244:0:{node[1]}::5"


def attachment(node: str, mtu: int) -> Attachment:
    return Attachment(
        container_id=f"c-{node}", ifname="eth0", netns=str(netns(f"pod-{node}")), host_ifname=f"fl0000000000{node[1]}a",
        mac=f"02:00:00:00:00:0{node[1]}", addresses=pod_ips(node), pod_namespace="default", pod_name=node, mtu=mtu,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def agent(node: str, tunnel: TunnelMode, *attachments: Attachment) -> AsyncIterator[Engine]:
    """An engine with a netlink driver in a node's namespace, as the agent joins them."""
    driver = NetlinkDriver(namespace=netns(node))
    await driver.start()
    engine = Engine(Settings(node=node, tunnel=tunnel), [driver], attachments=attachments)
    driver.on_foreign_change(lambda: engine.request_resync("netlink"))
    engine.push(InterfacesObserved(await driver.interfaces()), node_objects())
    engine.push(*(KindReplaced(kind, {}) for kind in KINDS - {"Node"}))
    task = asyncio.create_task(engine.run())
    try:
        async with asyncio.timeout(5):
            await engine.wait_ready()
        yield engine
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await driver.close()


@contextlib.asynccontextmanager
async def cluster(tunnel: TunnelMode) -> AsyncIterator[dict[str, Engine]]:
    """Three nodes with a pod on each."""
    with NetLab(*NODES) as lab:
        if tunnel == "direct":
            for node in NODES:
                for prefix, via in zip(
                    (f"10.244.{node[1]}.0/24", f"fd10:244:0:{node[1]}::/64"), node_ips(node), strict=True
                ):
                    inside("router", "ip", "route", "add", prefix, "via", via)
        async with contextlib.AsyncExitStack() as stack:
            engines = {}
            for node in NODES:
                engines[node] = await stack.enter_async_context(agent(node, tunnel))
                lab.add_namespace(f"pod-{node}")
                assert engines[node].pod_mtu == MTU[tunnel]
                await engines[node].attach(attachment(node, MTU[tunnel]))
            yield engines


async def within(name: str, action: Callable[[], T]) -> T:
    """Run blocking code in a thread of a namespace; the thread ends there."""

    def work() -> T:
        enter(netns(name))
        return action()

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    import threading

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            loop.call_soon_threadsafe(future.set_exception, error)
        else:
            loop.call_soon_threadsafe(future.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wait_for(future, 10)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def exchange(client: str, server: str, address: str, kind: socket.SocketKind) -> str:
    """Send bytes both ways between two namespaces and return the client's address as the server saw it."""

    def listen() -> socket.socket:
        sock = socket.socket(family(address), kind)
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, 7000))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    with await within(server, listen) as listening:

        def answer() -> str:
            if kind == socket.SOCK_DGRAM:
                data, peer = listening.recvfrom(100)
                listening.sendto(data, peer)
                return str(peer[0])
            connection, peer = listening.accept()
            with connection:
                connection.settimeout(5)
                connection.sendall(connection.recv(100))
            return str(peer[0])

        def ask() -> bytes:
            with socket.socket(family(address), kind) as sock:
                sock.settimeout(5)
                sock.connect((address, 7000))
                sock.send(b"hello")
                return sock.recv(100)

        seen = asyncio.create_task(asyncio.to_thread(answer))
        assert await within(client, ask) == b"hello"
        return await seen


def ping(client: str, address: str, size: int) -> bool:
    """Tell whether an unfragmentable packet of `size` bytes (IP header included) gets an answer."""
    payload = size - (48 if ":" in address else 28)
    return "1 received" in inside(client, "ping", "-c1", "-W1", "-M", "do", "-s", str(payload), address, check=False)


@pytest.mark.parametrize("tunnel", ["auto", "vxlan", "direct"])
async def test_every_pod_reaches_every_pod_and_node_with_its_own_address(tunnel: TunnelMode) -> None:
    async with cluster(tunnel):
        for client in NODES:
            for server in NODES:
                for at in (0, 1):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        if client != server:
                            seen = await exchange(f"pod-{client}", f"pod-{server}", pod_ips(server)[at], kind)
                            assert seen == pod_ips(client)[at], (client, server, kind)
                        seen = await exchange(f"pod-{client}", server, node_ips(server)[at], kind)
                        assert seen == pod_ips(client)[at], (client, server, kind)
                        seen = await exchange(client, f"pod-{server}", pod_ips(server)[at], kind)
                        assert seen in (node_ips(client)[at], f"10.244.{client[1]}.0", f"fd10:244:0:{client[1]}::")


@pytest.mark.parametrize("tunnel", ["auto", "vxlan", "direct"])
async def test_packets_of_the_pods_mtu_pass_and_larger_ones_are_refused_at_once(tunnel: TunnelMode) -> None:
    async with cluster(tunnel):
        for server in ("n2", "n3"):
            for address in pod_ips(server):
                assert await asyncio.to_thread(ping, "pod-n1", address, MTU[tunnel])
                assert not await asyncio.to_thread(ping, "pod-n1", address, MTU[tunnel] + 1)


async def test_a_restarted_agent_adopts_and_a_second_pass_changes_nothing() -> None:
    async with cluster("auto") as engines:
        before = inside("n1", "ip", "-details", "address")
        async with agent("n1", "auto", *engines["n1"].snapshot.attachments.values()) as again:
            assert again.receipt().healthy, again.receipt().summary
            assert again.receipt().drivers[0].applied == 0
        assert inside("n1", "ip", "-details", "address") == before


@pytest.mark.parametrize(
    "damage",
    [
        ["ip", "route", "delete", "10.244.3.0/24"],
        ["ip", "-6", "route", "delete", "fd10:244:0:3::/64"],
        ["ip", "link", "delete", "fl-vxlan"],
        ["ip", "link", "set", "fl-vxlan", "down"],
        ["ip", "neighbor", "delete", "10.244.3.0", "dev", "fl-vxlan"],
        ["ip", "address", "flush", "dev", "fl-vxlan"],
        ["ip", "route", "delete", "10.244.1.5"],
        ["ip", "link", "set", "fl00000000001a", "down"],
    ],
    ids=lambda damage: " ".join(damage[1:]),
)
async def test_what_others_remove_is_repaired_within_a_second(damage: list[str]) -> None:
    async with cluster("auto") as engines:
        healthy = inside("n1", "ip", "-o", "route") + inside("n1", "ip", "-o", "-6", "route")
        inside("n1", *damage)
        async with asyncio.timeout(1):
            while True:
                if engines["n1"].receipt().drivers[0].repaired:
                    break
                await asyncio.sleep(0.02)
        assert inside("n1", "ip", "-o", "route") + inside("n1", "ip", "-o", "-6", "route") == healthy
        assert await asyncio.to_thread(ping, "pod-n1", pod_ips("n3")[0], 1450)
        assert await asyncio.to_thread(ping, "pod-n1", pod_ips("n3")[1], 1450)


async def test_detaching_leaves_nothing_of_the_pod() -> None:
    async with cluster("auto") as engines:
        await engines["n1"].detach("c-n1", "eth0")
        assert "fl0000000000" not in inside("n1", "ip", "link")
        assert "10.244.1.5" not in inside("n1", "ip", "route") + inside("n1", "ip", "neighbor")
        assert "eth0" not in inside("pod-n1", "ip", "link")
        await engines["n1"].detach("c-n1", "eth0")


async def test_an_attachment_that_fails_leaves_nothing_and_says_why() -> None:
    async with cluster("auto") as engines:
        from fairlead.engine.api import AttachError

        gone = Attachment(
            container_id="gone", ifname="eth0", netns="/run/netns/flt-net-absent", host_ifname="fl0000000000ff",
            mac="02:00:00:00:00:ff", addresses=("10.244.1.9",),
        )  # fmt: skip
        with pytest.raises(AttachError, match="flt-net-absent: No such file"):
            await engines["n1"].attach(gone)
        assert gone.key not in engines["n1"].snapshot.attachments
        assert "fl0000000000ff" not in inside("n1", "ip", "link")
        assert engines["n1"].receipt().healthy


async def test_foreign_routes_are_left_alone() -> None:
    with NetLab("n1"):
        inside("n1", "ip", "route", "add", "10.244.3.0/24", "via", "10.10.0.1", "proto", "static")
        async with agent("n1", "auto") as engine:
            receipt = engine.receipt()
            assert not receipt.healthy
            assert "not ours" in receipt.summary
            assert "via 10.10.0.1" in inside("n1", "ip", "route", "show", "10.244.3.0/24")


async def test_many_pods_come_and_go_and_a_foreign_interface_of_our_group_stays() -> None:
    with NetLab("n1") as lab:
        inside("n1", "ip", "link", "add", "foreign", "group", "79", "type", "veth", "peer", "name", "foreign-peer")
        async with agent("n1", "auto") as engine:
            pods = []
            for number in range(20):
                lab.add_namespace(f"pod-{number}")
                pods.append(
                    Attachment(
                        container_id=f"c{number}", ifname="eth0", netns=str(netns(f"pod-{number}")),
                        host_ifname=f"fl{number:012x}", mac=f"02:00:00:00:00:{number:02x}",
                        addresses=(f"10.244.1.{number + 10}", f"fd10:244:0:1::{number + 10:x}"),
                    )
                )  # fmt: skip
            await asyncio.gather(*(engine.attach(each) for each in pods))
            assert await asyncio.to_thread(ping, "pod-3", "10.244.1.29", 1450)
            # Some are gone already, as after their namespace was deleted.
            inside("n1", "ip", "link", "delete", "fl000000000000")
            await asyncio.gather(*(engine.detach(*each.key) for each in pods))
            assert engine.receipt().healthy
            links = inside("n1", "ip", "-br", "link")
            assert "foreign" in links and "fl00000000" not in links


async def test_links_that_a_killed_agent_was_removing_are_removed() -> None:
    with NetLab("n1") as lab:
        lab.add_namespace("pod-n1")
        async with agent("n1", "auto") as engine:
            await engine.attach(attachment("n1", 1450))
        inside("n1", "ip", "link", "set", "fl00000000001a", "group", str(link.GOING))
        async with agent("n1", "auto"):
            assert "fl00000000001a" not in inside("n1", "ip", "link")
