"""Stale entries of UDP and SCTP flows are deleted, and nothing else is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from tests.kernel.nftlab import OTHER_VIP, PODS, VIP, NftLab, plan_of, pod_ip, sctp_init

from fairlead.drivers.conntrack.driver import ConntrackDriver
from fairlead.plan.tables import Endpoint, ServicePort

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def lab() -> Iterator[NftLab]:
    with NftLab() as made:
        servers = [(pod, pod_ip(pod, v), 8080, kind) for pod in PODS for v in (4, 6) for kind in ("tcp", "udp")]
        with made.serve(*servers):
            yield made


@pytest.fixture
def conntrack(lab: NftLab) -> Iterator[ConntrackDriver]:
    driver = ConntrackDriver(lab.path("node"))
    asyncio.run(driver.start())
    yield driver
    asyncio.run(driver.close())


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def v(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


def port(v: int, *pods: str, protocol: str = "udp", address: str = "") -> ServicePort:
    targets = tuple(sorted(Endpoint(pod_ip(pod, v), 8080) for pod in pods))
    return ServicePort(address=address or VIP[v], protocol=protocol, port=53, endpoints=targets)


class Flow:
    """A client that keeps its port."""

    def __init__(self, lab: NftLab, where: str, address: str) -> None:
        self._socket = lab.socket(where, address, socket.SOCK_DGRAM)
        self._socket.connect((address, 53))

    def ask(self) -> str:
        with contextlib.suppress(PermissionError):
            self._socket.send(b"?")
        return self._socket.recv(100).decode().split()[0]


@pytest.mark.parametrize("client", ["outside", "node", "pod-b"])
def test_a_flow_moves_when_its_endpoint_goes(lab: NftLab, conntrack: ConntrackDriver, v: int, client: str) -> None:
    other = port(v, "pod-a", address=OTHER_VIP[v])
    before = plan_of(port(v, "pod-a"), other)
    lab.apply(before)
    asyncio.run(conntrack.apply(before))
    moving, staying = Flow(lab, client, VIP[v]), Flow(lab, client, OTHER_VIP[v])
    with lab.socket(client, VIP[v], socket.SOCK_STREAM):
        assert (moving.ask(), staying.ask()) == ("pod-a", "pod-a")
        after = plan_of(port(v, "pod-b"), other)
        lab.apply(after)
        assert moving.ask() == "pod-a"
        key = (VIP[v], "udp", 53)
        assert asyncio.run(conntrack.apply_changes(after, {"service_ports": {key}})).applied == 1
        assert (moving.ask(), staying.ask()) == ("pod-b", "pod-a")
        assert asyncio.run(conntrack.resync(after)).applied == 0


def test_flows_of_a_service_without_endpoints_are_refused(lab: NftLab, conntrack: ConntrackDriver, v: int) -> None:
    before, after = plan_of(port(v, "pod-a")), plan_of(port(v))
    lab.apply(before)
    asyncio.run(conntrack.apply(before))
    flow = Flow(lab, "pod-b", VIP[v])
    assert flow.ask() == "pod-a"
    lab.apply(after)
    assert asyncio.run(conntrack.apply(after)).applied == 1
    with pytest.raises(ConnectionRefusedError):
        flow.ask()


def test_a_flow_from_before_the_service_is_forgotten(lab: NftLab, conntrack: ConntrackDriver, v: int) -> None:
    nothing, after = plan_of(port(v, "pod-a", address=OTHER_VIP[v])), plan_of(port(v, "pod-a"))
    lab.apply(nothing)
    asyncio.run(conntrack.apply(nothing))
    early = lab.socket("node", VIP[v], socket.SOCK_DGRAM)
    early.connect((VIP[v], 53))
    early.send(b"?")
    lab.apply(after)
    assert asyncio.run(conntrack.apply(after)).applied >= 1
    early.send(b"?")
    assert early.recv(100).startswith(b"pod-a")


def test_an_sctp_association_moves_when_its_endpoint_goes(lab: NftLab, conntrack: ConntrackDriver, v: int) -> None:
    """By raw sockets: this kernel may have none for SCTP."""
    before, after = (plan_of(port(v, pod, protocol="sctp")) for pod in PODS)
    lab.apply(before)
    asyncio.run(conntrack.apply(before))
    receivers = {pod: lab.socket(pod, VIP[v], socket.SOCK_RAW, socket.IPPROTO_SCTP) for pod in PODS}
    with contextlib.ExitStack() as stack:
        for each in receivers.values():
            stack.enter_context(each)
        sender = stack.enter_context(lab.socket("outside", VIP[v], socket.SOCK_RAW, socket.IPPROTO_SCTP))
        for pod, plan, stale in (("pod-a", before, 0), ("pod-b", after, 1)):
            lab.apply(plan)
            assert asyncio.run(conntrack.apply(plan)).applied == stale
            sender.sendto(sctp_init(5000, 53), (VIP[v], 0))
            assert receivers[pod].recv(200)


def test_tcp_goes_on(lab: NftLab, conntrack: ConntrackDriver, v: int) -> None:
    before, after = plan_of(port(v, "pod-a", protocol="tcp")), plan_of(port(v, "pod-b", protocol="tcp"))
    lab.apply(before)
    asyncio.run(conntrack.apply(before))
    with lab.socket("outside", VIP[v], socket.SOCK_STREAM) as client:
        client.connect((VIP[v], 53))
        client.send(b"?")
        assert client.recv(100).startswith(b"pod-a")
        lab.apply(after)
        assert asyncio.run(conntrack.apply(after)).applied == 0
        assert asyncio.run(conntrack.resync(after)).applied == 0
        client.send(b"?")
        assert client.recv(100).startswith(b"pod-a")
