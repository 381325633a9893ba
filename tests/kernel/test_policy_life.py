"""Policies that change: established connections, flips under load, restarts, drift, and packets that try to slip past."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from tests.kernel.policylab import PolicyLab, Probe
from tests.model.policy.interpreter import host_ifname
from tests.verify.policy_cases import LABELS, PODS, Case, anp, cluster, egress, ingress, labels, rule

from fairlead.plan.plan import Plan
from fairlead.verify.oracle.cluster import Cluster

pytestmark = pytest.mark.kernel

CUT_S = 1.0
_SO_RCVBUFFORCE = 33
OPEN = cluster(Case(policies=[]))
ONLY_C = cluster(Case(policies=[ingress({"from": [{"podSelector": labels(app="c"), "namespaceSelector": {}}]})]))


@pytest.fixture(scope="module")
def lab() -> Iterator[PolicyLab]:
    with PolicyLab() as made:
        yield made


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


def hears(receiver: socket.socket, text: bytes, timeout_s: float) -> bool:
    """Tell whether `text` is what arrives next."""
    receiver.settimeout(timeout_s)
    try:
        return receiver.recv(100) == text
    except TimeoutError:
        return False


@pytest.mark.parametrize("source", ["nx/b", "ny/b"], ids=["same-node", "other-node"])
def test_a_connection_is_cut_when_it_is_forbidden_and_no_other(lab: PolicyLab, family: int, source: str) -> None:
    lab.enforce(OPEN)
    ends = {}
    for number, name in enumerate((source, f"{source[:2]}/c")):
        probe = Probe(f"pod/{name}", "pod/nx/a", "TCP", 6000 + number, family, True)
        client = lab.connect(OPEN, probe)
        ends[name] = (client, lab.accept(OPEN, probe))
    for client, server in ends.values():
        client.send(b"one")
        assert hears(server, b"one", 5)
    lab.enforce(ONLY_C)
    client, server = ends.pop(source)
    client.send(b"two")
    server.send(b"two")
    for other_client, other_server in ends.values():
        other_client.send(b"two")
        assert hears(other_server, b"two", 5)
        other_server.send(b"three")
        assert hears(other_client, b"three", 5)
    # From neither end, although the server itself might begin a connection to the client.
    assert not hears(server, b"two", CUT_S / 4)
    assert not hears(client, b"two", CUT_S / 4)
    lab.enforce(OPEN)
    # What was sent meanwhile is sent again by TCP and arrives.
    assert hears(server, b"two", 10)


def test_a_server_that_pushes_datagrams_is_cut_too(lab: PolicyLab, family: int) -> None:
    closed = cluster(Case(policies=[ingress(), egress(name="q", types=["Egress"])]))
    lab.enforce(OPEN)
    version = socket.AF_INET6 if family == 6 else socket.AF_INET
    ips = {name: _ip(name, family) for name in ("nx/b", "nx/a")}
    client = lab.socket(f"pod-{_ip('nx/b', 4)}", family, socket.SOCK_DGRAM)
    server = lab.socket(f"pod-{_ip('nx/a', 4)}", family, socket.SOCK_DGRAM)
    assert client.family == version
    server.bind((ips["nx/a"], 6100))
    client.bind((ips["nx/b"], 6101))
    client.sendto(b"hello", (ips["nx/a"], 6100))
    assert hears(server, b"hello", 5)
    server.sendto(b"push 1", (ips["nx/b"], 6101))
    assert hears(client, b"push 1", 5)
    lab.enforce(closed)
    server.sendto(b"push 2", (ips["nx/b"], 6101))
    assert not hears(client, b"push 2", CUT_S / 4)


def test_flips_under_load_let_nothing_forbidden_through_and_lose_nothing_permitted(lab: PolicyLab) -> None:
    policy = ingress({"from": [{"podSelector": labels(role="friend")}, {"podSelector": labels(app="c")}]})
    friend, stranger = (
        Cluster(
            pods=[_relabeled(each, role) if each["metadata"]["name"] == "b" else each for each in PODS],
            namespaces=OPEN.namespaces,
            nodes=OPEN.nodes,
            policies=[policy],
        )
        for role in ("friend", "stranger")
    )
    lab.enforce(stranger)
    server = lab.socket(f"pod-{_ip('nx/a', 4)}", 4, socket.SOCK_DGRAM)
    server.bind((_ip("nx/a", 4), 6200))
    server.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
    flipping = lab.socket(f"pod-{_ip('nx/b', 4)}", 4, socket.SOCK_DGRAM)
    steady = lab.socket(f"pod-{_ip('nx/c', 4)}", 4, socket.SOCK_DGRAM)
    wanted = set()
    for number in range(60):
        permitted = number % 2 == 0
        lab.enforce(friend if permitted else stranger)
        for turn in range(10):
            for sender, name, expected in ((flipping, "flip", permitted), (steady, "steady", True)):
                text = f"{name} {number} {turn}".encode()
                sender.sendto(text, (_ip("nx/a", 4), 6200))
                if expected:
                    wanted.add(text)
    found = set()
    server.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while True:
            found.add(server.recv(100))
    assert found - wanted == set(), "forbidden"
    assert wanted - found == set(), "lost"


def test_fragments_are_judged_as_the_datagram_that_they_are_of(lab: PolicyLab, family: int) -> None:
    lab.enforce(ONLY_C)
    server = lab.socket(f"pod-{_ip('nx/a', 4)}", family, socket.SOCK_DGRAM)
    server.bind((_ip("nx/a", family), 6300))
    for name, expected in (("ny/b", False), ("ny/c", True)):
        client = lab.socket(f"pod-{_ip(name, 4)}", family, socket.SOCK_DGRAM)
        text = name.encode() * 1000
        client.sendto(text, (_ip("nx/a", family), 6300))
        server.settimeout(5 if expected else 0.2)
        if expected:
            assert server.recv(65535) == text
        else:
            with pytest.raises(TimeoutError):
                server.recv(65535)


def test_a_segment_without_a_connection_is_dropped(lab: PolicyLab) -> None:
    lab.enforce(OPEN)
    before = lab.counters("node-1")
    source, target = _ip("nx/b", 4), _ip("nx/a", 4)
    sender = lab.socket(f"pod-{source}", 4, socket.SOCK_RAW, socket.IPPROTO_TCP)
    for flags in (0x10, 0x12, 0x14, 0x01, 0x00):
        sender.sendto(_segment(source, target, flags), (target, 0))
    _until(lambda: _dropped(lab.counters("node-1")) - _dropped(before) >= 5)


def test_a_pod_without_rows_has_no_network(lab: PolicyLab) -> None:
    rows = lab.enforce(OPEN)["node-1"]
    without = dict(rows) | {"policy_pods": {k: v for k, v in rows["policy_pods"].items() if k != (_device("nx/b"),)}}
    lab.apply("node-1", without)
    probes = [
        Probe("pod/nx/b", "pod/nx/a", "TCP", 80, 4, False),
        Probe("pod/ny/a", "pod/nx/b", "TCP", 80, 6, False),
        Probe("pod/nx/b", "node/node-1", "TCP", 80, 4, False),
        Probe("pod/nx/c", "pod/nx/a", "TCP", 80, 4, True),
        # What the node itself begins always passes.
        Probe("node/node-1", "pod/nx/b", "TCP", 80, 4, True),
    ]
    assert lab.ask(OPEN, probes) == []
    lab.apply("node-1", rows)
    assert lab.ask(OPEN, [Probe("pod/nx/b", "pod/nx/a", "TCP", 80, 4, True)]) == []


def test_a_restarted_agent_changes_nothing_and_repairs_what_others_changed(lab: PolicyLab) -> None:
    rows = lab.enforce(ONLY_C)["node-1"]
    probes = [Probe("pod/nx/b", "pod/nx/a", "TCP", 80, 4, False), Probe("pod/nx/c", "pod/nx/a", "TCP", 80, 4, True)]
    lab.start("node-1")
    assert lab.apply("node-1", rows).applied == 0
    assert lab.ask(ONLY_C, probes) == []
    (chain,) = {row.ingress for row in rows["policy_pods"].values()} - {""}  # type: ignore[union-attr]
    for damage in (
        f"flush chain inet fairlead-policy {chain}",
        "flush map inet fairlead-policy ingress",
        "flush chain inet fairlead-policy forward",
        "delete table inet fairlead-policy",
        "add table inet fairlead-policy { flags dormant; }",
    ):
        lab.run("node-1", "nft", damage)
        driver = lab.drivers["node-1"]
        plan = Plan(node="node-1", revision="1", tables=rows)
        assert asyncio.run(driver.resync(plan)).applied, damage
        assert asyncio.run(driver.resync(plan)).applied == 0, damage
        assert lab.ask(ONLY_C, probes) == [], damage


@pytest.fixture
def quiet() -> Iterator[PolicyLab]:
    """A lab of the test's own: a late segment of another test's connection is judged anew, and counted."""
    with PolicyLab() as made:
        yield made


def test_counters_name_policy_and_rule(quiet: PolicyLab) -> None:
    world = cluster(
        Case(
            policies=[
                ingress({"from": [{"podSelector": labels(app="c")}]}, name="only-c"),
                anp(1, egress=[rule("Deny", to=[{"networks": ["198.51.100.0/24"]}])]),
            ]
        )
    )
    quiet.enforce(world)
    probes = [
        Probe("pod/nx/b", "pod/nx/a", "UDP", 80, 4, False),
        Probe("pod/nx/c", "pod/nx/a", "UDP", 80, 4, True),
        Probe("pod/nx/b", "198.51.100.10", "UDP", 80, 4, False),
    ]
    assert quiet.ask(world, probes) == []
    found = {name: packets for name, (packets, _) in quiet.counters("node-1").items() if packets and "/" in name}
    assert found == {
        "NetworkPolicy/nx/only-c/ingress": 1,
        "NetworkPolicy/nx/only-c/ingress/0": 1,
        "AdminNetworkPolicy//anp-1/egress/0": 1,
    }


def test_an_empty_plan_removes_the_table(lab: PolicyLab) -> None:
    lab.enforce(ONLY_C)
    listing = lab.run("node-1", "nft", "list", "ruleset")
    assert "ct mark set" in listing
    lab.apply("node-1", {})
    assert "fairlead-policy" not in lab.run("node-1", "nft", "list", "tables")


def _ip(name: str, family: int) -> str:
    namespace, _, short = name.partition("/")
    (found,) = (
        each for each in PODS if (each["metadata"]["namespace"], each["metadata"]["name"]) == (namespace, short)
    )
    ip: str = found["status"]["podIPs"][family == 6]["ip"]
    return ip


def _device(name: str) -> str:
    return host_ifname(_ip(name, 4))


def _relabeled(wire: dict[str, object], role: str) -> dict[str, object]:
    metadata = wire["metadata"]
    assert isinstance(metadata, dict)
    return {**wire, "metadata": {**metadata, "labels": {**LABELS["b"], "role": role}}}


def _dropped(counters: object) -> int:
    assert isinstance(counters, dict)
    return int(counters["midstream"][0] + counters["invalid"][0])


def _segment(source: str, target: str, flags: int) -> bytes:
    header = struct.pack(">HHIIBBHHH", 40000, 80, 1, 1, 5 << 4, flags, 1024, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack(">BBH", 0, 6, len(header))
    total = sum(struct.unpack(f">{(len(pseudo) + len(header)) // 2}H", pseudo + header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return header[:16] + struct.pack(">H", checksum) + header[18:]


def _until(condition: object, timeout_s: float = 5) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_icmp_is_judged_and_errors_about_permitted_packets_pass(lab: PolicyLab, family: int) -> None:
    # All of b is closed but for what it sends to c; a takes anything, but only of TCP port 80.
    world = cluster(
        Case(
            policies=[
                ingress({"ports": [{"port": 80}]}),
                ingress(name="q", podSelector=labels(app="b")),
                egress({"to": [{"podSelector": {}}]}, name="r", podSelector=labels(app="b")),
            ]
        )
    )
    lab.enforce(world)
    client = f"pod-{_ip('nx/b', 4)}"
    assert _answers(lab, client, _ip("nx/c", family))
    assert not _answers(lab, client, _ip("nx/a", family)), "a rule with ports matches no other protocol"
    assert not _answers(lab, client, _ip("ny/c", family))
    assert not _answers(lab, f"pod-{_ip('nx/c', 4)}", _ip("nx/b", family))
    # The node reaches its own pods.
    assert _answers(lab, "node-1", _ip("nx/b", family)) and _answers(lab, "node-1", _ip("nx/a", family))
    asking = lab.socket(client, family, socket.SOCK_DGRAM)
    asking.settimeout(5)
    asking.connect((_ip("nx/c", family), 6400))
    asking.send(b"?")
    with pytest.raises(ConnectionRefusedError):
        asking.recv(10)


def _answers(lab: PolicyLab, where: str, address: str) -> bool:
    """Tell whether an echo request is answered within a moment."""
    is_six = ":" in address
    kind = socket.IPPROTO_ICMPV6 if is_six else socket.IPPROTO_ICMP
    pinging = lab.socket(where, 6 if is_six else 4, socket.SOCK_RAW, kind)
    pinging.settimeout(0.3)
    identifier = secrets.randbits(16)
    message = struct.pack(">BBHHH", 128 if is_six else 8, 0, 0, identifier, 1)
    if not is_six:
        total = sum(struct.unpack(">4H", message))
        message = message[:2] + struct.pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + message[4:]
    pinging.sendto(message, (address, 0))
    with contextlib.suppress(TimeoutError):
        while True:
            answer = pinging.recv(200)
            found = answer if is_six else answer[20:]
            if found[0] == (129 if is_six else 0) and found[4:6] == struct.pack(">H", identifier):
                return True
    return False
