"""Services as rows: every address and port at which a service can be reached, and what happens to whoever comes there.

A service is reached at its cluster addresses under the internal traffic policy, and at node ports, load balancers' addresses and external
addresses under the external one. Semantics of Service.spec; where it is silent, those of kube-proxy. It must never look at a pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from fairlead.api.decode import reference
from fairlead.api.endpointslice import EndpointSlice
from fairlead.api.node import Node
from fairlead.api.service import Service
from fairlead.api.service import ServicePort as ApiPort
from fairlead.base.addresses import canonical, canonical_prefix, contains, is_ipv6, outermost, sort_key
from fairlead.base.diagnostics import Diagnostic
from fairlead.base.interfaces import Interface
from fairlead.model.endpoints import Choice, choose, slice_origin
from fairlead.model.gateway.names import is_door
from fairlead.model.rows import Rows, RowsBuilder
from fairlead.plan.tables import (
    ClusterAddress,
    HealthPort,
    LocalPort,
    RestrictedPort,
    ServiceAddress,
    ServiceMasquerade,
    ServicePort,
    SourceRange,
)
from fairlead.world.settings import Settings

PROXY_NAME = "service.kubernetes.io/service-proxy-name"
"""Label of services that another proxy serves (KEP-2447)."""
HEADLESS = "service.kubernetes.io/headless"
"""Label of services that no proxy serves."""
ZONE = "topology.kubernetes.io/zone"
PRIMARY = "primary"
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_LOCAL = "Local"
_LONGEST_AFFINITY_S = 86400


class ProxyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All that the rows of a service depend on beside itself and its slices."""

    node: str = ""
    zone: str = ""
    node_port_addresses: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    """Virtual addresses that the node itself serves: the cluster's DNS."""
    load_balancer_cidrs: tuple[str, ...] = ()


def proxy_facts(settings: Settings, node: Node | None, interfaces: tuple[Interface, ...]) -> ProxyFacts:
    """Return the facts of this node. Without its Node object it has no zone, and node ports only by prefix."""
    held = [each.partition("/")[0] for interface in interfaces for each in interface.addresses]
    chosen: set[str] = set()
    for wanted in settings.node_port_addresses:
        if wanted == PRIMARY:
            # Without interfaces, as when a plan is made from files, the Node is believed.
            chosen.update(each for each in (node.internal_ips if node else ()) if each in held or not held)
        else:
            chosen.update(each for each in held if contains(wanted, each))
    return ProxyFacts(
        node=settings.node,
        zone=(node.metadata.label(ZONE) or "") if node else "",
        node_port_addresses=tuple(sorted(chosen, key=sort_key)),
        reserved=settings.cluster_dns,
        load_balancer_cidrs=settings.load_balancer_cidrs,
    )


def is_proxied(labels: Mapping[str, str] | None) -> bool:
    """Tell whether what has these labels, a service or a slice, is ours to serve."""
    return not labels or not (PROXY_NAME in labels or HEADLESS in labels)


def service_rows(service: Service, slices: tuple[EndpointSlice, ...], facts: ProxyFacts) -> Rows:
    """Return the rows of one service. Costs time proportional to its endpoints times its ports, plus its addresses."""
    if not is_proxied(service.metadata.labels) or not service.cluster_ips:
        return Rows()
    ours = tuple(each for each in slices if is_proxied(each.metadata.labels))
    return _ServiceRows(service, ours, facts).build()


