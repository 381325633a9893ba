"""What the agent last knew of the cluster, on disk: so that a restart without the API server goes on where it was.

The record is a cache of the API server's truth: it may be old, and as soon as the server answers it is overridden. Losing it loses
nothing but that. It must never hold attachments, which are truth of their own.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

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
from fairlead.world.events import KindReplaced
from fairlead.world.snapshot import TABLES, Snapshot

log = logging.getLogger(__name__)


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The cluster's objects, in their wire form."""

    revision: str
    nodes: tuple[Node, ...]
    services: tuple[Service, ...]
    slices: tuple[EndpointSlice, ...]
    pods: tuple[Pod, ...]
    namespaces: tuple[Namespace, ...]
    network_policies: tuple[NetworkPolicy, ...]
    cluster_policies: tuple[ClusterNetworkPolicy, ...]
    admin_policies: tuple[AdminNetworkPolicy, ...]
    baseline_policies: tuple[BaselineAdminNetworkPolicy, ...]
    egress_gateways: tuple[EgressGateway, ...] = ()
    gateway_classes: tuple[GatewayClass, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    listener_sets: tuple[ListenerSet, ...] = ()
    http_routes: tuple[HTTPRoute, ...] = ()
    grpc_routes: tuple[GRPCRoute, ...] = ()
    tls_routes: tuple[TLSRoute, ...] = ()
    tcp_routes: tuple[TCPRoute, ...] = ()
    udp_routes: tuple[UDPRoute, ...] = ()
    reference_grants: tuple[ReferenceGrant, ...] = ()
    ingresses: tuple[Ingress, ...] = ()
    ingress_classes: tuple[IngressClass, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    backend_tls_policies: tuple[BackendTLSPolicy, ...] = ()
    backend_traffic_policies: tuple[BackendTrafficPolicy, ...] = ()
    client_traffic_policies: tuple[ClientTrafficPolicy, ...] = ()
    trust_material: tuple[TrustMaterial, ...] = ()
    client_authorities: tuple[TrustMaterial, ...] = ()
    credentials: tuple[Credentials, ...] = ()
    security_policies: tuple[SecurityPolicy, ...] = ()
    traffic_policies: tuple[TrafficPolicy, ...] = ()
    route_extensions: tuple[RouteExtension, ...] = ()
    middlewares: tuple[Middleware, ...] = ()
    gateway_parameters: tuple[GatewayParameters, ...] = ()


def facts_of(snapshot: Snapshot) -> Facts:
    """Return what is worth remembering of a snapshot."""
    return Facts(
        revision=snapshot.revision,
        **{field: tuple(getattr(snapshot, field).values()) for field in TABLES.values()},
    )


def save(path: Path, facts: Facts) -> None:
    """Write the record in one step; raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(msgspec.json.encode(facts))
    temporary.replace(path)


def load(path: Path) -> list[KindReplaced]:
    """Return the record as events, none when there is none or it cannot be read (which is logged)."""
    try:
        facts = msgspec.json.decode(path.read_bytes(), type=Facts)
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        log.warning("record of the cluster not used", extra={"path": str(path), "error": str(error)})
        return []
    return [KindReplaced(kind, _keyed(getattr(facts, field)), facts.revision) for kind, field in TABLES.items()]


def _keyed(objects: tuple[Any, ...]) -> dict[tuple[str, str], Any]:
    return {(each.metadata.namespace, each.metadata.name): each for each in objects}
