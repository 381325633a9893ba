"""The listener at which the proxy tells load balancers that it serves. Pure. Source: KEP-27; the answer is that of kube-proxy.

The proxy answers itself, as it is what serves: whoever asks hears of its death at once, and nothing of its agent's.
"""

from __future__ import annotations

import json

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from fairlead.drivers.xds.clusters import address
from fairlead.drivers.xds.listeners import requests
from fairlead.drivers.xds.pack import milliseconds, number, packed, resource
from fairlead.drivers.xds.protocol import Resource
from fairlead.plan.gateway.presence import GatewayHealthPort

_BUFFER_BYTES = 1 << 14
_IDLE_MS = 60_000
_REQUEST_MS = 5_000


def health_port(row: GatewayHealthPort) -> Resource:
    """Return a listener that answers every request with 200 and names the Service."""
    body = {
        "service": {"namespace": row.namespace, "name": row.service},
        "localEndpoints": 1,
        "serviceProxyHealthy": True,
    }
    answer = route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(prefix="/"),
        direct_response=route_components_pb2.DirectResponseAction(
            status=200, body=base_pb2.DataSource(inline_string=json.dumps(body))
        ),
        response_headers_to_add=[
            base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=key, value=value))
            for key, value in (
                ("content-type", "application/json"),
                ("x-content-type-options", "nosniff"),
                ("x-load-balancing-endpoint-weight", "1"),
            )
        ],
    )
    host = route_components_pb2.VirtualHost(name="health", domains=["*"], routes=[answer])
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix="health",
        route_config=route_pb2.RouteConfiguration(name="health", virtual_hosts=[host]),
        http_filters=[hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(router_pb2.Router()))],
        request_headers_timeout=milliseconds(_REQUEST_MS),
    )
    manager.common_http_protocol_options.idle_timeout.CopyFrom(milliseconds(_IDLE_MS))
    first, *others = [address(each, row.port) for each in row.addresses]
    message = listener_pb2.Listener(
        name=row.name,
        address=first,
        additional_addresses=[listener_pb2.AdditionalAddress(address=each) for each in others],
        filter_chains=[listener_components_pb2.FilterChain(filters=[requests(manager)])],
        # How many clients there are is no question of health: those whom one full node lost would fill the next.
        ignore_global_conn_limit=True,
        per_connection_buffer_limit_bytes=number(_BUFFER_BYTES),
        stat_prefix=row.name.replace("/", "_"),
    )
    return resource(row.name, message)
