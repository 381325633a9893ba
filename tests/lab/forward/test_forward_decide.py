"""Where the host's ports lead."""

from __future__ import annotations

from typing import Any

from fairlead.lab.forward.decide import bootstrap, endpoints, targets


def service(name: str, created: str, *ports: int, addresses: tuple[str, ...] = ("203.0.113.10",)) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"ports": [{"port": each} for each in ports]},
        "status": {"loadBalancer": {"ingress": [{"ip": each} for each in addresses]}},
    }


def test_the_oldest_that_has_a_port_gets_it() -> None:
    young = service("a", "2026-02", 80, 443, addresses=("203.0.113.11", "fd10:203::b"))
    old = service("b", "2026-01", 80, 9000)
    waiting = service("c", "2025-01", 80, 443, addresses=())
    assert targets([young, old, waiting], (80, 443)) == {80: "203.0.113.10", 443: "203.0.113.11"}
    assert targets([waiting], (80, 443)) == {}


def test_ingresses_get_a_port_that_no_gateway_has() -> None:
    ingresses = service("fairlead-gateway-ingress-fairlead", "2025-01", 80, 443, addresses=("203.0.113.12",))
    assert targets([ingresses, service("fairlead-gateway-web", "2026-01", 80)], (80, 443)) == {
        80: "203.0.113.10",
        443: "203.0.113.12",
    }


def test_what_leads_nowhere_has_no_endpoints() -> None:
    for address, count in (("203.0.113.10", 1), (None, 0)):
        (found,) = endpoints(address, 80)["resources"]
        assert (found["cluster_name"], len(found["endpoints"])) == ("port-80", count)


def test_the_proxy_listens_on_loopback_alone() -> None:
    found = bootstrap({8080: 80, 8443: 443}, "/proc/1/ns/net", "/f")["static_resources"]["listeners"]
    assert {each["address"]["socket_address"]["address"] for each in found} == {"127.0.0.1"}
    assert [each["address"]["socket_address"]["port_value"] for each in found] == [8080, 8443]
