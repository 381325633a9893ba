"""ClusterIP services: virtual addresses and the endpoints behind each of their ports.

Semantics of Service.spec and EndpointSlice (KEP-752, KEP-1669): slices merged without duplicates, unknown readiness means ready,
endpoints that are going but still serve are used when no other is left. It must never look at a pod.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fairlead.api.decode import reference
from fairlead.api.endpointslice import Endpoint as ApiEndpoint
from fairlead.api.endpointslice import EndpointSlice
from fairlead.api.service import Service
from fairlead.api.service import ServicePort as ApiPort
from fairlead.base.addresses import canonical, is_ipv6
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.rows import Rows, RowsBuilder
from fairlead.plan.tables import Endpoint, ServiceAddress, ServicePort

PROXY_NAME = "service.kubernetes.io/service-proxy-name"
"""Label of services that another proxy serves (KEP-2447)."""
HEADLESS = "service.kubernetes.io/headless"
"""Label of services that no proxy serves."""
_PROTOCOLS = ("TCP", "UDP", "SCTP")


def is_proxied(service: Service) -> bool:
    """Tell whether this service's virtual addresses are ours to serve."""
    return service.metadata.label(PROXY_NAME) is None and service.metadata.label(HEADLESS) is None


def service_rows(service: Service, slices: tuple[EndpointSlice, ...], *, reserved: Collection[str] = ()) -> Rows:
    """Return the rows of one service's virtual addresses. Costs time proportional to its endpoints times its ports.

    An address in `reserved` is served by the node itself (the cluster's DNS) and gets no rows.
    """
    out = RowsBuilder()
    origin = origin_of(service)
    if not is_proxied(service):
        return out.rows()
    origins = (origin, *(slice_origin(each) for each in slices))
    for number, text in enumerate(service.cluster_ips):
        try:
            address = canonical(text)
        except ValueError as error:
            out.report(Diagnostic(object=origin, field=f"spec.clusterIPs[{number}]", message=str(error)))
            continue
        if address in reserved:
            continue
        out.add("service_addresses", ServiceAddress(address=address), origin)
        family = [each for each in slices if each.address_type == ("IPv6" if is_ipv6(address) else "IPv4")]
        for at, port in enumerate(service.spec.ports or ()):
            protocol = port.protocol or "TCP"
            if protocol not in _PROTOCOLS:
                message = f"unknown protocol {protocol!r}; known are {', '.join(_PROTOCOLS)}"
                out.report(Diagnostic(object=origin, field=f"spec.ports[{at}].protocol", message=message))
                continue
            endpoints, diagnostics = endpoints_of(port, family)
            out.report(*diagnostics)
            row = ServicePort(address=address, protocol=protocol.lower(), port=port.port, endpoints=endpoints)
            out.add("service_ports", row, *origins)
    return out.rows()


def endpoints_of(port: ApiPort, slices: Iterable[EndpointSlice]) -> tuple[tuple[Endpoint, ...], tuple[Diagnostic, ...]]:
    """Return where connections to a service port may go, sorted, and what was wrong with the slices of one family."""
    ready: set[Endpoint] = set()
    going: set[Endpoint] = set()
    diagnostics: list[Diagnostic] = []
    for each in slices:
        number = target_port(port, each)
        if number is None:
            continue
        for at, endpoint in enumerate(each.endpoints or ()):
            chosen = ready if endpoint.ready else going if endpoint.serving_while_terminating else None
            if chosen is None or not endpoint.addresses:
                continue
            try:
                chosen.add(Endpoint(canonical(endpoint.addresses[0]), number))
            except ValueError as error:
                diagnostics.append(bad_address(each, at, error))
    return tuple(sorted(ready or going)), tuple(diagnostics)


def target_port(port: ApiPort, within: EndpointSlice) -> int | None:
    """Return the number that a slice's endpoints listen on for a service port: the slice's port of the same name."""
    for each in within.ports or ():
        if (each.name or "") == (port.name or "") and (each.protocol or "TCP") == (port.protocol or "TCP"):
            return each.port
    return None


def usable_endpoints(slices: Iterable[EndpointSlice]) -> list[tuple[EndpointSlice, int, ApiEndpoint]]:
    """Return the ready endpoints of some slices with their place."""
    return [
        (each, at, endpoint)
        for each in slices
        for at, endpoint in enumerate(each.endpoints or ())
        if endpoint.ready and endpoint.addresses
    ]


def bad_address(within: EndpointSlice, at: int, error: ValueError) -> Diagnostic:
    """Return the diagnostic for an endpoint whose address is none."""
    return Diagnostic(object=slice_origin(within), field=f"endpoints[{at}].addresses[0]", message=str(error))


def origin_of(service: Service) -> str:
    """Return how a service is named in origins."""
    return reference("Service", service.metadata.namespace, service.metadata.name)


def slice_origin(within: EndpointSlice) -> str:
    """Return how a slice is named in origins."""
    return reference("EndpointSlice", within.metadata.namespace, within.metadata.name)
