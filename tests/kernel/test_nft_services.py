"""Services, masquerade and refusal with real packets, IPv4 and IPv6."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest
from tests.kernel.nftlab import (
    EXTERNAL,
    NODE,
    OTHER_VIP,
    PODS,
    REMOTE_POD,
    VIP,
    NftLab,
    plan_of,
    pod_ip,
    sctp_init,
    service,
)

from fairlead.plan.tables import Endpoint, ServicePort

pytestmark = pytest.mark.kernel

CLIENTS = ("pod-a", "node", "outside")


@pytest.fixture(scope="module")
def lab() -> Iterator[NftLab]:
    with NftLab() as made:
        services = []
        for v in (4, 6):
            services += [
                service(v, 80, *PODS),
                service(v, 53, *PODS, protocol="udp", target=5353),
                service(v, 81),
                service(v, 81, protocol="udp"),
                service(v, 80, "pod-a", other=True),
                ServicePort(address=VIP[v], protocol="tcp", port=82, endpoints=(Endpoint(NODE[v], 9090),)),
                ServicePort(address=VIP[v], protocol="tcp", port=83, endpoints=(Endpoint(EXTERNAL[v], 9091),)),
                ServicePort(address=VIP[v], protocol="tcp", port=84, endpoints=(Endpoint(REMOTE_POD[v], 9092),)),
            ]
        outcome = made.apply(plan_of(*services))
        assert outcome.failed == ()
        servers = [(pod, pod_ip(pod, v), 8080, "tcp") for pod in PODS for v in (4, 6)]
        servers += [(pod, pod_ip(pod, v), 5353, "udp") for pod in PODS for v in (4, 6)]
        servers += [("node", NODE[v], 9090, "tcp") for v in (4, 6)]
        servers += [("outside", EXTERNAL[v], 9091, "tcp") for v in (4, 6)]
        servers += [("outside", REMOTE_POD[v], 9092, "tcp") for v in (4, 6)]
        servers += [("outside", address[v], 7777, "udp") for address in (EXTERNAL, REMOTE_POD) for v in (4, 6)]
        with made.serve(*servers):
            yield made


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def v(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


@pytest.mark.parametrize(("port", "protocol"), [(80, "tcp"), (53, "udp")])
@pytest.mark.parametrize("client", CLIENTS)
def test_service_is_balanced_over_its_endpoints(lab: NftLab, v: int, client: str, port: int, protocol: str) -> None:
    answers = [lab.ask(client, VIP[v], port, protocol) for _ in range(40)]
    # 40 fair coins fall on one side with a chance of 2 in a million million.
    assert {server for server, _ in answers} == set(PODS)
    own = {"pod-a": pod_ip("pod-a", v), "node": NODE[v], "outside": "10.10.0.1" if v == 4 else "fd10:10::1"}[client]
    # The client's address is kept, except when a pod reaches itself.
    assert {peer for server, peer in answers if server != client} == {own}


def test_pod_reaches_itself_through_its_service(lab: NftLab, v: int) -> None:
    assert lab.ask("pod-a", OTHER_VIP[v], 80) == ["pod-a", NODE[v]]


def test_service_leads_to_the_node_and_to_other_nodes(lab: NftLab, v: int) -> None:
    assert lab.ask("pod-a", VIP[v], 82) == ["node", pod_ip("pod-a", v)]
    assert lab.ask("node", VIP[v], 82) == ["node", NODE[v]]
    assert lab.ask("pod-a", VIP[v], 84) == ["outside", pod_ip("pod-a", v)]


@pytest.mark.parametrize(("port", "server"), [(80, None), (84, "outside"), (82, "node")])
def test_a_client_outside_of_the_cluster_is_hidden_at_a_cluster_address(
    lab: NftLab, v: int, port: int, server: str | None
) -> None:
    """A route to the Services by way of any node suffices: the answer of an endpoint elsewhere comes back through that node."""
    found, peer = lab.ask("outside", VIP[v], port, source=EXTERNAL[v])
    assert found == server or (server is None and found in PODS)
    # What ends at the node itself is not hidden, and does not need to be.
    assert peer == (EXTERNAL[v] if server == "node" else NODE[v])


def test_service_that_leads_out_of_the_cluster_is_masqueraded(lab: NftLab, v: int) -> None:
    assert lab.ask("pod-a", VIP[v], 83) == ["outside", NODE[v]]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("port", [81, 4444], ids=["no-endpoints", "unknown-port"])
@pytest.mark.parametrize("client", CLIENTS)
def test_port_without_endpoints_is_refused_at_once(lab: NftLab, v: int, client: str, port: int, protocol: str) -> None:
    before = lab.counters()["inet/refused"][0]
    for _ in range(10):
        started = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            lab.ask(client, VIP[v], port, protocol)
        # Before TCP would have sent its first segment again.
        assert time.monotonic() - started < 1
    assert lab.counters()["inet/refused"][0] > before


def test_masquerade_only_when_leaving_the_cluster(lab: NftLab, v: int) -> None:
    own = pod_ip("pod-a", v)
    assert lab.ask("pod-a", EXTERNAL[v], 7777, "udp") == ["outside", NODE[v]]
    assert lab.ask("pod-a", REMOTE_POD[v], 7777, "udp") == ["outside", own]
    assert lab.ask("pod-a", pod_ip("pod-b", v), 8080) == ["pod-b", own]
    assert lab.ask("pod-a", NODE[v], 9090) == ["node", own]
    assert lab.ask("outside", pod_ip("pod-b", v), 8080)[0] == "pod-b"


def test_marks_of_packets_are_left_alone(lab: NftLab, v: int) -> None:
    """Another program's mark survives the lookup that passes through it, on the first packet too."""
    lab.nft(
        "table inet other {\n"
        " counter kept { }\n"
        " counter lost { }\n"
        " chain before { type filter hook prerouting priority mangle; meta nfproto != 0 tcp dport 80 meta mark set 0x77; }\n"
        " chain after { type filter hook forward priority filter;"
        ' tcp dport 8080 ct state new meta mark 0x77 counter name "kept"; tcp dport 8080 ct state new meta mark != 0x77 counter name "lost"; }\n'
        "}\n"
    )
    try:
        lab.ask("outside", VIP[v], 80)
        listing = lab.run("node", "nft", "list", "counters", "table", "inet", "other")
        kept, lost = (int(part.split()[0]) for part in listing.split("packets ")[1:])
        assert (kept > 0, lost) == (True, 0)
    finally:
        lab.nft("delete table inet other")


