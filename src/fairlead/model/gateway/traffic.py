"""BackendTrafficPolicies as what the proxy does. Pure."""

from __future__ import annotations

import re

from fairlead.api.backendtraffic import (
    ActiveHealthCheck,
    BackendTrafficPolicy,
    CircuitBreaker,
    ConsistentHash,
    HealthCheck,
    HTTPHealthCheck,
    Keepalive,
    LoadBalancing,
    PassiveHealthCheck,
    RetryConstraint,
)
from fairlead.model.gateway import values
from fairlead.model.gateway.attachment import PolicyKind, Reading
from fairlead.model.gateway.listeners import Verdict
from fairlead.model.gateway.values import duration, number
from fairlead.plan.gateway import traffic as plan
from fairlead.plan.gateway.traffic import (
    ActiveCheck,
    Balancing,
    HashBy,
    Limits,
    PassiveCheck,
    RetryBudget,
    Traffic,
)
from fairlead.world.snapshot import Snapshot

_MOST = 1 << 20
_MOST_STATUSES = 16
_LEAST_PERIOD_MS = 10
_MOST_MS = (1 << 31) - 1
_MOST_KEEPALIVE_MS = 32_767_000
_LEAST_WINDOW_MS, _MOST_WINDOW_MS = 100, 3_600_000
"""Of retry budgets: the proxy counts in tenths of it."""
_COOKIE_PATH = re.compile(r"/[!#-:<-~]{0,255}")
_KINDS = {"LeastRequest": "least-request", "RoundRobin": "round-robin", "Random": "random"}
_ALGORITHMS = {"Maglev": "maglev", "RingHash": "ring-hash"}


def read(policy: BackendTrafficPolicy, _snapshot: Snapshot) -> Reading:
    """Return what a policy means as a `Traffic`; what is wrong with a part of it makes all of it invalid."""
    try:
        return Reading(_traffic(policy))
    except ValueError as error:
        return Reading(accepted=Verdict("Invalid", str(error)))


_FIELDS = {
    "balancing": "loadBalancing",
    "connect_ms": "connectTimeout",
    "keepalive": "tcpKeepalive",
    "limits": "circuitBreaker",
    "budget": "retryConstraint",
    "active": "healthCheck",
    "passive": "healthCheck",
    "proxy_protocol": "proxyProtocol",
}
"""Field of a `Traffic` → field of a spec."""


def unheld(value: Traffic, transport: str) -> frozenset[str]:
    """Return the fields that say nothing: about datagrams all of them, about connections what is about requests."""
    if transport == "UDP":
        default = Traffic()
        return frozenset(said for name, said in _FIELDS.items() if getattr(value, name) != getattr(default, name))
    hashed = value.balancing.hash
    found = {"retryConstraint"} if value.budget is not None else set()
    if hashed is not None and hashed.source != "address":
        found.add("loadBalancing.consistentHash")
    return frozenset(found)


KIND = PolicyKind(
    kind="BackendTrafficPolicy",
    table="backend_traffic_policies",
    targets=frozenset((("", "Service"),)),
    read=read,
    unheld=unheld,
)


def _traffic(policy: BackendTrafficPolicy) -> Traffic:
    spec = policy.spec
    default = Traffic()
    checks = spec.health_check or HealthCheck()
    return Traffic(
        balancing=_balancing(spec.load_balancing, "spec.loadBalancing") if spec.load_balancing else default.balancing,
        connect_ms=_at_least_one(spec.connect_timeout, "spec.connectTimeout")
        if spec.connect_timeout
        else default.connect_ms,
        keepalive=_keepalive(spec.tcp_keepalive, "spec.tcpKeepalive") if spec.tcp_keepalive else None,
        limits=_limits(spec.circuit_breaker, "spec.circuitBreaker") if spec.circuit_breaker else default.limits,
        budget=_budget(spec.retry_constraint, "spec.retryConstraint") if spec.retry_constraint else None,
        active=_active(checks.active, "spec.healthCheck.active") if checks.active else None,
        passive=_passive(checks.passive, "spec.healthCheck.passive") if checks.passive else None,
        proxy_protocol=_version(spec.proxy_protocol),
    )


def _keepalive(wanted: Keepalive, field: str) -> plan.Keepalive:
    return plan.Keepalive(
        idle_s=_seconds(wanted.idle_time, f"{field}.idleTime"),
        interval_s=_seconds(wanted.interval, f"{field}.interval"),
        probes=number(wanted.probes, 1, 127, f"{field}.probes"),
    )


def _limits(wanted: CircuitBreaker, field: str) -> Limits:
    def limit(value: int | None, name: str) -> int | None:
        return None if value is None else number(value, 0, _MOST, f"{field}.{name}")

    each = wanted.max_requests_per_connection
    return Limits(
        connections=limit(wanted.max_connections, "maxConnections"),
        pending=limit(wanted.max_pending_requests, "maxPendingRequests"),
        requests=limit(wanted.max_parallel_requests, "maxParallelRequests"),
        retries=limit(wanted.max_parallel_retries, "maxParallelRetries"),
        requests_per_connection=None if each is None else number(each, 1, _MOST, f"{field}.maxRequestsPerConnection"),
    )


def _budget(wanted: RetryConstraint, field: str) -> RetryBudget:
    interval = wanted.budget.interval
    return RetryBudget(
        percent=number(wanted.budget.percent, 0, 100, f"{field}.budget.percent"),
        interval_ms=0
        if interval is None
        else duration(interval, f"{field}.budget.interval", least_ms=_LEAST_WINDOW_MS, most_ms=_MOST_WINDOW_MS),
        least=number(wanted.min_parallel_retries, 0, _MOST, f"{field}.minParallelRetries"),
    )


