"""Verification of tokens: one resource for all policies, because the keys that were fetched live in it. Pure.

It comes by extension discovery, so that it changes without a listener's connections being drained. A route that asks for a requirement
which is not there is answered with 403. Source: envoy.extensions.filters.http.jwt_authn.v3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import base_pb2, extension_pb2, http_uri_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from google.protobuf import empty_pb2

from fairlead.drivers.xds.pack import milliseconds, packed, resource
from fairlead.drivers.xds.protocol import Resource
from fairlead.plan.gateway.policy import GatewayJwt, JwtProvider

NAME = "fairlead.jwt"
"""Of the filter and of its resource."""
_FETCH_MS = 5000
_SCOPES = ("scope",)
"""Claims that hold several values with blanks between them (RFC 8693)."""


def jwt(rows: Iterable[GatewayJwt]) -> Resource:
    """Return the filter that verifies what the rows want."""
    message = config_pb2.JwtAuthentication(stat_prefix="gateway")
    for row in rows:
        names = []
        for provider in row.providers:
            name = f"{row.name}/{provider.name}"
            message.providers[name].CopyFrom(_provider(provider))
            names.append(config_pb2.JwtRequirement(provider_name=name))
        if row.optional:
            names.append(config_pb2.JwtRequirement(allow_missing=empty_pb2.Empty()))
        several = config_pb2.JwtRequirement(requires_any=config_pb2.JwtRequirementOrList(requirements=names))
        message.requirement_map[row.name].CopyFrom(names[0] if len(names) == 1 else several)
    return resource(NAME, extension_pb2.TypedExtensionConfig(name=NAME, typed_config=packed(message)))


def _provider(row: JwtProvider) -> Any:
    message = config_pb2.JwtProvider(
        issuer=row.issuer,
        audiences=row.audiences,
        require_expiration=True,
        forward=True,
        from_headers=[config_pb2.JwtHeader(name=name, value_prefix=prefix) for name, prefix in row.headers],
        from_params=row.params,
        from_cookies=row.cookies,
        payload_in_metadata=row.name,
        normalize_payload_in_metadata=config_pb2.JwtProvider.NormalizePayload(space_delimited_claims=_SCOPES),
        claim_to_headers=[
            config_pb2.JwtClaimToHeader(header_name=header, claim_name=claim) for header, claim in row.claim_headers
        ],
    )
    if row.cluster:
        message.remote_jwks.CopyFrom(
            config_pb2.RemoteJwks(
                http_uri=http_uri_pb2.HttpUri(uri=row.url, cluster=row.cluster, timeout=milliseconds(_FETCH_MS)),
                cache_duration=milliseconds(row.cache_ms),
                # Before the first request, and without holding anything up.
                async_fetch=config_pb2.JwksAsyncFetch(fast_listener=True),
            )
        )
    else:
        message.local_jwks.CopyFrom(base_pb2.DataSource(inline_string=row.jwks))
    return message
