"""Connections and datagrams that are handed on as they are, as Envoy's filters. Pure. Source: TcpProxy, UdpProxyConfig, ExtensionConfigSource.

A chain names its filter, and the filter comes apart from the listener: another weight or backend touches neither the listener nor a connection
that exists. Listeners of UDP have no such chains, but what changes of them are the endpoints of their one cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import address_pb2, config_source_pb2, extension_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2, udp_listener_config_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.filters.udp.udp_proxy.v3 import route_pb2, udp_proxy_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from envoy.extensions.matching.input_matchers.ip.v3 import ip_pb2
from envoy.type.v3 import hash_policy_pb2
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from fairlead.drivers.xds.clients import ranges
from fairlead.drivers.xds.pack import PREFIX, milliseconds, number, packed, resource
from fairlead.drivers.xds.protocol import Resource
from fairlead.drivers.xds.upstream import by_ads
from fairlead.plan.gateway.forward import GatewayForward
from fairlead.plan.gateway.listener import GatewayUdpListener

_NOWHERE = "none"
"""A cluster that never exists, as names of clusters have slashes: connections to it are closed at once."""
_ATTEMPTS = 3
"""Of connecting: nothing has been sent before, so another endpoint is as good."""
_IDLE_MS = 3_600_000
_UDP_IDLE_MS = 60_000
"""How long a client's datagrams go on to the same endpoint while none is sent."""


def forward(row: GatewayForward) -> Resource:
    """Return the filter that connects to the backends of a row."""
    message = tcp_proxy_pb2.TcpProxy(
        stat_prefix="gateway",
        max_connect_attempts=number(_ATTEMPTS),
        idle_timeout=milliseconds(_IDLE_MS),
        # Counts only in clusters that go by hashes.
        hash_policy=[hash_policy_pb2.HashPolicy(source_ip=hash_policy_pb2.HashPolicy.SourceIp())],
    )
    weights = [(each.cluster, each.weight) for each in row.shares]
    if row.refused or not weights:
        weights.append((_NOWHERE, row.refused or 1))
    if len(weights) == 1:
        message.cluster = weights[0][0]
    else:
        for cluster, weight in weights:
            message.weighted_clusters.clusters.add(name=cluster, weight=weight)
    return resource(row.name, extension_pb2.TypedExtensionConfig(name=row.name, typed_config=packed(message)))


def by_name(name: str) -> Any:
    """Return the filter of a chain that is to be asked for by the name of its row."""
    return listener_components_pb2.Filter(
        name=name,
        config_discovery=config_source_pb2.ExtensionConfigSource(
            config_source=by_ads(), type_urls=[PREFIX + tcp_proxy_pb2.TcpProxy.DESCRIPTOR.full_name]
        ),
    )


def udp_listener(row: GatewayUdpListener) -> Resource:
    """Return a listener of datagrams on all of the node's addresses."""
    first, *others = [udp_address(each, row.port) for each in row.addresses]
    action = matcher_pb2.Matcher.OnMatch(
        action=xds_extension_pb2.TypedExtensionConfig(
            name="route", typed_config=packed(route_pb2.Route(cluster=row.cluster))
        )
    )
    matcher = matcher_pb2.Matcher(on_no_match=action)
    if row.refused:
        matcher = _unless(row.refused, action)
    proxy = udp_proxy_pb2.UdpProxyConfig(
        stat_prefix="gateway",
        matcher=matcher,
        idle_timeout=milliseconds(_UDP_IDLE_MS),
    )
    message = listener_pb2.Listener(
        name=row.name,
        address=first,
        additional_addresses=[listener_pb2.AdditionalAddress(address=each) for each in others],
        udp_listener_config=udp_listener_config_pb2.UdpListenerConfig(),
        listener_filters=[
            listener_components_pb2.ListenerFilter(
                name="envoy.filters.udp_listener.udp_proxy", typed_config=packed(proxy)
            )
        ],
        stat_prefix=row.stat_prefix,
    )
    return resource(row.name, message)


def _unless(refused: Iterable[str], action: Any) -> Any:
    """Return what does something with the datagrams of those who are not in some prefixes, and nothing with others."""
    source = xds_extension_pb2.TypedExtensionConfig(
        name="envoy.matching.inputs.source_ip", typed_config=packed(network_inputs_pb2.SourceIPInput())
    )
    within = xds_extension_pb2.TypedExtensionConfig(
        name="envoy.matching.matchers.ip",
        typed_config=packed(ip_pb2.Ip(cidr_ranges=ranges(refused), stat_prefix="gateway")),
    )
    of = matcher_pb2.Matcher.MatcherList
    single = of.Predicate(single_predicate=of.Predicate.SinglePredicate(input=source, custom_match=within))
    matcher = of.FieldMatcher(predicate=of.Predicate(not_matcher=single), on_match=action)
    return matcher_pb2.Matcher(matcher_list=of(matchers=[matcher]))


def udp_address(text: str, port: int) -> Any:
    """Return an address to take datagrams at."""
    return address_pb2.Address(
        socket_address=address_pb2.SocketAddress(
            address=text, port_value=port, protocol=address_pb2.SocketAddress.Protocol.UDP
        )
    )
