"""What requests for a host get: the rules of all routes that serve it, in the order in which they are tried. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from fairlead.model.gateway.guards import guarded
from fairlead.model.gateway.hosts import ANY, exactness
from fairlead.model.gateway.listeners import BoundGateway, BoundListener
from fairlead.model.gateway.policies import Policies
from fairlead.model.gateway.ranks import is_ranked, rank
from fairlead.model.gateway.routes import BoundRoute, RouteKey, hostnames_of, origin_of
from fairlead.model.gateway.rules import precedence
from fairlead.plan.gateway.route import GatewayRoute, Mirror, WeightedCluster
from fairlead.plan.tables import Origin

T = TypeVar("T", WeightedCluster, Mirror)


class Rule(NamedTuple):
    """A rule of a route at a host."""

    exact: tuple[int, int]
    """How exactly the route names the host."""
    route: RouteKey
    proxied: GatewayRoute


def in_order(
    policies: Policies, decider: BoundListener, gateway: BoundGateway, domain: str, serving: Collection[BoundRoute]
) -> tuple[list[Rule], set[Origin]]:
    """Return the rules of the routes that serve a host of a listener, the one that is tried first first, and the objects that cause them."""
    found: list[tuple[tuple[object, ...], Rule]] = []
    ranked = any(is_ranked(each.api.spec.rules or ()) for each in serving)
    origins: set[Origin] = set()
    for route in serving:
        origins.add(origin_of(route.key))
        names = _behind(route, gateway)
        exact = exactness(hostnames_of(route.api), domain)
        for rule, guard in guarded(policies, decider, route):
            origins |= {source for _, source in guard.sources}
            # sorted() keeps the order of a route's own rules.
            order = (_rank(route, rule, domain) if ranked else 0, *exact, *precedence(rule), *route.age)
            found.append((order, Rule(exact, route.key, guard.apply(_renamed(rule, names)))))
    found.sort(key=lambda each: each[0])
    return [rule for _, rule in found], origins


def _rank(route: BoundRoute, rule: GatewayRoute, domain: str) -> int:
    rules = route.api.spec.rules or ()
    return -rank(rules[int(rule.origin.rpartition("/")[2])], "" if domain == ANY else domain)


def _behind(route: BoundRoute, gateway: BoundGateway) -> dict[str, str]:
    """Return by which clusters a Gateway speaks to a route's backends, as far as they are not the common ones."""
    if gateway.client is None:
        return {}
    return {name: target.behind(gateway).name for name, target in route.targets.items()}


def _renamed(rule: GatewayRoute, names: Mapping[str, str]) -> GatewayRoute:
    def renamed(part: T) -> T:
        return msgspec.structs.replace(part, cluster=names.get(part.cluster, part.cluster))

    if not names:
        return rule
    return msgspec.structs.replace(
        rule, clusters=tuple(map(renamed, rule.clusters)), mirrors=tuple(map(renamed, rule.mirrors))
    )
