"""The world as one node knows it: an immutable value with its indexes.

Everything that `compile` reads is here. It must never hold what cannot be derived from events, and nobody may change a mapping in it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.api.backendtls import BackendTLSPolicy
from fairlead.api.backendtraffic import BackendTrafficPolicy
from fairlead.api.certificate import Certificate
from fairlead.api.clienttraffic import ClientTrafficPolicy
from fairlead.api.clusterpolicy import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from fairlead.api.credentials import Credentials
from fairlead.api.egressgateway import EgressGateway
from fairlead.api.endpointslice import EndpointSlice
from fairlead.api.gateway import Gateway, GatewayClass, ReferenceGrant
from fairlead.api.gatewayparameters import GatewayParameters
from fairlead.api.httproute import GRPCRoute, HTTPRoute
from fairlead.api.ingress import Ingress, IngressClass
from fairlead.api.l4route import TCPRoute, TLSRoute, UDPRoute
from fairlead.api.listenerset import ListenerSet
from fairlead.api.middleware import Middleware
from fairlead.api.networkpolicy import NetworkPolicy
from fairlead.api.node import Node
from fairlead.api.pod import Namespace, Pod
from fairlead.api.routeextension import RouteExtension
from fairlead.api.securitypolicy import SecurityPolicy
from fairlead.api.service import Service
from fairlead.api.trafficpolicy import TrafficPolicy
from fairlead.api.trust_material import TrustMaterial
from fairlead.base.diagnostics import Diagnostic
from fairlead.base.interfaces import Interface
from fairlead.world.attachment import Attachment
from fairlead.world.events import ObjectKey
from fairlead.world.settings import Settings

TABLES: Mapping[str, str] = {
    "Node": "nodes",
    "Service": "services",
    "EndpointSlice": "slices",
    "Pod": "pods",
    "Namespace": "namespaces",
    "NetworkPolicy": "network_policies",
    "ClusterNetworkPolicy": "cluster_policies",
    "AdminNetworkPolicy": "admin_policies",
    "BaselineAdminNetworkPolicy": "baseline_policies",
    "EgressGateway": "egress_gateways",
    "GatewayClass": "gateway_classes",
    "Gateway": "gateways",
    "ListenerSet": "listener_sets",
    "HTTPRoute": "http_routes",
    "GRPCRoute": "grpc_routes",
    "TLSRoute": "tls_routes",
    "TCPRoute": "tcp_routes",
    "UDPRoute": "udp_routes",
    "ReferenceGrant": "reference_grants",
    "Ingress": "ingresses",
    "IngressClass": "ingress_classes",
    "Secret": "certificates",
    "BackendTLSPolicy": "backend_tls_policies",
    "BackendTrafficPolicy": "backend_traffic_policies",
    "ClientTrafficPolicy": "client_traffic_policies",
    "ConfigMap": "trust_material",
    "ClientAuthority": "client_authorities",
    "Credentials": "credentials",
    "SecurityPolicy": "security_policies",
    "TrafficPolicy": "traffic_policies",
    "RouteExtension": "route_extensions",
    "GatewayParameters": "gateway_parameters",
    "Middleware": "middlewares",
}
"""Kind → the field of a snapshot that holds its objects: everything that a plan is compiled from."""


ROUTES = frozenset(("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "Ingress"))
"""Kinds of which there may be thousands that change one at a time: which of them did is remembered."""


class Token:
    """The identity of a snapshot: equal to nothing but itself."""

    __slots__ = ()


class Step(msgspec.Struct, frozen=True):
    """One fold: which snapshot it began with, which services it concerned (their own object or their slices), and which routes."""

    since: Token
    services: frozenset[ObjectKey]
    routes: frozenset[tuple[str, ObjectKey]] = frozenset()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All inputs of a plan."""

    settings: Settings
    revision: str = ""
    """The resourceVersion of the newest object seen."""
    interfaces: tuple[Interface, ...] = ()
    nodes: Mapping[str, Node] = {}
    services: Mapping[ObjectKey, Service] = {}
    slices: Mapping[ObjectKey, EndpointSlice] = {}
    slices_of: Mapping[ObjectKey, tuple[EndpointSlice, ...]] = {}
    """Service → its slices by name."""
    pods: Mapping[ObjectKey, Pod] = {}
    """All pods of the cluster."""
    namespaces: Mapping[ObjectKey, Namespace] = {}
    network_policies: Mapping[ObjectKey, NetworkPolicy] = {}
    cluster_policies: Mapping[ObjectKey, ClusterNetworkPolicy] = {}
    admin_policies: Mapping[ObjectKey, AdminNetworkPolicy] = {}
    baseline_policies: Mapping[ObjectKey, BaselineAdminNetworkPolicy] = {}
    egress_gateways: Mapping[ObjectKey, EgressGateway] = {}
    unreachable: frozenset[str] = frozenset()
    """Addresses of nodes that do not answer, as far as this node sees."""
    gateway_classes: Mapping[ObjectKey, GatewayClass] = {}
    gateways: Mapping[ObjectKey, Gateway] = {}
    listener_sets: Mapping[ObjectKey, ListenerSet] = {}
    http_routes: Mapping[ObjectKey, HTTPRoute] = {}
    grpc_routes: Mapping[ObjectKey, GRPCRoute] = {}
    tls_routes: Mapping[ObjectKey, TLSRoute] = {}
    tcp_routes: Mapping[ObjectKey, TCPRoute] = {}
    udp_routes: Mapping[ObjectKey, UDPRoute] = {}
    reference_grants: Mapping[ObjectKey, ReferenceGrant] = {}
    ingresses: Mapping[ObjectKey, Ingress] = {}
    ingress_classes: Mapping[ObjectKey, IngressClass] = {}
    certificates: Mapping[ObjectKey, Certificate] = {}
    backend_tls_policies: Mapping[ObjectKey, BackendTLSPolicy] = {}
    backend_traffic_policies: Mapping[ObjectKey, BackendTrafficPolicy] = {}
    client_traffic_policies: Mapping[ObjectKey, ClientTrafficPolicy] = {}
    trust_material: Mapping[ObjectKey, TrustMaterial] = {}
    """Those that something refers to."""
    client_authorities: Mapping[ObjectKey, TrustMaterial] = {}
    """Secrets with CA certificates and the label of credentials."""
    credentials: Mapping[ObjectKey, Credentials] = {}
    security_policies: Mapping[ObjectKey, SecurityPolicy] = {}
    traffic_policies: Mapping[ObjectKey, TrafficPolicy] = {}
    route_extensions: Mapping[ObjectKey, RouteExtension] = {}
    gateway_parameters: Mapping[ObjectKey, GatewayParameters] = {}
    middlewares: Mapping[ObjectKey, Middleware] = {}
    attachments: Mapping[tuple[str, str], Attachment] = {}
    undecodable: Mapping[tuple[str, ObjectKey], Diagnostic] = {}
    """(kind, key) of objects that cannot be understood."""
    token: Token = msgspec.field(default_factory=Token)
    steps: tuple[Step, ...] = ()
    """The latest folds, oldest first: lets a reader find what changed without comparing everything."""

    def services_changed_since(self, token: Token) -> frozenset[ObjectKey] | None:
        """Return the services that folds since the snapshot with `token` concerned; None when that is not remembered."""
        steps = self._steps_since(token)
        return None if steps is None else frozenset().union(*(each.services for each in steps))

    def routes_changed_since(self, token: Token) -> frozenset[tuple[str, ObjectKey]] | None:
        """Return (kind, key) of the routes that folds since the snapshot with `token` concerned; None when that is not remembered."""
        steps = self._steps_since(token)
        return None if steps is None else frozenset().union(*(each.routes for each in steps))

    def _steps_since(self, token: Token) -> tuple[Step, ...] | None:
        if token is self.token:
            return ()
        return next((self.steps[number:] for number, step in enumerate(self.steps) if step.since is token), None)
