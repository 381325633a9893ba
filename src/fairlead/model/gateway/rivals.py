"""Which routes lose a listener to one of another kind: HTTP and gRPC never share a host of a listener, the older route has it. Pure.

Source: GRPCRouteSpec.hostnames of the Gateway API v1. A route that has lost everywhere else loses nobody anything.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from fairlead.model.gateway.hosts import ANY, wider
from fairlead.model.gateway.index import discard
from fairlead.model.gateway.listeners import ListenerKey
from fairlead.model.gateway.routes import RouteKey

Age: TypeAlias = tuple[str, ...]
"""Orders routes; the least is the oldest."""


_OTHER = {"HTTPRoute": "GRPCRoute", "GRPCRoute": "HTTPRoute"}
"""Kinds of routes that contend for hosts."""


class Contender(msgspec.Struct, frozen=True):
    """A route at one listener."""

    name: RouteKey
    age: Age
    hosts: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Return the kind of the route."""
        return self.name[0]


class Rivals:
    """The routes of one listener. A change costs time proportional to the routes of the other kind that have hosts in common."""

    def __init__(self) -> None:
        self._routes: dict[RouteKey, Contender] = {}
        self._count: Counter[str] = Counter()
        """Kind → routes: where there are none of the other kind, as usual, nobody is looked for."""
        self._at: dict[tuple[str, str], set[RouteKey]] = {}
        """(Kind, host) → routes that name it."""
        self._below: dict[tuple[str, str], set[RouteKey]] = {}
        """(Kind, wildcard) → routes that name it or a host that it covers."""
        self._winner: dict[RouteKey, RouteKey | None] = {}
        """Route → which one it has lost the listener to; None: it has not lost."""

    def __repr__(self) -> str:
        return f"<Rivals routes={len(self._routes)}>"

    def winner(self, name: RouteKey) -> RouteKey | None:
        """Return the route that a route has lost the listener to, None when it has not lost."""
        return self._winner[name]

    def put(self, route: Contender) -> set[RouteKey]:
        """Set a route; return the others whose winner may be another one than before."""
        if self._routes.get(route.name) == route:
            return set()
        changed = self.remove(route.name)
        self._routes[route.name] = route
        self._count[route.kind] += 1
        for host in route.hosts:
            self._at.setdefault((route.kind, host), set()).add(route.name)
        for wildcard in _wildcards(route):
            self._below.setdefault((route.kind, wildcard), set()).add(route.name)
        return (changed | self._settle([route])) - {route.name}

    def remove(self, name: RouteKey) -> set[RouteKey]:
        """Forget a route; return the others whose winner may be another one than before."""
        route = self._routes.pop(name, None)
        if route is None:
            return set()
        self._count[route.kind] -= 1
        for host in route.hosts:
            discard(self._at, (route.kind, host), name)
        for wildcard in _wildcards(route):
            discard(self._below, (route.kind, wildcard), name)
        has_won = self._winner.pop(name) is None
        return self._settle(self._younger(route)) if has_won else set()

    def _settle(self, routes: Iterable[Contender]) -> set[RouteKey]:
        """Decide about routes, oldest first, and about those that follow from them; return those whose winner changed."""
        changed = set()
        waiting = {each.name: each for each in routes}
        order = [(_order(each), each.name) for each in waiting.values()]
        heapq.heapify(order)
        while order:
            route = waiting.pop(heapq.heappop(order)[1])
            older = [each for each in self._others(route) if _order(each) < _order(route)]
            first = min((each for each in older if self._winner[each.name] is None), key=_order, default=None)
            now = first.name if first is not None else None
            before = self._winner.get(route.name, route.name)
            self._winner[route.name] = now
            if now == before:
                continue
            changed.add(route.name)
            if now is None or before is None:
                for each in self._younger(route):
                    if each.name not in waiting:
                        waiting[each.name] = each
                        heapq.heappush(order, (_order(each), each.name))
        return changed

    def _younger(self, route: Contender) -> Iterator[Contender]:
        return (each for each in self._others(route) if _order(each) > _order(route))

    def _others(self, route: Contender) -> Iterator[Contender]:
        """Yield the routes of the other kind that have a host in common."""
        kind = _OTHER[route.kind]
        if not self._count[kind]:
            return
        names: set[RouteKey] = set()
        for host in route.hosts:
            names |= self._below.get((kind, host), set())
            for each in (host, *_covering(host)):
                names |= self._at.get((kind, each), set())
        yield from (self._routes[each] for each in names)


class Contests:
    """The rivals at all listeners."""

    def __init__(self) -> None:
        self._at: dict[ListenerKey, Rivals] = {}
        self._listeners: dict[RouteKey, tuple[ListenerKey, ...]] = {}
        self._disputed: set[RouteKey] = set()

    def __repr__(self) -> str:
        return f"<Contests listeners={len(self._at)} routes={len(self._listeners)}>"

    def put(
        self, route: RouteKey, age: Age, hosts: Mapping[ListenerKey, tuple[str, ...]]
    ) -> Mapping[ListenerKey, RouteKey]:
        """Say where a route wants which hosts; return the listeners that it has lost, and to which route each."""
        if route[0] not in _OTHER:
            return {}
        for listener in self._listeners.pop(route, ()):
            if listener not in hosts:
                self._disputed |= self._at[listener].remove(route)
        if hosts:
            self._listeners[route] = tuple(hosts)
        lost: dict[ListenerKey, RouteKey] = {}
        for listener, names in hosts.items():
            rivals = self._at.setdefault(listener, Rivals())
            self._disputed |= rivals.put(Contender(route, age, names))
            winner = rivals.winner(route)
            if winner is not None:
                lost[listener] = winner
        return lost

    def remove(self, route: RouteKey) -> None:
        """Forget a route."""
        self.put(route, (), {})

    def take_disputed(self) -> set[RouteKey]:
        """Return the routes that may have lost or won a listener because of others, since the last call."""
        taken, self._disputed = self._disputed, set()
        return taken


def _order(route: Contender) -> tuple[Age, RouteKey]:
    return route.age, route.name


def _wildcards(route: Contender) -> set[str]:
    return {wildcard for host in route.hosts for wildcard in _covering(host)}


def _covering(host: str) -> Iterator[str]:
    """Yield the wildcards that cover a host, itself included if it is one."""
    if host.startswith("*"):
        yield host
    yield from (each or ANY for each in wider(host))
