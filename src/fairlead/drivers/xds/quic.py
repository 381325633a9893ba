"""Listeners of HTTP/3 as Envoy's. Pure. Source: UdpListenerConfig, QuicProtocolOptions, QuicDownstreamTransport; RFC 9000, RFC 9001, RFC 9114.

A chain is the one that its listener has over TCP but for what carries it: the same certificates, mark, filters and table of hosts, so that what a
policy denies is denied here too.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from envoy.config.core.v3 import base_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2, quic_config_pb2, udp_listener_config_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.quic.v3 import quic_transport_pb2

from fairlead.drivers.xds import clients, listeners
from fairlead.drivers.xds.forwards import udp_address
from fairlead.drivers.xds.marks import marked
from fairlead.drivers.xds.pack import boolean, milliseconds, number, packed, resource
from fairlead.drivers.xds.protocol import Resource
from fairlead.plan.gateway.client import ClientTraffic
from fairlead.plan.gateway.listener import GatewayChain, GatewayQuicListener, Terminated, ToHosts

_LONGEST_IDLE_MS = 3_600_000
"""After which a connection of which nothing is heard is gone, where a policy says that it may be silent for ever."""


def listener(row: GatewayQuicListener, scoped: Collection[str] = ()) -> Resource:
    """Return a listener of HTTP/3 on all of the node's addresses; `scoped`: tables whose hosts have scopes."""
    first, *others = [udp_address(each, row.port) for each in row.addresses]
    message = listener_pb2.Listener(
        name=row.name,
        address=first,
        additional_addresses=[listener_pb2.AdditionalAddress(address=each) for each in others],
        filter_chains=[
            each for chain in row.chains for each in listeners.split(chain, functools.partial(_chain, scoped=scoped))
        ],
        udp_listener_config=udp_listener_config_pb2.UdpListenerConfig(quic_options=_options(row.chains)),
        stat_prefix=row.stat_prefix,
    )
    return resource(row.name, message)


def _options(chains: Iterable[GatewayChain]) -> Any:
    # Said before a server name is known, and about silence with requests under way too: the most patient counts (RFC 9000, 10.1).
    # Connections without requests are each chain's own affair.
    silences = [each for chain in chains for each in (chain.client.idle_ms, chain.client.stream_idle_ms)]
    return quic_config_pb2.QuicProtocolOptions(
        idle_timeout=milliseconds(max(min(each or _LONGEST_IDLE_MS, _LONGEST_IDLE_MS) for each in silences)),
        quic_protocol_options=protocol_pb2.QuicProtocolOptions(
            max_concurrent_streams=number(listeners.STREAMS),
            initial_stream_window_size=number(listeners.WINDOW_BYTES),
            initial_connection_window_size=number(listeners.CONNECTION_WINDOW_BYTES),
        ),
    )


def _chain(chain: GatewayChain, scoped: Collection[str]) -> Any:
    if not isinstance(chain.tls, Terminated) or not isinstance(chain.action, ToHosts) or chain.tls.clients is not None:
        raise TypeError(f"no chain of HTTP/3: {chain}")
    message = listeners.manager(chain.action.table, chain.client, tls=True, scoped=chain.action.table in scoped)
    message.codec_type = hcm_pb2.HttpConnectionManager.CodecType.HTTP3
    context = listeners.tls_context(chain.tls, clients.tls(_of_quic(chain.client)), ())
    # What comes before the handshake is complete can be sent again by anybody who has seen it (RFC 9001, 9.2).
    transport = quic_transport_pb2.QuicDownstreamTransport(
        downstream_tls_context=context, enable_early_data=boolean(False)
    )
    return listener_components_pb2.FilterChain(
        name=chain.name,
        filter_chain_match=listener_components_pb2.FilterChainMatch(
            server_names=chain.server_names, transport_protocol="quic"
        ),
        filters=[
            marked(chain.name),
            *clients.network_filters(chain.name, chain.client),
            listeners.requests(message),
        ],
        transport_socket=base_pb2.TransportSocket(name="envoy.transport_sockets.quic", typed_config=packed(transport)),
    )


def _of_quic(client: ClientTraffic) -> ClientTraffic:
    """Return a policy without what concerns older TLS: QUIC has 1.3 and its ciphers alone."""
    return msgspec.structs.replace(client, tls_min="1.3", tls_max="", ciphers=())
