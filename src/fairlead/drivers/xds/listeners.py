"""Rows of listeners as Envoy's. Pure. Source: envoy.config.listener.v3, HttpConnectionManager, and Envoy's advice for proxies at the edge.

What outsiders say about themselves is not believed: forwarding headers that they send are removed before anything reads them, paths are
normalized before they are matched, and names with underscores, which backends may take for those with hyphens, are dropped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import msgspec
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.direct_response.v3 import config_pb2 as direct_response_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from fairlead.drivers.xds import clients, late, scopes
from fairlead.drivers.xds.clusters import address
from fairlead.drivers.xds.forwards import by_name
from fairlead.drivers.xds.marks import marked
from fairlead.drivers.xds.pack import boolean, number, packed, resource
from fairlead.drivers.xds.policies import places
from fairlead.drivers.xds.protocol import Resource
from fairlead.drivers.xds.upstream import by_ads
from fairlead.plan.gateway.client import ClientTraffic
from fairlead.plan.gateway.listener import GatewayChain, GatewayListener, Terminated, ToBackends, ToHosts, ToNobody

FORGEABLE = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-client-cert",
    "x-real-ip",
    "x-rewrite-url",
)
"""Headers by which proxies tell backends about a client; from clients themselves they are lies or mistakes."""
FORGEABLE_FAMILIES = ("x-envoy-", "x-original-")
"""How the names of more such headers begin, whoever is believed."""
FORGEABLE_BY_OUTSIDERS = ("x-forwarded-", "ssl-client-", "x-ssl-client-")
"""How more such names begin, where nobody is believed: a proxy that is believed may tell of users, certificates and more."""
_KEY_MS = 1000
"""How long a proxy that starts waits for a key: nothing else serves until then, and keys are where the API server is."""
_BUFFER_BYTES = 1 << 20
STREAMS = 128
"""Requests of a connection at a time."""
WINDOW_BYTES = 1 << 16
CONNECTION_WINDOW_BYTES = 1 << 20


def listener(row: GatewayListener, scoped: Collection[str] = ()) -> Resource:
    """Return a listener on all of the node's addresses; `scoped`: tables whose hosts have scopes."""
    first, *others = [address(each, row.port) for each in row.addresses]
    has_tls = any(chain.tls is not None for chain in row.chains)
    message = listener_pb2.Listener(
        name=row.name,
        address=first,
        additional_addresses=[listener_pb2.AdditionalAddress(address=each) for each in others],
        filter_chains=[each for chain in row.chains for each in split(chain, functools.partial(_chain, scoped=scoped))],
        listener_filters=[*clients.listener_filters(row.socket), *([_inspector()] if has_tls else [])],
        socket_options=clients.socket_options(row.socket),
        per_connection_buffer_limit_bytes=number(_BUFFER_BYTES),
        stat_prefix=row.stat_prefix,
    )
    return resource(row.name, message)


def _inspector() -> Any:
    return listener_components_pb2.ListenerFilter(
        name="envoy.filters.listener.tls_inspector", typed_config=packed(tls_inspector_pb2.TlsInspector())
    )


def split(chain: GatewayChain, build: Callable[[GatewayChain], Any]) -> Iterator[Any]:
    """Yield the chains of one: where some proxies are believed, their connections have another than those of the rest."""
    believed = chain.client.trusted_cidrs if isinstance(chain.action, ToHosts) else ()
    if not believed:
        yield build(chain)
        return
    theirs = build(chain)
    theirs.name = f"{chain.name}~believed"
    theirs.filter_chain_match.direct_source_prefix_ranges.extend(clients.ranges(believed))
    yield theirs
    yield build(msgspec.structs.replace(chain, client=msgspec.structs.replace(chain.client, trusted_cidrs=())))


def _chain(chain: GatewayChain, scoped: Collection[str]) -> Any:
    filters = [*clients.network_filters(chain.name, chain.client), _action(chain, scoped)]
    if isinstance(chain.tls, Terminated):
        filters.insert(0, marked(chain.name))
    message = listener_components_pb2.FilterChain(name=chain.name, filters=filters)
    if chain.tls is not None:
        match = listener_components_pb2.FilterChainMatch(server_names=chain.server_names, transport_protocol="tls")
        message.filter_chain_match.CopyFrom(match)
    message.filter_chain_match.source_prefix_ranges.extend(clients.ranges(_halves(chain.sources)))
    if isinstance(chain.tls, Terminated):
        alpn = chain.client.alpn if isinstance(chain.action, ToHosts) else ()
        context = packed(tls_context(chain.tls, clients.tls(chain.client), alpn))
        message.transport_socket.CopyFrom(
            base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=context)
        )
    return message


def _halves(prefixes: Iterable[str]) -> Iterator[str]:
    """Yield prefixes; those of everybody as two, as Envoy cannot tell them from none."""
    whole = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
    for each in prefixes:
        yield from whole.get(each, (each,))


def _action(chain: GatewayChain, scoped: Collection[str]) -> Any:
    match chain.action:
        case ToBackends(forward=forward):
            return by_name(forward)
        case ToNobody():
            # Without a text it closes at once, before what follows would connect to a backend that speaks first.
            return listener_components_pb2.Filter(
                name="envoy.filters.network.direct_response", typed_config=packed(direct_response_pb2.Config())
            )
        case ToHosts(table=table):
            message = manager(table, chain.client, tls=chain.tls is not None, scoped=table in scoped)
            if isinstance(chain.tls, Terminated) and chain.tls.clients is not None and not chain.tls.clients.optional:
                _tell_client(message)
            return requests(message)


