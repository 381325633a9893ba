from __future__ import annotations

import pytest
from tests.model.worlds import endpoint, endpoint_slice, service

from fairlead.api.endpointslice import EndpointPort, EndpointSlice
from fairlead.api.service import Service, ServicePort
from fairlead.model.dns import dns_rows, zone_rows
from fairlead.world.settings import Settings

SETTINGS = Settings(node="n1")
HTTP = [ServicePort(name="http", port=80)]
WEB = "web.default.svc.cluster.local."

CASES: dict[str, tuple[Service, list[EndpointSlice], list[str]]] = {
    "virtual address": (
        service("web", "10.96.0.5", "fd10:96::5", ports=HTTP),
        [],
        [
            "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.d.f.ip6.arpa. PTR " + WEB,
            "5.0.96.10.in-addr.arpa. PTR " + WEB,
            "_http._tcp." + WEB + " SRV 0 100 80 " + WEB,
            WEB + " A 10.96.0.5",
            WEB + " AAAA fd10:96::5",
        ],
    ),
    "external name": (
        service("web", type="ExternalName", external_name="Example.COM"),
        [],
        [WEB + " CNAME example.com."],
    ),
    "headless without endpoints does not exist": (service("web", "None", ports=HTTP), [], []),
    "headless": (
        service("web", "None", ports=HTTP),
        [
            endpoint_slice(
                "a",
                "web",
                endpoint("10.244.1.10"),
                endpoint("10.244.1.9", hostname="Web-0"),
                endpoint("10.244.1.8", False),
                ports=[EndpointPort(name="http", port=8080)],
            ),
            endpoint_slice("b", "web", endpoint("fd10:244::9", hostname="web-0"), family="IPv6", ports=[]),
        ],
        [
            "10-244-1-10." + WEB + " A 10.244.1.10",
            "10.1.244.10.in-addr.arpa. PTR 10-244-1-10." + WEB,
            "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.4.2.0.0.1.d.f.ip6.arpa. PTR web-0." + WEB,
            "9.1.244.10.in-addr.arpa. PTR web-0." + WEB,
            "_http._tcp." + WEB + " SRV 0 100 8080 10-244-1-10." + WEB + " | 0 100 8080 web-0." + WEB,
            "web-0." + WEB + " A 10.244.1.9",
            "web-0." + WEB + " AAAA fd10:244::9",
            WEB + " A 10.244.1.9 | 10.244.1.10",
            WEB + " AAAA fd10:244::9",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_records(case: str) -> None:
    subject, slices, expected = CASES[case]
    rows = dns_rows(SETTINGS, subject, tuple(slices)).tables.get("dns_records", {})
    found = [f"{row.name} {row.type} {' | '.join(row.data)}" for row in rows.values()]  # type: ignore[union-attr]
    assert sorted(found) == sorted(expected)


def test_the_zone_says_its_version() -> None:
    rows = zone_rows(SETTINGS).tables["dns_records"]
    assert rows[("dns-version.cluster.local.", "TXT")].data == ('"1.1.0"',)  # type: ignore[union-attr]
