"""Which of Envoy's types the rows become, and each row as its resource.

Envoy's messages are imported when the first row is made into one: nodes without a Gateway do without them.
"""

from __future__ import annotations

from collections.abc import Collection

from fairlead.drivers.xds.protocol import Resource
from fairlead.plan.gateway.cluster import GatewayCluster, GatewayEndpoints
from fairlead.plan.gateway.forward import GatewayForward
from fairlead.plan.gateway.listener import GatewayListener, GatewayQuicListener, GatewayUdpListener
from fairlead.plan.gateway.presence import GatewayHealthPort
from fairlead.plan.gateway.trust import GatewayTrust
from fairlead.plan.tables import Row

_TYPES = "type.googleapis.com/"
CLUSTER = f"{_TYPES}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{_TYPES}envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = f"{_TYPES}envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION = f"{_TYPES}envoy.config.core.v3.TypedExtensionConfig"
LISTENER = f"{_TYPES}envoy.config.listener.v3.Listener"
SCOPES = f"{_TYPES}envoy.config.route.v3.ScopedRouteConfiguration"
ROUTES = f"{_TYPES}envoy.config.route.v3.RouteConfiguration"
TYPES = (CLUSTER, ENDPOINTS, SECRET, EXTENSION, LISTENER, SCOPES, ROUTES)
FOLLOWERS = {CLUSTER: ENDPOINTS}
"""A cluster that changes begins without endpoints, and Envoy does not ask for what it has: it waits to be told again."""
APART = (ROUTES,)
"""Many tables may change at once, and Envoy's words about a bad one do not say which it was."""
TABLES = {
    "gateway_clusters": CLUSTER,
    "gateway_endpoints": ENDPOINTS,
    "gateway_certificates": SECRET,
    "gateway_trusts": SECRET,
    "gateway_listeners": LISTENER,
    "gateway_quic_listeners": LISTENER,
    "gateway_udp_listeners": LISTENER,
    "gateway_health_ports": LISTENER,
    "gateway_forwards": EXTENSION,
}
"""Tables whose rows are one resource each; the key is its name, which tables of one type never share."""


def resource(row: Row, scoped: Collection[str] = ()) -> Resource:
    """Return a row of `TABLES`, but for certificates, as a resource; `scoped`: tables whose hosts have scopes. Raises TypeError for others."""
    from fairlead.drivers.xds import clusters, forwards, listeners, presence, quic

    match row:
        case GatewayCluster():
            return clusters.cluster(row)
        case GatewayEndpoints():
            return clusters.endpoints(row)
        case GatewayListener():
            return listeners.listener(row, scoped)
        case GatewayQuicListener():
            return quic.listener(row, scoped)
        case GatewayUdpListener():
            return forwards.udp_listener(row)
        case GatewayHealthPort():
            return presence.health_port(row)
        case GatewayForward():
            return forwards.forward(row)
        case GatewayTrust():
            return clusters.trust(row)
    raise TypeError(f"no resource of the proxy: {row}")
