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


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; the defaults are what holds where nobody says anything."""

    balancing: Balancing = Balancing()
    connect_ms: int = 5000
