"""What the requests of a route have to pass, of all policies that say something about it. Pure.

Each check is decided by the most exact policy that names it: the one for the rule, then for the route, for the listener, for the Gateway. A
check that cannot be had closes the route: whoever asks is answered with 500.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from fairlead.api.decode import reference
from fairlead.model.gateway.attachment import Reading
from fairlead.model.gateway.listeners import BoundListener
from fairlead.model.gateway.policies import Policies, gateway_place, route_place
from fairlead.model.gateway.routes import BoundRoute, RouteKey
from fairlead.plan.gateway.policy import RequestPolicy
from fairlead.plan.gateway.route import GatewayRoute

KINDS = ("SecurityPolicy", "TrafficPolicy")
"""Kinds of policies about requests."""
PLACES = frozenset(("Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "Ingress"))
"""Kinds of what they are attached to."""


class Level(NamedTuple):
    """A policy that may decide, beside those that are less exact."""

    name: str
    reading: Reading
    exact: bool
    """Whether it is attached to the route or the listener, not to the whole Gateway."""


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule's requests have to pass at a listener."""

    policy: RequestPolicy | None = None
    sources: tuple[tuple[str, str], ...] = ()
    """Check → the policy that decides it, by name."""
    problem: str = ""
    """Why nobody passes."""

    def apply(self, route: GatewayRoute) -> GatewayRoute:
        """Return a route that wants this of its requests."""
        if self.problem:
            return route.closed
        policy = self.policy
        if route.policy is not None:
            # What the route itself says goes before every policy.
            policy = msgspec.structs.replace(policy or RequestPolicy(), external=route.policy.external)
        if policy is not None and route.redirect is not None:
            # Nothing that needs protection is behind it, and a password must not be asked for before the way is encrypted.
            policy = RequestPolicy(addresses=policy.addresses, rates=policy.rates)
        return route if policy is None or policy == RequestPolicy() else msgspec.structs.replace(route, policy=policy)


_OPEN = Guard()


def guard(policies: Policies, listener: BoundListener, route: RouteKey, rule: str) -> Guard:
    """Return what requests for a rule, by its name, have to pass at a listener."""
    fields: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problem = ""
    for kind in KINDS:
        exempt: frozenset[str] = frozenset()
        for name, reading, _ in levels(policies, kind, listener, route, rule):
            if reading.value is None:
                problem = problem or f"{name} is not valid: {reading.accepted.problem}"
                continue
            for check in (*reading.value.checks, *reading.value.problems):
                if check in sources or check in exempt:
                    continue
                sources[check] = name
                if check in reading.value.problems:
                    problem = problem or f"{name}: {reading.value.problems[check]}"
                else:
                    fields |= reading.value.checks[check]
            exempt |= reading.value.exempt
    policy = RequestPolicy(**fields)
    looks = policy.access is not None and any(each.who.claims for each in policy.access.rules)
    if not problem and looks and sources.get("jwt") != sources["authorization"]:
        problem = f"{sources['authorization']}: authorization looks at tokens that its own jwt does not verify here"
    return Guard(policy=policy if fields else None, sources=tuple(sorted(sources.items())), problem=problem)


def rule_names(route: BoundRoute) -> tuple[str, ...]:
    """Return the names of a route's rules, empty for those without."""
    return tuple(each.name or "" for each in route.api.spec.rules or ())


def guarded(policies: Policies, listener: BoundListener, route: BoundRoute) -> Iterator[tuple[GatewayRoute, Guard]]:
    """Yield each of a route's rules with what its requests have to pass at a listener."""
    if not any(policies.of(kind).policies() for kind in KINDS):
        yield from ((each, _OPEN) for each in route.rules)
        return
    names = rule_names(route)
    known: dict[str, Guard] = {}
    for each in route.rules:
        name = names[int(each.origin.rpartition("/")[2])]
        if name not in known:
            known[name] = guard(policies, listener, route.key, name)
        yield each, known[name]


def words(policies: Policies, route: BoundRoute, listeners: Iterable[BoundListener]) -> tuple[str, str]:
    """Return (what decides about a route's requests at some listeners, why some are refused), each empty where there is nothing."""
    found: dict[tuple[str, str], None] = {}
    problem = ""
    for listener in listeners:
        for name in dict.fromkeys(rule_names(route)):
            each = guard(policies, listener, route.key, name)
            problem = problem or each.problem
            where = f" (rule {name})" if name else ""
            found |= dict.fromkeys((check, source + where) for check, source in each.sources)
    says = "; ".join(f"{check}: {source}" for check, source in found)
    return says, f"requests are answered with 500: {problem}" if problem else ""


def levels(policies: Policies, kind: str, listener: BoundListener, route: RouteKey, rule: str) -> Iterator[Level]:
    """Yield the policies of a kind that say something about a rule at a listener, the most exact one first."""
    of = policies.of(kind)
    # Sections of a Gateway are its own listeners: what a ListenerSet adds may have the same names.
    own = listener.api.name if listener.listener_set is None else ""
    for place, section in ((route_place(route), rule), (gateway_place(listener.gateway), own)):
        for at, key, reading in of.stack(place, section):
            yield Level(reference(kind, *key), reading, bool(at) or place.kind != "Gateway")