def _active(wanted: ActiveHealthCheck, field: str) -> ActiveCheck:
    kind = wanted.type.lower()
    if wanted.type not in ("HTTP", "GRPC", "TCP"):
        raise ValueError(f"{field}.type: {wanted.type} is not supported")
    http = wanted.http if kind == "http" else HTTPHealthCheck(path="", expected_statuses=())
    if kind == "http":
        values.path(http.path.partition("?")[0], f"{field}.http.path")
        values.header_value(http.path, f"{field}.http.path")
    if http.hostname is not None:
        values.host(http.hostname, f"{field}.http.hostname")
    if not 1 <= len(http.expected_statuses) <= _MOST_STATUSES and kind == "http":
        raise ValueError(f"{field}.http.expectedStatuses: has 1 to {_MOST_STATUSES} statuses")
    values.header_value(wanted.grpc.service, f"{field}.grpc.service")
    for status in http.expected_statuses:
        number(status, 100, 599, f"{field}.http.expectedStatuses")
    return ActiveCheck(
        kind=kind,
        interval_ms=_period(wanted.interval, f"{field}.interval"),
        timeout_ms=_at_least_one(wanted.timeout, f"{field}.timeout"),
        healthy=number(wanted.healthy_threshold, 1, 100, f"{field}.healthyThreshold"),
        unhealthy=number(wanted.unhealthy_threshold, 1, 100, f"{field}.unhealthyThreshold"),
        path=http.path,
        host=http.hostname or "",
        statuses=tuple(sorted(set(http.expected_statuses))),
        service=wanted.grpc.service if kind == "grpc" else "",
    )


def _passive(wanted: PassiveHealthCheck, field: str) -> PassiveCheck:
    return PassiveCheck(
        errors=number(wanted.consecutive_errors, 0, _MOST, f"{field}.consecutiveErrors"),
        gateway_errors=number(wanted.consecutive_gateway_errors, 0, _MOST, f"{field}.consecutiveGatewayErrors"),
        unreachable=number(wanted.consecutive_connect_failures, 0, _MOST, f"{field}.consecutiveConnectFailures"),
        interval_ms=_period(wanted.interval, f"{field}.interval"),
        ejection_ms=_at_least_one(wanted.base_ejection_time, f"{field}.baseEjectionTime"),
        most_percent=number(wanted.max_ejection_percent, 0, 100, f"{field}.maxEjectionPercent"),
    )


def _version(wanted: str | None) -> str:
    if wanted not in (None, "V1", "V2"):
        raise ValueError(f"spec.proxyProtocol: {wanted} is not supported")
    return (wanted or "").lower()


def _balancing(wanted: LoadBalancing, field: str) -> Balancing:
    slow = wanted.slow_start
    slow_ms = duration(slow.window, f"{field}.slowStart.window") if slow is not None else 0
    if wanted.type == "ConsistentHash":
        if wanted.consistent_hash is None:
            raise ValueError(f"{field}.consistentHash: type ConsistentHash needs it")
        if slow is not None:
            raise ValueError(f"{field}.slowStart: an endpoint's share of hashes cannot grow; it goes with other types")
        return _hash(wanted.consistent_hash, f"{field}.consistentHash")
    if wanted.type not in _KINDS:
        raise ValueError(f"{field}.type: {wanted.type} is not supported")
    if slow is not None and wanted.type == "Random":
        raise ValueError(f"{field}.slowStart: goes with LeastRequest and RoundRobin")
    if slow is not None:
        number(slow.min_weight_percent, 1, 100, f"{field}.slowStart.minWeightPercent")
        return Balancing(kind=_KINDS[wanted.type], slow_start_ms=slow_ms, slow_start_percent=slow.min_weight_percent)
    return Balancing(kind=_KINDS[wanted.type])


def _hash(wanted: ConsistentHash, field: str) -> Balancing:
    if wanted.algorithm not in _ALGORITHMS:
        raise ValueError(f"{field}.algorithm: {wanted.algorithm} is not supported")
    match wanted:
        case ConsistentHash(key="SourceAddress"):
            by = HashBy(source="address")
        case ConsistentHash(key="Header", header=str(name)) if name:
            by = HashBy(source="header", name=values.token(name, f"{field}.header").lower())
        case ConsistentHash(key="QueryParameter", query_parameter=str(name)) if name:
            by = HashBy(source="query", name=values.header_value(name, f"{field}.queryParameter"))
        case ConsistentHash(key="Cookie") if wanted.cookie is not None and wanted.cookie.name:
            cookie = wanted.cookie
            ttl = duration(cookie.ttl, f"{field}.cookie.ttl") if cookie.ttl is not None else None
            name = values.token(cookie.name, f"{field}.cookie.name")
            by = HashBy(source="cookie", name=name, ttl_ms=ttl, path=_cookie_path(cookie.path, f"{field}.cookie.path"))
        case _:
            raise ValueError(f"{field}: key {wanted.key} needs the field that names it")
    return Balancing(kind=_ALGORITHMS[wanted.algorithm], hash=by)


def _period(text: str, field: str) -> int:
    """Return an interval that no proxy and no backend suffers from."""
    return duration(text, field, least_ms=_LEAST_PERIOD_MS, most_ms=_MOST_MS)


def _cookie_path(text: str, field: str) -> str:
    if not _COOKIE_PATH.fullmatch(text):
        raise ValueError(f"{field}: {text[:64]!r} is no path of a cookie")
    return text


def _at_least_one(text: str, field: str) -> int:
    return duration(text, field, least_ms=1, most_ms=_MOST_MS)


def _seconds(text: str, field: str) -> int:
    return duration(text, field, least_ms=1000, most_ms=_MOST_KEEPALIVE_MS) // 1000
