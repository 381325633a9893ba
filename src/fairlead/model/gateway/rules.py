"""Rules of HTTPRoutes and GRPCRoutes as routes of the proxy, and which of them goes first. Pure.

Source: HTTPRouteRule and GRPCRouteRule of the Gateway API v1. What a rule asks for and cannot have makes its requests fail (500), as
the specification wants: a filter is never left out silently.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence

import msgspec

from fairlead.api.httproute import (
    CorsFilter,
    ExtensionRef,
    ExternalAuthFilter,
    GRPCMatch,
    GRPCRule,
    HeaderFilter,
    HeaderValue,
    HTTPBackendRef,
    HTTPMatch,
    HTTPRule,
    MirrorFilter,
    NamedMatch,
    PathMatch,
    PathModifier,
    RedirectFilter,
    RewriteFilter,
    RouteFilter,
)
from fairlead.api.routeextension import RouteExtensionSpec
from fairlead.model.gateway import patterns, values
from fairlead.model.gateway.backends import Backends
from fairlead.model.gateway.extended import (
    HostedMirror,
    KnownClientRule,
    PatternModifier,
    StreamTimeouts,
    UnsentOrRepeatable,
)
from fairlead.model.gateway.external import external_auth
from fairlead.model.gateway.sessions import persistent
from fairlead.model.gateway.values import RuleError
from fairlead.plan.gateway.policy import RequestPolicy
from fairlead.plan.gateway.route import (
    MILLION,
    Cors,
    GatewayRoute,
    HeaderChange,
    Mirror,
    NamedValue,
    PathChange,
    Redirect,
    Retries,
    WeightedCluster,
)

_LONGEST_REGEX = 1024
MOST_INSTRUCTIONS = 2048
"""Of a pattern's program: repeated repetitions make much of few characters."""
_BACKOFF_MS = 25
_SUBSTITUTION = re.compile(r"(?:[^\x00-\x20\x7f\\?#]|\\[1-9]){0,1024}")
_MOST_ATTEMPTS = 100
_RETRIED = (500, 502, 503, 504)
_AUTHORITY = ":authority"
_WELL_KNOWN = {"HTTP": 80, "HTTPS": 443}
_RANK = {"exact": 0, "regex": 1, "prefix": 2}


def precedence(route: GatewayRoute) -> tuple[int, int, bool, int, int]:
    """Return what orders routes of one host: exact path, longest path, method, most headers, most query parameters."""
    return _RANK[route.path_kind], -len(route.path), not route.method, -len(route.headers), -len(route.query)


def match_of(route: GatewayRoute) -> Hashable:
    """Return what is equal for two routes of one host that match the same requests by the same words."""
    return route.path_kind, route.path, route.method, frozenset(route.headers), frozenset(route.query)


def http_routes(rule: HTTPRule, at: int, origin: str, uid: str, backends: Backends) -> tuple[GatewayRoute, ...]:
    """Return the routes of a rule, one for each match; raises RuleError."""
    field = f"spec.rules[{at}]"
    action = _action(rule.filters, rule.backend_refs, field, f"{origin}/{at}", backends)
    action = _timed(action, rule, field)
    action = persistent(action, rule.session_persistence, f"{field}.sessionPersistence", uid)
    if isinstance(rule, KnownClientRule):
        action = msgspec.structs.replace(action, client=rule.client)
    return tuple(
        _matched(action, match, f"{field}.matches[{n}]") for n, match in enumerate(rule.matches or (HTTPMatch(),))
    )


def grpc_routes(rule: GRPCRule, at: int, origin: str, uid: str, backends: Backends) -> tuple[GatewayRoute, ...]:
    """Return the routes of a rule of gRPC: a call is a POST to `/SERVICE/METHOD`."""
    field = f"spec.rules[{at}]"
    action = _action(rule.filters, rule.backend_refs, field, f"{origin}/{at}", backends)
    action = persistent(action, rule.session_persistence, f"{field}.sessionPersistence", uid)
    return tuple(
        _matched(action, _call(match), f"{field}.matches[{n}]")
        for n, match in enumerate(rule.matches or (GRPCMatch(),))
    )


def _call(match: GRPCMatch) -> HTTPMatch:
    wanted = match.method
    if wanted is None or (wanted.service is None and wanted.method is None):
        return HTTPMatch(headers=match.headers)
    if wanted.type == "RegularExpression":
        path = PathMatch(type="RegularExpression", value=f"/{wanted.service or '[^/]+'}/{wanted.method or '[^/]+'}")
    elif wanted.service and wanted.method:
        path = PathMatch(type="Exact", value=f"/{wanted.service}/{wanted.method}")
    elif wanted.service:
        path = PathMatch(value=f"/{wanted.service}")
    else:
        path = PathMatch(type="RegularExpression", value=f"/[^/]+/{re.escape(wanted.method or '')}")
    return HTTPMatch(path=path, headers=match.headers)


