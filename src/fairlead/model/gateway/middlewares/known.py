"""What becomes of each kind of Middleware that Traefik documents, as data: the Events and docs/migrate-ingress.md say the same."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.model.gateway.annotations.known import Table, honored, refused

_ORDER = "before what changes paths or headers of requests"

TABLE: Table = {
    **honored("what Middlewares it names; a chain that holds itself is refused", "chain"),
    **honored(
        "filters for headers of requests and answers, without variables; security headers; filter `CORS`. Refused: `allowedHosts`, `hostsProxyHeaders`, "
        "`sslProxyHeaders`, `accessControlAllowOriginListRegex`, `publicKey`, `isDevelopment`, and fields that Traefik calls deprecated",
        "headers",
    ),
    **honored("a redirect of plain HTTP to HTTPS, port 443: 302 or 301 for GET, 307 or 308 for others", "redirectScheme"),
    **honored("`^https?://HOST/(.*)` to `https://OTHER/${1}`, where HOST is the Ingress's only one", "redirectRegex"),
    **honored(
        "the path, exactly; one of them for each Ingress, or `stripPrefix` and then `addPrefix`",
        "stripPrefix", "stripPrefixRegex", "addPrefix", "replacePath", "replacePathRegex",
    ),
    **honored("SecurityPolicy `clientCIDRs`, without `ipStrategy`; others get 403", "ipAllowList", "ipWhiteList"),
    **honored(
        "SecurityPolicy `basicAuth`, for a Secret of the Ingress's namespace with the label `fairlead.dev/credentials`, users under `users` and passwords as SHA-1 "
        "(`htpasswd -s`)",
        "basicAuth",
    ),
    **honored(
        "SecurityPolicy `extAuth`, for `http://SERVICE.NAMESPACE.svc[:PORT][/PATH]`, asked by GET, or as `preserveRequestMethod` says; it hears X-Forwarded-Method, -Proto, -Host, "
        f"-Uri and -For, and `authRequestHeaders` or all headers of the request. It has to stand {_ORDER}",
        "forwardAuth",
    ),
    **honored("TrafficPolicy `rateLimit` by client or `requestHeaderName`, counted by each node on its own; without `redis` and `requestHost`", "rateLimit"),
    **honored("TrafficPolicy `compression`, without `excludedContentTypes` and `defaultEncoding`", "compress"),
    **honored("TrafficPolicy `maxRequestBytes`, without limits for answers and `retryExpression`", "buffering"),
    **honored("`retry`, of requests that never reached a backend, or may be repeated; without `timeout`", "retry"),
    **honored("types of answers are never guessed", "contentType"),
    **refused("write a BackendTrafficPolicy with `healthCheck.passive` or `circuitBreaker` for the Service", "circuitBreaker"),
    **refused("write a BackendTrafficPolicy with `circuitBreaker` for the Service, or limit requests: rateLimit", "inFlightReq"),
    **refused("answers of backends go to the client as they are; let the backend say what it wants to be said", "errors"),
    **refused("make a Gateway whose `spec.tls.frontend` validates clients' certificates", "passTLSClientCert"),
    **refused("write what it does as an HTTPRoute, or as policies; code of Traefik's does not run here", "plugin"),
    **refused("use basicAuth over HTTPS: digests of passwords are not known to Envoy", "digestAuth"),
    **refused("backends speak HTTP or gRPC", "grpcWeb"),
    **refused("paths are normalized by the proxy; write matches of an HTTPRoute for more", "encodedCharacters"),
}  # fmt: skip
FIXES: Mapping[str, str] = {kind: each.words for kind, each in TABLE.items() if each.state == "refused"}
"""Kind → what to write in place of it."""
