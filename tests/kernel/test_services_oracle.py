"""Where packets really go, against what the specification says: random Services, slices and policies on the real kernel.

The node is n1 of zone a, with pods a and b and a server of its own; `outside` is its gateway, where a pod of n2 in zone b answers too. Each
world goes from wire objects through the model and the driver into the kernel, and is asked from everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from tests.kernel.nftlab import EXTERNAL, NODE, PODS, REMOTE_POD, NftLab, base_rows, inside, pod_ip

from fairlead.api.decode import decode
from fairlead.base.interfaces import Interface
from fairlead.model.compile import Compiler
from fairlead.plan.plan import Plan, index
from fairlead.plan.tables import NatExemption
from fairlead.verify.services import Cluster, Origin, verdict
from fairlead.world.events import Event, InterfacesObserved, KindReplaced
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

pytestmark = pytest.mark.kernel

Json = dict[str, Any]
BALANCED = {4: "10.96.1.10", 6: "fd10:96::1:a"}
EXTRA = {4: "10.96.2.10", 6: "fd10:96::2:a"}
RANGES = ("10.96.1.0/24", "fd10:96::1:0/112")
PORTS = (80, 53)
TARGETS = (8080, 8081)
GATEWAY = {4: "10.10.0.1", 6: "fd10:10::1"}
SILENCE_S = 0.3
PATIENCE_S = 5.0
HOLDERS = ("pod-a", "pod-b", "remote", "node")


def holder_ip(holder: str, v: int) -> str:
    if holder == "remote":
        return REMOTE_POD[v]
    return NODE[v] if holder == "node" else pod_ip(holder, v)


@pytest.fixture(scope="module")
def lab() -> Iterator[NftLab]:
    with NftLab() as made:
        servers = [
            ("outside" if holder == "remote" else holder, holder_ip(holder, v), port, protocol)
            for holder in HOLDERS
            for v in (4, 6)
            for port in TARGETS
            for protocol in ("tcp", "udp")
        ]
        with made.serve(*servers):
            yield made


conditions = st.sampled_from(
    (
        {},
        {"ready": True},
        {"ready": None},
        {"ready": True},
        {"ready": False},
        {"ready": False, "serving": True, "terminating": True},
        {"ready": False, "serving": False, "terminating": True},
    )
)
hints = st.sampled_from(
    (None, None, {"forZones": [{"name": "zone-a"}]}, {"forZones": [{"name": "zone-b"}]}, {"forNodes": [{"name": "n1"}]})
)
endpoints = st.builds(
    lambda holder, state, hint: {"holder": holder, "conditions": state, **({"hints": hint} if hint else {})},
    st.sampled_from(HOLDERS),
    conditions,
    hints,
)
policies = st.sampled_from((None, "Cluster", "Local", "Local"))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Json], list[Json]]:
    services, slices = [], []
    for number in range(draw(st.integers(1, 2))):
        name = f"s{number}"
        kind = draw(st.sampled_from(("ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer")))
        families = draw(st.sampled_from(((4,), (6,), (4, 6), (4, 6))))
        cluster_ips = [f"10.96.0.{10 + number}" if v == 4 else f"fd10:96::{10 + number}" for v in families]
        ports = [
            {
                "name": f"p{port}-{protocol.lower()}",
                "port": port,
                "protocol": protocol,
                **({"nodePort": 30000 + number * 1000 + port} if kind != "ClusterIP" else {}),
            }
            for port in draw(st.frozensets(st.sampled_from(PORTS), min_size=1))
            for protocol in draw(st.frozensets(st.sampled_from(("TCP", "UDP")), min_size=1))
        ]
        spec: Json = {"type": kind, "clusterIP": cluster_ips[0], "clusterIPs": cluster_ips, "ports": ports}
        for field in ("internalTrafficPolicy", "externalTrafficPolicy"):
            if policy := draw(policies):
                spec[field] = policy
        if draw(st.booleans()):
            spec["sessionAffinity"] = "ClientIP"
        if number == 0 and draw(st.booleans()):
            spec["externalIPs"] = [EXTRA[v] for v in families]
        status: Json = {}
        if kind == "LoadBalancer" and number == 0:
            mode = draw(st.sampled_from(({}, {"ipMode": "VIP"}, {"ipMode": "VIP"}, {"ipMode": "Proxy"})))
            status = {"loadBalancer": {"ingress": [{"ip": BALANCED[v], **mode} for v in families]}}
            if draw(st.booleans()):
                spec["loadBalancerSourceRanges"] = draw(
                    st.sampled_from((["10.10.0.0/20", "fd10:10::/64"], ["10.244.0.0/16"], ["198.51.100.0/24", "::/0"]))
                )
        labels = draw(st.sampled_from(({}, {}, {}, {}, {"service.kubernetes.io/service-proxy-name": "other"})))
        metadata = {"name": name, "namespace": "default", "labels": labels}
        services.append({"metadata": metadata, "spec": spec, "status": status})
        for v in families:
            slices += [_slice(draw, f"{name}-{v}-{at}", name, v, ports) for at in range(draw(st.integers(0, 2)))]
    return services, slices


def _slice(draw: st.DrawFn, name: str, of: str, v: int, ports: list[Json]) -> Json:
    target = draw(st.sampled_from(TARGETS))
    found = []
    # An endpoint stands once in a slice, but may stand in several.
    for each in draw(st.lists(endpoints, max_size=3, unique_by=lambda each: str(each["holder"]))):
        rest = {key: value for key, value in each.items() if key != "holder"}
        remote = each["holder"] == "remote"
        found.append({"addresses": [holder_ip(each["holder"], v)], "nodeName": "n2" if remote else "n1", **rest})
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": of}},
        "addressType": f"IPv{v}",
        "ports": [{"name": p["name"], "protocol": p["protocol"], "port": target} for p in ports],
        "endpoints": found,
    }


def node(name: str, zone: str, *addresses: str) -> Json:
    return {
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": each} for each in addresses]},
    }


NODES = [node("n1", "zone-a", *NODE.values()), node("n2", "zone-b", "10.10.0.12", "fd10:10::c")]
INTERFACES = (Interface(name="eth0", mtu=1500, addresses=(f"{NODE[4]}/20", f"{NODE[6]}/64")),)


class World:
    """The node's compiler, fed with one world after the other: also incremental compilation is in question."""

    def __init__(self) -> None:
        self._compiler = Compiler()
        self._snapshot = Snapshot(settings=Settings(node="n1", load_balancer_cidrs=RANGES))
        self._snapshot = fold(self._snapshot, [InterfacesObserved(INTERFACES)])

    def plan(self, services: list[Json], slices: list[Json]) -> Plan:
        kinds = {"Node": NODES, "Service": services, "EndpointSlice": slices}
        events: list[Event] = []
        for kind, objects in kinds.items():
            events.append(
                KindReplaced(
                    kind,
                    {(o["metadata"].get("namespace", ""), o["metadata"]["name"]): decode(kind, o) for o in objects},
                )
            )
        self._snapshot = fold(self._snapshot, events)
        compiled = self._compiler.compile(self._snapshot)
        names = ("service_ports", "local_ports", "service_masquerades", "restricted_ports", "source_ranges")
        tables = {name: compiled.plan.table(name) for name in (*names, "cluster_addresses", "service_addresses")}
        base = {name: index(rows) for name, rows in base_rows().items()}
        return Plan(node="n1", revision="1", tables={**base, **tables})


