"""Annotations of ingress-nginx. Source: docs/user-guide/nginx-configuration/annotations.md of kubernetes/ingress-nginx 1.14, its last."""

from __future__ import annotations

import msgspec

from fairlead.api.backendtraffic import BackendTrafficPolicySpec, ConsistentHash, HashCookie, LoadBalancing
from fairlead.api.gateway import BackendRef, ObjectRef
from fairlead.api.httproute import (
    HeaderFilter,
    HeaderValue,
    MirrorFilter,
    RedirectFilter,
    RouteRetry,
    RouteTimeouts,
    SessionPersistence,
)
from fairlead.api.securitypolicy import BasicAuth, ClientCIDRs, ExtAuth, SecurityPolicySpec, SignIn
from fairlead.api.trafficpolicy import RateLimit, RateRule, TrafficPolicySpec
from fairlead.model.gateway.annotations import certificates, external, values
from fairlead.model.gateway.annotations.cors import Defaults, cors
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.sessions import by_cookie
from fairlead.model.gateway.annotations.wishes import Canary, ClientCertificates, Reference, Secured, Wishes
from fairlead.model.gateway.asking import METHODS
from fairlead.model.gateway.extended import HostedMirror, StreamTimeouts, UnsentOrRepeatable
from fairlead.plan.gateway.identity import Fact

PREFIX = "nginx.ingress.kubernetes.io/"
_CORS = Defaults(
    methods=("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"),
    headers=(
        "DNT", "Keep-Alive", "User-Agent", "X-Requested-With", "If-Modified-Since", "Cache-Control", "Content-Type",
        "Range", "Authorization",
    ),
    credentials=True,
    max_age_s=1_728_000,
)  # fmt: skip
_TRIES = 3
_BURST = 5
_MOST_TRIES = 10
_PROTOCOLS = {
    "HTTP": ("http1", False), "AUTO_HTTP": ("http1", False), "GRPC": ("h2c", False),
    "HTTPS": ("http1", True), "GRPCS": ("h2c", True),
}  # fmt: skip


def read(reader: Reader) -> Wishes:
    """Return what an Ingress's annotations wish."""
    take = reader.take
    patterns = take("use-regex", values.truth, False)
    target = take("rewrite-target", values.target, "")
    prefix = take("x-forwarded-prefix", values.header_value, "")
    protocol, encrypted = take("backend-protocol", values.protocol(_PROTOCOLS), ("", False))
    wishes = Wishes(
        secured=_secured(reader),
        patterns=patterns or bool(target),
        target=target or None,
        passthrough=take("ssl-passthrough", values.truth, False),
        app_root=take("app-root", values.path, ""),
        with_www=take("from-to-www-redirect", values.truth, False),
        redirect=_redirect(reader),
        host_header=take("upstream-vhost", values.hostname, ""),
        request=HeaderFilter(set=(HeaderValue(name="x-forwarded-prefix", value=prefix),)) if prefix else None,
        response_from=_configmap(reader, "custom-headers"),
        asked_from=_configmap(reader, "auth-proxy-set-headers"),
        mirror=_mirror(reader),
        cors=cors(reader, "enable-cors", _CORS, values.number(1, 86_400 * 366)),
        timeouts=_timeouts(reader),
        retry=_retry(reader),
        session=_session(reader),
        protocol=protocol,
        encrypted=encrypted,
        aliases=take("server-alias", values.items(values.hostname), ()),
        canary=_canary(reader),
        clients=_clients(reader),
        traffic=_traffic(reader),
        security=_security(reader),
        limits=_limits(reader),
    )
    return reader.finish(wishes)


def _secured(reader: Reader) -> Secured:
    always = reader.take("force-ssl-redirect", values.truth, False)
    if not reader.has("ssl-redirect"):
        return "always" if always else ""
    wanted = reader.take("ssl-redirect", values.truth, True)
    return "always" if always else "with-certificate" if wanted else "never"


def _redirect(reader: Reader) -> RedirectFilter | None:
    take = reader.take
    code = take("permanent-redirect-code", values.status, 301)
    other = take("temporal-redirect-code", values.status, 302)
    permanent = take("permanent-redirect", values.redirect, None)
    temporal = take("temporal-redirect", values.redirect, None)
    # Of both the temporary one counts, as it does there.
    if temporal is not None:
        return msgspec.structs.replace(temporal, status_code=other)
    return msgspec.structs.replace(permanent, status_code=code) if permanent is not None else None


