"""Rows of hosts as Envoy's routes. Pure. Source: envoy.config.route.v3.

Hosts are serialized each on its own and joined to tables as bytes (`hosts`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.config.route.v3 import route_pb2 as table_pb2
from envoy.config.route.v3 import scoped_route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.type.matcher.v3 import filter_state_pb2, regex_pb2, string_pb2
from envoy.type.v3 import percent_pb2

from fairlead.drivers.xds import identity, late, scopes, sessions
from fairlead.drivers.xds.hosts import Whole
from fairlead.drivers.xds.marks import CHAIN
from fairlead.drivers.xds.pack import boolean, milliseconds, number, packed, resource, serialized, version_of
from fairlead.drivers.xds.policies import NAMES, Find, MissingCredentials, filters_of
from fairlead.drivers.xds.protocol import Resource
from fairlead.plan.gateway.route import (
    MILLION,
    Cors,
    GatewayHost,
    GatewayRoute,
    HeaderChange,
    Mirror,
    NamedValue,
    PathChange,
    Redirect,
    Retries,
    WeightedCluster,
)

_UNSENT = "connect-failure,refused-stream,reset-before-request"
"""Failures before a backend has seen a request: sending it elsewhere is safe whatever it does."""
_UNSENT_RETRIES = 5
"""So many backends may end at once."""
_OTHER_HOST_ATTEMPTS = 10
_MOST_RETRIES = 256
"""Kept of those that routes have in common."""
_REPEATABLE = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"
_CORS = "envoy.filters.http.cors"
_NO_TIMEOUT = 0
_REMEMBERED_S = 3600
"""For how long clients try HTTP/3 of their own accord; where it is gone they come back over TCP."""
_NO_CLUSTER = "none"
"""Names of clusters have slashes."""
_HIGHEST_WEIGHT = (1 << 32) - 1


def table(name: str, hosts: Whole) -> Resource:
    """Return a table of hosts that `host` serialized."""
    head = serialized(_head(name))
    # What a repeated field of messages is on the wire: one after the other, wherever they come from.
    return Resource(name, version_of(head + hosts.digest), head + hosts.body)


def scope(table: str, domain: str) -> Resource:
    """Return what leads requests for a domain to its table. Source: envoy.config.route.v3.ScopedRouteConfiguration."""
    name = scopes.key(table, domain)
    fragment = scoped_route_pb2.ScopedRouteConfiguration.Key.Fragment(string_key=name)
    return resource(
        name,
        scoped_route_pb2.ScopedRouteConfiguration(
            name=name,
            route_configuration_name=scopes.place(table, domain),
            key=scoped_route_pb2.ScopedRouteConfiguration.Key(fragments=[fragment]),
        ),
    )


def _head(name: str) -> Any:
    message = table_pb2.RouteConfiguration(name=name, ignore_port_in_host_matching=True)
    if scopes.is_part(name):
        message.request_headers_to_remove.append(scopes.HEADER)
        for place in (late.FINDER, *NAMES):
            message.typed_per_filter_config[place].CopyFrom(packed(route_pb2.FilterConfig(disabled=True)))
        message.typed_per_filter_config[late.ANY].CopyFrom(late.nothing())
    return message


def host(row: GatewayHost, find: Find, *, scoped: bool = False) -> tuple[bytes, str]:
    """Return a host as the part of its table that it is, and which credentials are missing: their routes answer 500.

    A host with a scope of its own has a route for every request, so that none of them looks for another host's.
    """
    routes: list[Any] = []
    missing = ""
    for route in row.routes:
        try:
            filters = dict(filters_of(route, find, late=scoped))
        except MissingCredentials as error:
            missing, filters, route = missing or str(error), {}, route.closed
        for each in _routes(route):
            for place, message in filters.items():
                each.typed_per_filter_config[place].CopyFrom(message)
            routes += identity.told(each, route.client) if route.client is not None else [each]
    if row.chain:
        routes = list(_of_chain(routes, row.chain))
    if scoped and not scopes.is_wildcard(row.domain):
        routes.append(
            route_pb2.Route(
                match=route_pb2.RouteMatch(prefix=""), direct_response=route_pb2.DirectResponseAction(status=404)
            )
        )
    message = route_pb2.VirtualHost(name=row.domain, domains=[row.domain], routes=routes)
    if row.http3:
        _tell_of_http3(message, row.http3)
    if any(route.session is not None for route in row.routes):
        sessions.install(message, late=scoped)
    return serialized(table_pb2.RouteConfiguration(virtual_hosts=[message])), missing


def _tell_of_http3(host: Any, port: int) -> None:
    """Have clients told where the same is to be had over HTTP/3 (RFC 7838, RFC 9114), whatever the backend says of itself."""
    option = base_pb2.HeaderValueOption
    host.response_headers_to_add.append(
        option(
            header=base_pb2.HeaderValue(key="alt-svc", value=f'h3=":{port}"; ma={_REMEMBERED_S}'),
            append_action=option.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    )


def _of_chain(routes: Iterable[Any], chain: str) -> Iterator[Any]:
    """Yield routes for the connections of one chain, and what all requests get that none of them wants."""
    own = filter_state_pb2.FilterStateMatcher(key=CHAIN, string_match=string_pb2.StringMatcher(exact=chain))
    for status, mine in ((404, True), (421, False)):
        last = route_pb2.Route(
            match=route_pb2.RouteMatch(prefix="/"), direct_response=route_pb2.DirectResponseAction(status=status)
        )
        for each in (*routes, last) if mine else (last,):
            if mine:
                each.match.filter_state.append(own)
            yield each


def _routes(row: GatewayRoute) -> Iterator[Any]:
    """Yield the routes of a row: usually one; one for each backend where the backends change requests each in its own way."""
    for part in sessions.parts(row):
        yield from _part(part)


def _part(row: GatewayRoute) -> Iterator[Any]:
    total = sum(each.weight for each in row.clusters)
    if row.redirect is not None:
        yield _route(row, redirect=_redirect(row, row.redirect))
    elif not total:
        yield _route(row, direct_response=route_pb2.DirectResponseAction(status=500))
    elif all(each.plain for each in row.clusters) and (row.session is None or _is_single(row)):
        yield _route(row, route=_forward(row))
    else:
        yield from _apart(row, row.invalid_weight + total)


def _is_single(row: GatewayRoute) -> bool:
    return len(row.clusters) == 1 and not row.invalid_weight


def _apart(row: GatewayRoute, total: int) -> Iterator[Any]:
    """Yield a route for each backend. All of them see the same random number, so each takes what is below its own threshold."""
    below = row.invalid_weight
    if below:
        refused = route_pb2.DirectResponseAction(status=500)
        yield _route(row, direct_response=refused, millionths=below * MILLION // total)
    for each in row.clusters:
        below += each.weight
        millionths = below * MILLION // total if below < total else None
        if each.redirect is not None:
            yield _route(row, redirect=_redirect(row, each.redirect), millionths=millionths)
            continue
        path = row.rewrite_path if each.rewrite_path == PathChange() else each.rewrite_path
        alone = msgspec.structs.replace(
            row,
            clusters=(each,),
            invalid_weight=0,
            rewrite_host=each.rewrite_host or row.rewrite_host,
            rewrite_path=path,
        )
        yield _route(alone, route=_forward(alone), millionths=millionths)


def _route(row: GatewayRoute, *, millionths: int | None = None, **action: Any) -> Any:
    match = _match(row)
    if millionths is not None:
        match.runtime_fraction.default_value.CopyFrom(_fraction(millionths))
    message = route_pb2.Route(
        name=row.origin,
        match=match,
        request_headers_to_add=_added(row.request),
        request_headers_to_remove=row.request.remove,
        response_headers_to_add=_added(row.response),
        response_headers_to_remove=row.response.remove,
        **action,
    )
    if row.session is not None and _is_single(row) and message.HasField("route"):
        message.metadata.CopyFrom(sessions.options(row.session, row.clusters[0].cluster))
        message.request_headers_to_remove.append(sessions.INNER)
    if row.cors is not None:
        message.typed_per_filter_config[_CORS].CopyFrom(packed(_cors(row.cors)))
    return message


def _match(row: GatewayRoute) -> Any:
    headers = [_header(each) for each in row.headers]
    if row.method:
        headers.append(_header(NamedValue(":method", row.method)))
    match = route_pb2.RouteMatch(headers=headers, query_parameters=[_query(each) for each in row.query])
    if row.path_kind == "exact":
        match.path = row.path
    elif row.path_kind == "regex":
        match.safe_regex.CopyFrom(_regex(row.path))
    elif row.path == "/":
        match.prefix = "/"
    else:
        match.path_separated_prefix = row.path
    return match


def _header(each: NamedValue) -> Any:
    return route_pb2.HeaderMatcher(name=each.name, string_match=_string(each))


def _query(each: NamedValue) -> Any:
    return route_pb2.QueryParameterMatcher(name=each.name, string_match=_string(each))


def _string(each: NamedValue) -> Any:
    if each.regex:
        return string_pb2.StringMatcher(safe_regex=_regex(each.value))
    return string_pb2.StringMatcher(exact=each.value)


def _regex(pattern: str) -> Any:
    return regex_pb2.RegexMatcher(regex=pattern)


def _forward(row: GatewayRoute) -> Any:
    action = route_pb2.RouteAction(
        # The proxy's own default of 15 s is nobody's wish.
        timeout=milliseconds(row.timeout_ms or _NO_TIMEOUT),
        request_mirror_policies=[_mirror(each) for each in row.mirrors],
        cluster_not_found_response_code=route_pb2.RouteAction.ClusterNotFoundResponseCode.INTERNAL_SERVER_ERROR,
    )
    first, *others = row.clusters
    if not others and not row.invalid_weight and first.request == first.response == HeaderChange():
        action.cluster = first.cluster
    else:
        action.weighted_clusters.CopyFrom(
            route_pb2.WeightedCluster(
                clusters=[
                    route_pb2.WeightedCluster.ClusterWeight(
                        name=each.cluster,
                        weight=number(min(each.weight, _HIGHEST_WEIGHT)),
                        request_headers_to_add=_added(each.request),
                        request_headers_to_remove=each.request.remove,
                        response_headers_to_add=_added(each.response),
                        response_headers_to_remove=each.response.remove,
                    )
                    for each in (*row.clusters, *_nowhere(row))
                ]
            )
        )
    if row.idle_timeout_ms is not None:
        action.idle_timeout.CopyFrom(milliseconds(row.idle_timeout_ms))
    if row.rewrite_host:
        action.host_rewrite_literal = row.rewrite_host
    _rewrite(action, row)
    action.retry_policy.CopyFrom(_retries(row.retries, row.try_timeout_ms))
    return action


def _nowhere(row: GatewayRoute) -> Iterator[WeightedCluster]:
    """Yield the part of requests that leads nowhere: a cluster that does not exist is answered with 500."""
    if row.invalid_weight:
        yield WeightedCluster(cluster=_NO_CLUSTER, weight=row.invalid_weight)


def _rewrite(action: Any, row: GatewayRoute) -> None:
    change = row.rewrite_path
    if change.pattern is not None:
        action.regex_rewrite.CopyFrom(
            regex_pb2.RegexMatchAndSubstitute(pattern=_regex(change.pattern), substitution=change.substitution)
        )
    elif change.full is not None:
        action.regex_rewrite.CopyFrom(_whole(change.full))
    elif change.prefix is not None:
        regex = _prefix_regex(row, change)
        if regex is not None:
            action.regex_rewrite.CopyFrom(regex)
        else:
            action.prefix_rewrite = change.prefix.rstrip("/") or "/"


def _whole(path: str) -> Any:
    return regex_pb2.RegexMatchAndSubstitute(pattern=_regex(r"^[^?#]*"), substitution=path.replace("\\", r"\\"))


def _prefix_regex(row: GatewayRoute, change: PathChange) -> Any | None:
    """Return a substitution where replacing the prefix by text alone would leave two slashes or none."""
    if (change.prefix or "").rstrip("/") and row.path != "/":
        return None
    if row.path == "/" and change.prefix == "/":
        return None
    prefix = "" if row.path == "/" else re.escape(row.path)
    new = (change.prefix or "").rstrip("/").replace("\\", r"\\")
    return regex_pb2.RegexMatchAndSubstitute(pattern=_regex(f"^{prefix}/*"), substitution=f"{new}/")


def _redirect(row: GatewayRoute, redirect: Redirect) -> Any:
    codes = route_pb2.RedirectAction.RedirectResponseCode
    by_status = {
        301: codes.MOVED_PERMANENTLY,
        302: codes.FOUND,
        303: codes.SEE_OTHER,
        307: codes.TEMPORARY_REDIRECT,
        308: codes.PERMANENT_REDIRECT,
    }
    action = route_pb2.RedirectAction(
        response_code=by_status[redirect.status], host_redirect=redirect.host, port_redirect=redirect.port
    )
    if redirect.scheme:
        action.scheme_redirect = redirect.scheme
    if redirect.path.full is not None:
        action.path_redirect = redirect.path.full
    elif redirect.path.prefix is not None:
        regex = _prefix_regex(row, redirect.path)
        if regex is not None:
            action.regex_rewrite.CopyFrom(regex)
        else:
            action.prefix_rewrite = redirect.path.prefix.rstrip("/") or "/"
    return action


def _mirror(mirror: Mirror) -> Any:
    return route_pb2.RouteAction.RequestMirrorPolicy(
        cluster=mirror.cluster,
        host_rewrite_literal=mirror.host,
        runtime_fraction=base_pb2.RuntimeFractionalPercent(default_value=_fraction(mirror.millionths)),
    )


def _fraction(millionths: int) -> Any:
    return percent_pb2.FractionalPercent(
        numerator=millionths, denominator=percent_pb2.FractionalPercent.DenominatorType.MILLION
    )


@functools.lru_cache(maxsize=_MOST_RETRIES)
def _retries(wanted: Retries | None, try_timeout_ms: int | None) -> Any:
    """Return when a request is sent again: always when it never reached a backend, else as the route wants. To be copied, not changed."""
    tries = wanted or Retries(attempts=_UNSENT_RETRIES)
    conditions = [_UNSENT]
    if wanted is not None:
        # Whoever wants retries wants them for lost connections too (GEP-1731).
        conditions.append("reset")
    if tries.codes:
        conditions.append("retriable-status-codes")
    policy = route_pb2.RetryPolicy(
        num_retries=number(tries.attempts),
        retriable_status_codes=tries.codes,
        retry_on=",".join(conditions),
        retry_host_predicate=[
            route_pb2.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts", typed_config=packed(PreviousHostsPredicate())
            )
        ],
        host_selection_retry_max_attempts=_OTHER_HOST_ATTEMPTS,
    )
    if tries.repeatable_only:
        policy.retriable_request_headers.append(_header(NamedValue(":method", _REPEATABLE, regex=True)))
    if try_timeout_ms:
        policy.per_try_timeout.CopyFrom(milliseconds(try_timeout_ms))
    if tries.backoff_ms:
        policy.retry_back_off.base_interval.CopyFrom(milliseconds(tries.backoff_ms))
    return policy


def _added(change: HeaderChange) -> list[Any]:
    action = base_pb2.HeaderValueOption.HeaderAppendAction
    kinds = (
        (change.set, action.OVERWRITE_IF_EXISTS_OR_ADD),
        (change.add, action.APPEND_IF_EXISTS_OR_ADD),
    )
    return [
        base_pb2.HeaderValueOption(
            # A percent sign begins a command of the proxy: values are meant literally.
            header=base_pb2.HeaderValue(key=each.name, value=each.value.replace("%", "%%")),
            append_action=kind,
            keep_empty_value=True,
        )
        for values, kind in kinds
        for each in values
    ]


def _cors(cors: Cors) -> Any:
    return cors_pb2.CorsPolicy(
        allow_origin_string_match=[_origin(each) for each in cors.origins],
        allow_methods=", ".join(cors.methods),
        allow_headers=", ".join(cors.headers),
        expose_headers=", ".join(cors.expose),
        max_age=str(cors.max_age_s),
        allow_credentials=boolean(cors.credentials),
        # Preflights of origins that are not allowed get an answer without consent, and never reach a backend.
        forward_not_matching_preflights=boolean(False),
    )


def _origin(text: str) -> Any:
    if text == "*":
        return string_pb2.StringMatcher(safe_regex=_regex(".*"))
    if "*" not in text:
        return string_pb2.StringMatcher(exact=text)
    return string_pb2.StringMatcher(safe_regex=_regex(re.escape(text).replace(r"\*", ".+")))
