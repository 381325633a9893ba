"""Annotations of the two controllers of HAProxy: haproxy.org and haproxy-ingress.github.io. Source: their references, 3.2 and 0.15."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from fairlead.api.backendtraffic import BackendTrafficPolicySpec, ConsistentHash, LoadBalancing
from fairlead.api.gateway import BackendRef
from fairlead.api.httproute import (
    HeaderFilter,
    HeaderValue,
    PathModifier,
    RedirectFilter,
    RouteTimeouts,
    SessionPersistence,
)
from fairlead.api.securitypolicy import ClientCIDRs, ExtAuth, SecurityPolicySpec
from fairlead.api.trafficpolicy import RateLimit, RateRule, TrafficPolicySpec
from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.cors import Defaults, cors
from fairlead.model.gateway.annotations.external import decider
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.sessions import by_cookie
from fairlead.model.gateway.annotations.wishes import Matcher, Secured, Wishes
from fairlead.model.gateway.extended import PatternModifier, StreamTimeouts
from fairlead.model.gateway.patterns import last_named

ORG, COM, INGRESS = "haproxy.org/", "haproxy.com/", "haproxy-ingress.github.io/"
"""The second is another name of the first."""
_CORS_ORG = Defaults(
    methods=("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
    headers=("*",),
    credentials=False,
    max_age_s=5,
)
_CORS_INGRESS = Defaults(
    methods=("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"),
    headers=(
        "DNT", "X-CustomHeader", "Keep-Alive", "User-Agent", "X-Requested-With", "If-Modified-Since", "Cache-Control",
        "Content-Type", "Authorization",
    ),
    credentials=True,
    max_age_s=86_400,
)  # fmt: skip
_UNIT_MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "": 1}
_MOST_MS = 86_400_000
_PROTOCOLS = {
    "h1": ("http1", False), "h2": ("h2c", False), "grpc": ("h2c", False),
    "h1-ssl": ("http1", True), "h2-ssl": ("h2c", True), "grpcs": ("h2c", True),
}  # fmt: skip
_PROXY_PROTOCOLS = {"proxy": "V1", "proxy-v1": "V1", "proxy-v2": "V2", "v1": "V1", "v2": "V2"}
_MATCHERS: Mapping[str, Matcher] = {"prefix": "", "exact": "exact", "regex": "pattern", "begin": "text"}
_HSTS_MAX_AGE_S = 15_768_000
_MOST_HEADERS = 16


def read_haproxy_org(reader: Reader) -> Wishes:
    """Return what an Ingress's annotations with the prefix haproxy.org/ wish."""
    take = reader.take
    # Dynamic or not is about what the cookie says, which nobody but the proxy reads.
    cookie = take("cookie-persistence", values.token, "") or take("cookie-persistence-no-dynamic", values.token, "")
    request, response = (take(name, _set_headers, None) for name in ("request-set-header", "response-set-header"))
    take("ssl-redirect-port", values.one_of("443"), "")
    wishes = Wishes(
        secured=_secured(reader),
        secured_status=take("ssl-redirect-code", values.status, 302),
        rewrite=take("path-rewrite", _path_rewrite, None),
        redirect=_redirect(reader),
        host_header=take("set-host", values.hostname, ""),
        request=request,
        response=response,
        cors=cors(reader, "cors-enable", _CORS_ORG, _cors_age_s),
        timeouts=_timeouts(reader),
        traffic=_traffic(reader, "load-balance", "send-proxy-protocol"),
        security=_security(_addresses(reader, ("allow-list", "whitelist"), ("deny-list", "blacklist")), None),
        limits=_rate(reader),
        session=by_cookie(cookie) if cookie else None,
        encrypted=take("server-ssl", values.truth, False),
        protocol="h2c" if take("server-proto", values.one_of("h2"), "") else "",
    )
    return reader.finish(wishes)


