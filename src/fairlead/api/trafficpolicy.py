"""fairlead.dev/v1alpha1 TrafficPolicy: how many requests, how large, and how answers are encoded. Source: docs/adr/0016."""

from __future__ import annotations

import msgspec

from fairlead.api.gateway import RouteMeta
from fairlead.api.policytarget import PolicyTargetRef

LIMITS = ("rateLimit", "maxRequestBytes", "compression")
"""Fields of the spec that apply apart from each other."""
UNITS = {"Second": 1, "Minute": 60, "Hour": 3600, "Day": 86400}
"""Unit of a rate → seconds."""


class RateRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """At most so many requests in a time; counted by each node on its own."""

    requests: int
    unit: str = "Second"
    burst: int | None = None
    """How many at once; nothing: `requests`."""
    by: str = "Route"
    """What has a count of its own: `Route`, `ClientAddress` (of IPv6 the /64) or `Header`."""
    header: str = ""
    """Requests without it share one count."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Every rule has to let a request pass."""

    rules: tuple[RateRule, ...]
    exempt_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="exemptCIDRs")
    """Clients whose requests are not counted."""


class Compression(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Answers are encoded as the client likes best, of what it likes alike as stands first."""

    algorithms: tuple[str, ...]
    """Of `Zstd`, `Brotli` and `Gzip`."""
    content_types: tuple[str, ...] | None = None
    """Nothing: text, scripts, JSON, XML and the like."""
    min_bytes: int = 256
    """Shorter answers stay as they are, as far as their length is known."""


class TrafficPolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a TrafficPolicy."""

    target_refs: tuple[PolicyTargetRef, ...] = ()
    rate_limit: RateLimit | None = None
    max_request_bytes: int | None = None
    compression: Compression | None = None
    exempt: tuple[str, ...] | None = None
    """Of `LIMITS`: what policies of the Gateway or the whole route say of these does not hold here."""


class TrafficPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How many, how large, how encoded."""

    metadata: RouteMeta
    spec: TrafficPolicySpec = TrafficPolicySpec()
    problem: str = ""
    """Why it cannot be understood; then nobody passes where it is attached."""
