"""Annotations of the two controllers of HAProxy: haproxy.org and haproxy-ingress.github.io. Source: their references, 3.2 and 0.15."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from fairlead.api.backendtraffic import BackendTrafficPolicySpec, ConsistentHash, LoadBalancing
from fairlead.api.httproute import (
    CorsFilter,
    HeaderFilter,
    HeaderValue,
    PathModifier,
    RedirectFilter,
    RouteTimeouts,
    SessionPersistence,
)
from fairlead.api.securitypolicy import ClientCIDRs, SecurityPolicySpec
from fairlead.api.trafficpolicy import RateLimit, RateRule, TrafficPolicySpec
from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.wishes import Secured, Wishes
from fairlead.model.gateway.extended import PatternModifier, StreamTimeouts
from fairlead.model.gateway.patterns import last_named

PREFIXES = ("haproxy.org/", "haproxy-ingress.github.io/")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_METHODS_INGRESS = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
_HEADERS_INGRESS = (
    "DNT", "X-CustomHeader", "Keep-Alive", "User-Agent", "X-Requested-With", "If-Modified-Since", "Cache-Control",
    "Content-Type", "Authorization",
)  # fmt: skip
_UNIT_MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "": 1}
_MOST_MS = 86_400_000
_PROTOCOLS = {
    "h1": ("http1", False), "h2": ("h2c", False), "grpc": ("h2c", False),
    "h1-ssl": ("http1", True), "h2-ssl": ("h2c", True), "grpcs": ("h2c", True),
}  # fmt: skip
_IDLE = frozenset(
    (
        "check", "check-http", "check-interval", "forwarded-for", "pod-maxconn", "request-capture", "request-capture-len",
        "scale-server-slots", "server-slots", "timeout-check", "timeout-client", "timeout-http-keep-alive",
        "timeout-http-request", "timeout-keep-alive", "timeout-queue", "timeout-stop", "timeout-client-fin", "timeout-server-fin",
        "maxconn-server", "maxqueue-server", "slots-min-free", "slots-increment", "health-check-interval", "health-check-uri",
        "dynamic-scaling", "initial-weight", "service-upstream",
    )
)  # fmt: skip
_POLICY = "write what it does as an HTTPRoute or a policy"
_REFUSED: Mapping[str, str] = dict.fromkeys(
    (
        "affinity", "blue-green-deploy", "blue-green-mode",
        "route-acl", "standalone-backend", "send-proxy-protocol", "server-alias-regex", "config-backend", "backend-config-snippet",
        "request-set-header", "response-set-header", "headers", "hsts", "path-type", "path-type-order", "agent-check-port",
    ),
    _POLICY,
)  # fmt: skip


def read_haproxy_org(reader: Reader) -> Wishes:
    """Return what an Ingress's annotations with the prefix haproxy.org/ wish."""
    take = reader.take
    host = take("set-host", values.hostname, "")
    wishes = Wishes(
        secured=_secured(reader),
        secured_status=take("ssl-redirect-code", _status, 302),
        rewrite=take("path-rewrite", _path_rewrite, None),
        redirect=_redirect(reader),
        host_header=host,
        request=_headers(reader, "request-set-header"),
        response=_headers(reader, "response-set-header"),
        cors=_cors(reader, _METHODS, ("*",), credentials=False, max_age_s=5),
        timeouts=_timeouts(reader),
        traffic=_traffic(reader, "load-balance"),
        security=_security(reader, ("allow-list", "whitelist"), ("deny-list", "blacklist")),
        limits=_rate(reader),
        session=take("cookie-persistence", lambda text: SessionPersistence(session_name=values.token(text)), None),
        encrypted=take("server-ssl", values.truth, False),
        protocol="h2c" if take("server-proto", values.one_of("h2"), "") else "",
    )
    return _finish(reader, wishes)


def read_haproxy_ingress(reader: Reader) -> Wishes:
    """Return what an Ingress's annotations with the prefix haproxy-ingress.github.io/ wish."""
    take = reader.take
    prefix = take("rewrite-target", values.path, "")
    redirect = take("redirect-to", values.redirect, None)
    code = take("redirect-to-code", _status, 302)
    protocol, encrypted = take("backend-protocol", _protocol, ("", False))
    wishes = Wishes(
        secured=_secured(reader),
        secured_status=take("ssl-redirect-code", _status, 302),
        rewrite=PathModifier(type="ReplacePrefixMatch", replace_prefix_match=prefix) if prefix else None,
        app_root=take("app-root", values.path, ""),
        redirect=msgspec.structs.replace(redirect, status_code=code) if redirect is not None else None,
        cors=_cors(reader, _METHODS_INGRESS, _HEADERS_INGRESS, credentials=True, max_age_s=86_400),
        timeouts=_timeouts(reader),
        traffic=_traffic(reader, "balance-algorithm"),
        security=_security(reader, ("allowlist-source-range", "whitelist-source-range"), ("denylist-source-range",)),
        limits=_own_limits(reader),
        protocol=protocol,
        encrypted=encrypted,
        aliases=take("server-alias", values.items(values.hostname), ()),
    )
    return _finish(reader, wishes)