def _configmap(reader: Reader, name: str) -> Reference | None:
    found = reader.take(name, values.reference, None)
    return Reference(f"{PREFIX}{name}", *found) if found is not None else None


def _mirror(reader: Reader) -> MirrorFilter | None:
    """Return who gets a copy of each request, as it was sent."""
    take = reader.take
    take("mirror-request-body", values.one_of("on"), "")
    host = take("mirror-host", values.hostname, "")
    found = take("mirror-target", values.service_url, None)
    if found is None:
        return None
    namespace, name, port, path = found
    if path != "$request_uri":
        reader.refuse(
            "mirror-target",
            "must end with $request_uri behind the port",
            "write a filter RequestMirror in an HTTPRoute",
        )
        return None
    backend = BackendRef(name=name, namespace=namespace, port=port)
    return HostedMirror(backend_ref=backend, host=host) if host else MirrorFilter(backend_ref=backend)


def _timeouts(reader: Reader) -> RouteTimeouts | None:
    """Return how long a request's streams may be silent: longer than either direction may be (proxy_read_timeout, proxy_send_timeout)."""
    found = [reader.take(name, values.seconds, "") for name in ("proxy-read-timeout", "proxy-send-timeout")]
    known = [int(each.removesuffix("s")) for each in found if each]
    return StreamTimeouts(idle=f"{max(known)}s") if known else None


def _retry(reader: Reader) -> RouteRetry | None:
    given = reader.has("proxy-next-upstream") or reader.has("proxy-next-upstream-tries")
    conditions = reader.take("proxy-next-upstream", _conditions, ("error", "timeout"))
    tries = reader.take("proxy-next-upstream-tries", values.number(0, 1000), _TRIES)
    if not given:
        return None
    codes = tuple(int(each.removeprefix("http_")) for each in conditions if each.startswith("http_"))
    again = 0 if "off" in conditions else min((tries or _MOST_TRIES) - 1, _MOST_TRIES)
    kind = RouteRetry if "non_idempotent" in conditions or not codes else UnsentOrRepeatable
    return kind(codes=codes, attempts=again)


def _conditions(text: str) -> tuple[str, ...]:
    read = values.one_of(
        "error", "timeout", "invalid_header", "http_500", "http_502", "http_503", "http_504", "http_403", "http_404",
        "http_429", "non_idempotent", "off",
    )  # fmt: skip
    return tuple(read(each) for each in text.split())


def _traffic(reader: Reader) -> BackendTrafficPolicySpec | None:
    take = reader.take
    balancing = take("load-balance", _balancing, None)
    balancing = take("upstream-hash-by", _hash, None) or balancing
    connect = take("proxy-connect-timeout", values.seconds, None)
    if balancing is None and connect is None:
        return None
    return BackendTrafficPolicySpec(load_balancing=balancing, connect_timeout=connect)


def _balancing(text: str) -> LoadBalancing:
    kinds = {"round_robin": "RoundRobin", "ewma": "LeastRequest"}
    return LoadBalancing(type=kinds[values.one_of(*kinds)(text)])


def _hash(text: str) -> LoadBalancing:
    """Return sharing by one variable that says what requests have in common."""
    name = text.removeprefix("$").removeprefix("{").removesuffix("}")
    if name in ("remote_addr", "binary_remote_addr"):
        found = ConsistentHash(key="SourceAddress")
    elif name.startswith("http_"):
        found = ConsistentHash(key="Header", header=values.token(name.removeprefix("http_").replace("_", "-")))
    elif name.startswith("cookie_"):
        found = ConsistentHash(key="Cookie", cookie=HashCookie(name=values.token(name.removeprefix("cookie_"))))
    elif name.startswith("arg_"):
        found = ConsistentHash(key="QueryParameter", query_parameter=values.token(name.removeprefix("arg_")))
    else:
        raise ValueError(f"{text[:64]!r} is none of $remote_addr, $http_NAME, $cookie_NAME, $arg_NAME")
    return LoadBalancing(type="ConsistentHash", consistent_hash=found)


def _session(reader: Reader) -> SessionPersistence | None:
    """Return the cookie by which a client's requests go to one endpoint."""
    take = reader.take
    wanted = take("affinity", values.one_of("cookie"), "")
    take("affinity-mode", values.one_of("balanced", "persistent"), "")
    lasting = take("session-cookie-max-age", values.seconds, "") or take("session-cookie-expires", values.seconds, "")
    name = take("session-cookie-name", values.token, "INGRESSCOOKIE")
    return by_cookie(name, lasting) if wanted else None


