"""Which endpoints of a service port serve whom: readiness, termination, hints and traffic policies.

Source: Service.spec, EndpointSlice and KEP-752, KEP-1669 (terminating endpoints as the last resort), KEP-2086 (internal traffic policy),
KEP-2433 and KEP-3015 (hints). It must never look at a pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fairlead.api.decode import reference
from fairlead.api.endpointslice import Endpoint as ApiEndpoint
from fairlead.api.endpointslice import EndpointSlice, Named
from fairlead.api.service import ServicePort as ApiPort
from fairlead.base.addresses import canonical
from fairlead.base.diagnostics import Diagnostic
from fairlead.plan.tables import Endpoint


class Choice(msgspec.Struct, frozen=True):
    """The endpoints of one service port in one family, each list sorted and without duplicates."""

    everywhere: tuple[Endpoint, ...] = ()
    """For policy Cluster: ready and, where hints say so, near; else those that are going but still serve."""
    local: tuple[Endpoint, ...] = ()
    """For policy Local: the same among those on this node, without regard to hints."""
    local_ready: int = 0
    exists: bool = False
    """There is an endpoint that could be used somewhere."""
    diagnostics: tuple[Diagnostic, ...] = ()


class _Known(msgspec.Struct, frozen=True):
    where: Endpoint
    api: ApiEndpoint
    is_local: bool


def choose(port: ApiPort, slices: Iterable[EndpointSlice], *, node: str, zone: str) -> Choice:
    """Return who serves a port, seen from `node` in `zone` (empty: unknown). Costs time proportional to the endpoints.

    Of an endpoint that stands in several slices the last ready one counts.
    """
    found: dict[Endpoint, _Known] = {}
    diagnostics: list[Diagnostic] = []
    for each in slices:
        number = target_port(port, each)
        if number is None:
            continue
        for at, endpoint in enumerate(each.endpoints or ()):
            if not endpoint.addresses or not (endpoint.ready or endpoint.serving_while_terminating):
                continue
            try:
                where = Endpoint(canonical(endpoint.addresses[0]), number)
            except ValueError as error:
                diagnostics.append(bad_address(each, at, error))
                continue
            if where not in found or endpoint.ready:
                found[where] = _Known(where, endpoint, bool(node) and endpoint.node_name == node)
    usable = [found[where] for where in sorted(found)]
    ready = [each for each in usable if each.api.ready]
    local = [each for each in usable if each.is_local]
    local_ready = [each for each in local if each.api.ready]
    return Choice(
        everywhere=_where(_near(ready, node, zone) or usable),
        local=_where(local_ready or local),
        local_ready=len(local_ready),
        exists=bool(usable),
        diagnostics=tuple(diagnostics),
    )


def _near(ready: Sequence[_Known], node: str, zone: str) -> Sequence[_Known]:
    """Return the endpoints that hints keep for this node, else for its zone; all when any lacks a hint or none is meant for us."""
    if any(each.api.hints is None for each in ready):
        return ready
    nodes = [{named.name for named in _hints(each, "for_nodes")} for each in ready]
    if ready and all(nodes) and any(node in names for names in nodes):
        return [each for each, names in zip(ready, nodes, strict=True) if node in names]
    zones = [{named.name for named in _hints(each, "for_zones")} for each in ready]
    if ready and zone and all(zones) and any(zone in names for names in zones):
        return [each for each, names in zip(ready, zones, strict=True) if zone in names]
    return ready


def _hints(known: _Known, field: str) -> tuple[Named, ...]:
    hints = known.api.hints
    return (getattr(hints, field) or ()) if hints is not None else ()


def _where(known: Iterable[_Known]) -> tuple[Endpoint, ...]:
    return tuple(each.where for each in known)


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


def slice_origin(within: EndpointSlice) -> str:
    """Return how a slice is named in origins."""
    return reference("EndpointSlice", within.metadata.namespace, within.metadata.name)
