"""Packets that try to slip past policies: to everyone at once, in pieces, as errors about something, outside of any connection."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from tests.kernel.policylab import PolicyLab
from tests.verify.policy_cases import PODS, Case, cluster, egress, ingress, labels

pytestmark = pytest.mark.kernel

OPEN = cluster(Case(policies=[]))
CLOSED = cluster(Case(policies=[egress(name="out", types=["Egress"]), ingress(name="in")]))
ONLY_C = cluster(Case(policies=[ingress({"from": [{"podSelector": labels(app="c"), "namespaceSelector": {}}]})]))
PORT = 6400
PATIENCE_S = 10.0
GRACE_S = 0.2
"""How long something forbidden is given to arrive after what is permitted has."""


@pytest.fixture(scope="module")
def lab() -> Iterator[PolicyLab]:
    with PolicyLab() as made:
        yield made


def ip(name: str, family: int) -> str:
    namespace, _, short = name.partition("/")
    (found,) = (
        each for each in PODS if (each["metadata"]["namespace"], each["metadata"]["name"]) == (namespace, short)
    )
    address: str = found["status"]["podIPs"][family == 6]["ip"]
    return address


def opened(lab: PolicyLab, name: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    return lab.socket(f"pod-{ip(name, 4)}", family, kind, protocol)


def listeners(lab: PolicyLab, family: int) -> dict[str, socket.socket]:
    """A socket in each pod that hears whatever comes for its port, however it is addressed."""
    found = {}
    for each in PODS:
        name = f"{each['metadata']['namespace']}/{each['metadata']['name']}"
        found[name] = opened(lab, name, family, socket.SOCK_DGRAM)
        found[name].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found[name].bind(("::" if family == 6 else "0.0.0.0", PORT))
        if family == 4:
            member = socket.inet_aton("224.0.0.251") + socket.inet_aton(ip(name, 4))
            found[name].setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        else:
            group = socket.inet_pton(socket.AF_INET6, "ff0e::fb")
            found[name].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("=I", 0))
    return found


def who_hears(heard: dict[str, socket.socket], text: bytes, awaited: frozenset[str] = frozenset()) -> set[str]:
    """The pods at which `text` arrives: those that are awaited, and whoever else hears it in a moment more."""
    patience, found = time.monotonic() + PATIENCE_S, set()
    names = {each.fileno(): name for name, each in heard.items()}
    until = time.monotonic() + GRACE_S
    while (left := (patience if not found >= awaited else until) - time.monotonic()) > 0:
        for each in select.select(list(heard.values()), [], [], left)[0]:
            if each.recv(2000) == text:
                found.add(names[each.fileno()])
                until = time.monotonic() + GRACE_S
    return found


@pytest.mark.parametrize("world", [OPEN, CLOSED], ids=["without policies", "closed"])
@pytest.mark.parametrize(
    "family, target",
    [
        (4, "255.255.255.255"),
        (4, "10.244.1.255"),
        (4, "10.244.2.255"),
        (4, "224.0.0.251"),
        (6, "ff02::1"),
        (6, "ff0e::fb"),
    ],
)
def test_what_is_for_everyone_reaches_no_other_pod(lab: PolicyLab, world: object, family: int, target: str) -> None:
    lab.enforce(world)  # type: ignore[arg-type]
    with contextlib.ExitStack() as stack:
        heard = {name: stack.enter_context(each) for name, each in listeners(lab, family).items()}
        sender = opened(lab, "nx/b", family, socket.SOCK_DGRAM)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        device = (0, 2) if family == 6 else ()
        with contextlib.suppress(OSError):
            sender.sendto(b"everyone", (target, PORT, *device))
        assert who_hears(heard, b"everyone") <= {"nx/b"}
        if world is OPEN:
            # What is for one is heard by that one, so that silence means something.
            sender.sendto(b"one", (ip("ny/a", family), PORT))
            assert who_hears(heard, b"one", frozenset({"ny/a"})) == {"ny/a"}


def udp(text: bytes, checksum: int = 0) -> bytes:
    return struct.pack(">HHHH", 1234, PORT, 8 + len(text), checksum) + text


@pytest.mark.parametrize("first_bytes", [8, 16])
def test_a_datagram_in_the_smallest_pieces_is_judged_whole(lab: PolicyLab, first_bytes: int) -> None:
    lab.enforce(ONLY_C)
    with contextlib.ExitStack() as stack:
        heard = {name: stack.enter_context(each) for name, each in listeners(lab, 4).items()}
        for source, expected in (("ny/b", frozenset()), ("ny/c", frozenset({"nx/a"}))):
            raw = opened(lab, source, 4, socket.SOCK_RAW, socket.IPPROTO_RAW)
            text = source.encode() * 8
            whole = udp(text)
            for start in range(0, len(whole), first_bytes):
                part = whole[start : start + first_bytes]
                more = 0x2000 if start + first_bytes < len(whole) else 0
                raw.sendto(ipv4(ip(source, 4), ip("nx/a", 4), 17, part, start // 8 | more), (ip("nx/a", 4), 0))
            assert who_hears(heard, text, expected) == expected


def test_an_ipv6_fragment_header_hides_nothing(lab: PolicyLab) -> None:
    lab.enforce(ONLY_C)
    with contextlib.ExitStack() as stack:
        heard = {name: stack.enter_context(each) for name, each in listeners(lab, 6).items()}
        for source, expected in (("ny/b", frozenset()), ("ny/c", frozenset({"nx/a"}))):
            raw = opened(lab, source, 6, socket.SOCK_RAW, socket.IPPROTO_RAW)
            text = source.encode() * 4
            addresses = [socket.inet_pton(socket.AF_INET6, ip(each, 6)) for each in (source, "nx/a")]
            plain = udp(text)
            checksum = internet_checksum(b"".join(addresses) + struct.pack(">II", len(plain), 17) + plain)
            whole = udp(text, checksum)
            for start, more in ((0, 1), (8, 0)):
                part = whole[start:8] if more else whole[start:]
                fragment = struct.pack(">BBHI", 17, 0, start | more, 7) + part
                head = struct.pack(">IHBB", 6 << 28, len(fragment), 44, 64) + b"".join(addresses)
                raw.sendto(head + fragment, (ip("nx/a", 6), 0))
            assert who_hears(heard, text, expected) == expected


@pytest.mark.parametrize("world", [OPEN, ONLY_C], ids=["without policies", "governed"])
def test_an_error_about_nothing_is_dropped(lab: PolicyLab, world: object) -> None:
    """A pod that may not talk to another cannot tell it errors about connections that there are not."""
    lab.enforce(world)  # type: ignore[arg-type]
    source, target = ip("ny/b", 4), ip("nx/a", 4)
    receiver = opened(lab, "nx/a", 4, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    receiver.settimeout(GRACE_S)
    quoted = ipv4(target, source, 17, struct.pack(">HHHH", 4000, 5000, 8, 0))
    error = struct.pack(">BBHI", 3, 3, 0, 0) + quoted
    error = error[:2] + struct.pack(">H", internet_checksum(error)) + error[4:]
    before = lab.counters("node-1")["invalid"][0] + lab.counters("node-2")["invalid"][0]
    sender = opened(lab, "ny/b", 4, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sender.sendto(ipv4(source, target, 1, error), (target, 0))
    with pytest.raises(TimeoutError):
        receiver.recv(2000)
    # It has come, and was dropped.
    deadline = time.monotonic() + PATIENCE_S
    while lab.counters("node-1")["invalid"][0] + lab.counters("node-2")["invalid"][0] == before:
        assert time.monotonic() < deadline


def test_protocols_without_ports_do_not_pass_rules_with_ports(lab: PolicyLab) -> None:
    rule = {
        "from": [{"podSelector": labels(app="c"), "namespaceSelector": {}}],
        "ports": [{"port": PORT, "protocol": "UDP"}],
    }
    lab.enforce(cluster(Case(policies=[ingress(rule)])))
    receiver = opened(lab, "nx/a", 4, socket.SOCK_RAW, 253)
    receiver.settimeout(GRACE_S)
    sender = opened(lab, "ny/c", 4, socket.SOCK_RAW, socket.IPPROTO_RAW)
    packet = ipv4(ip("ny/c", 4), ip("nx/a", 4), 253, struct.pack(">HH", 1234, PORT))
    sender.sendto(packet, (ip("nx/a", 4), 0))
    with pytest.raises(TimeoutError):
        receiver.recv(2000)
    lab.enforce(OPEN)
    sender.sendto(packet, (ip("nx/a", 4), 0))
    receiver.settimeout(10)
    assert receiver.recv(2000)[20:] == packet[20:]


def ipv4(source: str, target: str, protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 77, fragment, 64, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    return head[:10] + struct.pack(">H", internet_checksum(head)) + head[12:] + payload


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
