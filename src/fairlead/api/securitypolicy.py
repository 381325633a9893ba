"""fairlead.dev/v1alpha1 SecurityPolicy: who may ask what Gateways and routes serve. Source: docs/adr/0016.

Each field of the spec is a check of its own; all that are set must let a request pass. Bounds and patterns are those of the definition of
the kind; whoever reads a policy checks them again, as not everything comes through an API server.
"""

from __future__ import annotations

import msgspec

from fairlead.api.gateway import BackendRef, ConfigMapRef, ObjectRef, RouteMeta
from fairlead.api.policytarget import PolicyTargetRef

CHECKS = ("clientCIDRs", "apiKeyAuth", "basicAuth", "jwt", "extAuth", "authorization")
"""Fields of the spec that are checks."""


class ClientCIDRs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Addresses of clients; what is denied is never allowed, and no `allow` allows all others."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] | None = None


class BasicAuth(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """User name and password (RFC 7617)."""

    users: ObjectRef
    """A Secret with the label fairlead.dev/credentials: lines of htpasswd under `.htpasswd` or `auth`."""
    forward_username_header: str = ""
    """Tells backends the user's name."""


class Extraction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where in a request a key is."""

    headers: tuple[str, ...] | None = None
    params: tuple[str, ...] | None = None
    cookies: tuple[str, ...] | None = None


class ApiKeyAuth(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Keys that clients know."""

    credential_refs: tuple[ObjectRef, ...]
    """Secrets with the label fairlead.dev/credentials: each entry is a client's name and its key."""
    extract_from: Extraction = Extraction()
    """Nothing: header X-API-Key."""
    forward_client_id_header: str = msgspec.field(default="", name="forwardClientIDHeader")
    """Tells backends the client's name."""
    sanitize: bool = False
    """Whether backends do not see the key."""


class RemoteJwks(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Keys that a Service serves."""

    backend_ref: BackendRef
    path: str = "/.well-known/jwks.json"
    hostname: str = ""
    cache_duration: str = "5m"


class LocalJwks(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Keys as text (RFC 7517): exactly one of the two."""

    inline: str | None = None
    value_ref: ConfigMapRef | None = None
    """A ConfigMap of the policy's namespace, with the keys under `jwks`."""


class ClaimHeader(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A header by which backends learn a claim."""

    claim: str
    header: str


class TokenHeader(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A header that holds a token behind some text."""

    name: str
    value_prefix: str = ""


class TokenPlaces(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where in a request a token is."""

    headers: tuple[TokenHeader, ...] | None = None
    params: tuple[str, ...] | None = None
    cookies: tuple[str, ...] | None = None


class ClaimMatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A claim that has, or holds, one of some values."""

    name: str
    """Dots lead into objects."""
    values: tuple[str, ...]


class JwtProvider(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Who issues tokens, and by which keys they are known."""

    name: str
    issuer: str
    audiences: tuple[str, ...] | None = None
    remote_jwks: RemoteJwks | None = msgspec.field(default=None, name="remoteJWKS")
    local_jwks: LocalJwks | None = msgspec.field(default=None, name="localJWKS")
    claim_to_headers: tuple[ClaimHeader, ...] | None = None
    extract_from: TokenPlaces = TokenPlaces()
    """Nothing: header Authorization behind `Bearer `."""
    required_claims: tuple[ClaimMatch, ...] | None = None
    required_scopes: tuple[str, ...] | None = None
    """All of them, in the claim `scope`."""


class Jwt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens (RFC 7519): one provider has to know the request's."""

    providers: tuple[JwtProvider, ...]
    optional: bool = False
    """Whether requests without a token pass; a wrong one never does."""


class GrpcAuth(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A service of envoy.service.auth.v3.Authorization."""

    backend_ref: BackendRef


class OwnHeader(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A header of the question, whatever the request has."""

    name: str
    value: str


class SignIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Where clients are sent whom the server does not know: those who would get 401 get a redirect (302)."""

    url: str
    """A URL or an absolute path. Its scheme, host and query may have variables: docs/migrate-ingress.md."""
    redirect_param: str = ""
    """A parameter that gets the URL that was asked for, where the query does not have it; none: nothing is added."""


class HttpAuth(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A server that answers 2xx to whom it lets pass."""

    backend_ref: BackendRef
    path: str = ""
    """Before the request's own."""
    replace_full_path: str = ""
    """In place of the request's own; what was asked for is told by headers."""
    method: str = ""
    """GET, HEAD or POST; nothing: the request's own."""
    headers: tuple[OwnHeader, ...] | None = None
    request_redirect: str = ""
    """What the server hears as X-Auth-Request-Redirect, with variables; nothing: the request's path and query."""
    sign_in: SignIn | None = None
    headers_to_backend: tuple[str, ...] | None = None
    """Headers of its answer that backends get."""
    headers_to_client: tuple[str, ...] | None = None
    """Headers of its refusal that clients get, beside those that say how to authenticate."""
    headers_to_client_on_success: tuple[str, ...] | None = None
    """Headers of its answer that clients get, too, when it lets them pass."""


class AuthBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How much of a body is sent along; longer requests are refused."""

    max_request_bytes: int


class ExtAuth(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Somebody else decides: exactly one of `grpc` and `http`."""

    grpc: GrpcAuth | None = None
    http: HttpAuth | None = None
    headers_to_ext_auth: tuple[str, ...] | None = None
    """Headers of the request that are sent, `*` for all; nothing: Authorization, Cookie, X-Forwarded-For and X-Forwarded-Proto."""
    body_to_ext_auth: AuthBody | None = None
    timeout: str = "1s"
    fail_open: bool = False
    """Whether requests pass while nobody answers."""


class TokenPrincipal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A token's issuer and claims."""

    provider: str
    claims: tuple[ClaimMatch, ...] | None = None
    scopes: tuple[str, ...] | None = None


class HeaderMatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A header with one of some values."""

    name: str
    values: tuple[str, ...]


class Principal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who: all of it."""

    client_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="clientCIDRs")
    jwt: TokenPrincipal | None = None
    headers: tuple[HeaderMatch, ...] | None = None


class Operation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What."""

    methods: tuple[str, ...]


class AuthorizationRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of the rules the first that fits decides."""

    action: str
    """`Allow` or `Deny`."""
    name: str = ""
    principal: Principal = Principal()
    operation: Operation | None = None


class Authorization(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Rules, and what holds where none fits."""

    rules: tuple[AuthorizationRule, ...] = ()
    default_action: str = "Deny"


class SecurityPolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a SecurityPolicy."""

    target_refs: tuple[PolicyTargetRef, ...] = ()
    client_cidrs: ClientCIDRs | None = msgspec.field(default=None, name="clientCIDRs")
    api_key_auth: ApiKeyAuth | None = None
    basic_auth: BasicAuth | None = None
    jwt: Jwt | None = None
    ext_auth: ExtAuth | None = None
    authorization: Authorization | None = None
    exempt: tuple[str, ...] | None = None
    """Of `CHECKS`: what policies of the Gateway or the whole route say of these does not hold here."""


class SecurityPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who may ask."""

    metadata: RouteMeta
    spec: SecurityPolicySpec = SecurityPolicySpec()
    problem: str = ""
    """Why it cannot be understood; then nobody passes where it is attached."""
