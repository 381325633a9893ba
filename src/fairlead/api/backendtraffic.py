"""fairlead.dev/v1alpha1 BackendTrafficPolicy: how proxies share, limit and watch what they send to Services.

Words that the Gateway API's experimental XBackendTrafficPolicy has are used as there. Durations are those of GEP-2257.
"""

from __future__ import annotations

import msgspec

from fairlead.api.gateway import RouteMeta
from fairlead.api.policytarget import PolicyTargetRef


class HashCookie(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A cookie by which requests are told apart; with `ttl` clients without one are given it."""

    name: str
    ttl: str | None = None
    path: str = "/"


class ConsistentHash(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Which requests go to one endpoint: those that are alike in what `key` names."""

    key: str
    """`SourceAddress`, `Header`, `Cookie` or `QueryParameter`."""
    algorithm: str = "Maglev"
    """`Maglev` or `RingHash`."""
    header: str | None = None
    cookie: HashCookie | None = None
    query_parameter: str | None = None


class SlowStart(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A new endpoint gets its share little by little."""

    window: str
    min_weight_percent: int = 10


class LoadBalancing(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How requests are shared out."""

    type: str = "LeastRequest"
    """`LeastRequest`, `RoundRobin`, `Random` or `ConsistentHash`."""
    consistent_hash: ConsistentHash | None = None
    slow_start: SlowStart | None = None


class BackendTrafficPolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a BackendTrafficPolicy."""

    target_refs: tuple[PolicyTargetRef, ...] = ()
    load_balancing: LoadBalancing | None = None
    connect_timeout: str | None = None


class BackendTrafficPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What holds for traffic to Services or ports of them."""

    metadata: RouteMeta
    spec: BackendTrafficPolicySpec