WORLD = World()
CLIENTS: tuple[tuple[str, Origin], ...] = (
    ("pod-a", "pod"),
    ("node", "node"),
    ("another node", "outside"),
    ("internet", "outside"),
)
CLUSTER_RANGES = tuple(row.prefix for row in base_rows()["nat_exemptions"] if isinstance(row, NatExemption))


def source(client: str, v: int) -> str:
    return {"node": NODE[v], "another node": GATEWAY[v], "internet": EXTERNAL[v]}.get(client) or pod_ip("pod-a", v)


def forget_flows(lab: NftLab) -> None:
    """Empty connection tracking: a client's port that an earlier world used too must not lead where it led then."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with inside(lab.path("node"), lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)) as opened:
            # IPCTNL_MSG_CT_DELETE without a tuple, acknowledged.
            opened.send(struct.pack("=IHHIIBBH", 20, 0x102, 0x5, 1, 0, family, 0, 0))
            assert struct.unpack_from("=i", opened.recv(100), 16) == (0,)


def outcome(
    lab: NftLab, client: str, v: int, address: str, port: int, protocol: str, patience_s: float
) -> tuple[str, str]:
    """What really happens: (`reject`, ``), (`drop`, ``) or (server, client's address as the server saw it)."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with lab.socket(client if client in ("pod-a", "node") else "outside", address, kind) as opened:
        opened.settimeout(patience_s)
        opened.bind((source(client, v), 0))
        try:
            opened.connect((address, port))
            # What a rule drops or refuses on its way out is also an error of sending.
            with contextlib.suppress(PermissionError):
                opened.send(b"?")
            server, peer = opened.recv(1024).decode().split()
        except ConnectionRefusedError:
            return "reject", ""
        except (TimeoutError, PermissionError):
            return "drop", ""
        return server, peer


def frontends(services: list[Json]) -> list[tuple[str, int, str]]:
    """Where the Services could be reached, whether or not they can."""
    found: list[tuple[str, int, str]] = []
    for service in services:
        spec = service["spec"]
        ingress = service["status"].get("loadBalancer", {}).get("ingress", ())
        addresses = [*spec["clusterIPs"], *spec.get("externalIPs", ()), *(each["ip"] for each in ingress)]
        for port in spec["ports"]:
            found += [(address, port["port"], port["protocol"].lower()) for address in addresses]
            if "nodePort" in port:
                found += [(address, port["nodePort"], port["protocol"].lower()) for address in NODE.values()]
    return found


@settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(world=worlds(), data=st.data())
def test_packets_go_where_the_specification_says(
    lab: NftLab, world: tuple[list[Json], list[Json]], data: st.DataObject
) -> None:
    services, slices = world
    forget_flows(lab)
    assert asyncio.run(lab.driver.apply(WORLD.plan(services, slices))).failed == ()
    cluster = Cluster(
        services=services,
        slices=slices,
        node="n1",
        zone="zone-a",
        node_addresses=tuple(NODE.values()),
        load_balancer_ranges=RANGES,
        cluster_ranges=CLUSTER_RANGES,
    )
    for (client, origin), v in itertools.product(CLIENTS, (4, 6)):
        places = [each for each in frontends(services) if (":" in each[0]) == (v == 6)]
        # Ports that nobody has, of addresses that somebody has.
        places += [(address, 4444, protocol) for address, _, protocol in places[:1]]
        for address, port, protocol in data.draw(st.permutations(places))[:5]:
            expected = verdict(cluster, origin, source(client, v), address, protocol, port)
            event(f"{expected.kind}{' hidden' if expected.hidden else ''} from {origin}")
            remote = any(where[0] == REMOTE_POD[v] for where in expected.endpoints)
            if expected.kind == "not a service" or (origin == "outside" and remote and not expected.hidden):
                # The answer of a remote pod to a client whose address it sees would not pass this node.
                continue
            # A machine that stalls for a moment drops nothing.
            patience_s = SILENCE_S if expected.kind == "drop" else PATIENCE_S
            found = [
                outcome(lab, client, v, address, port, protocol, patience_s)
                for _ in range(3 if expected.endpoints else 1)
            ]
            about = f"{client} → {address} {protocol} {port}: {expected}, found {found}"
            if expected.kind != "forward":
                assert {server for server, _ in found} == {expected.kind}, about
                continue
            holders = {holder_ip(each, v): "outside" if each == "remote" else each for each in HOLDERS}
            allowed = {holders[where] for where, _ in expected.endpoints}
            for server, peer in found:
                assert server in allowed, about
                own = source(client, v)
                # Whoever reaches itself is hidden too, or would answer to itself.
                hidden = expected.hidden or (server == client and client in PODS)
                assert peer == (own if not hidden or client == "node" else peer), about
                if hidden and server != "node":
                    assert peer == NODE[v], about
