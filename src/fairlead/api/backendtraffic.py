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


class Budget(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Retries as a part of the requests."""

    percent: int = 20
    interval: str | None = None
    """Of the requests that began in the last while; nothing: of those that are running."""


class RetryConstraint(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How many requests may be retries at a time (GEP-3388).

    Of XBackendTrafficPolicy `minRetryRate` is not here: Envoy counts retries that run at once, not those that began in a while.
    """

    budget: Budget = Budget()
    min_parallel_retries: int = 3
    """So many at once are allowed whatever the budget."""


class CircuitBreaker(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What one proxy has at once of a backend at most."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_parallel_requests: int | None = None
    max_parallel_retries: int | None = None
    max_requests_per_connection: int | None = None


class HTTPHealthCheck(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A GET, and which answers are good."""

    path: str = "/"
    hostname: str | None = None
    expected_statuses: tuple[int, ...] = (200,)


class GRPCHealthCheck(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A call of grpc.health.v1.Health/Check."""

    service: str = ""


class ActiveHealthCheck(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What every proxy asks every endpoint."""

    type: str
    """`HTTP`, `GRPC` or `TCP`."""
    interval: str = "5s"
    timeout: str = "1s"
    healthy_threshold: int = 1
    unhealthy_threshold: int = 3
    http: HTTPHealthCheck = HTTPHealthCheck()
    grpc: GRPCHealthCheck = GRPCHealthCheck()


class PassiveHealthCheck(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Failures in a row after which a proxy leaves an endpoint alone; 0: they do not count."""

    consecutive_errors: int = 5
    consecutive_gateway_errors: int = 0
    consecutive_connect_failures: int = 5
    interval: str = "1s"
    base_ejection_time: str = "30s"
    max_ejection_percent: int = 50


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How endpoints that fail are found, beside what Kubernetes says of them."""

    active: ActiveHealthCheck | None = None
    passive: PassiveHealthCheck | None = None


class Keepalive(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """TCP keepalive of connections to the backend."""

    idle_time: str = "60s"
    interval: str = "10s"
    probes: int = 3


class BackendTrafficPolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a BackendTrafficPolicy."""

    target_refs: tuple[PolicyTargetRef, ...] = ()
    load_balancing: LoadBalancing | None = None
    retry_constraint: RetryConstraint | None = None
    circuit_breaker: CircuitBreaker | None = None
    health_check: HealthCheck | None = None
    connect_timeout: str | None = None
    tcp_keepalive: Keepalive | None = None
    proxy_protocol: str | None = None
    """`V1` or `V2`: connections begin with the client's address."""


class BackendTrafficPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What holds for traffic to Services or ports of them."""

    metadata: RouteMeta
    spec: BackendTrafficPolicySpec
