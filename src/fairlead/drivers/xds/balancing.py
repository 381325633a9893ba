"""How a cluster shares requests out, as Envoy's load balancing policy. Pure. Source: envoy.extensions.load_balancing_policies."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.extensions.load_balancing_policies.common.v3 import common_pb2
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2
from envoy.extensions.load_balancing_policies.maglev.v3 import maglev_pb2
from envoy.extensions.load_balancing_policies.random.v3 import random_pb2
from envoy.extensions.load_balancing_policies.ring_hash.v3 import ring_hash_pb2
from envoy.extensions.load_balancing_policies.round_robin.v3 import round_robin_pb2
from envoy.type.v3 import percent_pb2

from fairlead.drivers.xds.pack import milliseconds, packed
from fairlead.plan.gateway.traffic import Balancing, HashBy

_NAMES = {
    "least-request": "envoy.load_balancing_policies.least_request",
    "round-robin": "envoy.load_balancing_policies.round_robin",
    "random": "envoy.load_balancing_policies.random",
    "maglev": "envoy.load_balancing_policies.maglev",
    "ring-hash": "envoy.load_balancing_policies.ring_hash",
}


def balancing(row: Balancing) -> Any:
    """Return the policy; all nodes' proxies give equal hashes the same endpoint."""
    return cluster_pb2.LoadBalancingPolicy(
        policies=[
            cluster_pb2.LoadBalancingPolicy.Policy(
                typed_extension_config=extension_pb2.TypedExtensionConfig(
                    name=_NAMES[row.kind], typed_config=packed(_policy(row))
                )
            )
        ]
    )


def _policy(row: Balancing) -> Any:
    match row.kind:
        case "maglev":
            return maglev_pb2.Maglev(consistent_hashing_lb_config=_hashing(row.hash))
        case "ring-hash":
            return ring_hash_pb2.RingHash(consistent_hashing_lb_config=_hashing(row.hash))
        case "random":
            return random_pb2.Random()
        case "round-robin":
            return round_robin_pb2.RoundRobin(slow_start_config=_slow_start(row))
        case _:
            return least_request_pb2.LeastRequest(slow_start_config=_slow_start(row))


def _slow_start(row: Balancing) -> Any | None:
    if not row.slow_start_ms:
        return None
    return common_pb2.SlowStartConfig(
        slow_start_window=milliseconds(row.slow_start_ms),
        min_weight_percent=percent_pb2.Percent(value=row.slow_start_percent),
    )


def _hashing(by: HashBy | None) -> Any:
    return common_pb2.ConsistentHashingLbConfig(hash_policy=[_hash(by)] if by is not None else [])


def _hash(by: HashBy) -> Any:
    policy = route_pb2.RouteAction.HashPolicy
    match by.source:
        case "header":
            return policy(header=policy.Header(header_name=by.name))
        case "query":
            return policy(query_parameter=policy.QueryParameter(name=by.name))
        case "cookie":
            ttl = milliseconds(by.ttl_ms) if by.ttl_ms is not None else None
            return policy(cookie=policy.Cookie(name=by.name, ttl=ttl, path=by.path if ttl is not None else ""))
        case _:
            return policy(connection_properties=policy.ConnectionProperties(source_ip=True))
