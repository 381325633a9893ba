"""The listeners of a parent by what a route may ask of them: a section, a port, a host. Pure.

Why: a class of Ingresses may have a listener for each of thousands of hosts, so a route must never cost a look at all of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import msgspec

from fairlead.model.gateway.hosts import wider
from fairlead.model.gateway.listeners import BoundListener

_LONGEST = 256
"""Characters at the end of a name that a wildcard can match: no host name has more."""


class Offer:
    """Some listeners of a parent."""

    def __init__(self, listeners: Sequence[BoundListener]) -> None:
        self._listeners = listeners
        self._at: dict[str, list[int]] = {}
        for position, each in enumerate(listeners):
            self._at.setdefault(each.hostname, []).append(position)

    def __repr__(self) -> str:
        return f"<Offer listeners={len(self)}>"

    def __len__(self) -> int:
        return len(self._listeners)

    def around(self, hostnames: Iterable[str]) -> Iterator[BoundListener]:
        """Yield, in their order, all listeners that may have a host in common with a route; no hostnames are all of them.

        Costs time proportional to what is found, and to the labels of the hostnames.
        """
        names = {each.lower() for each in hostnames}
        if not names or "" in names:
            yield from self._listeners
            return
        found: set[int] = set()
        for name in names:
            for each in (name, *wider(name[-_LONGEST:])):
                found.update(self._at.get(each, ()))
            if name.startswith("*."):
                found.update(self._below(name))
        yield from (self._listeners[each] for each in sorted(found))

    @cached_property
    def sorts(self) -> tuple[BoundListener, ...]:
        """Return one listener of each sort: those of a sort let the same routes attach, but for their hosts."""
        found: dict[tuple[object, ...], BoundListener] = {}
        for each in self._listeners:
            allowed = msgspec.json.encode(each.api.allowed_routes.namespaces)
            found.setdefault((each.kinds, each.namespace, bool(each.accepted.problem), allowed), each)
        return tuple(found.values())

    def _below(self, wildcard: str) -> Iterator[int]:
        """Yield the listeners whose host names end as a wildcard does."""
        end = wildcard[:0:-1]
        for at in range(bisect_left(self._backwards, end), len(self._backwards)):
            if not self._backwards[at].startswith(end):
                return
            yield from self._at[self._backwards[at][::-1]]

    @cached_property
    def _backwards(self) -> list[str]:
        """Return the host names from their last characters to their first, in order: those with the same end are neighbors."""
        return sorted(each[::-1] for each in self._at)


class Offers:
    """All listeners that a parent offers."""

    def __init__(self, listeners: Sequence[BoundListener]) -> None:
        self._all = Offer(listeners)
        ports: dict[int, list[BoundListener]] = {}
        self._sections: dict[str, list[BoundListener]] = {}
        for each in listeners:
            ports.setdefault(each.port, []).append(each)
            self._sections.setdefault(each.api.name, []).append(each)
        self._ports = {port: Offer(found) for port, found in ports.items()}

    def __repr__(self) -> str:
        return f"<Offers listeners={len(self._all)}>"

    def named(self, section: str | None, port: int | None) -> Offer:
        """Return the listeners that a parentRef names, in their order; None names all."""
        if section is not None:
            return Offer([each for each in self._sections.get(section, ()) if port in (None, each.port)])
        return self._all if port is None else self._ports.get(port, _NOTHING)


_NOTHING = Offer(())
