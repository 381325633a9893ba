"""What a route says in vain, because an older one has said the same of the same host. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from fairlead.model.gateway.routes import RouteKey
from fairlead.model.gateway.rules import match_of
from fairlead.plan.gateway.route import GatewayRoute


class Shadows:
    """The matches of each host that never decide."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, str], dict[RouteKey, tuple[str, ...]]] = {}
        """(table, domain) → route → what it says in vain."""

    def __repr__(self) -> str:
        return f"<Shadows hosts={len(self._notes)}>"

    def notes(self, place: tuple[str, str], route: RouteKey) -> tuple[str, ...]:
        """Return what a route says in vain of a host (table, domain), as sentences."""
        return self._notes.get(place, {}).get(route, ())

    def put(self, place: tuple[str, str], rules: Iterable[tuple[Hashable, RouteKey, GatewayRoute]]) -> set[RouteKey]:
        """Take the rules of a host, the one that is tried first before the others; return the routes whose notes changed.

        With each goes how exactly its route names the host: a less exact name is nobody's mistake.
        """
        first: dict[Hashable, tuple[RouteKey, GatewayRoute]] = {}
        notes: dict[RouteKey, dict[str, None]] = {}
        for exact, key, rule in rules:
            winner, decider = first.setdefault((exact, match_of(rule)), (key, rule))
            if winner != key:
                number = rule.origin.rpartition("/")[2]
                note = (
                    f"rule {number} never decides for host {place[1]}: {decider.origin} is older and matches the same"
                )
                notes.setdefault(key, {})[note] = None
        told = {key: tuple(found) for key, found in notes.items()}
        before = self._notes.pop(place, {})
        if told:
            self._notes[place] = told
        return {key for key in told.keys() | before.keys() if told.get(key) != before.get(key)}
