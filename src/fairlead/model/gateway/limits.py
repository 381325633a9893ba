"""TrafficPolicies as what requests have to pass and how answers are encoded. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.api.gateway import GROUP
from fairlead.api.trafficpolicy import LIMITS, UNITS, Compression, RateLimit, RateRule, TrafficPolicy
from fairlead.model.gateway import values
from fairlead.model.gateway.attachment import PolicyKind, Reading
from fairlead.model.gateway.listeners import Verdict
from fairlead.model.gateway.values import RuleError
from fairlead.plan.gateway import policy as rows
from fairlead.world.snapshot import Snapshot

_MOST_RULES = 8
_MOST = (1 << 32) - 1
_ALGORITHMS = {"Zstd": "zstd", "Brotli": "brotli", "Gzip": "gzip"}
_MOST_TYPES = 64


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy means."""

    checks: Mapping[str, Mapping[str, Any]] = {}
    """Field of the spec → fields of a `RequestPolicy`."""
    problems: Mapping[str, str] = {}
    exempt: frozenset[str] = frozenset()


def read(policy: TrafficPolicy, _snapshot: Snapshot) -> Reading:
    """Return what a policy means as `Limits`; what is wrong with a part of it makes all of it invalid."""
    spec = policy.spec
    unknown = sorted(set(spec.exempt or ()) - set(LIMITS))
    problem = policy.problem or (f"spec.exempt: {unknown[0][:64]!r} is none of {', '.join(LIMITS)}" if unknown else "")
    if problem:
        return Reading(accepted=Verdict("Invalid", problem))
    checks: dict[str, Mapping[str, Any]] = {}
    try:
        if spec.rate_limit is not None:
            checks["rateLimit"] = {"rates": _rates(spec.rate_limit, "spec.rateLimit")}
        if spec.max_request_bytes is not None:
            checks["maxRequestBytes"] = {
                "max_bytes": values.number(spec.max_request_bytes, 1, _MOST, "spec.maxRequestBytes")
            }
        if spec.compression is not None:
            checks["compression"] = {"compression": _compression(spec.compression, "spec.compression")}
    except RuleError as error:
        return Reading(accepted=Verdict("Invalid", str(error)))
    return Reading(Limits(checks=checks, exempt=frozenset(spec.exempt or ())))


KIND = PolicyKind(
    kind="TrafficPolicy",
    table="traffic_policies",
    targets=frozenset((GROUP, kind) for kind in ("Gateway", "HTTPRoute", "GRPCRoute")),
    read=read,
    unheld=lambda value, _transport: frozenset(value.checks),
    closes=True,
)


def _rates(wanted: RateLimit, field: str) -> tuple[rows.RateRule, ...]:
    if not 1 <= len(wanted.rules) <= _MOST_RULES:
        raise RuleError(f"{field}.rules: from 1 to {_MOST_RULES} rules are needed")
    exempt = values.prefixes(wanted.exempt_cidrs, f"{field}.exemptCIDRs")
    return tuple(_rate(each, exempt, f"{field}.rules[{at}]") for at, each in enumerate(wanted.rules))


def _rate(rule: RateRule, exempt: tuple[str, ...], field: str) -> rows.RateRule:
    if rule.unit not in UNITS:
        raise RuleError(f"{field}.unit: must be one of {', '.join(UNITS)}")
    if rule.by not in ("Route", "ClientAddress", "Header"):
        raise RuleError(f"{field}.by: must be Route, ClientAddress or Header")
    if (rule.by == "Header") != bool(rule.header):
        raise RuleError(f"{field}.header: goes with by: Header, which needs it")
    if rule.by == "Header":
        values.token(rule.header, f"{field}.header")
    requests = values.number(rule.requests, 1, _MOST, f"{field}.requests")
    burst = values.number(rule.requests if rule.burst is None else rule.burst, 1, _MOST, f"{field}.burst")
    return rows.RateRule(
        requests=requests,
        seconds=UNITS[rule.unit],
        burst=burst,
        by_client=rule.by == "ClientAddress",
        by_header=rule.header.lower(),
        exempt=exempt,
    )


def _compression(wanted: Compression, field: str) -> rows.Compression:
    if not wanted.algorithms or len(set(wanted.algorithms)) < len(wanted.algorithms):
        raise RuleError(f"{field}.algorithms: at least one is needed, and each once")
    unknown = next((each for each in wanted.algorithms if each not in _ALGORITHMS), None)
    if unknown is not None:
        raise RuleError(f"{field}.algorithms: {unknown[:64]!r} is none of {', '.join(_ALGORITHMS)}")
    types = wanted.content_types or ()
    if len(types) > _MOST_TYPES:
        raise RuleError(f"{field}.contentTypes: at most {_MOST_TYPES} types")
    return rows.Compression(
        algorithms=tuple(_ALGORITHMS[each] for each in wanted.algorithms),
        content_types=tuple(values.header_value(each, f"{field}.contentTypes[{at}]") for at, each in enumerate(types)),
        min_bytes=values.number(wanted.min_bytes, 30, _MOST, f"{field}.minBytes"),
    )
