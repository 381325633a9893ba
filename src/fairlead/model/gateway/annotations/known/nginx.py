"""Annotations of ingress-nginx. Source: docs/user-guide/nginx-configuration/annotations.md of its last release, and the names that its code has beside."""

from __future__ import annotations

from fairlead.model.gateway.annotations.known import Table, honored, refused, warned

_REDIRECT = "`requestRedirect`: a URL or path, with `$request_uri` at most at its end; the request's query stays"
_COOKIE = "the cookie has no such attribute"
_BUFFERS = "requests and answers are streamed"
_BACKEND_TLS = "the BackendTLSPolicy of the Service says how a backend is known; without one its requests get 500"
_TRACING = "requests are not traced"

TABLE: Table = {
    **honored("paths that are patterns (RE2) from the start, in any case; an `Exact` path stays exact", "use-regex"),
    **honored("`urlRewrite` with the groups `$1` to `$9`, and paths as with `use-regex`", "rewrite-target"),
    **honored("a redirect (302) of `/`", "app-root"),
    **honored(
        "a redirect (308) of plain HTTP; without either, hosts with a certificate are redirected; `/.well-known/acme-challenge` never is",
        "ssl-redirect", "force-ssl-redirect",
    ),
    **honored(
        "the path `/` of a host says which backend gets its connections on port 443 as they are, by server name (TLSRoute); no certificate is needed. Plain HTTP "
        "is redirected unless `ssl-redirect` says no. Of several Ingresses with TLS for a host the oldest counts",
        "ssl-passthrough",
    ),
    **honored(_REDIRECT, "permanent-redirect", "permanent-redirect-code", "temporal-redirect", "temporal-redirect-code"),
    **honored("a route of the other host with a redirect (308)", "from-to-www-redirect"),
    **honored("more host names; patterns (`~…`) are refused; a host of a rule goes first", "server-alias"),
    **honored("`urlRewrite.hostname`", "upstream-vhost"),
    **honored("a header of requests, without variables", "x-forwarded-prefix"),
    **honored(
        "`responseHeaderModifier` with the headers of the ConfigMap, whose changes are followed; another namespace needs a ReferenceGrant; headers of "
        "connections and framing are refused",
        "custom-headers",
    ),
    **honored(
        "filter `CORS`; where any origin may (`*`), never with credentials",
        "enable-cors", "cors-allow-origin", "cors-allow-methods", "cors-allow-headers", "cors-expose-headers",
        "cors-allow-credentials", "cors-max-age",
    ),
    **honored("how long a request may be silent: the longer of both", "proxy-read-timeout", "proxy-send-timeout"),
    **honored(
        "`retry` for `http_…`, `non_idempotent`, `off`; what reached no backend is always tried elsewhere",
        "proxy-next-upstream", "proxy-next-upstream-tries",
    ),
    **honored(
        "`HTTP`, `AUTO_HTTP`, `GRPC`; `HTTPS` and `GRPCS` with a BackendTLSPolicy for the Service, or its requests get 500: no backend is believed unseen",
        "backend-protocol",
    ),
    **honored(
        "rules and weights of the Ingress of the same namespace with the same host, path and type",
        "canary", "canary-by-header", "canary-by-header-value", "canary-by-header-pattern", "canary-by-cookie", "canary-weight",
        "canary-weight-total",
    ),
    **honored(
        "BackendTrafficPolicy of its Services, for all that goes there: `$remote_addr`, `$http_…`, `$cookie_…`, `$arg_…`",
        "upstream-hash-by",
    ),
    **honored("BackendTrafficPolicy of its Services, for all that goes there: `round_robin`, `ewma`", "load-balance"),
    **honored("BackendTrafficPolicy of its Services, for all that goes there", "proxy-connect-timeout"),
    **honored(
        "`sessionPersistence` by a cookie; `persistent` in either mode",
        "affinity", "affinity-mode", "session-cookie-name", "session-cookie-max-age", "session-cookie-expires",
    ),
    **honored(
        "SecurityPolicy `clientCIDRs`; others get 403",
        "whitelist-source-range", "allowlist-source-range", "denylist-source-range",
    ),
    **honored(
        "SecurityPolicy `basicAuth`, for a Secret of the Ingress's namespace with the label `fairlead.dev/credentials` and passwords as SHA-1 "
        "(`htpasswd -s`): Envoy knows no other; `digest` and `auth-map` are refused",
        "auth-type", "auth-secret", "auth-secret-type",
    ),
    **honored(
        "SecurityPolicy `extAuth`, for `http://SERVICE.NAMESPACE.svc[:PORT][/PATH]`: the service is asked that path with the request's headers, and hears "
        "of the request in X-Original-URL, X-Original-Method and X-Auth-Request-Redirect; 2xx lets it pass, other answers are the client's; another namespace "
        "needs a ReferenceGrant",
        "auth-url", "auth-response-headers",
    ),
    **honored("`extAuth.http.method`: `GET`, `HEAD`, `POST`; without it GET", "auth-method"),
    **honored(
        "`extAuth.http.signIn`: 401 of the service becomes a redirect (302), but for gRPC and OPTIONS; the parameter (`rd`) gets the URL that was asked for, "
        "where the query does not name it. Variables in scheme, host and query: `$scheme`, `$pass_access_scheme`, `$host`, `$http_host`, `$best_http_host`, "
        "`$request_uri`, `$uri`, `$escaped_request_uri`, `$request_method`; others are refused",
        "auth-signin", "auth-signin-redirect-param",
    ),
    **honored(
        "`extAuth.http.headers`, from a ConfigMap, without variables (`$`); another namespace needs a ReferenceGrant for Ingresses to it",
        "auth-proxy-set-headers",
    ),
    **honored("`extAuth.http.requestRedirect`: X-Auth-Request-Redirect, with the variables of `auth-signin`", "auth-request-redirect"),
    **honored("clients get the service's Set-Cookie, whatever it decides", "auth-always-set-cookie"),
    **honored(
        "clients of the host, and of no other, show certificates of the Secret's `ca.crt`, none of its `ca.crl`; it has to have the label `fairlead.dev/credentials`; `on`, `optional` and `optional_no_ca`; who is not "
        "let in has no connection (not 400), plain HTTP is always redirected with `on`; backends hear of it in ssl-client-verify, ssl-client-subject-dn, "
        "ssl-client-issuer-dn, ssl-client-cert. Without the Secret the host lets nobody in; another namespace needs a ReferenceGrant",
        "auth-tls-secret", "auth-tls-verify-client", "auth-tls-verify-depth", "auth-tls-pass-certificate-to-upstream",
    ),
    **honored("a pattern (RE2) with `CN=`, anywhere in the subject; others get 403", "auth-tls-match-cn"),
    **honored(
        "TrafficPolicy `rateLimit` by client, counted by each node on its own; 429, not 503",
        "limit-rps", "limit-rpm", "limit-burst-multiplier", "limit-whitelist", "limit-allowlist",
    ),
    **honored("TrafficPolicy `maxRequestBytes`; without it there is no limit, not 1m", "proxy-body-size"),
    **honored("`requestMirror`, for `http://SERVICE.NAMESPACE.svc[:PORT]$request_uri`; another namespace needs a ReferenceGrant", "mirror-target"),
    **honored("`on` alone: what is mirrored has its body", "mirror-request-body"),
    **honored("the Host of what is mirrored, without variables; it is not converted", "mirror-host"),
    **honored("`all` alone: every check has to let a request pass", "satisfy"),
    **warned("clients are asked for a password without a realm of its own", "auth-realm"),
    **warned("the service is asked about every request", "auth-cache-key", "auth-cache-duration"),
    **warned(
        "connections to the service are kept as to any backend",
        "auth-keepalive", "auth-keepalive-share-vars", "auth-keepalive-requests", "auth-keepalive-timeout",
    ),
    **warned("there is no authentication of the whole controller", "enable-global-auth"),
    **warned(_BACKEND_TLS, "proxy-ssl-secret", "proxy-ssl-verify", "proxy-ssl-verify-depth", "proxy-ssl-name", "proxy-ssl-server-name", "proxy-ssl-protocols", "proxy-ssl-ciphers"),
    **warned(
        _COOKIE,
        "session-cookie-path", "session-cookie-samesite", "session-cookie-secure", "session-cookie-domain", "session-cookie-change-on-failure",
        "session-cookie-conditional-samesite-none",
    ),
    **warned("a canary's requests have a cookie of their own", "affinity-canary-behavior"),
    **warned("all endpoints take part", "upstream-hash-by-subset", "upstream-hash-by-subset-size"),
    **warned(
        _BUFFERS,
        "client-body-buffer-size", "proxy-buffering", "proxy-buffers-number", "proxy-buffer-size", "proxy-busy-buffers-size", "proxy-max-temp-file-size",
        "proxy-request-buffering",
    ),
    **warned("HTTP/1.1 or HTTP/2, as the Service says", "proxy-http-version", "connection-proxy-header"),
    **warned("each try has the time of the whole request", "proxy-next-upstream-timeout"),
    **warned("answers are as fast as the client takes them", "limit-rate", "limit-rate-after"),
    **warned("the proxy writes no log of requests", "enable-access-log", "enable-rewrite-log"),
    **warned(
        _TRACING,
        "enable-opentelemetry", "opentelemetry-trust-incoming-span", "opentelemetry-operation-name", "enable-opentracing", "opentracing-trust-incoming-span",
    ),
    **warned("nothing is pushed", "http2-push-preload"),
    **warned("requests go to the endpoints, with the same outcome", "service-upstream"),
    **warned("redirects keep the path as it is, and lead to the listener's port", "preserve-trailing-slash", "use-port-in-redirects", "relative-redirects"),
    **warned("the strongest cipher that both know is chosen", "ssl-prefer-server-ciphers"),
    **warned("errors of backends are never replaced", "disable-proxy-intercept-errors"),
    **refused(
        "write what it does as an HTTPRoute; text of another proxy's configuration is never read",
        "configuration-snippet", "server-snippet", "stream-snippet",
    ),
    **refused(
        "write what it does as a SecurityPolicy; text of another proxy's configuration is never read. The service gets the request's own Host, so that a line for "
        "X-Forwarded-Host is not needed",
        "auth-snippet",
    ),
    **refused("there is no such firewall; write what it does as a SecurityPolicy", "enable-modsecurity", "enable-owasp-core-rules", switch=True),
    **refused("there is no such firewall; write what it does as a SecurityPolicy", "modsecurity-snippet", "modsecurity-transaction-id"),
    **refused("who is not let in has no connection to be answered by; let the service behind `optional` answer", "auth-tls-error-page"),
    **refused("answers of backends go to the client as they are; let the backend say what it wants to be said", "custom-http-errors", "default-backend"),
    **refused("answers of backends go to the client as they are", "proxy-cookie-domain", "proxy-cookie-path", switch=True),
    **refused("answers of backends go to the client as they are", "proxy-redirect-from", "proxy-redirect-to", switch=True),
    **refused("connections are not counted by client; limit requests: limit-rps, limit-rpm", "limit-connections"),
    **refused("write a TrafficPolicy: each node counts on its own", "global-rate-limit", "global-rate-limit-window", "global-rate-limit-key", "global-rate-limit-ignored-cidrs"),
    **refused("write a ClientTrafficPolicy with `tls.cipherSuites`, which holds for a Gateway", "ssl-ciphers"),
    **refused("backends speak HTTP or gRPC", "fastcgi-index", "fastcgi-params-configmap"),
}  # fmt: skip
