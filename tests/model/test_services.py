from __future__ import annotations

import pytest
from tests.model.worlds import endpoint, endpoint_slice, service

from fairlead.api.endpointslice import EndpointPort, EndpointSlice
from fairlead.api.service import Service, ServicePort
from fairlead.model.services import HEADLESS, PROXY_NAME, ProxyFacts, service_rows

NAMED = (ServicePort(name="http", port=80, target_port="web"), ServicePort(name="dns", port=53, protocol="UDP"))
PORTS = (EndpointPort(name="http", port=8080), EndpointPort(name="dns", port=5353, protocol="UDP"))

CASES: dict[str, tuple[Service, list[EndpointSlice], list[str]]] = {
    "one endpoint": (
        service("web", "10.96.0.5"),
        [endpoint_slice("a", "web", endpoint("10.244.1.5"))],
        ["10.96.0.5 tcp 80 → 10.244.1.5:8080"],
    ),
    "no endpoints are a rejection": (service("web", "10.96.0.5"), [], ["10.96.0.5 tcp 80 → "]),
    "slices merge without duplicates": (
        service("web", "10.96.0.5"),
        [
            endpoint_slice("a", "web", endpoint("10.244.1.5"), endpoint("10.244.1.6")),
            endpoint_slice("b", "web", endpoint("10.244.1.6"), endpoint("10.244.1.4")),
        ],
        ["10.96.0.5 tcp 80 → 10.244.1.4:8080 10.244.1.5:8080 10.244.1.6:8080"],
    ),
    "unknown readiness is ready, unready is not": (
        service("web", "10.96.0.5"),
        [endpoint_slice("a", "web", endpoint("10.244.1.5", None), endpoint("10.244.1.6", False))],
        ["10.96.0.5 tcp 80 → 10.244.1.5:8080"],
    ),
    "terminating ones that serve are the last resort": (
        service("web", "10.96.0.5"),
        [
            endpoint_slice(
                "a",
                "web",
                endpoint("10.244.1.5", False, serving=True, terminating=True),
                endpoint("10.244.1.6", False, serving=False, terminating=True),
            )
        ],
        ["10.96.0.5 tcp 80 → 10.244.1.5:8080"],
    ),
    "terminating ones are unused while others are ready": (
        service("web", "10.96.0.5"),
        [
            endpoint_slice(
                "a", "web", endpoint("10.244.1.5", False, serving=True, terminating=True), endpoint("10.244.1.7")
            )
        ],
        ["10.96.0.5 tcp 80 → 10.244.1.7:8080"],
    ),
    "ports by name and protocol": (
        service("web", "10.96.0.5", ports=NAMED),
        [endpoint_slice("a", "web", endpoint("10.244.1.5"), ports=PORTS)],
        ["10.96.0.5 tcp 80 → 10.244.1.5:8080", "10.96.0.5 udp 53 → 10.244.1.5:5353"],
    ),
    "a named port may differ from slice to slice": (
        service("web", "10.96.0.5", ports=NAMED[:1]),
        [
            endpoint_slice("a", "web", endpoint("10.244.1.5"), ports=[EndpointPort(name="http", port=8080)]),
            endpoint_slice("b", "web", endpoint("10.244.1.6"), ports=[EndpointPort(name="http", port=9090)]),
        ],
        ["10.96.0.5 tcp 80 → 10.244.1.5:8080 10.244.1.6:9090"],
    ),
    "each family has its own endpoints": (
        service("web", "10.96.0.5", "fd10:96:0:0::5"),
        [
            endpoint_slice("a", "web", endpoint("10.244.1.5")),
            endpoint_slice("b", "web", endpoint("fd10:244:0:1:0::5"), family="IPv6"),
        ],
        ["10.96.0.5 tcp 80 → 10.244.1.5:8080", "fd10:96::5 tcp 80 → fd10:244:0:1::5:8080"],
    ),
    "headless": (service("web", "None"), [endpoint_slice("a", "web", endpoint("10.244.1.5"))], []),
    "external name": (service("web", type="ExternalName", external_name="example.com"), [], []),
    "no address yet": (service("web"), [], []),
    "another proxy's": (service("web", "10.96.0.5", labels={PROXY_NAME: "other"}), [], []),
    "labelled headless": (service("web", "10.96.0.5", labels={HEADLESS: ""}), [], []),
    "node port services have their virtual address": (
        service("web", "10.96.0.5", type="NodePort"),
        [],
        ["10.96.0.5 tcp 80 → "],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_service_ports(case: str) -> None:
    subject, slices, expected = CASES[case]
    rows = service_rows(subject, tuple(slices), ProxyFacts())
    found = [
        f"{row.address} {row.protocol} {row.port} → {' '.join(f'{e.address}:{e.port}' for e in row.endpoints)}"  # type: ignore[union-attr]
        for row in rows.tables.get("service_ports", {}).values()
    ]
    assert found == expected
    assert rows.diagnostics == ()
    addresses = {row.address for row in rows.tables.get("cluster_addresses", {}).values()}  # type: ignore[union-attr]
    assert addresses == {line.partition(" ")[0] for line in expected}


def test_reserved_addresses_have_no_rows() -> None:
    assert service_rows(service("dns", "10.96.0.10"), (), ProxyFacts(reserved=("10.96.0.10",))).tables == {}


@pytest.mark.parametrize(
    ("subject", "slices", "expected"),
    [
        (service("web", "10.96.0.x"), [], "Service/default/web spec.clusterIPs[0]: '10.96.0.x' does not appear"),
        (
            service("web", "10.96.0.5", ports=[ServicePort(port=80, protocol="ICMP")]),
            [],
            "Service/default/web spec.ports[0].protocol: unknown protocol 'ICMP'",
        ),
        (
            service("web", "10.96.0.5"),
            [endpoint_slice("a", "web", endpoint("nowhere"))],
            "EndpointSlice/default/a endpoints[0].addresses[0]: 'nowhere' does not appear",
        ),
    ],
)
def test_odd_values_are_reported_by_object_and_field(
    subject: Service, slices: list[EndpointSlice], expected: str
) -> None:
    assert str(service_rows(subject, tuple(slices), ProxyFacts()).diagnostics[0]).startswith(expected)
