"""What the node's proxy asks of requests before it serves them, and what it does with the answers.

Credentials are named by digest; their bytes never stand in a plan.
"""

from __future__ import annotations

import msgspec

from fairlead.plan.gateway.composed import Composed


class Credentials(msgspec.Struct, frozen=True):
    """What a Secret holds, without it."""

    name: str
    """`NAMESPACE/SECRET`."""
    digest: str

    def __str__(self) -> str:
        """Return it as text, for plans."""
        return f"{self.name}#{self.digest[:12]}"


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Prefixes of clients; what is denied is never allowed."""

    allow: tuple[str, ...] | None = None
    """None: all."""
    deny: tuple[str, ...] = ()


class RateRule(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket for all requests, or for those that are alike."""

    requests: int
    seconds: int
    burst: int
    by_client: bool = False
    """One bucket for each client's address."""
    by_header: str = ""
    """One bucket for each value of this header, and one for requests without it."""
    exempt: tuple[str, ...] = ()
    """Prefixes of clients that need no token."""


class ApiKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Keys of clients, and where they stand in a request."""

    credentials: tuple[Credentials, ...]
    headers: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    client_header: str = ""
    hide: bool = False


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """Users and their passwords."""

    credentials: Credentials
    user_header: str = ""


class ExternalAuth(msgspec.Struct, frozen=True, kw_only=True):
    """Who decides about requests."""

    cluster: str
    host: str
    """What it is asked as."""
    grpc: bool = False
    path: str = ""
    """Before the request's own."""
    full_path: str = ""
    """In place of the request's own."""
    method: str = ""
    """In place of the request's own."""
    own_headers: tuple[tuple[str, str], ...] = ()
    """Header, value: sent to it whatever the request has."""
    redirect: Composed = ()
    """What it hears of where clients come back to; nothing: the request's path and query."""
    sign_in: Composed = ()
    """Where clients are sent whom it does not know (401); nothing: they get its answer."""
    headers: tuple[str, ...] = ()
    """Of the request, sent to it; `*`: all but those of the connection and those that would change what it answers."""
    to_backend: tuple[str, ...] = ()
    to_client: tuple[str, ...] = ()
    to_client_passed: tuple[str, ...] = ()
    """Of its answer, to clients that it lets pass."""
    body_bytes: int = 0
    timeout_ms: int = 1000
    fail_open: bool = False


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim of a token that was verified; with values it has or holds one of them, without it is there."""

    provider: str
    """`GatewayJwt` provider, as its payload is known."""
    path: tuple[str, ...]
    values: tuple[str, ...] = ()


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """A header with one of some values."""

    name: str
    values: tuple[str, ...]


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    addresses: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    headers: tuple[Header, ...] = ()
    absent: tuple[Claim, ...] = ()
    """Claims none of which is there."""


class AccessRule(msgspec.Struct, frozen=True, kw_only=True):
    """Of several the first that fits decides."""

    allow: bool
    who: Who = Who()


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what."""

    rules: tuple[AccessRule, ...]
    default: bool = False


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """Encodings of answers, the best first."""

    algorithms: tuple[str, ...]
    """Of `zstd`, `brotli` and `gzip`."""
    content_types: tuple[str, ...] = ()
    """None: the proxy's own list."""
    min_bytes: int = 0


class RequestPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a request has to pass, in this order."""

    addresses: Addresses | None = None
    rates: tuple[RateRule, ...] = ()
    keys: ApiKeys | None = None
    users: Users | None = None
    jwt: str = ""
    """Name of a `GatewayJwt`."""
    token: tuple[Who, ...] = ()
    """Of these the verified token has to be one; none: any is good."""
    external: ExternalAuth | None = None
    access: Access | None = None
    max_bytes: int = 0
    """0: any number."""
    compression: Compression | None = None


class JwtProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Who issues tokens: keys as text, or a cluster that serves them."""

    name: str
    issuer: str
    audiences: tuple[str, ...] = ()
    jwks: str = ""
    cluster: str = ""
    url: str = ""
    cache_ms: int = 300_000
    claim_headers: tuple[tuple[str, str], ...] = ()
    """Header, claim."""
    headers: tuple[tuple[str, str], ...] = (("authorization", "Bearer "),)
    """Header, text before the token."""
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()


class GatewayJwt(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of which one has to be good. Key: `name`."""

    name: str
    providers: tuple[JwtProvider, ...]
    optional: bool = False