def test_an_established_connection_runs_no_rules(lab: NftLab, v: int) -> None:
    """Services are NAT chains: an endpoint that goes leaves its connections alone."""
    with lab.socket("outside", VIP[v], socket.SOCK_STREAM) as client:
        client.connect((OTHER_VIP[v], 80))
        client.send(b"?")
        assert client.recv(100).startswith(b"pod-a")
        lab.nft(f"flush map inet fairlead services{v}\nflush map inet fairlead endpoints{v}")
        client.send(b"?")
        assert client.recv(100).startswith(b"pod-a")
    with pytest.raises(ConnectionRefusedError):
        lab.ask("outside", OTHER_VIP[v], 80)
    rows = list(lab.observe()["service_ports"].values())
    assert all((":" in row.address) == (v == 4) for row in rows if isinstance(row, ServicePort))


def test_sctp_is_translated_though_this_kernel_has_no_sockets_for_it(lab: NftLab, v: int) -> None:
    plan = lab.observe()
    rows = [row for row in plan["service_ports"].values() if isinstance(row, ServicePort)]
    lab.apply(plan_of(*rows, service(v, 90, "pod-b", protocol="sctp", target=9000)))
    try:
        with (
            lab.socket("pod-b", VIP[v], socket.SOCK_RAW, socket.IPPROTO_SCTP) as receiver,
            lab.socket("outside", VIP[v], socket.SOCK_RAW, socket.IPPROTO_SCTP) as sender,
        ):
            sender.sendto(sctp_init(5000, 90), (VIP[v], 0))
            received = receiver.recv(200)
            header = received[20:] if v == 4 else received
            assert struct.unpack(">HH", header[:4]) == (5000, 9000)
    finally:
        lab.apply(plan_of(*rows))
