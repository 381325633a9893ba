"""The rows of a Plan: what one node's kernel and servers should hold.

A row is a frozen value; a table maps the row's key to the row, so that two plans (or a plan and what a driver observed) are
compared by key. Rows name kernel objects in kernel terms (interfaces, prefixes, ports) and never Kubernetes objects: which
object caused a row is kept beside the tables, in `Plan.origins`.

Addresses are canonical text (RFC 5952 for IPv6), prefixes are `address/length`, MTUs are bytes, protocols are the lower-case names of
IANA protocol numbers (`tcp`, `udp`, `sctp`). This module must never import a driver or do I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from fairlead.plan.egress import EgressAddress, EgressHolder, EgressRange, EgressRoute, EgressSource
from fairlead.plan.endpoint import Endpoint as Endpoint
from fairlead.plan.gateway.cluster import GatewayCluster, GatewayEndpoints
from fairlead.plan.gateway.forward import GatewayForward
from fairlead.plan.gateway.listener import GatewayCertificate, GatewayListener, GatewayQuicListener, GatewayUdpListener
from fairlead.plan.gateway.policy import GatewayJwt
from fairlead.plan.gateway.presence import GatewayDrain, GatewayHealthPort
from fairlead.plan.gateway.route import GatewayHost
from fairlead.plan.gateway.trust import GatewayTrust
from fairlead.plan.policy import PolicyChain, PolicyGroup, PolicyPod

Origin: TypeAlias = str
"""`Kind/namespace/name` of an API object that caused a row (namespace empty for cluster-scoped ones)."""


class PodLink(msgspec.Struct, frozen=True, kw_only=True):
    """A veth pair between a pod's network namespace and the node. Key: `host_ifname`.

    The pod's side gets `addresses` as /32 and /128, default routes through the link-local gateways 169.254.1.1 and fe80::1
    with permanent neighbor entries, so that no ARP or NDP from the pod is ever believed or needed.
    """

    host_ifname: str
    """Name on the node, at most 15 bytes, `fl` and 12 hexadecimal digits."""
    netns: str
    """Path of the pod's network namespace, as CNI_NETNS."""
    ifname: str
    """Name inside the pod, as CNI_IFNAME."""
    mac: str
    """Address of the pod's side; the host's side is the fixed ee:ee:ee:ee:ee:ee."""
    addresses: tuple[str, ...]
    mtu: int


class Tunnel(msgspec.Struct, frozen=True, kw_only=True):
    """A VXLAN device. Key: `name`."""

    name: str
    vni: int
    port: int
    local: str
    """Underlay address (IPv4) of this node."""
    mac: str
    mtu: int
    addresses: tuple[str, ...] = ()


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A unicast route of protocol 79 in the main table. Key: `destination`."""

    destination: str
    device: str | None = None
    """None: the kernel resolves the device from `via`."""
    via: str | None = None
    onlink: bool = False
    source: str | None = None
    """Preferred source address of packets that the node itself sends."""
    kind: str = "unicast"
    """`unicast`, or `blackhole` for a part of the pod range that no pod holds."""


class Neighbor(msgspec.Struct, frozen=True, kw_only=True):
    """A permanent ARP or NDP entry. Key: `device`, `address`."""

    device: str
    address: str
    mac: str


class ForwardingEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A permanent VXLAN forwarding entry: `mac` lives behind underlay address `remote`. Key: `device`, `mac`."""

    device: str
    mac: str
    remote: str


class Sysctl(msgspec.Struct, frozen=True, kw_only=True):
    """A value below /proc/sys. Key: `path`, for example `net/ipv4/ip_forward`."""

    path: str
    value: str


class PodSource(msgspec.Struct, frozen=True, kw_only=True):
    """`address` may be sent from interface `host_ifname`; whatever else a pod sends is dropped. Key: both."""

    host_ifname: str
    address: str


