"""What keeps a cluster's endpoints from harm, as Envoy's: limits, retry budgets, health checks. Pure.

Source: envoy.config.cluster.v3 CircuitBreakers and OutlierDetection, envoy.config.core.v3 HealthCheck.
"""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import circuit_breaker_pb2, outlier_detection_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.type.v3 import http_pb2, percent_pb2, range_pb2

from fairlead.drivers.xds.pack import milliseconds, number
from fairlead.drivers.xds.unbound import budget_interval
from fairlead.plan.gateway.traffic import ActiveCheck, PassiveCheck, RetryBudget, Traffic

_MOST = 1 << 20
"""Of connections, requests and retries of one cluster: limits are the user's business, not a default of 1024, or of 3 for retries."""


def breakers(traffic: Traffic) -> Any:
    """Return the limits of a cluster."""

    def limit(value: int | None) -> Any:
        return number(_MOST if value is None else value)

    row = traffic.limits
    limits = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=limit(row.connections),
        max_pending_requests=limit(row.pending),
        max_requests=limit(row.requests),
        max_retries=limit(row.retries),
    )
    if traffic.budget is not None:
        limits.retry_budget.CopyFrom(_budget(traffic.budget))
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[limits])


def _budget(row: RetryBudget) -> Any:
    message = circuit_breaker_pb2.CircuitBreakers.Thresholds.RetryBudget(
        budget_percent=percent_pb2.Percent(value=row.percent), min_retry_concurrency=number(row.least)
    )
    if row.interval_ms:
        budget_interval(message, milliseconds(row.interval_ms))
    return message


def active(row: ActiveCheck, *, http2: bool) -> Any:
    """Return a health check; an endpoint that was never asked is not used before its first good answer."""
    check = health_check_pb2.HealthCheck
    message = check(
        interval=milliseconds(row.interval_ms),
        # Envoy asks clusters without traffic once a minute, else.
        no_traffic_interval=milliseconds(row.interval_ms),
        timeout=milliseconds(row.timeout_ms),
        healthy_threshold=number(row.healthy),
        unhealthy_threshold=number(row.unhealthy),
    )
    match row.kind:
        case "http":
            codecs = http_pb2.CodecClientType
            message.http_health_check.CopyFrom(
                check.HttpHealthCheck(
                    path=row.path,
                    host=row.host,
                    expected_statuses=[range_pb2.Int64Range(start=each, end=each + 1) for each in row.statuses],
                    codec_client_type=codecs.HTTP2 if http2 else codecs.HTTP1,
                )
            )
        case "grpc":
            message.grpc_health_check.CopyFrom(check.GrpcHealthCheck(service_name=row.service))
        case _:
            message.tcp_health_check.CopyFrom(check.TcpHealthCheck())
    return message


def passive(row: PassiveCheck) -> Any:
    """Return when endpoints are left alone; what is not named here does not count, whatever Envoy's defaults."""

    def enforced(value: int) -> Any:
        return number(100 if value else 0)

    def threshold(value: int) -> Any:
        return number(value or 1)

    return outlier_detection_pb2.OutlierDetection(
        consecutive_5xx=threshold(row.errors),
        enforcing_consecutive_5xx=enforced(row.errors),
        consecutive_gateway_failure=threshold(row.gateway_errors),
        enforcing_consecutive_gateway_failure=enforced(row.gateway_errors),
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=threshold(row.unreachable),
        enforcing_consecutive_local_origin_failure=enforced(row.unreachable),
        enforcing_success_rate=number(0),
        enforcing_local_origin_success_rate=number(0),
        interval=milliseconds(row.interval_ms),
        base_ejection_time=milliseconds(row.ejection_ms),
        max_ejection_percent=number(row.most_percent),
    )
