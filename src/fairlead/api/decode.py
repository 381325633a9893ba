"""Wire JSON to typed objects, tolerantly: one odd object becomes a diagnostic and never stops the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

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
from fairlead.api.policytarget import Governed
from fairlead.api.routeextension import RouteExtension
from fairlead.api.securitypolicy import SecurityPolicy
from fairlead.api.service import Service
from fairlead.api.trafficpolicy import TrafficPolicy
from fairlead.api.trust_material import TrustMaterial
from fairlead.base.diagnostics import Diagnostic

ApiObject: TypeAlias = (
    Node
    | Service
    | EndpointSlice
    | Pod
    | Namespace
    | NetworkPolicy
    | ClusterNetworkPolicy
    | AdminNetworkPolicy
    | BaselineAdminNetworkPolicy
    | EgressGateway
    | GatewayClass
    | Gateway
    | ListenerSet
    | HTTPRoute
    | GRPCRoute
    | TLSRoute
    | TCPRoute
    | UDPRoute
    | ReferenceGrant
    | Ingress
    | IngressClass
    | Certificate
    | BackendTLSPolicy
    | BackendTrafficPolicy
    | ClientTrafficPolicy
    | TrustMaterial
    | Credentials
    | SecurityPolicy
    | TrafficPolicy
    | RouteExtension
    | GatewayParameters
    | Middleware
)

KINDS: Mapping[str, type[ApiObject]] = {
    "Node": Node,
    "Service": Service,
    "EndpointSlice": EndpointSlice,
    "Pod": Pod,
    "Namespace": Namespace,
    "NetworkPolicy": NetworkPolicy,
    "ClusterNetworkPolicy": ClusterNetworkPolicy,
    "AdminNetworkPolicy": AdminNetworkPolicy,
    "BaselineAdminNetworkPolicy": BaselineAdminNetworkPolicy,
    "EgressGateway": EgressGateway,
    "GatewayClass": GatewayClass,
    "Gateway": Gateway,
    "ListenerSet": ListenerSet,
    "HTTPRoute": HTTPRoute,
    "GRPCRoute": GRPCRoute,
    "TLSRoute": TLSRoute,
    "TCPRoute": TCPRoute,
    "UDPRoute": UDPRoute,
    "ReferenceGrant": ReferenceGrant,
    "Ingress": Ingress,
    "IngressClass": IngressClass,
    "Secret": Certificate,
    "BackendTLSPolicy": BackendTLSPolicy,
    "BackendTrafficPolicy": BackendTrafficPolicy,
    "ClientTrafficPolicy": ClientTrafficPolicy,
    "ConfigMap": TrustMaterial,
    "ClientAuthority": TrustMaterial,
    "Credentials": Credentials,
    "SecurityPolicy": SecurityPolicy,
    "TrafficPolicy": TrafficPolicy,
    "RouteExtension": RouteExtension,
    "GatewayParameters": GatewayParameters,
    "Middleware": Middleware,
}
"""Kind → type of the objects that the network is compiled from."""

CLUSTER_SCOPED = frozenset(
    (
        "Node",
        "Namespace",
        "ClusterNetworkPolicy",
        "AdminNetworkPolicy",
        "BaselineAdminNetworkPolicy",
        "EgressGateway",
        "GatewayClass",
        "IngressClass",
    )
)
"""Kinds of objects without a namespace."""


def reference(kind: str, namespace: str, name: str) -> str:
    """Return how diagnostics and origins name an object: `Kind/namespace/name`."""
    return f"{kind}/{namespace}/{name}"


def decode(kind: str, obj: Mapping[str, Any]) -> ApiObject | Diagnostic:
    """Return the typed form of a wire object of a kind in `KINDS`, or why it has none."""
    try:
        return msgspec.convert(obj, KINDS[kind])
    except msgspec.ValidationError as error:
        metadata = obj.get("metadata")
        known: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
        text, _, path = str(error).partition(" - at `$")
        if (shut := _shut(kind, obj, f"{path.rstrip('`').lstrip('.')}: {text}")) is not None:
            return shut
        return Diagnostic(
            object=reference(kind, str(known.get("namespace", "")), str(known.get("name", "?"))),
            field=path.rstrip("`").lstrip("."),
            message=text,
        )


def _shut(kind: str, obj: Mapping[str, Any], problem: str) -> ApiObject | None:
    """Return a policy that protects what it names although no more of it can be understood: nobody passes there."""
    if kind not in ("SecurityPolicy", "TrafficPolicy"):
        return None
    try:
        found = msgspec.convert(obj, Governed)
    except msgspec.ValidationError:
        return None
    bare = {"metadata": found.metadata, "spec": {"targetRefs": found.spec.target_refs}, "problem": problem}
    return msgspec.convert(bare, KINDS[kind])