def _matched(action: GatewayRoute, match: HTTPMatch, field: str) -> GatewayRoute:
    changes: dict[str, object] = {
        "method": values.token(match.method, f"{field}.method") if match.method else "",
        # Of several conditions on one header the first counts (HTTPRouteMatch.headers).
        "headers": _named(match.headers, f"{field}.headers", fold=True),
        "query": _named(match.query_params, f"{field}.queryParams", fold=False),
    }
    path = match.path
    if path.type == "Exact":
        changes |= {"path_kind": "exact", "path": values.path(path.value, f"{field}.path.value")}
    elif path.type == "RegularExpression":
        changes |= {"path_kind": "regex", "path": _regex(path.value, f"{field}.path.value")}
    elif path.type == "PathPrefix":
        prefix = values.path(path.value, f"{field}.path.value").rstrip("/")
        changes |= {"path_kind": "prefix", "path": prefix or "/"}
    else:
        raise RuleError(f"{field}.path.type: {path.type} is not supported")
    return msgspec.structs.replace(action, **changes)


def _named(matches: Iterable[NamedMatch] | None, field: str, *, fold: bool) -> tuple[NamedValue, ...]:
    found: dict[str, NamedValue] = {}
    for at, each in enumerate(matches or ()):
        # Ingresses ask for the host by what it is called in HTTP/2.
        name = each.name if each.name == _AUTHORITY else values.token(each.name, f"{field}[{at}].name")
        name = name.lower() if fold else name
        if each.type not in ("Exact", "RegularExpression"):
            raise RuleError(f"{field}[{at}].type: {each.type} is not supported")
        is_regex = each.type == "RegularExpression"
        where = f"{field}[{at}].value"
        value = _regex(each.value, where) if is_regex else values.header_value(each.value, where)
        found.setdefault(name, NamedValue(name, value, is_regex))
    return tuple(found.values())


def _regex(text: str, field: str) -> str:
    """Return a pattern that the proxy takes: RE2's, which never backtracks, and bounded."""
    if not text or len(text) > _LONGEST_REGEX:
        raise RuleError(f"{field}: a pattern has 1 to {_LONGEST_REGEX} characters")
    try:
        size = patterns.compiled(text).programsize
    except ValueError as error:
        raise RuleError(f"{field}: {error}") from error
    if size > MOST_INSTRUCTIONS:
        raise RuleError(f"{field}: a pattern of {size} instructions; at most {MOST_INSTRUCTIONS} are allowed")
    return text


def _action(
    filters: Sequence[RouteFilter] | None,
    refs: Sequence[HTTPBackendRef] | None,
    field: str,
    origin: str,
    backends: Backends,
) -> GatewayRoute:
    """Return what a rule does, as a route that matches everything."""
    changes: dict[str, object] = {}
    mirrors: list[Mirror] = []
    shut = False
    extended: dict[str, object] = {}
    for at, each in enumerate(filters or ()):
        where = f"{field}.filters[{at}]"
        if (change := _change(each, where)) is not None:
            changes |= change
            continue
        match each:
            case RouteFilter(type="RequestMirror", request_mirror=MirrorFilter() as mirror):
                target = backends.resolve(mirror.backend_ref, f"{where}.requestMirror.backendRef")
                if target is not None:
                    host = mirror.host if isinstance(mirror, HostedMirror) else ""
                    mirrors.append(Mirror(cluster=target.name, millionths=_millionths(mirror, where), host=host))
            case RouteFilter(type="ExtensionRef", extension_ref=ExtensionRef() as named):
                extension = backends.extension(named, f"{where}.extensionRef")
                shut = shut or extension is None
                if extension is not None:
                    extended |= _extended(extension.spec, f"{where}.extensionRef")
            case RouteFilter(type="CORS", cors=CorsFilter() as cors):
                changes["cors"] = _cors(cors, f"{where}.cors")
            case RouteFilter(type="ExternalAuth", external_auth=ExternalAuthFilter() as wanted):
                decider = external_auth(wanted, f"{where}.externalAuth", backends)
                shut = shut or decider is None
                changes["policy"] = RequestPolicy(external=decider)
            case _:
                raise RuleError(f"{where}.type: a filter of type {each.type} is not supported")
    if "rewrite_path" in extended and changes.get("rewrite_path", PathChange()) != PathChange():
        raise RuleError(f"{field}.filters: urlRewrite.path and an extension's rewritePath exclude each other")
    changes |= extended
    clusters: list[WeightedCluster] = []
    invalid = 0
    for at, ref in enumerate(refs or ()):
        target = backends.resolve(ref, f"{field}.backendRefs[{at}]")
        weight = values.number(ref.weight, 0, values.MOST_WEIGHT, f"{field}.backendRefs[{at}].weight")
        if target is None:
            invalid += weight
        elif weight:
            clusters.append(_weighted(target.name, ref, f"{field}.backendRefs[{at}]"))
    route = GatewayRoute(
        path_kind="prefix",
        path="/",
        clusters=_together(clusters),
        invalid_weight=invalid,
        mirrors=tuple(mirrors),
        origin=origin,
        **changes,  # type: ignore[arg-type]
    )
    return route.closed if shut else route