def read_haproxy_ingress(reader: Reader) -> Wishes:
    """Return what an Ingress's annotations with the prefix haproxy-ingress.github.io/ wish."""
    take = reader.take
    prefix = take("rewrite-target", values.path, "")
    redirect = take("redirect-to", values.redirect, None)
    code = take("redirect-to-code", values.status, 302)
    moved = take("redirect-from", values.hostname, "")
    protocol, encrypted = take("backend-protocol", values.protocol(_PROTOCOLS), ("", False))
    allowed = _addresses(reader, ("allowlist-source-range", "whitelist-source-range"), ("denylist-source-range",))
    wishes = Wishes(
        secured=_secured(reader),
        secured_status=take("ssl-redirect-code", values.status, 302),
        matcher=_MATCHERS[take("path-type", values.one_of(*_MATCHERS), "prefix")],
        rewrite=PathModifier(type="ReplacePrefixMatch", replace_prefix_match=prefix) if prefix else None,
        app_root=take("app-root", values.path, ""),
        redirect=msgspec.structs.replace(redirect, status_code=code) if redirect is not None else None,
        moved=(moved,) if moved else (),
        moved_status=take("redirect-from-code", values.status, 302),
        request=_changed_headers(reader, "request"),
        response=_with_hsts(reader, _changed_headers(reader, "response")),
        cors=cors(reader, "cors-enable", _CORS_INGRESS, _cors_age_s),
        timeouts=_timeouts(reader),
        traffic=_traffic(reader, "balance-algorithm", "proxy-protocol"),
        security=_security(allowed, _external(reader)),
        limits=_own_limits(reader),
        session=_affinity(reader),
        protocol=protocol,
        encrypted=take("secure-backends", values.truth, False) or encrypted,
        aliases=take("server-alias", values.items(values.hostname), ()),
    )
    return reader.finish(wishes)


def _traffic(reader: Reader, balance: str, announce: str) -> BackendTrafficPolicySpec | None:
    found = BackendTrafficPolicySpec(
        load_balancing=reader.take(balance, _balancing, None),
        connect_timeout=reader.take("timeout-connect", lambda text: f"{duration_ms(text)}ms", None),
        proxy_protocol=reader.take(
            announce, lambda text: _PROXY_PROTOCOLS[values.one_of(*_PROXY_PROTOCOLS)(text)], None
        ),
    )
    return found if found != BackendTrafficPolicySpec() else None


def _balancing(text: str) -> LoadBalancing:
    kinds = {"roundrobin": "RoundRobin", "static-rr": "RoundRobin", "leastconn": "LeastRequest", "random": "Random"}
    header = re.fullmatch(r"hdr\(([^)]*)\)", text)
    parameter = re.fullmatch(r"url_param +(\S+)", text)
    if text == "source":
        by = ConsistentHash(key="SourceAddress")
    elif header is not None:
        by = ConsistentHash(key="Header", header=values.token(header[1]))
    elif parameter is not None:
        by = ConsistentHash(key="QueryParameter", query_parameter=values.token(parameter[1]))
    elif (kind := kinds.get(re.sub(r"\([0-9]{1,3}\)$", "", text))) is not None:
        return LoadBalancing(type=kind)
    else:
        raise ValueError(f"{text[:64]!r} is none of {', '.join(kinds)}, source, hdr(NAME), url_param NAME")
    return LoadBalancing(type="ConsistentHash", consistent_hash=by)


def _addresses(reader: Reader, allowing: tuple[str, ...], denying: tuple[str, ...]) -> ClientCIDRs | None:
    found: list[tuple[str, ...] | None] = [None, None]
    for at, names in enumerate((allowing, denying)):
        for name in names:
            found[at] = reader.take(name, values.prefixes, None) or found[at]
    allow, deny = found
    return ClientCIDRs(allow=allow, deny=deny) if allow is not None or deny is not None else None


def _security(allowed: ClientCIDRs | None, external: ExtAuth | None) -> SecurityPolicySpec | None:
    found = SecurityPolicySpec(client_cidrs=allowed, ext_auth=external)
    return found if found != SecurityPolicySpec() else None


