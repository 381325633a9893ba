"""Traffic policies, affinity, masquerade and source ranges with real packets, IPv4 and IPv6, TCP and UDP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.nftlab import EXTERNAL, NODE, OTHER_VIP, PODS, VIP, NftLab, plan_of, pod_ip

from fairlead.plan.plan import Plan, index
from fairlead.plan.tables import (
    Endpoint,
    LocalPort,
    RestrictedPort,
    Row,
    ServiceMasquerade,
    ServicePort,
    SourceRange,
)

pytestmark = pytest.mark.kernel
GATEWAY = {4: "10.10.0.1", 6: "fd10:10::1"}
NODE_PORT = 30007


@pytest.fixture(scope="module")
def lab() -> Iterator[NftLab]:
    with NftLab() as made:
        servers = [(pod, pod_ip(pod, v), 8080, protocol) for pod in PODS for v in (4, 6) for protocol in ("tcp", "udp")]
        with made.serve(*servers):
            yield made


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def v(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


@pytest.fixture(params=["tcp", "udp"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def targets(v: int, *pods: str) -> tuple[Endpoint, ...]:
    return tuple(sorted(Endpoint(pod_ip(pod, v), 8080) for pod in pods))


def port(v: int, protocol: str, *pods: str, address: str = "", number: int = 80, **more: object) -> ServicePort:
    return ServicePort(address=address or VIP[v], protocol=protocol, port=number, endpoints=targets(v, *pods), **more)  # type: ignore[arg-type]


def plan(*rows: Row) -> Plan:
    tables: dict[str, list[Row]] = {}
    names = {LocalPort: "local_ports", ServiceMasquerade: "service_masquerades", RestrictedPort: "restricted_ports"}
    names[SourceRange] = "source_ranges"
    services = [row for row in rows if isinstance(row, ServicePort)]
    for row in rows:
        if type(row) in names:
            tables.setdefault(names[type(row)], []).append(row)
    base = plan_of(*services)
    # The node's own addresses are no virtual ones.
    own = {key: row for key, row in base.table("cluster_addresses").items() if key[0] not in NODE.values()}
    more = {name: index(each) for name, each in tables.items()}
    return Plan(node="node", revision="1", tables={**base.tables, "cluster_addresses": own, **more})


def apply(lab: NftLab, *rows: Row) -> None:
    wanted = plan(*rows)
    # Another driver may have changed the tables: a resync looks.
    outcome = lab.resync(wanted)
    assert outcome.failed == ()
    assert {table: rows for table, rows in lab.observe().items() if rows and "ranges" not in table} == {
        table: rows
        for table, rows in wanted.tables.items()
        if rows and "ranges" not in table and table != "nat_exemptions"
    } | {"nat_exemptions": lab.observe()["nat_exemptions"]}


def test_node_port_leads_to_a_pod_and_hides_the_client_under_policy_cluster(lab: NftLab, v: int, protocol: str) -> None:
    where: dict[str, Any] = {"address": NODE[v], "protocol": protocol, "port": NODE_PORT}
    apply(lab, port(v, protocol, "pod-a", address=NODE[v], number=NODE_PORT), ServiceMasquerade(**where))
    for client in ("outside", "node", "pod-b"):
        server, peer = lab.ask(client, NODE[v], NODE_PORT, protocol)
        assert (server, peer) == ("pod-a", NODE[v])
    with pytest.raises(ConnectionRefusedError):
        lab.ask("outside", NODE[v], NODE_PORT + 1, protocol)


def test_policy_local_keeps_the_client_and_its_own_node_stays_inside(lab: NftLab, v: int, protocol: str) -> None:
    where: dict[str, Any] = {"address": OTHER_VIP[v], "protocol": protocol, "port": 80}
    apply(
        lab,
        port(v, protocol, "pod-b", address=OTHER_VIP[v]),
        LocalPort(**where, endpoints=targets(v, "pod-a")),
    )
    assert lab.ask("outside", OTHER_VIP[v], 80, protocol) == ["pod-a", GATEWAY[v]]
    assert lab.ask("node", OTHER_VIP[v], 80, protocol)[0] == "pod-b"
    assert lab.ask("pod-a", OTHER_VIP[v], 80, protocol) == ["pod-b", pod_ip("pod-a", v)]


def test_policy_local_without_a_local_endpoint_drops_what_comes_from_outside(lab: NftLab, v: int) -> None:
    where: dict[str, Any] = {"address": VIP[v], "protocol": "tcp", "port": 80}
    apply(lab, port(v, "tcp", "pod-b"), LocalPort(**where, endpoints=()))
    with lab.socket("outside", VIP[v], 1) as client:
        client.settimeout(0.4)
        with pytest.raises(TimeoutError):
            client.connect((VIP[v], 80))
    assert lab.ask("pod-a", VIP[v], 80)[0] == "pod-b"


def test_internal_policy_local_without_a_local_endpoint_drops(lab: NftLab, v: int) -> None:
    apply(lab, port(v, "tcp", drop=True))
    with lab.socket("pod-a", VIP[v], 1) as client:
        client.settimeout(0.4)
        with pytest.raises(TimeoutError):
            client.connect((VIP[v], 80))


@pytest.mark.parametrize("client", ["outside", "node", "pod-a"])
def test_affinity_keeps_a_client_at_its_endpoint(lab: NftLab, v: int, protocol: str, client: str) -> None:
    apply(lab, port(v, protocol, *PODS, affinity_s=30))
    first = lab.ask(client, VIP[v], 80, protocol)[0]
    assert {lab.ask(client, VIP[v], 80, protocol)[0] for _ in range(20)} == {first}


def test_affinity_outlives_the_driver_and_unrelated_changes(lab: NftLab, v: int) -> None:
    apply(lab, port(v, "tcp", *PODS, affinity_s=30))
    first = lab.ask("outside", VIP[v], 80)[0]
    again = lab.start()
    other = plan(port(v, "tcp", *PODS, affinity_s=30), port(v, "tcp", "pod-a", number=81))

    assert asyncio.run(again.apply(other)).failed == ()
    assert {lab.ask("outside", VIP[v], 80)[0] for _ in range(20)} == {first}


def test_affinity_to_an_endpoint_that_went_is_replaced(lab: NftLab, v: int) -> None:
    apply(lab, port(v, "tcp", *PODS, affinity_s=30))
    first = lab.ask("outside", VIP[v], 80)[0]
    (other,) = {*PODS} - {first}
    apply(lab, port(v, "tcp", other, affinity_s=30))
    assert lab.ask("outside", VIP[v], 80)[0] == other
    apply(lab, port(v, "tcp", *PODS, affinity_s=30))
    assert {lab.ask("outside", VIP[v], 80)[0] for _ in range(20)} == {other}


def test_affinity_ends_after_its_time(lab: NftLab) -> None:
    apply(lab, port(4, "tcp", *PODS, affinity_s=1))
    deadline = time.monotonic() + 20
    first = lab.ask("pod-b", VIP[4], 80)[0]
    while lab.ask("pod-b", VIP[4], 80)[0] == first:
        assert time.monotonic() < deadline
        # Each connection begins the time again: what ends it is silence.
        time.sleep(1.1)


def test_affinity_holds_among_local_endpoints(lab: NftLab, v: int) -> None:
    where: dict[str, Any] = {"address": VIP[v], "protocol": "tcp", "port": 80}
    apply(
        lab,
        port(v, "tcp", "pod-b", affinity_s=30),
        LocalPort(**where, endpoints=targets(v, *PODS), affinity_s=30),
    )
    first = lab.ask("outside", VIP[v], 80)[0]
    assert {lab.ask("outside", VIP[v], 80)[0] for _ in range(20)} == {first}
    assert lab.ask("node", VIP[v], 80)[0] == "pod-b"


def test_source_ranges_admit_only_whom_they_name(lab: NftLab, v: int) -> None:
    where: dict[str, Any] = {"address": VIP[v], "protocol": "tcp", "port": 80}
    host = 32 if v == 4 else 128
    apply(
        lab,
        port(v, "tcp", "pod-b"),
        RestrictedPort(**where),
        SourceRange(**where, prefix=f"{GATEWAY[v]}/{host}"),
        SourceRange(**where, prefix=f"{pod_ip('pod-b', v)}/{host}"),
    )
    assert lab.ask("outside", VIP[v], 80)[0] == "pod-b"
    assert lab.ask("pod-b", VIP[v], 80)[0] == "pod-b"
    for client, source in (("outside", EXTERNAL[v]), ("pod-a", ""), ("node", "")):
        with lab.socket(client, VIP[v], 1) as refused:
            refused.settimeout(0.3)
            if source:
                refused.bind((source, 0))
            with pytest.raises((TimeoutError, PermissionError)):
                refused.connect((VIP[v], 80))


def test_listing_by_nft_of_every_kind_of_pick(lab: NftLab) -> None:
    rows: list[Row] = []
    for v in (4, 6):
        rows += [
            port(v, "tcp", *PODS, affinity_s=30),
            LocalPort(address=VIP[v], protocol="tcp", port=80, endpoints=targets(v, "pod-a"), affinity_s=60),
        ]
    apply(lab, *rows)
    assert {"chain n2t30", "chain l1t60"} <= {line.strip(" \t{") for line in lab.listing().splitlines()}
