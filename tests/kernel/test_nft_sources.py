"""Pods cannot send from an address that is not their own: IPv4, IPv6, ARP and neighbor discovery, with raw sockets inside the pod."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from tests.kernel.nftlab import EXTERNAL, HOST_MAC, NODE, PODS, REMOTE_POD, NftLab, inside, plan_of, pod_ip

pytestmark = pytest.mark.kernel

PORT = 6000
ETH_P_ALL = 3


@pytest.fixture(scope="module")
def lab() -> Iterator[NftLab]:
    with NftLab() as made:
        assert made.apply(plan_of()).failed == ()
        yield made


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def v(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


def udp_packet(source: str, destination: str, payload: bytes) -> bytes:
    """An IP packet with a UDP datagram; the UDP checksum is left out for IPv4 and computed for IPv6."""
    length = 8 + len(payload)
    datagram = struct.pack(">HHHH", PORT, PORT, length, 0) + payload
    if ":" not in source:
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 1, 0, 64, socket.IPPROTO_UDP, 0)
        header += socket.inet_pton(socket.AF_INET, source) + socket.inet_pton(socket.AF_INET, destination)
        return header[:10] + _sum(header) + header[12:] + datagram
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    pseudo = addresses + struct.pack(">II", length, socket.IPPROTO_UDP)
    datagram = datagram[:6] + _sum(pseudo + datagram) + datagram[8:]
    return struct.pack(">IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + addresses + datagram


def icmpv6_packet(source: str, destination: str, body: bytes) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    checked = _sum(addresses + struct.pack(">II", len(body), socket.IPPROTO_ICMPV6) + body)
    return (
        struct.pack(">IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255) + addresses + body[:2] + checked + body[4:]
    )


def _sum(data: bytes) -> bytes:
    total = sum(struct.unpack(f">{len(data) // 2 + len(data) % 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", total ^ 0xFFFF)


def send_frame(lab: NftLab, pod: str, kind: int, payload: bytes) -> None:
    """Put a whole frame on the pod's wire, as nothing but a raw socket can."""
    own = bytes.fromhex(f"0a000000000{PODS[pod][1]}")
    frame = bytes.fromhex(HOST_MAC.replace(":", "")) + own + struct.pack(">H", kind) + payload

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            raw.send(frame)

    inside(lab.path(pod), send)


def send_udp(lab: NftLab, pod: str, source: str, destination: str, payload: bytes) -> None:
    send_frame(lab, pod, 0x86DD if ":" in source else 0x0800, udp_packet(source, destination, payload))


@pytest.mark.parametrize("where", ["outside", "pod-b", "node"])
@pytest.mark.parametrize(
    "claimed", ["neighbor", "node", "remote pod", "external", "loopback", "unspecified", "link-local"]
)
def test_spoofed_source_is_dropped_and_counted(lab: NftLab, v: int, where: str, claimed: str) -> None:
    sources = {
        "neighbor": pod_ip("pod-b", v),
        "node": NODE[v],
        "remote pod": REMOTE_POD[v],
        "external": EXTERNAL[v],
        "loopback": "127.0.0.1" if v == 4 else "::1",
        "unspecified": "0.0.0.0" if v == 4 else "::",
        "link-local": "169.254.1.1" if v == 4 else "fe80::5",
    }
    target = {"outside": EXTERNAL[v], "pod-b": pod_ip("pod-b", v), "node": NODE[v]}[where]
    before = lab.counters()["inet/spoofed"][0]
    with lab.socket(where, target, socket.SOCK_DGRAM) as receiver:
        receiver.bind((target, PORT))
        send_udp(lab, "pod-a", sources[claimed], target, b"spoofed")
        # Datagrams of one sender stay in order: when the honest one is first, the other was dropped.
        send_udp(lab, "pod-a", pod_ip("pod-a", v), target, b"honest")
        assert receiver.recv(100) == b"honest"
    # The kernel itself drops ::1 from a wire, before any rule.
    counted = 0 if sources[claimed] == "::1" else 1
    assert lab.counters()["inet/spoofed"][0] == before + counted