def _traffic(reader: Reader, name: str) -> BackendTrafficPolicySpec | None:
    balancing = reader.take(name, _balancing, None)
    connect = reader.take("timeout-connect", lambda text: f"{duration_ms(text)}ms", None)
    if balancing is None and connect is None:
        return None
    return BackendTrafficPolicySpec(load_balancing=balancing, connect_timeout=connect)


def _balancing(text: str) -> LoadBalancing:
    kinds = {"roundrobin": "RoundRobin", "leastconn": "LeastRequest", "random": "Random"}
    header = re.fullmatch(r"hdr\(([^)]*)\)", text)
    if text == "source" or header is not None:
        by = (
            ConsistentHash(key="Header", header=values.token(header[1]))
            if header is not None
            else ConsistentHash(key="SourceAddress")
        )
        return LoadBalancing(type="ConsistentHash", consistent_hash=by)
    if text not in kinds:
        raise ValueError(f"{text[:64]!r} is none of {', '.join(kinds)}, source, hdr(NAME)")
    return LoadBalancing(type=kinds[text])


def _security(reader: Reader, allowing: tuple[str, ...], denying: tuple[str, ...]) -> SecurityPolicySpec | None:
    found: list[tuple[str, ...] | None] = [None, None]
    for at, names in enumerate((allowing, denying)):
        for name in names:
            found[at] = reader.take(name, values.prefixes, None) or found[at]
    allow, deny = found
    if allow is None and deny is None:
        return None
    return SecurityPolicySpec(client_cidrs=ClientCIDRs(allow=allow, deny=deny))


def _rate(reader: Reader) -> TrafficPolicySpec | None:
    """Return how many requests a client may send in a period that is a unit of time."""
    requests = reader.take("rate-limit-requests", values.number(1, 1_000_000), 0)
    unit = reader.take("rate-limit-period", _unit, "Second")
    for name in ("rate-limit-size", "rate-limit-status-code"):
        if reader.has(name):
            reader.note(name, "has no effect: clients above the limit are answered with 429")
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


def _finish(reader: Reader, wishes: Wishes) -> Wishes:
    reader.finish(idle=_IDLE, refused=_REFUSED)
    return msgspec.structs.replace(wishes, refusals=tuple(reader.refusals), notes=tuple(reader.notes))


def _secured(reader: Reader) -> Secured:
    if not reader.has("ssl-redirect"):
        return ""
    return "with-certificate" if reader.take("ssl-redirect", values.truth, True) else "never"


def _status(text: str) -> int:
    if text not in ("301", "302", "303", "307", "308"):
        raise ValueError(f"{text!r} is none of 301, 302, 303, 307, 308")
    return int(text)


def _redirect(reader: Reader) -> RedirectFilter | None:
    """Return where `request-redirect` leads: a host, with a port or not; path and query stay."""
    code = reader.take("request-redirect-code", _status, 302)
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


def _headers(reader: Reader, name: str) -> HeaderFilter | None:
    """Return the headers that an annotation sets, one a line: a name and a value."""

    def read(text: str) -> HeaderFilter:
        found = []
        for line in text.splitlines():
            if line.strip():
                key, _, value = line.strip().partition(" ")
                plain = value.strip()
                if len(plain) > 1 and plain[0] == plain[-1] == '"':
                    plain = plain[1:-1]
                if "%" in plain:
                    raise ValueError("must have no expression of HAProxy (%)")
                found.append(HeaderValue(name=values.token(key), value=values.header_value(plain)))
        if not 1 <= len(found) <= 16:
            raise ValueError("must have 1 to 16 lines, each a name and a value")
        return HeaderFilter(set=tuple(found))

    return reader.take(name, read, None)


def _cors(
    reader: Reader, methods: tuple[str, ...], headers: tuple[str, ...], *, credentials: bool, max_age_s: int
) -> CorsFilter | None:
    take = reader.take
    wanted = take("cors-enable", values.truth, False)
    cors = CorsFilter(
        allow_origins=take("cors-allow-origin", values.items(values.origin), ("*",)),
        allow_methods=take("cors-allow-methods", values.items(values.token), methods),
        allow_headers=take("cors-allow-headers", values.items(values.token), headers),
        expose_headers=take("cors-expose-headers", values.items(values.token), ()) or None,
        allow_credentials=take("cors-allow-credentials", values.truth, credentials),
        max_age=take("cors-max-age", lambda text: duration_ms(text, unit="s") // 1000, max_age_s),
    )
    return values.safe(cors) if wanted else None


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


def _protocol(text: str) -> tuple[str, bool]:
    found = _PROTOCOLS.get(text.lower())
    if found is None:
        raise ValueError(f"{text!r} is not supported; supported are {', '.join(_PROTOCOLS)}")
    return found
