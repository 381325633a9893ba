"""BackendTrafficPolicies as what the proxy does. Pure."""

from __future__ import annotations

from fairlead.api.backendtraffic import BackendTrafficPolicy, ConsistentHash, LoadBalancing
from fairlead.model.gateway.attachment import PolicyKind, Reading
from fairlead.model.gateway.durations import milliseconds
from fairlead.model.gateway.listeners import Verdict
from fairlead.plan.gateway.traffic import Balancing, HashBy, Traffic
from fairlead.world.snapshot import Snapshot

_KINDS = {"LeastRequest": "least-request", "RoundRobin": "round-robin", "Random": "random"}
_ALGORITHMS = {"Maglev": "maglev", "RingHash": "ring-hash"}


def read(policy: BackendTrafficPolicy, _snapshot: Snapshot) -> Reading:
    """Return what a policy means as a `Traffic`; what is wrong with a part of it makes all of it invalid."""
    try:
        return Reading(_traffic(policy))
    except ValueError as error:
        return Reading(accepted=Verdict("Invalid", str(error)))


KIND = PolicyKind(
    kind="BackendTrafficPolicy", table="backend_traffic_policies", targets=frozenset((("", "Service"),)), read=read
)


def _traffic(policy: BackendTrafficPolicy) -> Traffic:
    spec = policy.spec
    default = Traffic()
    return Traffic(
        balancing=_balancing(spec.load_balancing, "spec.loadBalancing") if spec.load_balancing else default.balancing,
        connect_ms=_duration(spec.connect_timeout, "spec.connectTimeout", default.connect_ms),
    )


def _balancing(wanted: LoadBalancing, field: str) -> Balancing:
    slow = wanted.slow_start
    slow_ms = _duration(slow.window, f"{field}.slowStart.window", 0) if slow is not None else 0
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
        _within(slow.min_weight_percent, 1, 100, f"{field}.slowStart.minWeightPercent")
        return Balancing(kind=_KINDS[wanted.type], slow_start_ms=slow_ms, slow_start_percent=slow.min_weight_percent)
    return Balancing(kind=_KINDS[wanted.type])


def _hash(wanted: ConsistentHash, field: str) -> Balancing:
    if wanted.algorithm not in _ALGORITHMS:
        raise ValueError(f"{field}.algorithm: {wanted.algorithm} is not supported")
    match wanted:
        case ConsistentHash(key="SourceAddress"):
            by = HashBy(source="address")
        case ConsistentHash(key="Header", header=str(name)) if name:
            by = HashBy(source="header", name=name.lower())
        case ConsistentHash(key="QueryParameter", query_parameter=str(name)) if name:
            by = HashBy(source="query", name=name)
        case ConsistentHash(key="Cookie") if wanted.cookie is not None and wanted.cookie.name:
            cookie = wanted.cookie
            ttl = _duration(cookie.ttl, f"{field}.cookie.ttl", 0) if cookie.ttl is not None else None
            by = HashBy(source="cookie", name=cookie.name, ttl_ms=ttl, path=cookie.path)
        case _:
            raise ValueError(f"{field}: key {wanted.key} needs the field that names it")
    return Balancing(kind=_ALGORITHMS[wanted.algorithm], hash=by)


def _duration(text: str | None, field: str, default: int) -> int:
    if text is None:
        return default
    try:
        return milliseconds(text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def _within(value: int, least: int, most: int, field: str) -> int:
    if not least <= value <= most:
        raise ValueError(f"{field}: must be from {least} to {most}")
    return value
