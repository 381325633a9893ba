"""Connections and datagrams that are handed on as they are: which route gets them, and whose are refused. Pure but for what it remembers.

A server name of a chain is decided apart from the others; what its policies refuse is counted for the chain as a whole, as Envoy keeps a tree of
prefixes for each name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from fairlead.model.gateway.admission import crowd
from fairlead.model.gateway.hosts import ANY
from fairlead.model.gateway.index import Place
from fairlead.model.gateway.listeners import BoundListener
from fairlead.model.gateway.routes import BoundRoute, RouteKey, origin_of
from fairlead.world.events import ObjectKey


class HandOffs:
    """What the chains of a node hand on."""

    def __init__(self) -> None:
        self._refused: dict[str, dict[str, tuple[str, ...]]] = {}
        """Chain → the server names for which connections are handed on → prefixes of clients that are refused."""
        self._prefixes: Counter[str] = Counter()
        """Chain → how many prefixes its server names refuse, together."""
        self._changed: set[ObjectKey] = set()
        """Gateways that have more or fewer server names than their rows say."""
        self._wanted: dict[Place, tuple[RouteKey, ...]] = {}
        """What several routes want → these routes: the first gets it."""

    def __repr__(self) -> str:
        return f"<HandOffs chains={len(self._refused)}>"

    def refused(self, chain: str) -> Mapping[str, tuple[str, ...]]:
        """Return the server names for which a chain hands connections on → prefixes of clients that are refused."""
        return self._refused.get(chain, {})

    def crowded(self, listener: BoundListener) -> str:
        """Return why a listener's server names refuse nobody more, empty when they do not refuse too many."""
        return crowd(listener.api.name, self._prefixes[listener.chain])

    def take_changed(self) -> frozenset[ObjectKey]:
        """Return the Gateways whose server names, or whom these refuse, changed since the last call."""
        taken, self._changed = frozenset(self._changed), set()
        return taken

    def rivals(self, place: Place, routes: Iterable[BoundRoute]) -> tuple[list[BoundRoute], set[RouteKey]]:
        """Return the routes that want the same connections, the one that gets them first, and those whose notes this changes."""
        ordered = sorted(routes, key=lambda each: each.age)
        told = set(self._wanted.pop(place, ()))
        if len(ordered) > 1:
            self._wanted[place] = tuple(each.key for each in ordered)
            told |= set(self._wanted[place])
        return ordered, told

    def notes(self, place: Place, route: RouteKey) -> list[str]:
        """Return why a route gets nothing of a place, as sentences."""
        wanted = self._wanted.get(place, ())
        return [_overruled(wanted[0], place[1])] if route in wanted[1:] else []

    def overruled(self) -> Iterator[tuple[RouteKey, str]]:
        """Yield each route that gets nothing of a place, and why. Costs time proportional to these."""
        for (_, domain), (first, *others) in self._wanted.items():
            yield from ((each, _overruled(first, domain)) for each in others)

    def put(self, decider: BoundListener, domain: str, refused: tuple[str, ...] | None) -> bool:
        """Take whose connections for a server name are refused, None when none are handed on; return whether others are concerned.

        They are when the names of the listener refuse too many, or not any more.
        """
        names = self._refused.setdefault(decider.chain, {})
        if refused == names.get(domain):
            return False
        crowded = bool(self.crowded(decider))
        self._prefixes[decider.chain] += len(refused or ()) - len(names.get(domain, ()))
        if refused is not None:
            names[domain] = refused
        else:
            del names[domain]
        self._changed.add(decider.gateway)
        return bool(self.crowded(decider)) != crowded


def _overruled(first: RouteKey, domain: str) -> str:
    host = "" if domain == ANY else f" for {domain}"
    return f"{origin_of(first)} is older and gets the connections{host}"