def _extended(spec: RouteExtensionSpec, field: str) -> dict[str, object]:
    found: dict[str, object] = {}
    if spec.rewrite_path is not None:
        new = spec.rewrite_path.substitution
        if not _SUBSTITUTION.fullmatch(new):
            raise RuleError(f"{field}: rewritePath.substitution is no part of a path that may hold \\1 to \\9")
        found["rewrite_path"] = _by_pattern(spec.rewrite_path.pattern, new, f"{field}: rewritePath.pattern")
    if spec.idle_timeout is not None:
        found["idle_timeout_ms"] = values.duration(spec.idle_timeout, f"{field}: idleTimeout")
    if spec.retry is not None:
        retry = spec.retry
        found["retries"] = Retries(
            attempts=values.number(retry.attempts, 0, _MOST_ATTEMPTS, f"{field}: retry.attempts"),
            codes=tuple(values.number(each, 400, 599, f"{field}: retry.codes") for each in retry.codes),
            backoff_ms=_BACKOFF_MS,
            repeatable_only=retry.idempotent_only,
        )
    return found


def _by_pattern(pattern: str, substitution: str, field: str) -> PathChange:
    """Return a new path in place of what a pattern matches; every group that is named has to be there, as the proxy takes nothing else."""
    known = patterns.compiled(_regex(pattern, field)).groups
    if patterns.last_named(substitution) > known:
        raise RuleError(f"{field}: has {known} groups, and more are named in their place")
    return PathChange(pattern=pattern, substitution=substitution)


def _change(each: RouteFilter, where: str) -> dict[str, object] | None:
    """Return what a filter changes that a rule and a single backend may have; None for other filters."""
    match each:
        case RouteFilter(type="RequestHeaderModifier", request_header_modifier=HeaderFilter() as headers):
            return {"request": _headers(headers, where)}
        case RouteFilter(type="ResponseHeaderModifier", response_header_modifier=HeaderFilter() as headers):
            return {"response": _headers(headers, where)}
        case RouteFilter(type="RequestRedirect", request_redirect=RedirectFilter() as redirect):
            return {"redirect": _redirect(redirect, where)}
        case RouteFilter(type="URLRewrite", url_rewrite=RewriteFilter() as rewrite):
            return _rewrite(rewrite, where)
    return None


def _weighted(cluster: str, ref: HTTPBackendRef, field: str) -> WeightedCluster:
    changes: dict[str, object] = {}
    for at, each in enumerate(ref.filters or ()):
        where = f"{field}.filters[{at}]"
        change = _change(each, where)
        if change is None:
            raise RuleError(f"{where}.type: {each.type} is not supported for a single backend")
        changes |= change
    return WeightedCluster(cluster=cluster, weight=ref.weight, **changes)  # type: ignore[arg-type]


def _together(clusters: Iterable[WeightedCluster]) -> tuple[WeightedCluster, ...]:
    """Return the backends, those that differ in their weight alone as one."""
    weights: dict[WeightedCluster, int] = {}
    for each in clusters:
        alone = msgspec.structs.replace(each, weight=1)
        weights[alone] = weights.get(alone, 0) + each.weight
    return tuple(msgspec.structs.replace(each, weight=weight) for each, weight in weights.items())


def _headers(change: HeaderFilter, field: str) -> HeaderChange:
    return HeaderChange(
        set=tuple(_header(each, f"{field}: set") for each in change.set or ()),
        add=tuple(_header(each, f"{field}: add") for each in change.add or ()),
        remove=tuple(values.changed_header(each, f"{field}: remove") for each in change.remove or ()),
    )


def _header(each: HeaderValue, field: str) -> NamedValue:
    return NamedValue(
        values.changed_header(each.name, f"{field}.name"), values.header_value(each.value, f"{field}.value")
    )


def _rewrite(rewrite: RewriteFilter, field: str) -> dict[str, object]:
    where = f"{field}.urlRewrite"
    host = values.host(rewrite.hostname, f"{where}.hostname") if rewrite.hostname else ""
    return {"rewrite_host": host, "rewrite_path": _path(rewrite.path, f"{where}.path")}


