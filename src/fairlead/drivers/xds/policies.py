"""What requests have to pass, as filters of their route. Pure but for the bytes of credentials, which are asked for by digest.

The listeners hold empty places (`places`), switched off; a route with a policy says what stands there for it. So no policy changes a
listener, whose connections would be drained, and routes without one pay nothing. Source: envoy.extensions.filters.http.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2, extension_pb2, grpc_service_pb2, http_uri_pb2
from envoy.extensions.compression.brotli.compressor.v3 import brotli_pb2
from envoy.extensions.compression.gzip.compressor.v3 import gzip_pb2
from envoy.extensions.compression.zstd.compressor.v3 import zstd_pb2
from envoy.extensions.filters.http.api_key_auth.v3 import api_key_auth_pb2
from envoy.extensions.filters.http.basic_auth.v3 import basic_auth_pb2
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import string_pb2
from envoy.type.v3 import http_status_pb2

from fairlead.api.credentials import CredentialData
from fairlead.drivers.xds import late as chosen_late
from fairlead.drivers.xds import sessions
from fairlead.drivers.xds.access import access, addresses, tokens
from fairlead.drivers.xds.jwt import NAME as JWT
from fairlead.drivers.xds.pack import PREFIX, milliseconds, number, packed
from fairlead.drivers.xds.rates import rates
from fairlead.drivers.xds.unbound import (
    BodySizeLimit,
    FilterChain,
    FilterChainConfig,
    FilterChainConfigPerRoute,
    override_path,
)
from fairlead.drivers.xds.upstream import by_ads
from fairlead.plan.gateway.policy import ApiKeys, Compression, ExternalAuth, RequestPolicy, Users

Find = Callable[[str], CredentialData | None]
"""Digest → bytes, None when they are not here."""

_ENTRY, _IDENTITY, _CONSENT, _CHECKS = "fairlead.entry", "fairlead.identity", "fairlead.consent", "fairlead.checks"
_CORS = "envoy.filters.http.cors"
NAMES = (_ENTRY, _CORS, _IDENTITY, JWT, _CONSENT, _CHECKS, sessions.PLACE)
"""Of all places."""
_LIBRARIES: Mapping[str, Any] = {"zstd": zstd_pb2.Zstd, "brotli": brotli_pb2.Brotli, "gzip": gzip_pb2.Gzip}
_UNAVAILABLE = 503
_SEEN = ("authorization", "cookie")
"""Credentials, which several checks may look at."""
_OVERWRITE = base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
_TOLD: Mapping[str, str] = {
    "x-original-method": "%REQ(:METHOD)%",
    "x-original-url": "%REQ(X-FORWARDED-PROTO)%://%REQ(:AUTHORITY)%%REQ(:PATH)%",
    "x-auth-request-redirect": "%REQ(:PATH)%",
}
"""What a service that is asked by a path of its own hears of the request, in the words of ingress-nginx."""
_ALWAYS_TOLD = ("www-authenticate",)
"""What clients get of a refusal in any case; an empty list would let them get everything."""


class MissingCredentials(Exception):
    """The bytes of a Secret are not known yet, or those of several do not go together; the message tells no secret."""


def places(*, late: bool = False) -> list[Any]:
    """Return the filters of every listener before the router, in the order in which requests meet them.

    Where a request may find its route late they are switched on, and chosen when it gets there; its table switches them off (`NAMES`).

    Addresses come first; then the CORS protocol, whose preflights carry no credentials and reach no backend; then rates, before any work
    for a client that has had its share; then who asks; then whether they may.
    """
    place = chosen_late.place if late else _chain_place
    return [
        place(_ENTRY),
        hcm_pb2.HttpFilter(name=_CORS, disabled=not late, typed_config=packed(cors_pb2.Cors())),
        place(_IDENTITY),
        hcm_pb2.HttpFilter(
            name=JWT,
            disabled=not late,
            config_discovery=config_source_pb2.ExtensionConfigSource(
                config_source=by_ads(), type_urls=[PREFIX + jwt_pb2.JwtAuthentication.DESCRIPTOR.full_name]
            ),
        ),
        place(_CONSENT),
        place(_CHECKS),
        place(sessions.PLACE),
    ]


def filters_of(policy: RequestPolicy, find: Find, *, late: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield (place, its configuration) for a route; `late`, where the places are. Raises MissingCredentials."""
    entry = [addresses(policy.addresses)] if policy.addresses is not None else []
    identity = [rates(policy.rates)] if policy.rates else []
    if lies := _forgeable(policy):
        identity.append(_without(lies))
    if policy.keys is not None:
        identity.append(_keys(policy.keys, find))
    if policy.users is not None:
        identity.append(_users(policy.users, find))
    consent = [tokens(policy.token)] if policy.token else []
    checks = []
    if policy.external is not None:
        before, after = _told(policy.external)
        # Who decides is waited for, and so stands last at its place.
        consent += [*before, _decider(policy.external)]
        checks += after
    if policy.access is not None:
        checks.append(access(policy.access))
    if policy.max_bytes:
        checks.append(BodySizeLimit(max_request_bytes=number(policy.max_bytes)))
    if policy.compression is not None:
        checks += _compressors(policy.compression)
    stands = chosen_late.chosen if late else chain
    for where, messages in ((_ENTRY, entry), (_IDENTITY, identity), (_CONSENT, consent), (_CHECKS, checks)):
        if messages:
            yield where, stands(messages)
    if policy.jwt:
        yield JWT, packed(jwt_pb2.PerRouteConfig(requirement_name=policy.jwt))