class ServicePort(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual address and port and the endpoints it is translated to. Key: `address`, `protocol`, `port`.

    An empty `endpoints` means: reject at once (RST or ICMP port unreachable), never a timeout; with `drop`: say nothing.
    """

    address: str
    protocol: str
    port: int
    endpoints: tuple[Endpoint, ...]
    """Sorted, without duplicates."""
    affinity_s: int | None = None
    """For how long a client keeps its endpoint after its last connection; None: every connection is on its own."""
    drop: bool = False


class LocalPort(msgspec.Struct, frozen=True, kw_only=True):
    """What clients outside of this node get in place of the `ServicePort` of the same key. Key: `address`, `protocol`, `port`.

    An empty `endpoints` means: drop, so that a load balancer looks elsewhere.
    """

    address: str
    protocol: str
    port: int
    endpoints: tuple[Endpoint, ...]
    """Sorted, without duplicates."""
    affinity_s: int | None = None


class UntrackedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of this node whose packets, both ways, connection tracking does not see. Key: `address`, `protocol`, `port`.

    Nothing about them is translated, so that nothing is lost, and neither a full table nor a race in it can lose a packet.
    """

    address: str
    protocol: str
    port: int


class ServiceMasquerade(msgspec.Struct, frozen=True, kw_only=True):
    """A service port whose clients are hidden behind this node's address. Key: `address`, `protocol`, `port`."""

    address: str
    protocol: str
    port: int


class RestrictedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A service port that only the sources in its `SourceRange` rows reach. Key: `address`, `protocol`, `port`."""

    address: str
    protocol: str
    port: int


class SourceRange(msgspec.Struct, frozen=True, kw_only=True):
    """Sources that a restricted port lets in. Key: all fields; ranges of one port do not overlap."""

    address: str
    protocol: str
    port: int
    prefix: str


class HealthPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port on which load balancers ask whether this node has endpoints of a service. Key: `port`."""

    port: int
    namespace: str
    service: str
    endpoints: int
    """How many ready ones are on this node."""


class ClusterAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A service's address inside the cluster. Key: `address`.

    Every port without a `ServicePort` is rejected. Clients that are none of the cluster's pods and nodes (`NatExemption`) are hidden: the
    endpoint, which may be on any node, answers through the node that they came to.
    """

    address: str


class ServiceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual address outside of the cluster of which every port without a `ServicePort` is rejected. Key: `address`."""

    address: str


class NatExemption(msgspec.Struct, frozen=True, kw_only=True):
    """A destination that pods reach with their own source address: pod ranges and nodes. Key: `prefix`."""

    prefix: str


class LocalRange(msgspec.Struct, frozen=True, kw_only=True):
    """A range of addresses of this node's pods; masqueraded when it leaves for anything that is not exempt. Key: `prefix`."""

    prefix: str


class DnsRecords(msgspec.Struct, frozen=True, kw_only=True):
    """All records of one type at one name of the cluster's zone or its reverse zones. Key: `name`, `type`.

    `name` is lower case with the final dot. `data` holds presentation format (RFC 1035 §5.1), sorted: addresses, `priority
    weight port target` for SRV, names for PTR and CNAME.
    """

    name: str
    type: str
    ttl: int
    data: tuple[str, ...]


class DnsClient(msgspec.Struct, frozen=True, kw_only=True):
    """An address of this node that asks with the search path of `namespace`. Key: `address`."""

    address: str
    namespace: str


Row: TypeAlias = (
    PodLink
    | Tunnel
    | Route
    | Neighbor
    | ForwardingEntry
    | Sysctl
    | PodSource
    | ServicePort
    | LocalPort
    | UntrackedPort
    | ServiceMasquerade
    | RestrictedPort
    | SourceRange
    | HealthPort
    | ClusterAddress
    | ServiceAddress
    | NatExemption
    | LocalRange
    | DnsRecords
    | DnsClient
    | EgressRoute
    | EgressAddress
    | EgressHolder
    | EgressRange
    | EgressSource
    | PolicyPod
    | PolicyChain
    | PolicyGroup
    | GatewayCertificate
    | GatewayCluster
    | GatewayEndpoints
    | GatewayDrain
    | GatewayForward
    | GatewayHealthPort
    | GatewayHost
    | GatewayJwt
    | GatewayListener
    | GatewayQuicListener
    | GatewayUdpListener
    | GatewayTrust
)

Key: TypeAlias = tuple[str | int, ...]

TABLES: Mapping[str, tuple[type[Row], tuple[str, ...]]] = {
    "sysctls": (Sysctl, ("path",)),
    "tunnels": (Tunnel, ("name",)),
    "pod_links": (PodLink, ("host_ifname",)),
    "neighbors": (Neighbor, ("device", "address")),
    "forwarding": (ForwardingEntry, ("device", "mac")),
    "routes": (Route, ("destination",)),
    "egress_routes": (EgressRoute, ("mark", "ipv6")),
    "egress_addresses": (EgressAddress, ("mark", "ipv6")),
    "egress_holders": (EgressHolder, ("address",)),
    "egress_ranges": (EgressRange, ("mark", "prefix")),
    "egress_sources": (EgressSource, ("address",)),
    "pod_sources": (PodSource, ("host_ifname", "address")),
    "nat_exemptions": (NatExemption, ("prefix",)),
    "local_ranges": (LocalRange, ("prefix",)),
    "cluster_addresses": (ClusterAddress, ("address",)),
    "service_addresses": (ServiceAddress, ("address",)),
    "untracked_ports": (UntrackedPort, ("address", "protocol", "port")),
    "service_masquerades": (ServiceMasquerade, ("address", "protocol", "port")),
    "restricted_ports": (RestrictedPort, ("address", "protocol", "port")),
    "source_ranges": (SourceRange, ("address", "protocol", "port", "prefix")),
    "local_ports": (LocalPort, ("address", "protocol", "port")),
    "service_ports": (ServicePort, ("address", "protocol", "port")),
    "health_ports": (HealthPort, ("port",)),
    "dns_records": (DnsRecords, ("name", "type")),
    "dns_clients": (DnsClient, ("address",)),
    "policy_groups": (PolicyGroup, ("name",)),
    "policy_chains": (PolicyChain, ("name",)),
    "policy_pods": (PolicyPod, ("host_ifname",)),
    "gateway_certificates": (GatewayCertificate, ("name",)),
    "gateway_trusts": (GatewayTrust, ("name",)),
    "gateway_clusters": (GatewayCluster, ("name",)),
    "gateway_endpoints": (GatewayEndpoints, ("cluster",)),
    "gateway_hosts": (GatewayHost, ("table", "domain")),
    "gateway_jwt": (GatewayJwt, ("name",)),
    "gateway_forwards": (GatewayForward, ("name",)),
    "gateway_listeners": (GatewayListener, ("name",)),
    "gateway_quic_listeners": (GatewayQuicListener, ("name",)),
    "gateway_udp_listeners": (GatewayUdpListener, ("name",)),
    "gateway_health_ports": (GatewayHealthPort, ("name",)),
    "gateway_drains": (GatewayDrain, ("reason",)),
}
"""Table name → row type and the fields that make its key, in the order in which rows are added; removed in reverse."""


def key_of(row: Row) -> Key:
    """Return the key of `row` within its table."""
    return _KEYS[type(row)](row)


def _reader(fields: tuple[str, ...]) -> Callable[[Row], Key]:
    """Return what reads a key: it is called for every row, and for all of them at the start."""
    read: Callable[[Row], Any] = attrgetter(*fields)
    return read if len(fields) > 1 else lambda row: (read(row),)


_KEYS: Mapping[type[Row], Callable[[Row], Key]] = {kind: _reader(fields) for kind, fields in TABLES.values()}