def at_listener(rule: GatewayRoute, protocol: str, port: int) -> GatewayRoute:
    """Return a rule as a listener does it: a redirect without a port leads to its scheme's, or without a scheme to the listener's.

    Source: HTTPRequestRedirectFilter.port, which leaves the well-known port of a scheme out.
    """
    if port == _WELL_KNOWN.get(protocol):
        return rule
    clusters = tuple(
        msgspec.structs.replace(each, redirect=_led_to(each.redirect, port)) if each.redirect is not None else each
        for each in rule.clusters
    )
    if rule.redirect is None and clusters == rule.clusters:
        return rule
    redirect = _led_to(rule.redirect, port) if rule.redirect is not None else None
    return msgspec.structs.replace(rule, redirect=redirect, clusters=clusters)


def _led_to(redirect: Redirect, port: int) -> Redirect:
    if redirect.port or (redirect.scheme and redirect.host):
        return redirect
    # Where it keeps the request's host it would keep its port as well, which is the listener's.
    return msgspec.structs.replace(redirect, port=_WELL_KNOWN.get(redirect.scheme.upper(), port))


def _redirect(redirect: RedirectFilter, field: str) -> Redirect:
    if redirect.status_code not in (301, 302, 303, 307, 308):
        raise RuleError(f"{field}.requestRedirect.statusCode: {redirect.status_code} is no redirect that is supported")
    where = f"{field}.requestRedirect"
    if redirect.scheme not in (None, "http", "https"):
        raise RuleError(f"{where}.scheme: {redirect.scheme} is not supported; supported are http, https")
    return Redirect(
        status=redirect.status_code,
        scheme=redirect.scheme or "",
        host=values.host(redirect.hostname, f"{where}.hostname") if redirect.hostname else "",
        port=0 if redirect.port is None else values.number(redirect.port, 1, 65535, f"{where}.port"),
        path=_path(redirect.path, f"{where}.path"),
    )


def _path(change: PathModifier | None, field: str) -> PathChange:
    if change is None:
        return PathChange()
    if change.type == "ReplaceFullPath":
        return PathChange(full=_new_path(change.replace_full_path, f"{field}.replaceFullPath"))
    if change.type == "ReplacePrefixMatch":
        return PathChange(prefix=_new_path(change.replace_prefix_match, f"{field}.replacePrefixMatch"))
    if isinstance(change, PatternModifier):
        return _by_pattern(change.pattern, change.substitution, f"{field}.pattern")
    raise RuleError(f"{field}.type: {change.type} is not supported")


def _new_path(text: str | None, field: str) -> str:
    return values.header_value(text, field) if text else "/"


def _millionths(mirror: MirrorFilter, field: str) -> int:
    if mirror.fraction is not None:
        if mirror.fraction.denominator < 1:
            raise RuleError(f"{field}.requestMirror.fraction.denominator: must be at least 1")
        return min(MILLION, max(0, mirror.fraction.numerator) * MILLION // mirror.fraction.denominator)
    if mirror.percent is None:
        return MILLION
    return values.number(mirror.percent, 0, 100, f"{field}.requestMirror.percent") * MILLION // 100


def _cors(cors: CorsFilter, field: str) -> Cors:
    def tokens(names: Iterable[str] | None, part: str) -> tuple[str, ...]:
        return tuple(values.token(each, f"{field}.{part}") for each in names or ())

    return Cors(
        origins=tuple(values.origin(each, f"{field}.allowOrigins") for each in cors.allow_origins or ()),
        methods=tokens(cors.allow_methods, "allowMethods"),
        headers=tokens(cors.allow_headers, "allowHeaders"),
        expose=tokens(cors.expose_headers, "exposeHeaders"),
        credentials=cors.allow_credentials,
        max_age_s=values.number(cors.max_age, 0, (1 << 31) - 1, f"{field}.maxAge"),
    )


def _timed(action: GatewayRoute, rule: HTTPRule, field: str) -> GatewayRoute:
    changes: dict[str, object] = {}
    said = rule.timeouts
    for name, text, where in (
        ("timeout_ms", said.request if said is not None else None, "request"),
        ("try_timeout_ms", said.backend_request if said is not None else None, "backendRequest"),
        ("idle_timeout_ms", said.idle if isinstance(said, StreamTimeouts) else None, "idle"),
    ):
        if text is not None:
            changes[name] = values.duration(text, f"{field}.timeouts.{where}")
    if (retry := rule.retry) is not None:
        where = f"{field}.retry"
        codes = _RETRIED if retry.codes is None else retry.codes
        changes["retries"] = Retries(
            attempts=values.number(
                1 if retry.attempts is None else retry.attempts, 0, _MOST_ATTEMPTS, f"{where}.attempts"
            ),
            codes=tuple(values.number(each, 100, 599, f"{where}.codes") for each in codes),
            backoff_ms=values.duration(retry.backoff, f"{where}.backoff") if retry.backoff else _BACKOFF_MS,
            repeatable_only=isinstance(retry, UnsentOrRepeatable),
        )
    return msgspec.structs.replace(action, **changes)
