"""What requests have to pass, as filters of their route. Pure but for the bytes of credentials, which are asked for by digest.

The listeners hold empty places (`places`), switched off; a route with a policy says what stands there for it. So no policy changes a
listener, whose connections would be drained, and routes without one pay nothing. Source: envoy.extensions.filters.http.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from envoy.config.core.v3 import base_pb2, config_source_pb2, extension_pb2
from envoy.extensions.compression.brotli.compressor.v3 import brotli_pb2
from envoy.extensions.compression.gzip.compressor.v3 import gzip_pb2
from envoy.extensions.compression.zstd.compressor.v3 import zstd_pb2
from envoy.extensions.filters.http.api_key_auth.v3 import api_key_auth_pb2
from envoy.extensions.filters.http.basic_auth.v3 import basic_auth_pb2
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from fairlead.api.credentials import CredentialData
from fairlead.drivers.xds import late as chosen_late
from fairlead.drivers.xds import sessions
from fairlead.drivers.xds.access import access, addresses, subjects, tokens
from fairlead.drivers.xds.deciders import decider, told, without
from fairlead.drivers.xds.jwt import NAME as JWT
from fairlead.drivers.xds.pack import PREFIX, number, packed
from fairlead.drivers.xds.rates import rates
from fairlead.drivers.xds.unbound import (
    BodySizeLimit,
    FilterChain,
    FilterChainConfig,
    FilterChainConfigPerRoute,
)
from fairlead.drivers.xds.upstream import by_ads
from fairlead.plan.gateway.policy import ApiKeys, Compression, RequestPolicy, Users
from fairlead.plan.gateway.route import GatewayRoute

Find = Callable[[str], CredentialData | None]
"""Digest → bytes, None when they are not here."""

_ENTRY, _IDENTITY, _CONSENT, _CHECKS = "fairlead.entry", "fairlead.identity", "fairlead.consent", "fairlead.checks"
_CORS = "envoy.filters.http.cors"
NAMES = (_ENTRY, _CORS, _IDENTITY, JWT, _CONSENT, _CHECKS, sessions.PLACE)
"""Of all places."""
_LIBRARIES: Mapping[str, Any] = {"zstd": zstd_pb2.Zstd, "brotli": brotli_pb2.Brotli, "gzip": gzip_pb2.Gzip}
_SEEN = ("authorization", "cookie")
"""Credentials, which several checks may look at."""


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


def filters_of(route: GatewayRoute, find: Find, *, late: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield (place, its configuration) for a route; `late`, where the places are. Raises MissingCredentials."""
    known = [subjects(route.client.subject)] if route.client is not None and route.client.subject else []
    if route.policy is not None or known:
        yield from _filters_of(route.policy or RequestPolicy(), known, find, late=late)


def _filters_of(policy: RequestPolicy, known: list[Any], find: Find, *, late: bool) -> Iterator[tuple[str, Any]]:
    entry = [addresses(policy.addresses)] if policy.addresses is not None else []
    entry += known
    identity = [rates(policy.rates)] if policy.rates else []
    if lies := _forgeable(policy):
        identity.append(without(lies))
    if policy.keys is not None:
        identity.append(_keys(policy.keys, find))
    if policy.users is not None:
        identity.append(_users(policy.users, find))
    consent = [tokens(policy.token)] if policy.token else []
    checks = []
    if policy.external is not None:
        before, after = told(policy.external)
        # Who decides is waited for, and so stands last at its place.
        consent += [*before, decider(policy.external)]
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
