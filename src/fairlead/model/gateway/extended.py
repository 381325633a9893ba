"""What Ingresses ask of routes that HTTPRoute has no word for, as HTTPRoute's own types and a little more."""

from __future__ import annotations

from fairlead.api.httproute import HTTPBackendRef, HTTPRule, MirrorFilter, PathModifier, RouteRetry, RouteTimeouts
from fairlead.plan.gateway.identity import ClientIdentity


class NamedPortRef(HTTPBackendRef, frozen=True, kw_only=True, gc=False):
    """A reference of an Ingress, which may name the port and say how it is spoken to."""

    port_name: str = ""
    protocol: str = ""
    """Instead of what the Service's `appProtocol` says."""
    encrypted: bool = False
    """Whether a BackendTLSPolicy has to say how it is spoken to."""


class KnownClientRule(HTTPRule, frozen=True, kw_only=True, gc=False):
    """A rule for clients that show certificates."""

    client: ClientIdentity | None = None
    """What becomes of them beyond that; None: nothing."""


class HostedMirror(MirrorFilter, frozen=True, kw_only=True, gc=False):
    """A copy of requests that is sent to a host of its own."""

    host: str


class PatternModifier(PathModifier, frozen=True, kw_only=True, rename="camel", gc=False):
    """A new path in place of what a pattern of RE2's matches; `type` is `ReplacePattern`."""

    pattern: str
    substitution: str
    """With `\\1` for what the first group matched."""


class StreamTimeouts(RouteTimeouts, frozen=True, kw_only=True, rename="camel", gc=False):
    """Timeouts, and how long a request may be silent in both directions."""

    idle: str | None = None


class UnsentOrRepeatable(RouteRetry, frozen=True, kw_only=True, gc=False):
    """Retries of requests alone that may be sent twice (RFC 9110, idempotent methods)."""


class RankedRule(HTTPRule, frozen=True, kw_only=True, rename="camel", gc=False):
    """A rule that says itself how early it is tried among those of its host."""

    priority: int
    """The highest goes first."""