def _external(reader: Reader) -> ExtAuth | None:
    """Return who decides about requests. There all headers of its answer reach backends: only named ones are taken from clients first."""
    take = reader.take
    url = take("auth-url", _service, None)
    asked, passed, told = (take(f"auth-headers-{part}", _header_names, None) for part in ("request", "succeed", "fail"))
    if url is None:
        return None
    if passed is None:
        fix = "name them, or - for none"
        reader.refuse(
            "auth-url",
            "needs auth-headers-succeed with the headers that backends get: all cannot be copied safely",
            fix,
        )
        return None
    namespace, name, port, path = url
    backend = BackendRef(name=name, namespace=namespace or None, port=port)
    return decider(backend, path, asked=asked or (), passed=passed, refused=told or ())


def _service(text: str) -> tuple[str, str, int, str]:
    """Return namespace, empty for the Ingress's own, name, port and path of a Service."""
    found = re.fullmatch(r"(?:svc|service)://(?:([a-z0-9-]{1,63})/)?([a-z0-9-]{1,63}):([0-9]{1,5})(/[!-\"&-~]*)?", text)
    if found is None:
        return values.service_url(text)
    return found[1] or "", found[2], values.number(1, 65535)(found[3]), found[4] or ""


def _header_names(text: str) -> tuple[str, ...]:
    if text in ("", "-"):
        return ()
    if "*" in text:
        raise ValueError("must name each header: all cannot be copied safely")
    return values.items(values.token)(text)


def _affinity(reader: Reader) -> SessionPersistence | None:
    take = reader.take
    wanted = take("affinity", values.one_of("cookie"), "")
    name = take("session-cookie-name", values.token, "INGRESSCOOKIE")
    take("session-cookie-strategy", values.one_of("insert"), "")
    return by_cookie(name) if wanted else None


def _rate(reader: Reader) -> TrafficPolicySpec | None:
    """Return how many requests a client may send in a period that is a unit of time."""
    requests = reader.take("rate-limit-requests", values.number(1, 1_000_000), 0)
    unit = reader.take("rate-limit-period", _unit, "Second")
    if not requests:
        return None
    return TrafficPolicySpec(rate_limit=RateLimit(rules=(RateRule(requests=requests, unit=unit, by="ClientAddress"),)))


def _unit(text: str) -> str:
    units = {1000: "Second", 60_000: "Minute", 3_600_000: "Hour", 86_400_000: "Day"}
    found = units.get(duration_ms(text))
    if found is None:
        raise ValueError(f"{text!r} is none of 1s, 1m, 1h, 1d")
    return found


def _own_limits(reader: Reader) -> TrafficPolicySpec | None:
    most = reader.take("proxy-body-size", values.size, 0)
    requests = reader.take("limit-rps", values.number(1, 1_000_000), 0)
    rules = (RateRule(requests=requests, by="ClientAddress"),) if requests else ()
    if not most and not rules:
        return None
    return TrafficPolicySpec(rate_limit=RateLimit(rules=rules) if rules else None, max_request_bytes=most or None)


def _secured(reader: Reader) -> Secured:
    if not reader.has("ssl-redirect"):
        return ""
    return "with-certificate" if reader.take("ssl-redirect", values.truth, True) else "never"


def _redirect(reader: Reader) -> RedirectFilter | None:
    """Return where `request-redirect` leads: a host, with a port or not; path and query stay."""
    code = reader.take("request-redirect-code", values.status, 302)
    wanted = reader.take("request-redirect", lambda text: values.redirect(f"http://{text}$request_uri"), None)
    return msgspec.structs.replace(wanted, scheme=None, status_code=code) if wanted is not None else None


