"""Rows of everything beyond cluster addresses: who reaches a service where, and what becomes of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.model.worlds import ETH0, N1

from fairlead.api.decode import decode
from fairlead.api.endpointslice import SERVICE_NAME, EndpointSlice
from fairlead.api.service import Service
from fairlead.model.gateway.names import GATEWAY_LABEL
from fairlead.model.rows import Rows
from fairlead.model.services import ProxyFacts, proxy_facts, service_rows
from fairlead.plan.plan import Plan
from fairlead.plan.render import render
from fairlead.world.settings import Settings

FACTS = ProxyFacts(
    node="n1",
    zone="zone-a",
    node_port_addresses=("10.10.0.11", "fd10:10::b"),
    load_balancer_cidrs=("203.0.113.0/24", "fd10:203::/112"),
)


def service(
    *cluster_ips: str, ingress: tuple[Any, ...] = (), port: dict[str, Any] | None = None, **spec: Any
) -> Service:
    made = decode(
        "Service",
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"clusterIPs": cluster_ips or ["10.96.0.5"], "ports": [{"port": 80, **(port or {})}], **spec},
            "status": {"loadBalancer": {"ingress": list(ingress)}},
        },
    )
    assert isinstance(made, Service)
    return made


def slice_of(*endpoints: tuple[str, str, dict[str, Any]], family: str = "IPv4", **more: Any) -> EndpointSlice:
    """Each endpoint is (address, node, what else the wire says)."""
    made = decode(
        "EndpointSlice",
        {
            "metadata": {
                "name": "a",
                "namespace": "default",
                "labels": {SERVICE_NAME: "web", **more.pop("labels", {})},
            },
            "addressType": family,
            "ports": [{"port": 8080}],
            "endpoints": [{"addresses": [a], "nodeName": node, **rest} for a, node, rest in endpoints],
        },
    )
    assert isinstance(made, EndpointSlice)
    return made


def lines(rows: Rows) -> list[str]:
    """`table: fields` of each row, in short."""
    found = []
    for table, each in rows.tables.items():
        for row in each.values():
            values = msgspec.to_builtins(row)
            targets = values.pop("endpoints", None)
            text = " ".join(str(value) for value in values.values() if value not in (None, False))
            if isinstance(targets, list | tuple):
                text += " → " + " ".join(target["address"].rpartition(".")[2] for target in targets)
            elif targets is not None:
                text += f" = {targets}"
            found.append(f"{table}: {text}".rstrip())
    return found


HERE: tuple[str, str, dict[str, Any]] = ("10.244.1.1", "n1", {})
THERE: tuple[str, str, dict[str, Any]] = ("10.244.2.2", "n2", {})
LEAVING: dict[str, Any] = {"conditions": {"ready": False, "serving": True, "terminating": True}}


def zone(*names: str) -> dict[str, Any]:
    return {"hints": {"forZones": [{"name": name} for name in names]}}


def for_node(name: str) -> dict[str, Any]:
    return {"hints": {"forNodes": [{"name": name}], "forZones": [{"name": "zone-a"}]}}


SIMPLE = "cluster_addresses: 10.96.0.5"
BALANCED: dict[str, Any] = {"type": "LoadBalancer", "ingress": ({"ip": "203.0.113.10"},)}
CASES: dict[str, tuple[Service, list[EndpointSlice], list[str]]] = {
    "node port": (
        service(type="NodePort", port={"nodePort": 30007}),
        [slice_of(HERE, THERE)],
        [
            SIMPLE,
            "service_ports: 10.96.0.5 tcp 80 → 1 2",
            "service_ports: 10.10.0.11 tcp 30007 → 1 2",
            "service_masquerades: 10.10.0.11 tcp 30007",
        ],
    ),
    "node port of another type is nothing": (
        service(type="ClusterIP", port={"nodePort": 30007}),
        [slice_of(HERE)],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 → 1"],
    ),
    "external addresses": (
        service(externalIPs=["192.0.2.1"]),
        [slice_of(HERE)],
        [
            SIMPLE,
            "service_ports: 10.96.0.5 tcp 80 → 1",
            "service_ports: 192.0.2.1 tcp 80 → 1",
            "service_masquerades: 192.0.2.1 tcp 80",
        ],
    ),
    "load balancer under policy Local": (
        service(**BALANCED, externalTrafficPolicy="Local", healthCheckNodePort=31000),
        [slice_of(HERE, THERE)],
        [
            SIMPLE,
            "service_addresses: 203.0.113.10",
            "service_ports: 10.96.0.5 tcp 80 → 1 2",
            "service_ports: 203.0.113.10 tcp 80 → 1 2",
            "local_ports: 203.0.113.10 tcp 80 → 1",
            "health_ports: 31000 default web = 1",
        ],
    ),
    "policy Local without an endpoint here": (
        service(**BALANCED, externalTrafficPolicy="Local", healthCheckNodePort=31000),
        [slice_of(THERE)],
        [
            SIMPLE,
            "service_addresses: 203.0.113.10",
            "service_ports: 10.96.0.5 tcp 80 → 2",
            "service_ports: 203.0.113.10 tcp 80 → 2",
            "local_ports: 203.0.113.10 tcp 80 →",
            "health_ports: 31000 default web = 0",
        ],
    ),
    "policy Local without any endpoint rejects": (
        service(externalIPs=["192.0.2.1"], externalTrafficPolicy="Local"),
        [],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 →", "service_ports: 192.0.2.1 tcp 80 →"],
    ),
    "policy Local falls back to what is going": (
        service(internalTrafficPolicy="Local"),
        [slice_of(("10.244.1.1", "n1", LEAVING), THERE)],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 → 1"],
    ),
    "internal policy Local without an endpoint here drops": (
        service(internalTrafficPolicy="Local"),
        [slice_of(THERE)],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 True →"],
    ),
    "a load balancer that hands on by itself": (
        service(type="LoadBalancer", ingress=({"ip": "203.0.113.10", "ipMode": "Proxy"}, {"hostname": "lb.example"})),
        [slice_of(HERE)],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 → 1"],
    ),
    "a load balancer outside of our ranges keeps its other ports": (
        service(type="LoadBalancer", ingress=({"ip": "192.0.2.9"},)),
        [],
        [
            SIMPLE,
            "service_ports: 10.96.0.5 tcp 80 →",
            "service_ports: 192.0.2.9 tcp 80 →",
            "service_masquerades: 192.0.2.9 tcp 80",
        ],
    ),
    "source ranges": (
        service(**BALANCED, loadBalancerSourceRanges=["10.0.0.0/8", " 10.1.0.0/16", "fd00::/8"]),
        [],
        [
            SIMPLE,
            "service_addresses: 203.0.113.10",
            "service_ports: 10.96.0.5 tcp 80 →",
            "service_ports: 203.0.113.10 tcp 80 →",
            "service_masquerades: 203.0.113.10 tcp 80",
            "restricted_ports: 203.0.113.10 tcp 80",
            "source_ranges: 203.0.113.10 tcp 80 10.0.0.0/8",
        ],
    ),
    "affinity by default for three hours": (
        service(sessionAffinity="ClientIP"),
        [slice_of(HERE)],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 10800 → 1"],
    ),
    "affinity for a while": (
        service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 7}}),
        [slice_of(HERE)],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 7 → 1"],
    ),
    "hints keep to the zone": (
        service(),
        [slice_of(("10.244.1.1", "n1", zone("zone-a")), ("10.244.2.2", "n2", zone("zone-b")))],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 → 1"],
    ),
    "hints for the node win": (
        service(),
        [slice_of(("10.244.1.1", "n1", for_node("n1")), ("10.244.2.2", "n2", for_node("n2")))],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 → 1"],
    ),
    "hints for other nodes fall back to the zone": (
        service(),
        [slice_of(("10.244.3.1", "n3", for_node("n3")), ("10.244.2.2", "n2", for_node("n2")))],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 → 2 1"],
    ),
    "one endpoint without a hint voids all": (
        service(),
        [slice_of(("10.244.1.1", "n1", zone("zone-a")), THERE)],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 → 1 2"],
    ),
    "hints that mean nobody here are void": (
        service(),
        [slice_of(("10.244.2.2", "n2", zone("zone-b")))],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 → 2"],
    ),
    "what is going has no say about hints": (
        service(),
        [slice_of(("10.244.1.1", "n1", zone("zone-a")), ("10.244.2.2", "n2", LEAVING))],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 → 1"],
    ),
    "a slice of another proxy": (
        service(),
        [slice_of(HERE, labels={"service.kubernetes.io/service-proxy-name": "other"})],
        [SIMPLE, "service_ports: 10.96.0.5 tcp 80 →"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rows(case: str) -> None:
    subject, slices, expected = CASES[case]
    rows = service_rows(subject, tuple(slices), FACTS)
    assert rows.diagnostics == ()
    assert sorted(lines(rows)) == sorted(expected)


def test_both_families_have_their_own_node_port() -> None:
    subject = service("10.96.0.5", "fd10:96::5", type="NodePort", port={"nodePort": 30007})
    rows = service_rows(subject, (), FACTS).tables["service_ports"]
    assert {key[0] for key in rows if key[2] == 30007} == {"10.10.0.11", "fd10:10::b"}


def test_a_bad_source_range_is_reported_and_closes_nothing_else() -> None:
    rows = service_rows(service(**BALANCED, loadBalancerSourceRanges=["10.0.0.0/99"]), (), FACTS)
    assert [each.field for each in rows.diagnostics] == ["spec.loadBalancerSourceRanges[0]"]
    assert "restricted_ports" in rows.tables and "source_ranges" not in rows.tables


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (("primary",), ("10.10.0.11", "fd10:10::b")),
        (("10.10.0.0/16",), ("10.10.0.11",)),
        (("fd10::/16", "192.0.2.0/24"), ("fd10:10::b",)),
        (("0.0.0.0/0", "::/0"), ("10.10.0.11", "fd10:10::b")),
    ],
)
def test_addresses_that_answer_on_node_ports(wanted: tuple[str, ...], expected: tuple[str, ...]) -> None:
    facts = proxy_facts(Settings(node="n1", node_port_addresses=wanted), N1, (ETH0,))
    assert facts.node_port_addresses == expected


def test_the_new_rows_as_text() -> None:
    rows = service_rows(CASES["load balancer under policy Local"][0], (slice_of(HERE, THERE),), FACTS)
    text = render(Plan(node="n1", revision="1", tables=rows.tables))
    assert "local_ports: 1 row\n  address       protocol  port  endpoints\n" in text
    assert "health_ports: 1 row\n  port   namespace  service  endpoints\n  31000  default    web      1\n" in text


@pytest.mark.parametrize(
    ("name", "gateway", "ours"),
    [
        ("fairlead-gateway-web", "web", True),
        ("web-istio", "web", False),
        ("fairlead-gateway-web", "other", False),
        ("fairlead-gateway-web", None, False),
    ],
    ids=["a Gateway's door", "another implementation's", "a name that fits no label", "a name alone"],
)
def test_only_the_doors_of_our_gateways_are_left_to_their_proxies(name: str, gateway: str | None, ours: bool) -> None:
    plain = service(**BALANCED, externalTrafficPolicy="Local", healthCheckNodePort=31000)
    labels = {GATEWAY_LABEL: gateway} if gateway is not None else {}
    metadata = msgspec.structs.replace(plain.metadata, name=name, labels=labels)
    rows = service_rows(msgspec.structs.replace(plain, metadata=metadata), (slice_of(HERE),), FACTS)
    assert ("health_ports" in rows.tables) is not ours