class _ServiceRows:
    def __init__(self, service: Service, slices: tuple[EndpointSlice, ...], facts: ProxyFacts) -> None:
        self._service = service
        self._spec = service.spec
        self._facts = facts
        self._origin = origin_of(service)
        self._origins = (self._origin, *(slice_origin(each) for each in slices))
        self._slices = {
            ipv6: [each for each in slices if each.address_type == ("IPv6" if ipv6 else "IPv4")]
            for ipv6 in (False, True)
        }
        self._affinity_s = min(service.affinity_s, _LONGEST_AFFINITY_S) or None
        self._out = RowsBuilder()

    def build(self) -> Rows:
        inside = tuple(self._addresses("spec.clusterIPs", self._service.cluster_ips))
        outside = tuple(self._addresses("spec.externalIPs", self._spec.external_ips or ()))
        balanced = tuple(self._addresses("status.loadBalancer.ingress", self._service.load_balancer_ips))
        for address in inside:
            self._out.add("cluster_addresses", ClusterAddress(address=address), self._origin)
        for address in balanced:
            if any(contains(cidr, address) for cidr in self._facts.load_balancer_cidrs):
                self._out.add("service_addresses", ServiceAddress(address=address), self._origin)
        families = dict.fromkeys(is_ipv6(address) for address in inside)
        ready = 0
        for at, port in enumerate(self._spec.ports or ()):
            if (port.protocol or "TCP") not in _PROTOCOLS:
                message = f"unknown protocol {port.protocol!r}; known are {', '.join(_PROTOCOLS)}"
                self._report(f"spec.ports[{at}].protocol", message)
                continue
            choices = {ipv6: self._choose(port, ipv6) for ipv6 in families}
            ready = max(ready, *(choice.local_ready for choice in choices.values()), 0)
            for address in inside:
                self._inside(address, port, choices[is_ipv6(address)])
            for address in (*outside, *balanced):
                if is_ipv6(address) in choices:
                    self._outside(address, port, port.port, choices[is_ipv6(address)])
            if port.node_port and self._spec.type in ("NodePort", "LoadBalancer"):
                for address in self._facts.node_port_addresses:
                    if is_ipv6(address) in choices:
                        self._outside(address, port, port.node_port, choices[is_ipv6(address)])
            self._restrict(port, balanced)
        self._health(ready)
        return self._out.rows()

    def _choose(self, port: ApiPort, ipv6: bool) -> Choice:
        choice = choose(port, self._slices[ipv6], node=self._facts.node, zone=self._facts.zone)
        self._out.report(*choice.diagnostics)
        return choice

    def _inside(self, address: str, port: ApiPort, choice: Choice) -> None:
        only_local = self._spec.internal_traffic_policy == _LOCAL
        endpoints = choice.local if only_local else choice.everywhere
        row = ServicePort(
            address=address,
            protocol=_protocol(port),
            port=port.port,
            endpoints=endpoints,
            affinity_s=self._affinity_s,
            # Elsewhere there are endpoints: refusing would tell the client that nobody serves.
            drop=choice.exists and not endpoints,
        )
        self._out.add("service_ports", row, *self._origins)

    def _outside(self, address: str, port: ApiPort, number: int, choice: Choice) -> None:
        protocol = _protocol(port)
        # Pods and processes of this node are inside of the cluster, whatever address they use.
        row = ServicePort(
            address=address,
            protocol=protocol,
            port=number,
            endpoints=choice.everywhere,
            affinity_s=self._affinity_s,
        )
        self._out.add("service_ports", row, *self._origins)
        if self._spec.external_traffic_policy != _LOCAL:
            masquerade = ServiceMasquerade(address=address, protocol=protocol, port=number)
            self._out.add("service_masquerades", masquerade, self._origin)
        elif choice.exists:
            local = LocalPort(
                address=address, protocol=protocol, port=number, endpoints=choice.local, affinity_s=self._affinity_s
            )
            self._out.add("local_ports", local, *self._origins)

    def _restrict(self, port: ApiPort, balanced: tuple[str, ...]) -> None:
        if not self._spec.load_balancer_source_ranges:
            return
        prefixes = outermost(self._source_ranges())
        for address in balanced:
            where = {"address": address, "protocol": _protocol(port), "port": port.port}
            self._out.add("restricted_ports", RestrictedPort(**where), self._origin)  # type: ignore[arg-type]
            for prefix in sorted(each for each in prefixes if is_ipv6(each) == is_ipv6(address)):
                self._out.add("source_ranges", SourceRange(**where, prefix=prefix), self._origin)  # type: ignore[arg-type]

    def _source_ranges(self) -> Iterator[str]:
        for at, text in enumerate(self._spec.load_balancer_source_ranges or ()):
            try:
                yield canonical_prefix(text.strip())
            except ValueError as error:
                self._report(f"spec.loadBalancerSourceRanges[{at}]", str(error))

    def _health(self, ready: int) -> None:
        number = self._spec.health_check_node_port
        metadata = self._service.metadata
        if is_door(metadata):
            # Its proxy answers itself, which goes on when we do not.
            return
        if number and self._spec.type == "LoadBalancer" and self._spec.external_traffic_policy == _LOCAL:
            row = HealthPort(port=number, namespace=metadata.namespace, service=metadata.name, endpoints=ready)
            self._out.add("health_ports", row, *self._origins)

    def _addresses(self, field: str, texts: tuple[str, ...]) -> Iterator[str]:
        for number, text in enumerate(texts):
            try:
                address = canonical(text)
            except ValueError as error:
                self._report(f"{field}[{number}]", str(error))
                continue
            if address not in self._facts.reserved:
                yield address

    def _report(self, field: str, message: str) -> None:
        self._out.report(Diagnostic(object=self._origin, field=field, message=message))


def _protocol(port: ApiPort) -> str:
    return (port.protocol or "TCP").lower()


def origin_of(service: Service) -> str:
    """Return how a service is named in origins."""
    return reference("Service", service.metadata.namespace, service.metadata.name)
