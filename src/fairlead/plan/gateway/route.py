"""What the node's proxy does with requests: hosts and their routes, apart from the listeners because they change apart."""

from __future__ import annotations

import msgspec

from fairlead.plan.gateway.identity import ClientIdentity
from fairlead.plan.gateway.policy import RequestPolicy

MILLION = 1_000_000


class NamedValue(msgspec.Struct, frozen=True):
    """A header or a query parameter, and what its value must be or becomes."""

    name: str
    value: str
    regex: bool = False

    def __str__(self) -> str:
        """Return it as text, for plans."""
        return f"{self.name}{'~' if self.regex else '='}{self.value}"


class HeaderChange(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to the headers of one direction; names are in lower case."""

    set: tuple[NamedValue, ...] = ()
    add: tuple[NamedValue, ...] = ()
    remove: tuple[str, ...] = ()


class PathChange(msgspec.Struct, frozen=True, kw_only=True):
    """A new path: whole, in place of the matched prefix, or in place of what a pattern matches."""

    full: str | None = None
    prefix: str | None = None
    pattern: str | None = None
    substitution: str = ""
    """With `\\1` for what the pattern's first group matched."""


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that sends the client elsewhere."""

    status: int
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: PathChange = PathChange()


class WeightedCluster(msgspec.Struct, frozen=True, kw_only=True):
    """One backend of a route."""

    cluster: str
    weight: int = 1
    request: HeaderChange = HeaderChange()
    response: HeaderChange = HeaderChange()
    rewrite_host: str = ""
    rewrite_path: PathChange = PathChange()
    redirect: Redirect | None = None
    """The answer to its part of the requests: none of them is sent there."""

    @property
    def plain(self) -> bool:
        """Tell whether its requests are treated as those of any other backend of the route."""
        return self.redirect is None and not self.rewrite_host and self.rewrite_path == PathChange()


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of some requests, whose answers nobody sees."""

    cluster: str
    millionths: int = MILLION
    host: str = ""
    """Its Host; empty: that of the request."""


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """What scripts of other origins may do (CORS protocol of the Fetch standard)."""

    origins: tuple[str, ...]
    """`*`, `SCHEME://HOST[:PORT]`, or with a host of `*.SUFFIX`."""
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: int = 5


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """When and how often a request is sent again."""

    attempts: int
    codes: tuple[int, ...] = ()
    backoff_ms: int = 0
    repeatable_only: bool = False
    """Only requests whose method is idempotent (RFC 9110)."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one client go to one endpoint, by a token that the proxy gives and the client brings."""

    name: str
    """Of the cookie or header."""
    header: bool
    permanent: bool
    """The cookie outlives the client's own session."""
    absolute_ms: int
    """From the first request; 0: no end."""
    idle_ms: int
    """From the last request; 0: no end."""
    key: str
    """By which the proxies of all nodes hide endpoints from clients: 256 bits in hexadecimal, of the route's uid."""


class GatewayRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One match and its action; of a host's routes the first that matches decides."""

    path_kind: str
    """`exact`, `prefix` (whole segments) or `regex`."""
    path: str
    method: str = ""
    headers: tuple[NamedValue, ...] = ()
    query: tuple[NamedValue, ...] = ()
    clusters: tuple[WeightedCluster, ...] = ()
    invalid_weight: int = 0
    """Weight of backends that do not exist: that part of the requests is answered with 500."""
    redirect: Redirect | None = None
    rewrite_host: str = ""
    rewrite_path: PathChange = PathChange()
    request: HeaderChange = HeaderChange()
    response: HeaderChange = HeaderChange()
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    timeout_ms: int | None = None
    """For the whole request; 0: none."""
    try_timeout_ms: int | None = None
    idle_timeout_ms: int | None = None
    """For how long nothing may come from either side; 0: for ever."""
    retries: Retries | None = None
    session: Session | None = None
    policy: RequestPolicy | None = None
    """What requests have to pass first."""
    client: ClientIdentity | None = None
    """What is to be known of clients by certificates; None: nothing."""
    origin: str = ""
    """`KIND/NAMESPACE/NAME/RULE` that causes it, also the route's name in the proxy."""

    @property
    def closed(self) -> GatewayRoute:
        """Return a route for the same requests that answers them with 500."""
        return msgspec.structs.replace(self, clusters=(), invalid_weight=1, redirect=None, mirrors=(), policy=None)

    def __str__(self) -> str:
        """Return match and action as text without blanks, for plans."""
        match = f"{self.method or '*'}:{self.path_kind}:{self.path}"
        match += "".join(f"[{each}]" for each in (*self.headers, *self.query))
        if self.redirect is not None:
            return f"{match}->{self.redirect.status}"
        to = "|".join(f"{each.cluster}*{each.weight}" for each in self.clusters)
        refused = f"|500*{self.invalid_weight}" if self.invalid_weight else ""
        return f"{match}->{to}{refused}" if to else f"{match}->500"


class GatewayHost(msgspec.Struct, frozen=True, kw_only=True):
    """What requests for one host get. Key: `table`, `domain`."""

    table: str
    domain: str
    """Exact, `*.suffix`, or `*`: the most exact host of a table decides, whether or not one of its routes matches."""
    routes: tuple[GatewayRoute, ...]
    chain: str = ""
    """The one whose connections may ask for it: those of others get 421 (RFC 9110, 15.5.20); empty: all of the table's may."""
    http3: int = 0
    """Port at which clients are told that the same is to be had over HTTP/3; 0: they are told nothing."""
