"""The cluster's zone: records of services and their endpoints (Kubernetes DNS-Based Service Discovery, schema version 1.1.0).

Names of pods (`10-244-1-5.default.pod`) are computed by the server, and so is what does not exist. It must never look at a pod.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from fairlead.api.endpointslice import Endpoint, EndpointSlice
from fairlead.api.service import Service
from fairlead.base.addresses import canonical, is_ipv6, reverse_name, sort_key
from fairlead.model.endpoints import bad_address, slice_origin, target_port, usable_endpoints
from fairlead.model.rows import Rows, RowsBuilder
from fairlead.model.services import origin_of
from fairlead.plan.tables import DnsRecords, UntrackedPort
from fairlead.world.settings import Settings

_VERSION = "1.1.0"
_PORT = 53
_SRV = "0 100"
"""Priority and weight: all alike."""

_Data: TypeAlias = dict[tuple[str, str], set[str]]


def zone_rows(settings: Settings) -> Rows:
    """Return the records of the zone itself."""
    out = RowsBuilder()
    name = f"dns-version.{_domain(settings)}"
    out.add("dns_records", DnsRecords(name=name, type="TXT", ttl=settings.dns_ttl_s, data=(f'"{_VERSION}"',)))
    for address in settings.cluster_dns:
        for protocol in ("tcp", "udp"):
            out.add("untracked_ports", UntrackedPort(address=canonical(address), protocol=protocol, port=_PORT))
    return out.rows()


def dns_rows(settings: Settings, service: Service, slices: tuple[EndpointSlice, ...]) -> Rows:
    """Return the records of one service. Costs time proportional to its endpoints when it is headless, else to its ports."""
    out = RowsBuilder()
    data: _Data = {}
    origins = [origin_of(service)]
    name = f"{service.metadata.name}.{service.metadata.namespace}.svc.{_domain(settings)}".lower()
    if service.spec.type == "ExternalName":
        if service.spec.external_name:
            data[name, "CNAME"] = {service.spec.external_name.lower().rstrip(".") + "."}
    elif service.headless:
        origins += [slice_origin(each) for each in slices]
        _headless(out, data, name, service, slices)
    else:
        _virtual(data, name, service)
    for (owner, kind), values in sorted(data.items()):
        row = DnsRecords(name=owner, type=kind, ttl=settings.dns_ttl_s, data=_sorted(kind, values))
        out.add("dns_records", row, *origins)
    return out.rows()


def merged(rows: Iterable[DnsRecords]) -> DnsRecords:
    """Return the records of several services at one name and type as one: an address behind two services has two names."""
    first, *others = rows
    if not others:
        return first
    values = {value for row in (first, *others) for value in row.data}
    ttl = min(row.ttl for row in (first, *others))
    return DnsRecords(name=first.name, type=first.type, ttl=ttl, data=_sorted(first.type, values))


def _virtual(data: _Data, name: str, service: Service) -> None:
    for text in service.cluster_ips:
        try:
            address = canonical(text)
        except ValueError:
            continue  # The proxy's part of the model reports it.
        data.setdefault((name, _address_type(address)), set()).add(address)
        data.setdefault((reverse_name(address), "PTR"), set()).add(name)
    if data:
        for port in service.spec.ports or ():
            if port.name:
                owner = _port_name(port.name, port.protocol, name)
                data.setdefault((owner, "SRV"), set()).add(f"{_SRV} {port.port} {name}")


def _headless(out: RowsBuilder, data: _Data, name: str, service: Service, slices: tuple[EndpointSlice, ...]) -> None:
    for within, at, endpoint in usable_endpoints(slices):
        try:
            address = canonical(endpoint.addresses[0])
        except ValueError as error:
            out.report(bad_address(within, at, error))
            continue
        owner = f"{_hostname(endpoint, address)}.{name}"
        data.setdefault((name, _address_type(address)), set()).add(address)
        data.setdefault((owner, _address_type(address)), set()).add(address)
        data.setdefault((reverse_name(address), "PTR"), set()).add(owner)
        for port in service.spec.ports or ():
            number = target_port(port, within)
            if port.name and number is not None:
                srv = _port_name(port.name, port.protocol, name)
                data.setdefault((srv, "SRV"), set()).add(f"{_SRV} {number} {owner}")


def _hostname(endpoint: Endpoint, address: str) -> str:
    return endpoint.hostname.lower() if endpoint.hostname else address.replace(".", "-").replace(":", "-")


def _port_name(port: str, protocol: str | None, name: str) -> str:
    return f"_{port}._{protocol or 'TCP'}.{name}".lower()


def _domain(settings: Settings) -> str:
    return settings.cluster_domain.lower().strip(".") + "."


def _address_type(address: str) -> str:
    return "AAAA" if is_ipv6(address) else "A"


def _sorted(kind: str, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(values, key=sort_key) if kind in ("A", "AAAA") else sorted(values))
