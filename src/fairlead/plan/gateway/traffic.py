"""How the proxy treats a cluster's endpoints: sharing, limits and health, in the proxy's terms."""

from __future__ import annotations

import msgspec


class HashBy(msgspec.Struct, frozen=True, kw_only=True):
    """What requests have in common that go to one endpoint."""

    source: str
    """`address`, `header`, `cookie` or `query`."""
    name: str = ""
    ttl_ms: int | None = None
    """Of the cookie that clients without one are given; None: they are given none, 0: one for their session."""
    path: str = ""


class Balancing(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are shared out."""

    kind: str = "least-request"
    """`least-request`, `round-robin`, `random`, `maglev` or `ring-hash`."""
    hash: HashBy | None = None
    slow_start_ms: int = 0
    slow_start_percent: int = 10
    """Share of a new endpoint at first."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy has at once of a cluster at most, answered with 503 beyond; None: no limit."""

    connections: int | None = None
    pending: int | None = None
    """Requests that wait for a connection."""
    requests: int | None = None
    retries: int | None = None
    requests_per_connection: int | None = None


class RetryBudget(msgspec.Struct, frozen=True, kw_only=True):
    """How many retries may run, in place of `Limits.retries`."""

    percent: int
    """Of the running requests, or of those that began in the interval."""
    interval_ms: int = 0
    """0: of the running ones."""
    least: int
    """So many at once are always allowed."""


class ActiveCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A question that the proxy asks every endpoint."""

    kind: str
    """`http`, `grpc` or `tcp`."""
    interval_ms: int
    timeout_ms: int
    healthy: int
    """Good answers in a row until an endpoint is back."""
    unhealthy: int
    path: str = ""
    host: str = ""
    statuses: tuple[int, ...] = ()
    service: str = ""


class PassiveCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Failures in a row for which an endpoint is left alone for a while; 0: that kind does not count."""

    errors: int
    """Answers of 500 to 599."""
    gateway_errors: int
    """Answers of 502, 503, 504."""
    unreachable: int
    """Connections that failed or timed out."""
    interval_ms: int
    ejection_ms: int
    most_percent: int
    """Of the endpoints that may be left alone at once."""


class Keepalive(msgspec.Struct, frozen=True, kw_only=True):
    """TCP keepalive, in the kernel's units."""

    idle_s: int
    interval_s: int
    probes: int


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; the defaults are what holds where nobody says anything."""

    balancing: Balancing = Balancing()
    connect_ms: int = 5000
    keepalive: Keepalive | None = None
    limits: Limits = Limits()
    budget: RetryBudget | None = None
    active: ActiveCheck | None = None
    passive: PassiveCheck | None = None
    proxy_protocol: str = ""
    """Version with which connections begin, `v1` or `v2`; empty: none."""
