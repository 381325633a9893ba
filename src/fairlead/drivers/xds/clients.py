"""What holds for clients, in Envoy's messages. Pure. Source: HttpConnectionManager, Listener, ProxyProtocol, ConnectionLimit, TlsParameters."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Any

from envoy.config.core.v3 import address_pb2, extension_pb2, protocol_pb2, socket_option_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from envoy.extensions.filters.network.connection_limit.v3 import connection_limit_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.original_ip_detection.xff.v3 import xff_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2
from google.protobuf import wrappers_pb2

from fairlead.drivers.xds.pack import boolean, milliseconds, number, packed
from fairlead.plan.gateway.client import ClientTraffic, Socket

_Manager = hcm_pb2.HttpConnectionManager
_Escaped = _Manager.PathWithEscapedSlashesAction
_ESCAPED = {
    "redirect": _Escaped.UNESCAPE_AND_REDIRECT,
    "decode": _Escaped.UNESCAPE_AND_FORWARD,
    "keep": _Escaped.KEEP_UNCHANGED,
    "reject": _Escaped.REJECT_REQUEST,
}
_Underscores = protocol_pb2.HttpProtocolOptions.HeadersWithUnderscoresAction
_UNDERSCORES = {
    "drop": _Underscores.DROP_HEADER,
    "allow": _Underscores.ALLOW,
    "reject": _Underscores.REJECT_REQUEST,
}
_Tls = common_pb2.TlsParameters.TlsProtocol
_VERSIONS = {"": _Tls.TLS_AUTO, "1.2": _Tls.TLSv1_2, "1.3": _Tls.TLSv1_3}
BELIEVED = frozenset(("x-forwarded-for", "x-forwarded-proto"))
"""What proxies before this one say of a client, where they are trusted."""


def forgeable(client: ClientTraffic, names: tuple[str, ...]) -> Iterator[str]:
    """Yield which of the headers by which proxies tell about clients are lies from these."""
    return (each for each in names if not (trusts(client) and each in BELIEVED))


def trusts(client: ClientTraffic) -> bool:
    """Tell whether some proxy is believed about clients."""
    return bool(client.trusted_hops or client.trusted_cidrs)


def shape(manager: Any, client: ClientTraffic, *, tls: bool) -> None:
    """Set what holds for requests."""
    manager.merge_slashes = client.merge_slashes
    manager.path_with_escaped_slashes_action = _ESCAPED[client.escaped_slashes]
    common = manager.common_http_protocol_options
    common.headers_with_underscores_action = _UNDERSCORES[client.underscores]
    common.idle_timeout.CopyFrom(milliseconds(client.idle_ms))
    if client.connection_ms:
        common.max_connection_duration.CopyFrom(milliseconds(client.connection_ms))
    if client.requests:
        common.max_requests_per_connection.CopyFrom(number(client.requests))
    if client.headers_count:
        common.max_headers_count.CopyFrom(number(client.headers_count))
    if client.headers_kib:
        manager.max_request_headers_kb.CopyFrom(number(client.headers_kib))
    manager.stream_idle_timeout.CopyFrom(milliseconds(client.stream_idle_ms))
    manager.request_headers_timeout.CopyFrom(milliseconds(client.headers_ms))
    if client.request_ms:
        manager.request_timeout.CopyFrom(milliseconds(client.request_ms))
    if not trusts(client):
        # X-Forwarded-Proto follows; what a proxy that is believed says of it stays.
        manager.scheme_header_transformation.scheme_to_overwrite = "https" if tls else "http"
    if client.trusted_hops:
        manager.xff_num_trusted_hops = client.trusted_hops
    if client.trusted_cidrs:
        # Envoy allows no extension beside its own way of finding the client.
        manager.use_remote_address.CopyFrom(boolean(False))
        manager.original_ip_detection_extensions.append(_detection(client.trusted_cidrs))


def tls(client: ClientTraffic) -> Any:
    """Return what is spoken with clients."""
    return common_pb2.TlsParameters(
        tls_minimum_protocol_version=_VERSIONS[client.tls_min],
        tls_maximum_protocol_version=_VERSIONS[client.tls_max],
        cipher_suites=client.ciphers,
    )


def listener_filters(wanted: Socket) -> Iterator[Any]:
    """Yield what reads connections before anything else does."""
    if wanted.proxy_protocol:
        config = proxy_protocol_pb2.ProxyProtocol(
            allow_requests_without_proxy_protocol=wanted.proxy_protocol == "optional"
        )
        yield listener_components_pb2.ListenerFilter(
            name="envoy.filters.listener.proxy_protocol", typed_config=packed(config)
        )


def socket_options(wanted: Socket) -> Iterator[Any]:
    """Yield the options of a port's socket, which its connections inherit."""
    if wanted.keep_alive is None:
        return
    options = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, wanted.keep_alive.probes),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, wanted.keep_alive.idle_s),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, wanted.keep_alive.interval_s),
    )
    for level, name, value in options:
        yield socket_option_pb2.SocketOption(
            level=level, name=name, int_value=value, state=socket_option_pb2.SocketOption.SocketState.STATE_PREBIND
        )


def network_filters(chain: str, client: ClientTraffic) -> Iterator[Any]:
    """Yield what stands before the requests of a chain's connections."""
    if client.connections:
        limit = connection_limit_pb2.ConnectionLimit(
            stat_prefix=chain.replace("/", "_"), max_connections=wrappers_pb2.UInt64Value(value=client.connections)
        )
        yield listener_components_pb2.Filter(name="envoy.filters.network.connection_limit", typed_config=packed(limit))


def ranges(cidrs: Iterable[str]) -> Iterator[Any]:
    """Yield ranges of addresses."""
    for each in cidrs:
        prefix, _, length = each.partition("/")
        yield address_pb2.CidrRange(address_prefix=prefix, prefix_len=number(int(length)))


def _detection(cidrs: tuple[str, ...]) -> Any:
    trusted = xff_pb2.XffTrustedCidrs(cidrs=ranges(cidrs))
    config = xff_pb2.XffConfig(xff_trusted_cidrs=trusted, skip_xff_append=boolean(False))
    return extension_pb2.TypedExtensionConfig(name="envoy.http.original_ip_detection.xff", typed_config=packed(config))