def _security(reader: Reader) -> SecurityPolicySpec | None:
    """Return who may ask. Denied prefixes go before allowed ones, as they do there."""
    take = reader.take
    allow = take("whitelist-source-range", values.prefixes, None) or take(
        "allowlist-source-range", values.prefixes, None
    )
    deny = take("denylist-source-range", values.prefixes, None)
    found = SecurityPolicySpec(
        client_cidrs=ClientCIDRs(allow=allow, deny=deny) if allow is not None or deny is not None else None,
        basic_auth=_basic(reader),
        ext_auth=_external(reader),
    )
    if take("satisfy", values.one_of("all", "any"), "all") == "any":
        reader.refuse("satisfy", "all checks have to let a request pass", "write an HTTPRoute with a SecurityPolicy")
    return found if found != SecurityPolicySpec() else None


def _basic(reader: Reader) -> BasicAuth | None:
    take = reader.take
    kind = take("auth-type", values.one_of("basic"), "")
    namespace, name = take("auth-secret", values.reference, ("", ""))
    take("auth-secret-type", values.one_of("auth-file"), "")
    if not kind and not name:
        return None
    if not kind or not name:
        missing = "auth-secret" if kind else "auth-type"
        reader.refuse("auth-type" if kind else "auth-secret", f"needs {missing}")
        return None
    return BasicAuth(users=ObjectRef(name=name, namespace=namespace or None))


def _external(reader: Reader) -> ExtAuth | None:
    """Return who decides about requests."""
    take = reader.take
    url = take("auth-url", values.service_url, None)
    headers = take("auth-response-headers", values.items(values.token), ())
    take("auth-always-set-cookie", values.truth, False)
    method = take("auth-method", values.one_of(*METHODS), "GET")
    redirect = take("auth-request-redirect", external.url, "")
    sign_in = take("auth-signin", external.location, "")
    param = take("auth-signin-redirect-param", values.parameter, "rd")
    if url is None:
        if sign_in:
            reader.refuse("auth-signin", "needs auth-url")
        return None
    namespace, name, port, path = url
    if path.startswith("$"):
        reader.refuse("auth-url", "must be one path for all requests, without variables ($)")
        return None
    return external.decider(
        BackendRef(name=name, namespace=namespace, port=port),
        path,
        asked=external.ALL,
        passed=headers,
        method=method,
        redirect=redirect,
        sign_in=SignIn(url=sign_in, redirect_param=param) if sign_in else None,
    )


def _clients(reader: Reader) -> ClientCertificates | None:
    take = reader.take
    told: list[tuple[str, Fact]] = [
        ("ssl-client-verify", "verdict"), ("ssl-client-subject-dn", "subject"), ("ssl-client-issuer-dn", "issuer"),
    ]  # fmt: skip
    if take("auth-tls-pass-certificate-to-upstream", values.truth, False):
        told.append(("ssl-client-cert", "certificate"))
    depth = take("auth-tls-verify-depth", certificates.depth, 1)
    subject = take("auth-tls-match-cn", certificates.common_name, "")
    return certificates.clients(reader, PREFIX, tuple(told), depth=depth, subject=subject)


def _limits(reader: Reader) -> TrafficPolicySpec | None:
    take = reader.take
    most = take("proxy-body-size", values.size, 0)
    factor = take("limit-burst-multiplier", values.number(1, 1000), _BURST)
    exempt = take("limit-whitelist", values.prefixes, None) or take("limit-allowlist", values.prefixes, None)
    rules = []
    for name, unit in (("limit-rpm", "Minute"), ("limit-rps", "Second")):
        requests = take(name, values.number(0, 1_000_000), 0)
        if requests:
            rules.append(RateRule(requests=requests, unit=unit, burst=requests * factor, by="ClientAddress"))
    if not most and not rules:
        return None
    return TrafficPolicySpec(
        rate_limit=RateLimit(rules=tuple(rules), exempt_cidrs=exempt) if rules else None, max_request_bytes=most or None
    )


def _canary(reader: Reader) -> Canary | None:
    take = reader.take
    wanted = take("canary", values.truth, False)
    canary = Canary(
        header=take("canary-by-header", values.token, "").lower(),
        value=take("canary-by-header-value", values.header_value, ""),
        pattern=take("canary-by-header-pattern", values.pattern, ""),
        cookie=take("canary-by-cookie", values.token, ""),
        weight=take("canary-weight", values.number(0, 1_000_000), 0),
        total=take("canary-weight-total", values.number(1, 1_000_000), 100),
    )
    return canary if wanted else None
