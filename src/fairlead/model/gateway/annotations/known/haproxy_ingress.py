"""Annotations of haproxy-ingress.github.io. Source: its configuration keys of other scopes than Global and TCP, which are its ConfigMap's; 0.16."""

from __future__ import annotations

from fairlead.model.gateway.annotations.known import Table, honored, refused, warned

_COOKIE = "the cookie has no such attribute"
_BACKEND_TLS = "the BackendTLSPolicy of the Service says how a backend is known; without one its requests get 500"
_PORTS = "a class has the ports 80 and 443; make a Gateway for other ones"

TABLE: Table = {
    **honored("`urlRewrite` of the prefix", "rewrite-target"),
    **honored("a redirect (302) of `/`", "app-root"),
    **honored("`requestRedirect`: a URL or path", "redirect-to", "redirect-to-code"),
    **honored("a route of the other host with a redirect (302)", "redirect-from", "redirect-from-code"),
    **honored("a redirect (302) of plain HTTP; without it hosts with a certificate are redirected", "ssl-redirect", "ssl-redirect-code"),
    **honored(
        "the path `/` of a host says which backend gets its connections on port 443 as they are, by server name (TLSRoute); no certificate is needed. Plain HTTP "
        "is redirected unless `ssl-redirect` says no. Of several Ingresses with TLS for a host the oldest counts",
        "ssl-passthrough",
    ),
    **honored("more host names", "server-alias"),
    **honored("paths of type ImplementationSpecific: `prefix`, `exact`, `begin`, `regex` (RE2, from the start); without it they are prefixes of whole segments", "path-type"),
    **honored(
        "header filters, without variables (`%`)",
        "headers", "request-set-headers", "request-add-headers", "request-del-headers", "response-set-headers", "response-add-headers",
        "response-del-headers",
    ),
    **honored(
        "header Strict-Transport-Security, where `hsts` is true; without it none",
        "hsts", "hsts-include-subdomains", "hsts-max-age", "hsts-preload",
    ),
    **honored(
        "filter `CORS`; where any origin may (`*`), never with credentials",
        "cors-enable", "cors-allow-origin", "cors-allow-methods", "cors-allow-headers", "cors-expose-headers",
        "cors-allow-credentials", "cors-max-age",
    ),
    **honored("how long a request may be silent: the longer of both", "timeout-server", "timeout-tunnel"),
    **honored(
        "BackendTrafficPolicy of its Services, for all that goes there: `roundrobin`, `static-rr`, `leastconn`, `random`, `source`, `hdr(NAME)`, `url_param NAME`",
        "balance-algorithm",
    ),
    **honored("BackendTrafficPolicy of its Services, for all that goes there", "timeout-connect"),
    **honored("BackendTrafficPolicy `proxyProtocol`: `v1`, `v2`", "proxy-protocol"),
    **honored("`h1`, `h2`, `grpc`; with `-ssl` with a BackendTLSPolicy for the Service, or its requests get 500", "backend-protocol"),
    **honored("with a BackendTLSPolicy for the Service, or its requests get 500", "secure-backends"),
    **honored("`sessionPersistence` by a cookie", "affinity", "session-cookie-name"),
    **honored("`insert` alone", "session-cookie-strategy"),
    **honored(
        "SecurityPolicy `clientCIDRs`; others get 403",
        "allowlist-source-range", "whitelist-source-range", "denylist-source-range",
    ),
    **honored(
        "SecurityPolicy `extAuth`, for `svc://[NAMESPACE/]SERVICE:PORT[/PATH]` or `http://SERVICE.NAMESPACE.svc[:PORT][/PATH]`: the service is asked that path, "
        "with the headers of the request that `auth-headers-request` names (without it, all), and 2xx lets the request pass; `auth-headers-succeed` has to name the headers",
        "auth-url", "auth-headers-succeed", "auth-headers-request", "auth-headers-fail",
    ),
    **honored("`extAuth.http.method`: `GET`, `HEAD`, `POST`; `*` is the request's own; without it GET", "auth-method"),
    **honored(
        "`extAuth.http.signIn`: 401 of the service becomes a redirect (302), but for gRPC and OPTIONS; other refusals are its answer. Expressions in host and "
        "query: `%[path]`, `%[pathq]`, `%[pathq,url_enc]`, `%[method]`, `%[hdr(host)]`, `%[req.hdr(host)]`, `%%`; others are refused",
        "auth-signin",
    ),
    **honored("TrafficPolicy `rateLimit` by client, counted by each node on its own; 429", "limit-rps", "limit-whitelist"),
    **honored("TrafficPolicy `maxRequestBytes`", "proxy-body-size"),
    **honored(
        "clients of the host, and of no other, show certificates of the Secret's `ca.crt`, none of its `ca.crl`; it has to have the label `fairlead.dev/credentials`; `on`, `optional` and `optional_no_ca`; who is not "
        "let in has no connection; backends hear of it in X-SSL-Client-DN (RFC 2253) and X-SSL-Client-SHA1 (lower case), not in X-SSL-Client-CN",
        "auth-tls-secret", "auth-tls-verify-client",
    ),
    **honored("`true`, whatever it says: without the Secret the host lets nobody in", "auth-tls-strict"),
    **warned("the service is asked before a request goes anywhere", "auth-external-placement"),
    **warned(
        _COOKIE,
        "session-cookie-domain", "session-cookie-dynamic", "session-cookie-keywords", "session-cookie-preserve", "session-cookie-same-site",
        "session-cookie-shared", "session-cookie-value-strategy",
    ),
    **warned(
        "backends are watched by Kubernetes; write a BackendTrafficPolicy for more",
        "agent-check-addr", "agent-check-interval", "agent-check-port", "agent-check-send", "backend-check-interval", "health-check-addr",
        "health-check-fall-count", "health-check-interval", "health-check-port", "health-check-rise-count", "health-check-uri",
    ),
    **warned(
        "the proxy has no slots for servers, and no queue for each",
        "assign-backend-server-id", "backend-server-naming", "backend-server-slots-increment", "dynamic-scaling", "initial-weight", "maxconn-server",
        "maxqueue-server", "slots-min-free", "peers-table", "use-resolver",
    ),
    **warned(_BACKEND_TLS, "secure-crt-secret", "secure-sni", "secure-verify-ca-secret", "secure-verify-hostname", "ssl-cipher-suites-backend", "ssl-ciphers-backend", "ssl-options-backend"),
    **warned("certificates come from `spec.tls`; cert-manager fills its Secrets", "cert-signer", "acme-preferred-chain"),
    **warned("hosts with a certificate are served by HTTPS, and by plain HTTP as `ssl-redirect` says", "ssl-always-add-https", "ssl-always-follow-redirect"),
    **warned("requests go to the endpoints, with the same outcome", "service-upstream", "source-address-intf", "var-namespace"),
    **warned(
        "a ClientTrafficPolicy says how long clients may take",
        "timeout-http-request", "timeout-keep-alive", "timeout-queue", "timeout-server-fin",
    ),
    **warned("HTTP/1.1 and HTTP/2 are offered; a ClientTrafficPolicy says otherwise", "tls-alpn"),
    **refused("a ClientTrafficPolicy with `forwardedFor` says whose word about clients counts", "allowlist-source-header", "use-forwarded-proto"),
    **refused("write a ClientTrafficPolicy with `proxyProtocol`", "use-proxy-protocol", switch=True),
    **refused(
        "passwords of crypt(3) are not known to Envoy: write a SecurityPolicy with `basicAuth` for passwords as SHA-1 (`htpasswd -s`)",
        "auth-secret", "auth-realm",
    ),
    **refused("who is not let in has no connection to be answered by; let the service behind `optional` answer", "auth-tls-error-page"),
    **refused("the proxy passes certificates on in PEM form alone; backends hear of the subject and of SHA-1", "auth-tls-cert-header"),
    **refused("the digest of a certificate is SHA-1, in lower case", "ssl-fingerprint-lower", "ssl-fingerprint-sha2-bits"),
    **refused("write a SecurityPolicy with `extAuth` or `jwt`", "oauth", "oauth-headers", "oauth-uri-prefix"),
    **refused("write an HTTPRoute with weights", "blue-green-balance", "blue-green-deploy", "blue-green-mode", "blue-green-cookie", "blue-green-header"),
    **refused("write the condition as matches of an HTTPRoute", "http-header-match", "http-header-match-regex"),
    **refused("name the origins in cors-allow-origin; a host may begin with *.", "cors-allow-origin-regex"),
    **refused("name the hosts; a pattern of hosts cannot be served", "server-alias-regex", "redirect-from-regex"),
    **refused("answers of backends go to the client as they are", "http-response-n"),
    **refused("connections are not counted by client; limit requests: limit-rps", "limit-connections"),
    **refused("write a ClientTrafficPolicy with `tls`, which holds for a Gateway", "ssl-cipher-suites", "ssl-ciphers", "ssl-options-host"),
    **refused("write an Ingress of its own for plain HTTP, with another Service", "ssl-passthrough-http-port"),
    **refused("there is no such firewall; write what it does as a SecurityPolicy", "waf", "waf-mode"),
    **refused("backends speak HTTP or gRPC", "fcgi-app"),
    **refused(
        _PORTS,
        "bind-fronting-proxy", "bind-http", "bind-http-passthrough", "bind-https", "bind-ip-addr-http", "http-frontend", "http-passthrough",
    ),
    **refused(
        "write what it does as an HTTPRoute; text of another proxy's configuration is never read",
        "config-backend", "config-backend-early", "config-backend-late",
    ),
}  # fmt: skip
ON_SERVICES = frozenset(
    (
        "affinity", "session-cookie-name", "session-cookie-strategy", "balance-algorithm", "timeout-connect", "timeout-server", "timeout-tunnel",
        "backend-protocol", "secure-backends", "proxy-protocol", "rewrite-target",
        "headers", "request-set-headers", "request-add-headers", "request-del-headers",
        "response-set-headers", "response-add-headers", "response-del-headers",
        "hsts", "hsts-include-subdomains", "hsts-max-age", "hsts-preload",
        "cors-enable", "cors-allow-origin", "cors-allow-methods", "cors-allow-headers", "cors-expose-headers", "cors-allow-credentials",
        "cors-max-age",
    )
)  # fmt: skip
"""Those that are read on Services, which go before Ingresses. Others that their controller heeds there hold for whole routes here."""
