"""gateway.networking.k8s.io/v1 HTTPRoute, and GRPCRoute, whose rules differ in what they match alone."""

from __future__ import annotations

import msgspec

from fairlead.api.gateway import BackendRef, ParentRef, RouteMeta


class HeaderValue(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A header's name and value."""

    name: str
    value: str


class HeaderFilter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Headers to set, add and remove."""

    set: tuple[HeaderValue, ...] | None = None
    add: tuple[HeaderValue, ...] | None = None
    remove: tuple[str, ...] | None = None


class PathModifier(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A new path, or a new prefix in place of the one that matched."""

    type: str
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RedirectFilter(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`requestRedirect`."""

    scheme: str | None = None
    hostname: str | None = None
    path: PathModifier | None = None
    port: int | None = None
    status_code: int = 302


class RewriteFilter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`urlRewrite`."""

    hostname: str | None = None
    path: PathModifier | None = None


class Fraction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of the requests."""

    numerator: int
    denominator: int = 100


class MirrorFilter(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`requestMirror`."""

    backend_ref: BackendRef
    percent: int | None = None
    fraction: Fraction | None = None


class CorsFilter(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`cors`."""

    allow_origins: tuple[str, ...] | None = None
    allow_credentials: bool = False
    allow_methods: tuple[str, ...] | None = None
    allow_headers: tuple[str, ...] | None = None
    expose_headers: tuple[str, ...] | None = None
    max_age: int = 5


class AuthByGrpc(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`grpc` of `externalAuth`."""

    allowed_headers: tuple[str, ...] | None = None


class AuthByHttp(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`http` of `externalAuth`."""

    path: str = ""
    allowed_headers: tuple[str, ...] | None = None
    allowed_response_headers: tuple[str, ...] | None = None


class ForwardBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`forwardBody` of `externalAuth`."""

    max_size: int = 0


class ExternalAuthFilter(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`externalAuth` (GEP-1494, experimental channel)."""

    protocol: str
    backend_ref: BackendRef
    grpc: AuthByGrpc | None = None
    http: AuthByHttp | None = None
    forward_body: ForwardBody | None = None


class ExtensionRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An object of the route's namespace that says what HTTPRoute cannot."""

    group: str
    kind: str
    name: str


class RouteFilter(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One filter: `type` says which field counts."""

    type: str
    request_header_modifier: HeaderFilter | None = None
    response_header_modifier: HeaderFilter | None = None
    request_redirect: RedirectFilter | None = None
    url_rewrite: RewriteFilter | None = None
    request_mirror: MirrorFilter | None = None
    cors: CorsFilter | None = None
    external_auth: ExternalAuthFilter | None = None
    extension_ref: ExtensionRef | None = None


class HTTPBackendRef(BackendRef, frozen=True, kw_only=True, gc=False):
    """A backend with filters of its own."""

    filters: tuple[RouteFilter, ...] | None = None


class PathMatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`path` of a match."""

    type: str = "PathPrefix"
    value: str = "/"


class NamedMatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A header or a query parameter of a match."""

    name: str
    value: str
    type: str = "Exact"


class HTTPMatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One of a rule's matches: all of it must be true."""

    path: PathMatch = PathMatch()
    headers: tuple[NamedMatch, ...] | None = None
    query_params: tuple[NamedMatch, ...] | None = None
    method: str | None = None


class RouteTimeouts(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`timeouts` of a rule: durations of GEP-2257."""

    request: str | None = None
    backend_request: str | None = None


class RouteRetry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`retry` of a rule (GEP-1731)."""

    codes: tuple[int, ...] | None = None
    attempts: int | None = None
    backoff: str | None = None


class SessionCookie(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`cookieConfig`."""

    lifetime_type: str = "Session"
    """`Session` or `Permanent`."""


class SessionPersistence(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`sessionPersistence` of a rule (GEP-1619)."""

    session_name: str | None = None
    type: str = "Cookie"
    """`Cookie` or `Header`."""
    absolute_timeout: str | None = None
    idle_timeout: str | None = None
    cookie_config: SessionCookie | None = None


class HTTPRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One of `spec.rules`."""

    name: str | None = None
    matches: tuple[HTTPMatch, ...] | None = None
    filters: tuple[RouteFilter, ...] | None = None
    backend_refs: tuple[HTTPBackendRef, ...] | None = None
    timeouts: RouteTimeouts | None = None
    retry: RouteRetry | None = None
    session_persistence: SessionPersistence | None = None


class HTTPRouteSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of an HTTPRoute."""

    parent_refs: tuple[ParentRef, ...] | None = None
    hostnames: tuple[str, ...] | None = None
    rules: tuple[HTTPRule, ...] | None = (HTTPRule(),)


class HTTPRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Requests of HTTP and where they go."""

    metadata: RouteMeta
    spec: HTTPRouteSpec = HTTPRouteSpec()


class MethodMatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`method` of a gRPC match."""

    type: str = "Exact"
    service: str | None = None
    method: str | None = None


class GRPCMatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of a gRPC rule's matches."""

    method: MethodMatch | None = None
    headers: tuple[NamedMatch, ...] | None = None


class GRPCRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One of `spec.rules` of a GRPCRoute."""

    name: str | None = None
    matches: tuple[GRPCMatch, ...] | None = None
    filters: tuple[RouteFilter, ...] | None = None
    backend_refs: tuple[HTTPBackendRef, ...] | None = None
    session_persistence: SessionPersistence | None = None


class GRPCRouteSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a GRPCRoute."""

    parent_refs: tuple[ParentRef, ...] | None = None
    hostnames: tuple[str, ...] | None = None
    rules: tuple[GRPCRule, ...] | None = (GRPCRule(),)


class GRPCRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Calls of gRPC and where they go."""

    metadata: RouteMeta
    spec: GRPCRouteSpec = GRPCRouteSpec()
