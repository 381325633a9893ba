"""Annotations of Traefik. Source: the reference of its Kubernetes Ingress provider, version 3."""

from __future__ import annotations

from fairlead.model.gateway.annotations.known import Table, honored, refused, warned

TABLE: Table = {
    **honored("ports: `web` is 80, `websecure` 443; other names are refused", "router.entrypoints"),
    **honored("port 443 alone", "router.tls"),
    **honored("paths of type ImplementationSpecific: `PathPrefix`, `Path` or `PathRegexp` (RE2, anywhere in the path)", "router.pathmatcher"),
    **honored("`http`, `h2c`; `https` with a BackendTLSPolicy for the Service, or its requests get 500", "service.serversscheme"),
    **honored(
        "`sessionPersistence` by a cookie",
        "service.sticky.cookie", "service.sticky.cookie.name", "service.sticky.cookie.maxage",
    ),
    **honored("Middlewares of Traefik, `NAMESPACE-NAME@kubernetescrd`; another namespace needs a ReferenceGrant", "router.middlewares"),
    **honored(
        "the order of rules of one host: the highest first, without one the length of the rule's text as there; hosts themselves go by how exact they are. On "
        "Ingresses for wildcards or all hosts up to 20 alone, which is before none of an exact host",
        "router.priority",
    ),
    **honored("`true` alone: backends get the client's Host header", "service.passhostheader"),
    **warned(
        "the cookie has no such attribute",
        "service.sticky.cookie.secure", "service.sticky.cookie.httponly", "service.sticky.cookie.samesite", "service.sticky.cookie.domain",
        "service.sticky.cookie.path",
    ),
    **warned(
        "certificates come from `spec.tls`; cert-manager fills its Secrets",
        "router.tls.certresolver", "router.tls.domains.n.main", "router.tls.domains.n.sans",
    ),
    **warned(
        "requests are neither logged nor traced by route",
        "router.observability.accesslogs", "router.observability.metrics", "router.observability.tracing", "router.observability.traceVerbosity",
    ),
    **warned("requests go to the endpoints, with the same outcome", "service.nativelb", "service.nodeportlb"),
    **refused("name the middlewares on the Ingress: router.middlewares", "service.middlewares"),
    **refused("there are no rules of Traefik here", "router.rulesyntax"),
    **refused("write a ClientTrafficPolicy with `tls`; for clients' certificates make a Gateway with `spec.tls.frontend`", "router.tls.options"),
    **refused("write a BackendTLSPolicy and a BackendTrafficPolicy for the Service", "service.serverstransport"),
}  # fmt: skip
ON_SERVICES = frozenset(name for name in TABLE if name.startswith("service."))
"""Those that are read on Services; Traefik reads them nowhere else."""
