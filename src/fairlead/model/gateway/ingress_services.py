"""What Services say by annotations to the Ingresses that lead to them, kept up as Services change. Pure.

A changed Service costs the Ingresses that lead to it, when it says something else; others cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.api.ingress import Ingress
from fairlead.api.service import Service
from fairlead.world.events import ObjectKey

Said = Mapping[str, str]
"""Annotations of a Service."""


class SaidByServices:
    """The Services of some Ingresses, and what they say."""

    def __init__(self) -> None:
        self._services: Mapping[ObjectKey, Service] = {}
        self._users: dict[ObjectKey, set[ObjectKey]] = {}
        """Service → the Ingresses that lead to it."""
        self._said: dict[ObjectKey, Said] = {}

    def __repr__(self) -> str:
        return f"<SaidByServices services={len(self._users)} saying={len(self._said)}>"

    def update(
        self, services: Mapping[ObjectKey, Service], touched: frozenset[ObjectKey] | None = None
    ) -> frozenset[ObjectKey]:
        """Take in a snapshot's Services, of which `touched` may have changed (None: all); return the Ingresses that this concerns."""
        self._services = services
        found: set[ObjectKey] = set()
        for key in self._users if touched is None else touched & self._users.keys():
            if self._of(key) != self._said.get(key, {}):
                self._note(key)
                found |= self._users[key]
        return frozenset(found)

    def follow(self, ingress: ObjectKey, before: Iterable[str], after: Iterable[str]) -> None:
        """Note which Services, by name, an Ingress leads to."""
        for name in before:
            at = (ingress[0], name)
            self._users[at].discard(ingress)
            if not self._users[at]:
                del self._users[at]
                self._said.pop(at, None)
        for name in after:
            at = (ingress[0], name)
            self._users.setdefault(at, set()).add(ingress)
            self._note(at)

    def to(self, ingress: ObjectKey, names: Iterable[str]) -> dict[str, Said]:
        """Return what Services, by name, say to an Ingress; those alone that say something."""
        found = ((name, self._of((ingress[0], name))) for name in names)
        return {name: said for name, said in found if said}

    def _of(self, key: ObjectKey) -> Said:
        service = self._services.get(key)
        return (service.metadata.annotations if service is not None else None) or {}

    def _note(self, key: ObjectKey) -> None:
        said = self._of(key)
        if said:
            self._said[key] = said
        else:
            self._said.pop(key, None)


def services_of(ingress: Ingress) -> tuple[str, ...]:
    """Return the Services that an Ingress leads to, by name, each once."""
    paths = [path for rule in ingress.spec.rules or () for path in (rule.http.paths if rule.http else ())]
    backends = [*(each.backend for each in paths), *filter(None, (ingress.spec.default_backend,))]
    return tuple(sorted({each.service.name for each in backends if each.service is not None}))