def _forgeable(policy: RequestPolicy) -> tuple[str, ...]:
    """Return the headers by which backends are told who asks: from clients they are lies.

    Envoy itself removes those of tokens. What the service that decides has to see stays: it may set it anew.
    """
    found = [policy.users.user_header if policy.users else "", policy.keys.client_header if policy.keys else ""]
    if policy.external is not None:
        found += [each for each in policy.external.to_backend if each not in (*policy.external.headers, *_SEEN)]
    return tuple(dict.fromkeys(each for each in found if each))


def _without(names: Iterable[str]) -> Any:
    return _changing(mutation_rules_pb2.HeaderMutation(remove=each) for each in names)


def _mutated(values: Mapping[str, str]) -> Any:
    return _changing(
        mutation_rules_pb2.HeaderMutation(
            append=base_pb2.HeaderValueOption(
                header=base_pb2.HeaderValue(key=name, value=value), append_action=_OVERWRITE
            )
        )
        for name, value in values.items()
    )


def _changing(changes: Iterable[Any]) -> Any:
    return header_mutation_pb2.HeaderMutation(mutations=header_mutation_pb2.Mutations(request_mutations=changes))


def _chain_place(name: str) -> Any:
    return hcm_pb2.HttpFilter(name=name, disabled=True, typed_config=packed(FilterChainConfig()))


def chain(messages: Iterable[Any]) -> Any:
    """Return what stands at a place for a route."""
    return packed(FilterChainConfigPerRoute(filter_chain=FilterChain(filters=chosen_late.named(messages))))


def _bytes(name: str, digest: str, find: Find) -> CredentialData:
    found = find(digest)
    if found is None:
        raise MissingCredentials(f"the bytes of Secret {name} are not known yet")
    return found


def _keys(keys: ApiKeys, find: Find) -> Any:
    clients: dict[str, str] = {}
    for each in keys.credentials:
        pairs = _bytes(each.name, each.digest, find).clients()
        for client, key in pairs:
            if key in clients:
                raise MissingCredentials(f"a key in Secret {each.name} is also one of client {clients[key]}")
            clients[key] = client
    sources = [api_key_auth_pb2.KeySource(header=each) for each in keys.headers]
    sources += [api_key_auth_pb2.KeySource(query=each) for each in keys.params]
    sources += [api_key_auth_pb2.KeySource(cookie=each) for each in keys.cookies]
    return api_key_auth_pb2.ApiKeyAuth(
        credentials=[api_key_auth_pb2.Credential(key=key, client=client) for key, client in clients.items()],
        key_sources=sources,
        forwarding=api_key_auth_pb2.Forwarding(header=keys.client_header, hide_credentials=keys.hide),
    )


def _users(users: Users, find: Find) -> Any:
    data = _bytes(users.credentials.name, users.credentials.digest, find)
    return basic_auth_pb2.BasicAuth(
        users=base_pb2.DataSource(inline_string=data.users()), forward_username_header=users.user_header
    )


def _told(auth: ExternalAuth) -> tuple[list[Any], list[Any]]:
    """Return what tells who decides of the request where its path does not, and what takes that back."""
    return ([_mutated(_TOLD)], [_without(_TOLD)]) if auth.full_path else ([], [])


def _decider(auth: ExternalAuth) -> Any:
    message = ext_authz_pb2.ExtAuthz(
        transport_api_version=config_source_pb2.ApiVersion.V3,
        failure_mode_allow=auth.fail_open,
        status_on_error=http_status_pb2.HttpStatus(code=_UNAVAILABLE),
        stat_prefix="gateway",
    )
    if auth.headers:
        message.allowed_headers.CopyFrom(_names((*auth.headers, *(_TOLD if auth.full_path else ()))))
    if auth.body_bytes:
        message.with_request_body.max_request_bytes = auth.body_bytes
    if auth.grpc:
        target = grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=auth.cluster, authority=auth.host)
        message.grpc_service.CopyFrom(
            grpc_service_pb2.GrpcService(envoy_grpc=target, timeout=milliseconds(auth.timeout_ms))
        )
        return message
    told = _names((*_ALWAYS_TOLD, *auth.to_client))
    answer = ext_authz_pb2.AuthorizationResponse(allowed_client_headers=told)
    if auth.to_backend:
        answer.allowed_upstream_headers.CopyFrom(_names(auth.to_backend))
    if auth.to_client_passed:
        answer.allowed_client_headers_on_success.CopyFrom(_names(auth.to_client_passed))
    message.http_service.CopyFrom(
        ext_authz_pb2.HttpService(
            server_uri=http_uri_pb2.HttpUri(
                uri=f"http://{auth.host}", cluster=auth.cluster, timeout=milliseconds(auth.timeout_ms)
            ),
            path_prefix=auth.path,
            authorization_response=answer,
        )
    )
    if auth.full_path:
        override_path(message.http_service, auth.full_path)
    return message


def _names(names: Iterable[str]) -> Any:
    return string_pb2.ListStringMatcher(
        patterns=[string_pb2.StringMatcher(exact=each.lower(), ignore_case=True) for each in names]
    )


def _compressors(compression: Compression) -> Iterator[Any]:
    """Yield a filter for each algorithm; of what a client likes alike, the last of them is taken."""
    common = compressor_pb2.Compressor.CommonDirectionConfig(
        min_content_length=number(compression.min_bytes), content_type=compression.content_types
    )
    for each in reversed(compression.algorithms):
        library = extension_pb2.TypedExtensionConfig(name=each, typed_config=packed(_LIBRARIES[each]()))
        yield compressor_pb2.Compressor(
            compressor_library=library,
            choose_first=True,
            response_direction_config=compressor_pb2.Compressor.ResponseDirectionConfig(common_config=common),
        )