def _path_rewrite(text: str) -> PathModifier:
    """Return a new path, or a pattern and what replaces it."""
    pattern, _, new = text.partition(" ")
    if not new:
        return PathModifier(type="ReplaceFullPath", replace_full_path=values.path(pattern))
    new = new.strip()
    if not re.fullmatch(r"(?:/|\\[1-9])(?:[^\s\\?#%]|\\[1-9])*", new):
        raise ValueError(f"{new!r} is no path that may hold \\1 to \\9")
    groups = values.groups(values.pattern(pattern))
    if last_named(new) > groups:
        raise ValueError(f"{new!r} names a group that {pattern!r} does not have")
    # There the pattern may match anywhere, and what takes its place is the whole path.
    return PatternModifier(type="ReplacePattern", pattern=f"^.*?(?:{pattern}).*", substitution=new)


def _set_headers(text: str) -> HeaderFilter:
    """Return the headers that an annotation sets."""
    return HeaderFilter(set=_header_lines(text))


def _header_lines(text: str) -> tuple[HeaderValue, ...]:
    """Return headers, one a line: a name and a value, with a colon between them or not."""
    found = []
    for line in filter(None, (each.strip() for each in text.splitlines())):
        parts = re.fullmatch(r"([^\s:]+)(?:\s*:\s*|\s+)(.*)", line)
        if parts is None:
            raise ValueError(f"{line[:64]!r} is no name and a value")
        plain = parts[2]
        if len(plain) > 1 and plain[0] == plain[-1] == '"':
            plain = plain[1:-1]
        if "%" in plain:
            raise ValueError("must have no expression of HAProxy (%)")
        found.append(HeaderValue(name=values.token(parts[1]), value=values.header_value(plain)))
    if not 1 <= len(found) <= _MOST_HEADERS:
        raise ValueError(f"must have 1 to {_MOST_HEADERS} lines, each a name and a value")
    return tuple(found)


def _changed_headers(reader: Reader, direction: str) -> HeaderFilter | None:
    take = reader.take
    # The short name is an older one, and does not count beside the other.
    older = take("headers", _header_lines, ()) if direction == "request" else ()
    found = HeaderFilter(
        set=take(f"{direction}-set-headers", _header_lines, ()) or older or None,
        add=take(f"{direction}-add-headers", _header_lines, ()) or None,
        remove=take(f"{direction}-del-headers", values.items(values.token), ()) or None,
    )
    return found if found != HeaderFilter() else None


def _with_hsts(reader: Reader, found: HeaderFilter | None) -> HeaderFilter | None:
    """Return the headers of answers with what tells browsers to come by HTTPS alone (RFC 6797); over plain HTTP they do not heed it."""
    take = reader.take
    wanted = take("hsts", values.truth, False)
    parts = [f"max-age={take('hsts-max-age', values.number(0, 1 << 31), _HSTS_MAX_AGE_S)}"]
    parts += ["includeSubDomains"] * take("hsts-include-subdomains", values.truth, False)
    parts += ["preload"] * take("hsts-preload", values.truth, False)
    if not wanted:
        return found
    header = HeaderValue(name="Strict-Transport-Security", value="; ".join(parts))
    own = found or HeaderFilter()
    return msgspec.structs.replace(own, set=(*(own.set or ()), header))


def _cors_age_s(text: str) -> int:
    return duration_ms(text, unit="s") // 1000


def _timeouts(reader: Reader) -> RouteTimeouts | None:
    """Return how long a request's streams may be silent: longer than the server, and a tunnel, may be."""
    found = [reader.take(name, duration_ms, 0) for name in ("timeout-server", "timeout-tunnel")]
    longest = max(found)
    # A duration has five digits at most.
    return StreamTimeouts(idle=f"{longest}ms" if longest < 100_000 else f"{longest // 1000}s") if longest else None


def duration_ms(text: str, *, unit: str = "ms") -> int:
    """Return a duration of HAProxy's in milliseconds; without its unit it is one of `unit`."""
    match = re.fullmatch(r"([0-9]{1,9})(us|ms|s|m|h|d|)", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 30s")
    found = int(int(match[1]) * _UNIT_MS[match[2] or unit])
    if found > _MOST_MS:
        raise ValueError(f"{text!r} is more than a day")
    return found
