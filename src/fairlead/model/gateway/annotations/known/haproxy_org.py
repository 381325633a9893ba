"""Annotations of haproxy.org. Source: documentation/annotations.md of haproxytech/kubernetes-ingress 3.2."""

from __future__ import annotations

from fairlead.model.gateway.annotations.known import Table, honored, refused, warned

_WHOLE = "a setting of the whole controller, there too"
_BACKEND_TLS = "the BackendTLSPolicy of the Service says how a backend is known; without one its requests get 500"

TABLE: Table = {
    **honored("`urlRewrite`: a new path, or a pattern (RE2) and its replacement with `\\1` to `\\9`", "path-rewrite"),
    **honored("`requestRedirect` to a host, with a port or not", "request-redirect", "request-redirect-code"),
    **honored(
        "a redirect (302) of plain HTTP; without it hosts with a certificate are redirected",
        "ssl-redirect", "ssl-redirect-code",
    ),
    **honored("443 alone", "ssl-redirect-port"),
    **honored(
        "the path `/` of a host says which backend gets its connections on port 443 as they are, by server name (TLSRoute); no certificate is needed. Plain HTTP "
        "is redirected unless `ssl-redirect` says no. Of several Ingresses with TLS for a host the oldest counts",
        "ssl-passthrough",
    ),
    **honored("`urlRewrite.hostname`", "set-host"),
    **honored("header filters, without expressions (`%`)", "request-set-header", "response-set-header"),
    **honored(
        "filter `CORS`; where any origin may (`*`), never with credentials",
        "cors-enable", "cors-allow-origin", "cors-allow-methods", "cors-allow-headers", "cors-expose-headers",
        "cors-allow-credentials", "cors-max-age",
    ),
    **honored("how long a request may be silent: the longer of both", "timeout-server", "timeout-tunnel"),
    **honored(
        "BackendTrafficPolicy of its Services, for all that goes there: `roundrobin`, `static-rr`, `leastconn`, `random`, `source`, `hdr(NAME)`, `url_param NAME`",
        "load-balance",
    ),
    **honored("BackendTrafficPolicy of its Services, for all that goes there", "timeout-connect"),
    **honored("BackendTrafficPolicy `proxyProtocol`: `proxy`, `proxy-v1`, `proxy-v2`", "send-proxy-protocol"),
    **honored("`h2`", "server-proto"),
    **honored("with a BackendTLSPolicy for the Service, or its requests get 500", "server-ssl"),
    **honored("`sessionPersistence` by a cookie", "cookie-persistence", "cookie-persistence-no-dynamic"),
    **honored("SecurityPolicy `clientCIDRs`, for prefixes; others get 403", "allow-list", "whitelist", "deny-list", "blacklist"),
    **honored(
        "TrafficPolicy `rateLimit` by client, for periods of `1s`, `1m`, `1h`, `1d`, counted by each node on its own; 429",
        "rate-limit-requests", "rate-limit-period", "rate-limit-whitelist",
    ),
    **warned("clients above the limit are answered with 429, and their number is bounded", "rate-limit-status-code", "rate-limit-size"),
    **warned("backends are watched by Kubernetes; write a BackendTrafficPolicy for more", "check", "check-http", "check-interval", "timeout-check"),
    **warned(_BACKEND_TLS, "server-ca", "server-crt"),
    **warned("backends always get the client's address in X-Forwarded-For", "forwarded-for"),
    **warned("the proxy has no slots for servers, and no queue for each", "scale-server-slots", "pod-maxconn"),
    **warned("requests are neither captured nor logged", "request-capture", "request-capture-len"),
    **warned(
        _WHOLE,
        "clean-certs", "dontlognull", "generate-certificates-signer", "hard-stop-after", "http-connection-mode", "http-keep-alive", "http-server-close",
        "log-format", "log-format-tcp", "logasap", "maxconn", "nbthread", "quic-alt-svc-max-age", "ssl-certificate", "syslog-server",
        "timeout-client", "timeout-client-fin", "timeout-http-request", "timeout-http-keep-alive", "timeout-queue", "timeout-server-fin", "tls-alpn",
    ),
    **refused(
        "passwords of crypt(3) are not known to Envoy: write a SecurityPolicy with `basicAuth` for passwords as SHA-1 (`htpasswd -s`)",
        "auth-type", "auth-secret", "auth-realm",
    ),
    **refused("a ClientTrafficPolicy with `forwardedFor` says whose word about clients counts", "src-ip-header"),
    **refused("write a ClientTrafficPolicy with `proxyProtocol`", "proxy-protocol"),
    **refused("make a Gateway whose `spec.tls.frontend` validates clients' certificates", "client-ca", "client-crt-optional", "client-strict-sni"),
    **refused("every route has its own rules already; write an HTTPRoute for other ones", "standalone-backend", switch=True),
    **refused("write the condition as matches of an HTTPRoute", "route-acl"),
    **refused(
        "write what it does as an HTTPRoute; text of another proxy's configuration is never read",
        "backend-config-snippet", "frontend-config-snippet", "global-config-snippet", "stats-config-snippet",
    ),
}  # fmt: skip
ON_SERVICES = frozenset(
    (
        "backend-config-snippet", "check", "check-http", "check-interval", "cookie-persistence", "cookie-persistence-no-dynamic", "forwarded-for",
        "load-balance", "pod-maxconn", "route-acl", "scale-server-slots", "send-proxy-protocol", "server-ca", "server-crt", "server-proto",
        "server-ssl", "ssl-passthrough", "standalone-backend", "timeout-check", "timeout-server",
    )
)  # fmt: skip
"""Those that are read on Services, which go before Ingresses."""
