"""Limits of rates, which each proxy counts on its own, as Envoy's filter. Pure. Source: envoy.extensions.filters.http.local_ratelimit.v3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.type.v3 import percent_pb2, token_bucket_pb2

from fairlead.drivers.xds.pack import milliseconds, number
from fairlead.drivers.xds.unbound import unless_from
from fairlead.plan.gateway.policy import RateRule

_MOST_COUNTS = 10_000
"""Of clients or values, for each rule: the one not seen for longest is forgotten first."""
_IPV6_CLIENT = 64
"""Length of the prefix that is one client's: everybody has that many addresses."""
_Action = route_pb2.RateLimit.Action
_Bucket = ratelimit_pb2.LocalRateLimitDescriptor


def rates(rules: tuple[RateRule, ...]) -> Any:
    """Return the filter; a request has to find a token for each rule."""
    always = base_pb2.RuntimeFractionalPercent(default_value=percent_pb2.FractionalPercent(numerator=100))
    wanted = [each for at, rule in enumerate(rules) for each in _buckets(str(at), rule)]
    return local_rate_limit_pb2.LocalRateLimit(
        stat_prefix="gateway_rates",
        filter_enabled=always,
        filter_enforced=always,
        rate_limits=[route_pb2.RateLimit(actions=actions) for actions, _ in wanted],
        descriptors=[bucket for _, bucket in wanted],
        max_dynamic_descriptors=number(_MOST_COUNTS),
        enable_x_ratelimit_headers=_DRAFT,
        rate_limited_as_resource_exhausted=True,
    )


_DRAFT = (
    local_rate_limit_pb2.LocalRateLimit.DESCRIPTOR.fields_by_name["enable_x_ratelimit_headers"]
    .enum_type.values_by_name["DRAFT_VERSION_03"]
    .number
)


def _buckets(number_: str, rule: RateRule) -> Iterator[tuple[list[Any], Any]]:
    """Yield what a rule asks of a request, and the buckets of that."""
    which = [_Action(generic_key=_Action.GenericKey(descriptor_key="rule", descriptor_value=number_))]
    own = [("rule", number_)]
    if rule.exempt:
        # Whoever is exempt asks for no bucket.
        which.append(unless_from(_Action(), "counted", rule.exempt))
        own.append(("counted", "yes"))
    bucket = token_bucket_pb2.TokenBucket(
        max_tokens=rule.burst, tokens_per_fill=number(rule.requests), fill_interval=milliseconds(rule.seconds * 1000)
    )
    if rule.by_client:
        client = _Action.MaskedRemoteAddress(v4_prefix_mask_len=number(32), v6_prefix_mask_len=number(_IPV6_CLIENT))
        yield [*which, _Action(masked_remote_address=client)], _bucket(bucket, *own, ("masked_remote_address", ""))
    elif rule.by_header:
        value = _Action.RequestHeaders(header_name=rule.by_header, descriptor_key="value")
        yield [*which, _Action(request_headers=value)], _bucket(bucket, *own, ("value", ""))
        # Leaving the header out must not be a way around the limit.
        absent = route_pb2.HeaderMatcher(name=rule.by_header, present_match=True, invert_match=True)
        none = _Action.HeaderValueMatch(descriptor_key="absent", descriptor_value="yes", headers=[absent])
        yield [*which, _Action(header_value_match=none)], _bucket(bucket, *own, ("absent", "yes"))
    else:
        yield which, _bucket(bucket, *own)


def _bucket(bucket: Any, *entries: tuple[str, str]) -> Any:
    """Return the bucket of a descriptor; an entry without a value stands for one bucket for each value."""
    found = [ratelimit_pb2.RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries]
    return _Bucket(entries=found, token_bucket=bucket)
