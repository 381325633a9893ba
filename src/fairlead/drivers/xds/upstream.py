"""How the proxy speaks to backends below HTTP: TLS and the PROXY protocol, as Envoy's transport sockets. Pure.

Source: envoy.extensions.transport_sockets. CA certificates and keys come apart from their cluster, so that new ones drain no connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.core.v3 import base_pb2, config_source_pb2, proxy_protocol_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from fairlead.drivers.xds.pack import milliseconds, packed
from fairlead.plan.gateway.cluster import BackendTls, GatewayCluster

_SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
"""The CA certificates of the node's system; without them there are no TLS connections to backends that are known by those."""
_ALPN: Mapping[str, tuple[str, ...]] = {"http1": ("http/1.1",), "h2c": ("h2",)}


def by_ads(wait_ms: int | None = None) -> Any:
    """Return the source of resources that come over the same stream; `wait_ms` is how long a proxy that starts waits for one."""
    source = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.ApiVersion.V3
    )
    if wait_ms is not None:
        source.initial_fetch_timeout.CopyFrom(milliseconds(wait_ms))
    return source


def socket(row: GatewayCluster) -> Any | None:
    """Return how connections to a cluster begin, None where nothing but the request is said."""
    found = _tls(row.tls, _ALPN.get(row.protocol, ())) if row.tls is not None else None
    if row.traffic.proxy_protocol:
        plain = _named("raw_buffer", raw_buffer_pb2.RawBuffer())
        return _announced(row.traffic.proxy_protocol, found if found is not None else plain)
    return found


def _announced(version: str, inner: Any) -> Any:
    """Return a transport that tells the client's address before anything else; such connections are one client's alone."""
    options = proxy_protocol_pb2.ProxyProtocolConfig
    config = options(version=options.V2 if version == "v2" else options.V1)
    message = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport(config=config, transport_socket=inner)
    return _named("upstream_proxy_protocol", message)


def _tls(row: BackendTls, alpn: Iterable[str]) -> Any:
    versions = common_pb2.TlsParameters.TlsProtocol
    names = [each for name in row.names for each in _matchers(name)]
    context = common_pb2.CertificateValidationContext(match_typed_subject_alt_names=names)
    common = tls_pb2.CommonTlsContext(
        # Envoy offers backends no more than 1.2 by itself.
        tls_params=common_pb2.TlsParameters(
            tls_minimum_protocol_version=versions.TLSv1_2, tls_maximum_protocol_version=versions.TLSv1_3
        ),
        alpn_protocols=alpn,
    )
    if row.trust:
        common.combined_validation_context.default_validation_context.CopyFrom(context)
        common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(_secret(row.trust))
    else:
        context.trusted_ca.filename = _SYSTEM
        common.validation_context.CopyFrom(context)
    if row.certificate:
        common.tls_certificate_sds_secret_configs.append(_secret(row.certificate))
    return _named("tls", tls_pb2.UpstreamTlsContext(common_tls_context=common, sni=row.server_name))


def _secret(name: str) -> Any:
    return secret_pb2.SdsSecretConfig(name=name, sds_config=by_ads())


def _matchers(name: str) -> Iterable[Any]:
    kind, _, value = name.partition(":")
    matcher = common_pb2.SubjectAltNameMatcher
    if kind == "URI":
        yield matcher(san_type=matcher.SanType.URI, matcher=string_pb2.StringMatcher(exact=value))
        return
    yield matcher(san_type=matcher.SanType.DNS, matcher=string_pb2.StringMatcher(exact=value))
    if value.startswith("*."):
        # Any host of the domain will do, and not only a certificate for all of them.
        pattern = regex_pb2.RegexMatcher(regex=f"[^.]+{re.escape(value[1:])}")
        yield matcher(san_type=matcher.SanType.DNS, matcher=string_pb2.StringMatcher(safe_regex=pattern))


def _named(kind: str, message: Any) -> Any:
    return base_pb2.TransportSocket(name=f"envoy.transport_sockets.{kind}", typed_config=packed(message))