def test_spoofed_packet_starts_no_connection(lab: NftLab, v: int) -> None:
    """Dropped before conntrack: a pod cannot fill or poison its table in another's name."""
    send_udp(lab, "pod-a", REMOTE_POD[v], EXTERNAL[v], b"spoofed")
    entries = lab.run("node", "conntrack", "-L", "-f", f"ipv{v}")
    assert f"src={REMOTE_POD[v]} dst={EXTERNAL[v]}" not in entries


def test_arp_of_a_pod_is_not_believed(lab: NftLab) -> None:
    before = lab.counters()["arp/spoofed"][0]
    claim = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + bytes.fromhex("0a0000000005")
    claim += socket.inet_pton(socket.AF_INET, pod_ip("pod-b", 4)) + bytes.fromhex(HOST_MAC.replace(":", ""))
    claim += socket.inet_pton(socket.AF_INET, NODE[4])
    send_frame(lab, "pod-a", 0x0806, claim)
    assert lab.counters()["arp/spoofed"][0] == before + 1
    neighbors = lab.run("node", "ip", "neighbor", "show", "dev", PODS["pod-a"][0])
    assert pod_ip("pod-b", 4) not in neighbors


@pytest.mark.parametrize("source", ["own", "link-local"])
@pytest.mark.parametrize(
    ("name", "kind"), [("solicitation", 135), ("advertisement", 136), ("router", 134), ("redirect", 137)]
)
def test_neighbor_discovery_of_a_pod_is_not_believed(lab: NftLab, name: str, kind: int, source: str) -> None:
    ifname = PODS["pod-a"][0]
    before = lab.run("node", "ip", "-6", "neighbor", "show", "dev", ifname)
    routes = lab.run("node", "ip", "-6", "route", "show")
    own_mac = bytes.fromhex("0a0000000005")
    target = socket.inet_pton(socket.AF_INET6, pod_ip("pod-b", 6))
    body = struct.pack(">BBHI", kind, 0, 0, 0xE0000000 if kind == 136 else 0) + target
    body += bytes((1 if kind == 135 else 2, 1)) + own_mac
    address = pod_ip("pod-a", 6) if source == "own" else "fe80::5"
    send_frame(lab, "pod-a", 0x86DD, icmpv6_packet(address, NODE[6], body))
    # Behind it an honest packet: when that has arrived, the other has been judged.
    with lab.socket("node", NODE[6], socket.SOCK_DGRAM) as receiver:
        receiver.bind((NODE[6], PORT))
        send_udp(lab, "pod-a", pod_ip("pod-a", 6), NODE[6], b"honest")
        assert receiver.recv(100) == b"honest"
    assert lab.run("node", "ip", "-6", "neighbor", "show", "dev", ifname) == before
    assert lab.run("node", "ip", "-6", "route", "show") == routes


def test_devices_of_the_node_are_no_pods(lab: NftLab) -> None:
    """`fl-…` devices, such as the tunnel, carry the packets of other nodes' pods."""
    lab.run("node", "ip", "link", "add", "fl-test", "type", "veth", "peer", "name", "fl-peer")
    try:
        for device in ("fl-test", "fl-peer"):
            lab.run("node", "ip", "link", "set", device, "up")
        before = lab.counters()
        packet = udp_packet(REMOTE_POD[4], pod_ip("pod-b", 4), b"from another node")
        with lab.socket("pod-b", pod_ip("pod-b", 4), socket.SOCK_DGRAM) as receiver:
            receiver.bind((pod_ip("pod-b", 4), PORT))

            def send() -> None:
                with (
                    socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw,
                    socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as peer,
                ):
                    peer.bind(("fl-peer", 0))
                    raw.bind(("fl-test", 0))
                    raw.send(peer.getsockname()[4] + raw.getsockname()[4] + b"\x08\x00" + packet)

            inside(lab.path("node"), send)
            assert receiver.recv(100) == b"from another node"
        assert lab.counters()["inet/spoofed"] == before["inet/spoofed"]
    finally:
        lab.run("node", "ip", "link", "delete", "fl-test")
