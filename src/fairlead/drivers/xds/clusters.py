"""Rows of clusters, endpoints and certificates as Envoy's resources. Pure. Source: envoy.config.cluster.v3, endpoint.v3, tls.v3."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import msgspec
from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, extension_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.load_balancing_policies.common.v3 import common_pb2 as lb_pb2
from envoy.extensions.load_balancing_policies.random.v3 import random_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from fairlead.drivers.xds.balancing import balancing
from fairlead.drivers.xds.deciders import upstream_filters
from fairlead.drivers.xds.health import active, breakers, passive
from fairlead.drivers.xds.pack import milliseconds, number, packed, resource, serialized, version_of
from fairlead.drivers.xds.protocol import Resource
from fairlead.drivers.xds.upstream import by_ads, socket
from fairlead.plan.endpoint import Endpoint
from fairlead.plan.gateway.cluster import GatewayCluster, GatewayEndpoints
from fairlead.plan.gateway.traffic import Keepalive, Limits
from fairlead.plan.gateway.trust import GatewayTrust

_MOST_CLIENTS = 1 << 15
"""Of a UDP listener at a time: each holds a socket until it is idle for a while, and addresses of senders may be forged."""
_MOST_SETTINGS = 1024
"""Kept of those that clusters have in common."""
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(row: GatewayCluster) -> Resource:
    """Return a cluster whose endpoints come apart from it."""
    if row.protocol == "udp":
        return _datagrams(row)
    name = serialized(cluster_pb2.Cluster(name=row.name))
    # Fields of a message follow each other on the wire: most clusters have all but the name in common.
    body = name + _settings(msgspec.structs.replace(row, name=""))
    return Resource(row.name, version_of(body), body)


@functools.lru_cache(maxsize=_MOST_SETTINGS)
def _settings(row: GatewayCluster) -> bytes:
    """Return a cluster without its name, serialized."""
    traffic = row.traffic
    explicit = http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig()
    if row.protocol == "h2c":
        explicit.http2_protocol_options.CopyFrom(protocol_pb2.Http2ProtocolOptions())
    else:
        explicit.http_protocol_options.CopyFrom(protocol_pb2.Http1ProtocolOptions())
    message = cluster_pb2.Cluster(
        type=cluster_pb2.Cluster.DiscoveryType.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=by_ads()),
        connect_timeout=milliseconds(traffic.connect_ms),
        load_balancing_policy=balancing(traffic.balancing),
        circuit_breakers=breakers(traffic),
        # Endpoints are what the cluster says they are: the proxy has no better knowledge of their health.
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(ignore_new_hosts_until_first_hc=False),
        typed_extension_protocol_options={
            _HTTP_OPTIONS: packed(
                http_protocol_options_pb2.HttpProtocolOptions(
                    explicit_http_config=explicit,
                    common_http_protocol_options=_common(traffic.limits),
                    http_filters=upstream_filters() if row.decides else (),
                ),
            )
        },
    )
    message.common_lb_config.healthy_panic_threshold.value = 0
    if traffic.keepalive is not None:
        message.upstream_connection_options.tcp_keepalive.CopyFrom(_keepalive(traffic.keepalive))
    if traffic.active is not None:
        message.health_checks.append(active(traffic.active, http2=row.protocol == "h2c"))
        # An endpoint that the cluster takes away goes at once, whatever it answers.
        message.ignore_health_on_host_removal = True
    if traffic.passive is not None:
        message.outlier_detection.CopyFrom(passive(traffic.passive))
    if (transport := socket(row)) is not None:
        message.transport_socket.CopyFrom(transport)
    return serialized(message)


def _datagrams(row: GatewayCluster) -> Resource:
    """Return the cluster of a UDP listener: clients are shared out by the weights of groups, then at random within one."""
    weighted = lb_pb2.LocalityLbConfig(locality_weighted_lb_config=lb_pb2.LocalityLbConfig.LocalityWeightedLbConfig())
    config = extension_pb2.TypedExtensionConfig(
        name="envoy.load_balancing_policies.random",
        typed_config=packed(random_pb2.Random(locality_lb_config=weighted)),
    )
    limits = circuit_breaker_pb2.CircuitBreakers.Thresholds(max_connections=number(_MOST_CLIENTS))
    message = cluster_pb2.Cluster(
        name=row.name,
        type=cluster_pb2.Cluster.DiscoveryType.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=by_ads()),
        load_balancing_policy=cluster_pb2.LoadBalancingPolicy(
            policies=[cluster_pb2.LoadBalancingPolicy.Policy(typed_extension_config=config)]
        ),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(thresholds=[limits]),
    )
    message.common_lb_config.healthy_panic_threshold.value = 0
    return resource(row.name, message)


def _common(limits: Limits) -> Any:
    options = protocol_pb2.HttpProtocolOptions()
    if limits.requests_per_connection is not None:
        options.max_requests_per_connection.CopyFrom(number(limits.requests_per_connection))
    return options


def _keepalive(row: Keepalive) -> Any:
    return address_pb2.TcpKeepalive(
        keepalive_time=number(row.idle_s),
        keepalive_interval=number(row.interval_s),
        keepalive_probes=number(row.probes),
    )


def endpoints(row: GatewayEndpoints) -> Resource:
    """Return who serves a cluster."""
    groups = [
        endpoint_components_pb2.LocalityLbEndpoints(
            locality=base_pb2.Locality(region=each.name),
            load_balancing_weight=number(each.weight),
            lb_endpoints=_endpoints(each.endpoints),
        )
        for each in row.groups
    ] or [endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=_endpoints(row.endpoints))]
    return resource(row.cluster, endpoint_pb2.ClusterLoadAssignment(cluster_name=row.cluster, endpoints=groups))


def _endpoints(found: Iterable[Endpoint]) -> list[Any]:
    return [
        endpoint_components_pb2.LbEndpoint(
            endpoint=endpoint_components_pb2.Endpoint(address=address(each.address, each.port))
        )
        for each in found
    ]


def certificate(name: str, chain: bytes, key: bytes) -> Resource:
    """Return a certificate and its key."""
    tls = common_pb2.TlsCertificate(
        certificate_chain=base_pb2.DataSource(inline_bytes=chain), private_key=base_pb2.DataSource(inline_bytes=key)
    )
    return resource(name, secret_pb2.Secret(name=name, tls_certificate=tls))


def trust(row: GatewayTrust) -> Resource:
    """Return CA certificates by which the other side is known."""
    context = common_pb2.CertificateValidationContext(
        trusted_ca=base_pb2.DataSource(inline_bytes=row.bundle.pem.encode()), only_verify_leaf_cert_crl=row.leaf_only
    )
    if row.revoked is not None:
        context.crl.inline_bytes = row.revoked.pem.encode()
    return resource(row.name, secret_pb2.Secret(name=row.name, validation_context=context))


def address(text: str, port: int) -> Any:
    """Return a TCP address."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=text, port_value=port))