def requests(message: Any) -> Any:
    """Return what reads requests as a filter of connections."""
    return listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(message)
    )


def _tell_client(manager: Any) -> None:
    """Have backends told who the client is. Never where certificates are not verified: anybody could write any name into his."""
    details = hcm_pb2.HttpConnectionManager
    manager.forward_client_cert_details = details.ForwardClientCertDetails.SANITIZE_SET
    manager.set_current_client_cert_details.CopyFrom(
        details.SetCurrentClientCertDetails(subject=boolean(True), uri=True, dns=True)
    )


def tls_context(tls: Terminated, common: Any, alpn: Iterable[str]) -> Any:
    """Return how TLS ends here."""
    secrets = [secret_pb2.SdsSecretConfig(name=each, sds_config=by_ads(_KEY_MS)) for each in tls.certificates]
    message = tls_pb2.DownstreamTlsContext(
        common_tls_context=tls_pb2.CommonTlsContext(
            tls_params=common, alpn_protocols=alpn, tls_certificate_sds_secret_configs=secrets
        )
    )
    if tls.clients is not None:
        verify = common_pb2.CertificateValidationContext.TrustChainVerification
        message.require_client_certificate.value = not tls.clients.optional
        # Of a session that is taken up again Envoy does not know whether its certificate was believed.
        message.disable_stateless_session_resumption = tls.clients.untrusted
        message.disable_stateful_session_resumption = tls.clients.untrusted
        message.common_tls_context.combined_validation_context.CopyFrom(
            tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
                default_validation_context=common_pb2.CertificateValidationContext(
                    trust_chain_verification=verify.ACCEPT_UNTRUSTED
                    if tls.clients.untrusted
                    else verify.VERIFY_TRUST_CHAIN,
                    # Envoy counts the one that is believed, too.
                    max_verify_depth=number(tls.clients.depth + 1) if tls.clients.depth is not None else None,
                ),
                validation_context_sds_secret_config=secret_pb2.SdsSecretConfig(
                    name=tls.clients.trust, sds_config=by_ads()
                ),
            )
        )
    return message


def manager(table: str, client: ClientTraffic, *, tls: bool, scoped: bool) -> Any:
    """Return what reads the requests of connections and looks them up in a port's table of hosts, or by scope."""
    kind = hcm_pb2.HttpConnectionManager
    message = kind(
        stat_prefix="gateway",
        codec_type=kind.CodecType.AUTO,
        rds=hcm_pb2.Rds(config_source=by_ads(), route_config_name=table),
        http_filters=[
            *([late.finder(table)] if scoped else []),
            *places(late=scoped),
            hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(_router())),
        ],
        upgrade_configs=[kind.UpgradeConfig(upgrade_type="websocket")],
        use_remote_address=boolean(True),
        early_header_mutation_extensions=[_early([_without(client), *([_scope(table)] if scoped else [])])],
        normalize_path=boolean(True),
        http2_protocol_options=protocol_pb2.Http2ProtocolOptions(
            max_concurrent_streams=number(STREAMS),
            initial_stream_window_size=number(WINDOW_BYTES),
            initial_connection_window_size=number(CONNECTION_WINDOW_BYTES),
        ),
        server_header_transformation=kind.ServerHeaderTransformation.PASS_THROUGH,
    )
    clients.shape(message, client, tls=tls)
    if scoped:
        message.scoped_routes.CopyFrom(_scopes())
    return message


def _scope(table: str) -> Any:
    """Return what writes down by which scope a request's table is found: that of its host."""
    header = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=scopes.HEADER, value=scopes.of_request(table)),
        append_action=base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return mutation_rules_pb2.HeaderMutation(append=header)


def scoped_manager() -> Any:
    """Return what knows scopes and reads no requests."""
    return hcm_pb2.HttpConnectionManager(
        stat_prefix="gateway",
        scoped_routes=_scopes(),
        http_filters=[hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(_router()))],
    )


def _scopes() -> Any:
    """Return where listeners with scopes find theirs: all of them alike, so that Envoy has one copy."""
    builder = hcm_pb2.ScopedRoutes.ScopeKeyBuilder
    extractor = builder.FragmentBuilder.HeaderValueExtractor(name=scopes.HEADER, index=0)
    return hcm_pb2.ScopedRoutes(
        name="hosts",
        scope_key_builder=builder(fragments=[builder.FragmentBuilder(header_value_extractor=extractor)]),
        rds_config_source=by_ads(),
        scoped_rds=hcm_pb2.ScopedRds(scoped_rds_config_source=by_ads()),
    )


def _router() -> Any:
    # How long a backend took is nobody's business outside; answers are counted by listeners, not again by clusters, which takes longer.
    return router_pb2.Router(suppress_envoy_headers=True, dynamic_stats=boolean(False))


def _without(client: ClientTraffic) -> Any:
    # One walk over the headers: a removal for each name is a walk for each. Where underscores are allowed, backends may take them for hyphens.
    families = FORGEABLE_FAMILIES if clients.trusts(client) else (*FORGEABLE_FAMILIES, *FORGEABLE_BY_OUTSIDERS)
    patterns = [*clients.forgeable(client, FORGEABLE), *(f"{each}.*" for each in families)]
    matcher = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex="|".join(patterns).replace("-", "[-_]")))
    return mutation_rules_pb2.HeaderMutation(
        remove_on_match=mutation_rules_pb2.HeaderMutation.RemoveOnMatch(key_matcher=matcher)
    )


def _early(mutations: Iterable[Any]) -> Any:
    """Return what is changed of a request's headers before anything reads them, one after the other."""
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=packed(header_mutation_pb2.HeaderMutation(mutations=mutations)),
    )
