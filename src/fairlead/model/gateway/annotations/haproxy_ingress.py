"""Annotations of haproxy-ingress.github.io. Source: its configuration keys, 0.16."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from fairlead.api.gateway import BackendRef
from fairlead.api.httproute import (
    HeaderFilter,
    HeaderValue,
    PathModifier,
    SessionPersistence,
)
from fairlead.api.securitypolicy import ExtAuth, SignIn
from fairlead.api.trafficpolicy import RateLimit, RateRule, TrafficPolicySpec
from fairlead.model.gateway.annotations import certificates, external, haproxy, values
from fairlead.model.gateway.annotations.cors import Defaults, cors
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.sessions import by_cookie
from fairlead.model.gateway.annotations.wishes import ClientCertificates, Matcher, Wishes
from fairlead.model.gateway.asking import METHODS

PREFIX = "haproxy-ingress.github.io/"
_CORS = Defaults(
    methods=("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"),
    headers=(
        "DNT", "X-CustomHeader", "Keep-Alive", "User-Agent", "X-Requested-With", "If-Modified-Since", "Cache-Control",
        "Content-Type", "Authorization",
    ),
    credentials=True,
    max_age_s=86_400,
)  # fmt: skip
_PROTOCOLS = {
    "h1": ("http1", False), "h2": ("h2c", False), "grpc": ("h2c", False),
    "h1-ssl": ("http1", True), "h2-ssl": ("h2c", True), "grpcs": ("h2c", True),
}  # fmt: skip
_MATCHERS: Mapping[str, Matcher] = {"prefix": "", "exact": "exact", "regex": "pattern", "begin": "text"}
_PERCENT = re.compile(r"%(?:\[[^\]]*\]|%|)")
_EXPRESSIONS: Mapping[str, str] = {
    "%[path]": "$uri", "%[pathq]": "$request_uri", "%[pathq,url_enc]": "$escaped_request_uri", "%[method]": "$request_method",
    "%[hdr(host)]": "$http_host", "%[req.hdr(host)]": "$http_host", "%%": "%",
}  # fmt: skip
_HSTS_MAX_AGE_S = 15_768_000


def read(reader: Reader) -> Wishes:
    """Return what an Ingress's annotations with the prefix haproxy-ingress.github.io/ wish."""
    take = reader.take
    prefix = take("rewrite-target", values.path, "")
    redirect = take("redirect-to", values.redirect, None)
    code = take("redirect-to-code", values.status, 302)
    moved = take("redirect-from", values.hostname, "")
    protocol, encrypted = take("backend-protocol", values.protocol(_PROTOCOLS), ("", False))
    allowed = haproxy.addresses(
        reader, ("allowlist-source-range", "whitelist-source-range"), ("denylist-source-range",)
    )
    wishes = Wishes(
        secured=haproxy.secured(reader),
        secured_status=take("ssl-redirect-code", values.status, 302),
        matcher=_MATCHERS[take("path-type", values.one_of(*_MATCHERS), "prefix")],
        rewrite=PathModifier(type="ReplacePrefixMatch", replace_prefix_match=prefix) if prefix else None,
        passthrough=take("ssl-passthrough", values.truth, False),
        app_root=take("app-root", values.path, ""),
        redirect=msgspec.structs.replace(redirect, status_code=code) if redirect is not None else None,
        moved=(moved,) if moved else (),
        moved_status=take("redirect-from-code", values.status, 302),
        request=_changed_headers(reader, "request"),
        response=_with_hsts(reader, _changed_headers(reader, "response")),
        cors=cors(reader, "cors-enable", _CORS, haproxy.cors_age_s),
        timeouts=haproxy.timeouts(reader),
        traffic=haproxy.traffic(reader, "balance-algorithm", "proxy-protocol"),
        security=haproxy.security(allowed, _external(reader)),
        limits=_own_limits(reader),
        session=_affinity(reader),
        protocol=protocol,
        encrypted=take("secure-backends", values.truth, False) or encrypted,
        clients=_clients(reader),
        aliases=take("server-alias", values.items(values.hostname), ()),
    )
    return reader.finish(wishes)


def _clients(reader: Reader) -> ClientCertificates | None:
    # What cannot be known is closed, whether or not that is wanted.
    reader.take("auth-tls-strict", values.truth, True)
    return certificates.clients(reader, PREFIX, (("x-ssl-client-dn", "subject"), ("x-ssl-client-sha1", "sha1")))


def _external(reader: Reader) -> ExtAuth | None:
    """Return who decides about requests. There all headers of its answer reach backends: only named ones are taken from clients first."""
    take = reader.take
    url = take("auth-url", _service, None)
    asked = take(
        "auth-headers-request", lambda text: external.ALL if text == "*" else _header_names(text), external.ALL
    )
    passed, told = (take(f"auth-headers-{part}", _header_names, None) for part in ("succeed", "fail"))
    method = take("auth-method", values.one_of("*", *METHODS), "GET")
    sign_in = take("auth-signin", _sign_in, "")
    if url is None:
        if sign_in:
            reader.refuse("auth-signin", "needs auth-url")
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
    return external.decider(
        backend,
        path,
        asked=asked,
        passed=passed,
        refused=told or (),
        method="" if method == "*" else method,
        sign_in=SignIn(url=sign_in) if sign_in else None,
    )


def _sign_in(text: str) -> str:
    """Return where clients sign in, with the expressions of HAProxy that say what a request is as the variables that mean the same."""
    if "$" in text:
        raise ValueError("must have expressions of HAProxy, no variables ($)")
    return external.location(_PERCENT.sub(_variable, text))


def _variable(found: re.Match[str]) -> str:
    variable = _EXPRESSIONS.get(found[0])
    if variable is None:
        raise ValueError(f"{found[0][:64]} is none of {', '.join(_EXPRESSIONS)}")
    return variable


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


def _own_limits(reader: Reader) -> TrafficPolicySpec | None:
    most = reader.take("proxy-body-size", values.size, 0)
    requests = reader.take("limit-rps", values.number(1, 1_000_000), 0)
    exempt = reader.take("limit-whitelist", values.prefixes, None)
    rules = (RateRule(requests=requests, by="ClientAddress"),) if requests else ()
    if not most and not rules:
        return None
    return TrafficPolicySpec(
        rate_limit=RateLimit(rules=rules, exempt_cidrs=exempt) if rules else None, max_request_bytes=most or None
    )


def _changed_headers(reader: Reader, direction: str) -> HeaderFilter | None:
    take = reader.take
    # The short name is an older one, and does not count beside the other.
    older = take("headers", haproxy.header_lines, ()) if direction == "request" else ()
    found = HeaderFilter(
        set=take(f"{direction}-set-headers", haproxy.header_lines, ()) or older or None,
        add=take(f"{direction}-add-headers", haproxy.header_lines, ()) or None,
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
