"""The routes that are bound, and all that depends on them: hosts, clusters, listeners, Services and extensions. Pure.

Each entry knows its routes, so that a changed route, Service or extension costs itself and what it touches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from fairlead.api.service import Service
from fairlead.model.gateway.backends import Target
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, ListenerKey
from fairlead.model.gateway.routes import BoundRoute, RouteKey
from fairlead.world.events import ObjectKey

K = TypeVar("K")
V = TypeVar("V")

Place = tuple[str, str]
"""A table and a host in it."""


class RouteIndex:
    """Bound routes at some Gateways."""

    def __init__(self, gateways: Mapping[ObjectKey, BoundGateway]) -> None:
        self._gateways = gateways
        self.bound: dict[RouteKey, BoundRoute] = {}
        self.troubled: set[RouteKey] = set()
        """Routes of which a parent says that something is wrong."""
        self.attached: Counter[ListenerKey] = Counter()
        self.needed: dict[str, tuple[Target, set[RouteKey]]] = {}
        """Cluster → what it is and the routes that need it."""
        self.clusters: dict[ObjectKey, set[str]] = {}
        """Service → its clusters among those."""
        self.asked: dict[ObjectKey, set[RouteKey]] = {}
        """Service → the routes that asked for it, whether or not it is there."""
        self.services: dict[ObjectKey, Service | None] = {}
        """What these Services were when the routes were bound."""
        self.extended: dict[ObjectKey, set[RouteKey]] = {}
        """RouteExtension → the routes that name it."""
        self._in_host: dict[Place, dict[RouteKey, tuple[BoundRoute, tuple[BoundListener, ...]]]] = {}
        """Host → the routes that serve it, and each one's listeners of that host."""

    def __repr__(self) -> str:
        return f"<RouteIndex routes={len(self.bound)} clusters={len(self.needed)}>"

    def at(self, listener: BoundListener, domain: str) -> list[BoundRoute]:
        """Return the routes that serve a host of a listener. Costs time proportional to those that serve the host at any of its table.

        A host that a more exact listener holds is that listener's alone, whoever else names it.
        """
        serving = self._in_host.get((listener.table, domain), {}).values()
        return [route for route, listeners in serving if any(each is listener for each in listeners)]

    def remove(self, key: RouteKey, hosts: set[Place], clusters: set[str]) -> BoundRoute | None:
        """Forget a route and return it; note the hosts and clusters that this changes."""
        old = self.bound.pop(key, None)
        self.troubled.discard(key)
        if old is None:
            return None
        self.attached.subtract(_listeners(old))
        for place in places(old):
            del self._in_host[place][key]
            hosts.add(place)
        for name in self._targets(old):
            target, users = self.needed[name]
            users.discard(key)
            if not users:
                del self.needed[name]
                discard(self.clusters, target.service, name)
            clusters.add(name)
        for extension in old.extended:
            discard(self.extended, extension, key)
        for service in old.asked:
            discard(self.asked, service, key)
            if service not in self.asked:
                del self.services[service]
        return old

    def add(
        self, new: BoundRoute, services: Mapping[ObjectKey, Service], hosts: set[Place], clusters: set[str]
    ) -> None:
        """Remember a route; note the hosts and clusters that this changes."""
        key = new.key
        self.bound[key] = new
        if any(each.accepted.problem or each.resolved.problem for each in new.parents):
            self.troubled.add(key)
        self.attached.update(_listeners(new))
        for place, listeners in _listeners_at(new).items():
            self._in_host.setdefault(place, {})[key] = new, tuple(listeners)
            hosts.add(place)
        for name, target in self._targets(new).items():
            users = self.needed[name][1] if name in self.needed else set()
            users.add(key)
            # When what a policy says of a Service changes, all its routes are bound anew: the last one knows what holds.
            self.needed[name] = (target, users)
            self.clusters.setdefault(target.service, set()).add(name)
            clusters.add(name)
        for extension in new.extended:
            self.extended.setdefault(extension, set()).add(key)
        for service in new.asked:
            self.asked.setdefault(service, set()).add(key)
            self.services[service] = services.get(service)

    def of_gateways(self, gateways: Iterable[ObjectKey]) -> set[RouteKey]:
        """Return the routes that some Gateways have taken. Costs a look at every route."""
        wanted = set(gateways)
        return {
            key for key, route in self.bound.items() if any(each.listener.gateway in wanted for each in route.attached)
        }

    def _targets(self, route: BoundRoute) -> dict[str, Target]:
        """Return the clusters of a route by name: its Gateways may each be known to a backend by a certificate of their own."""
        gateways = {each.listener.gateway for each in route.attached}
        found = {} if not gateways else dict(route.targets)
        # What is asked about requests, in place of being sent them, hears from all Gateways in one way.
        for target in route.targets.values():
            found |= {each.name: each for each in (target.behind(self._gateways[key]) for key in gateways)}
        return found


def places(route: BoundRoute) -> Iterator[Place]:
    """Yield the hosts that a route serves, each once."""
    yield from _listeners_at(route)


def _listeners_at(route: BoundRoute) -> dict[Place, list[BoundListener]]:
    found: dict[Place, list[BoundListener]] = {}
    for each in route.attached:
        for host in each.hosts:
            found.setdefault((each.listener.table, host), []).append(each.listener)
    return found


def _listeners(route: BoundRoute) -> set[ListenerKey]:
    return {each.listener.key for each in route.attached}


def discard(index: dict[K, set[V]], at: K, value: V) -> None:
    """Take a value from those at a key; a key without values goes."""
    index[at].discard(value)
    if not index[at]:
        del index[at]
