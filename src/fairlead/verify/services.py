"""What the specification says about a connection to a Service: an oracle that shares nothing with the model.

It reads objects in their wire form and follows the texts of the API reference (core/v1 ServiceSpec, discovery.k8s.io/v1 Endpoint), KEP-1669,
KEP-2086, KEP-2433, KEP-3015 and, for what those leave open (drop or reject, whose address is hidden), what kube-proxy documents. One question is
answered by looking at everything again: slow, and easy to compare with the texts. It must never import the model or the plan.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

Json: TypeAlias = Mapping[str, Any]
Where: TypeAlias = tuple[str, int]
"""Address and port."""
Origin = Literal["pod", "node", "outside"]
"""A pod of this node; a process of this node, or one of its hostNetwork pods; anything that comes to this node over a wire."""


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of a first packet."""

    kind: Literal["forward", "reject", "drop", "not a service"]
    endpoints: frozenset[Where] = frozenset()
    hidden: bool = False
    """The endpoint sees an address of the node instead of the client's."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the answer depends on."""

    services: Sequence[Json]
    slices: Sequence[Json]
    node: str
    zone: str
    node_addresses: Sequence[str]
    """The addresses of this node that answer on node ports."""
    load_balancer_ranges: Sequence[str] = ()
    cluster_ranges: Sequence[str] = ()
    """Where the addresses of pods and nodes lie."""


def verdict(cluster: Cluster, origin: Origin, source: str, address: str, protocol: str, port: int) -> Verdict:
    """Return what becomes of a connection from `source` that meets this node on its way to `address` and `port`."""
    known_address = False
    for service in cluster.services:
        spec, labels = service["spec"], service["metadata"].get("labels") or {}
        if "service.kubernetes.io/service-proxy-name" in labels or "service.kubernetes.io/headless" in labels:
            continue
        cluster_ips = [each for each in spec.get("clusterIPs") or [] if each != "None"]
        if spec.get("type") == "ExternalName" or not cluster_ips:
            continue
        same_family = any((":" in each) == (":" in address) for each in cluster_ips)
        balanced = _load_balancer_ips(service)
        known_address = known_address or address in cluster_ips
        if address in balanced and _within(cluster.load_balancer_ranges, address):
            known_address = True
        if not same_family:
            continue
        for service_port in spec["ports"]:
            if service_port.get("protocol", "TCP").lower() != protocol:
                continue
            if address in cluster_ips and service_port["port"] == port:
                # kube-proxy "masquerades off-cluster traffic to a service VIP", whose answer must come back through this node.
                hidden = not _within(cluster.cluster_ranges, source)
                return _internal(cluster, service, service_port, address, hidden=hidden)
            at_service_port = service_port["port"] == port and address in (*(spec.get("externalIPs") or ()), *balanced)
            at_node_port = service_port.get("nodePort") == port and address in cluster.node_addresses
            if at_node_port and spec.get("type") not in ("NodePort", "LoadBalancer"):
                at_node_port = False
            if at_service_port or at_node_port:
                # loadBalancerSourceRanges: "traffic through the cloud-provider load-balancer will be restricted to the
                # specified client IPs".
                ranges = spec.get("loadBalancerSourceRanges") or ()
                if address in balanced and service_port["port"] == port and ranges and not _within(ranges, source):
                    return Verdict("drop")
                return _external(cluster, service, service_port, address, origin)
    return Verdict("reject") if known_address else Verdict("not a service")


def _internal(cluster: Cluster, service: Json, port: Json, address: str, *, hidden: bool) -> Verdict:
    usable = _Usable(cluster, service, port, address)
    if not usable.anywhere:
        return Verdict("reject")
    # internalTrafficPolicy: "Local" ... "dropping the traffic if there are no local endpoints".
    if service["spec"].get("internalTrafficPolicy") == "Local":
        return _to(usable.local, hidden=hidden)
    return _to(usable.near, hidden=hidden)


def _external(cluster: Cluster, service: Json, port: Json, address: str, origin: Origin) -> Verdict:
    usable = _Usable(cluster, service, port, address)
    if not usable.anywhere:
        return Verdict("reject")
    if service["spec"].get("externalTrafficPolicy") == "Local":
        # "traffic sent to an External IP or LoadBalancer IP from within the cluster will always get "Cluster" semantics".
        return _to(usable.local if origin == "outside" else usable.near)
    return _to(usable.near, hidden=True)


def _to(endpoints: Iterable[Where], *, hidden: bool = False) -> Verdict:
    found = frozenset(endpoints)
    return Verdict("forward", found, hidden) if found else Verdict("drop")


class _Usable:
    """The endpoints of one port of a Service, as different policies see them."""

    def __init__(self, cluster: Cluster, service: Json, port: Json, address: str) -> None:
        family = "IPv6" if ":" in address else "IPv4"
        ready: dict[Where, Json] = {}
        leaving: dict[Where, Json] = {}
        for each in cluster.slices:
            labels = each["metadata"].get("labels") or {}
            mine = (
                labels.get("kubernetes.io/service-name") == service["metadata"]["name"]
                and each["metadata"]["namespace"] == service["metadata"]["namespace"]
                and each["addressType"] == family
            )
            if not mine:
                continue
            for listed in each.get("ports") or ():
                if listed.get("name", "") != port.get("name", "") or listed.get("protocol", "TCP") != port.get(
                    "protocol", "TCP"
                ):
                    continue
                for endpoint in each.get("endpoints") or ():
                    where = (endpoint["addresses"][0], listed["port"])
                    conditions = endpoint.get("conditions") or {}
                    # "A nil value should be interpreted as "true"" for ready and serving, "false" for terminating.
                    if conditions.get("ready") is not False:
                        ready[where] = endpoint
                    elif conditions.get("terminating") is True and conditions.get("serving") is not False:
                        leaving[where] = endpoint
        here = {where for where, endpoint in {**leaving, **ready}.items() if endpoint.get("nodeName") == cluster.node}
        self.anywhere = {*ready, *leaving}
        self.local = here & ready.keys() or here
        self.near = _hinted(ready, cluster) or set(ready) or set(leaving)


def _hinted(ready: Mapping[Where, Json], cluster: Cluster) -> set[Where]:
    """Return the endpoints that hints mean for this node; none when hints are incomplete or mean none for it."""
    for kind, name in (("forNodes", cluster.node), ("forZones", cluster.zone)):
        hints = {
            where: {hint["name"] for hint in (endpoint.get("hints") or {}).get(kind) or ()}
            for where, endpoint in ready.items()
        }
        meant = {where for where, names in hints.items() if name and name in names}
        if meant and all(hints.values()):
            return meant
    return set()


def _load_balancer_ips(service: Json) -> list[str]:
    if service["spec"].get("type") != "LoadBalancer":
        return []
    ingress = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
    return [each["ip"] for each in ingress if each.get("ip") and each.get("ipMode", "VIP") == "VIP"]


def _within(ranges: Iterable[str], address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in map(ipaddress.ip_network, ranges) if network.version == parsed.version)
