"""Host names of listeners and routes: intersections and which is the most exact. Pure; source: Listener.hostname, HTTPRoute.spec.hostnames.

A name is exact, `*.suffix` (one or more labels in place of the star), or empty: all.
"""

from __future__ import annotations

from collections.abc import Iterable

ANY = "*"
"""How the proxy calls all hosts."""


def matches(pattern: str, name: str) -> bool:
    """Tell whether every host of `name` (exact or wildcard) is one of `pattern`'s."""
    if pattern in ("", name):
        return True
    return pattern.startswith("*.") and name.endswith(pattern[1:]) and name != ""


def intersection(listener: str, hostnames: Iterable[str] | None) -> tuple[str, ...]:
    """Return the hosts that a route serves at a listener, `*` for all; none when they have no host in common."""
    names = tuple(dict.fromkeys(each.lower() for each in hostnames or ()))
    listener = listener.lower()
    if not names:
        return (listener or ANY,)
    found = []
    for name in names:
        if matches(listener, name):
            found.append(name)
        elif matches(name, listener):
            found.append(listener)
    return tuple(dict.fromkeys(found))


def exactness(name: str) -> tuple[int, int]:
    """Return what orders names that match one host: the greatest decides."""
    if name in ("", ANY):
        return 0, 0
    return (1, len(name)) if name.startswith("*.") else (2, len(name))


def most_exact(names: Iterable[str], domain: str) -> str:
    """Return which of `names` decides about a domain; empty is the one for all, also where none matches."""
    fitting = [name for name in names if domain != ANY and matches(name, domain)]
    return max(fitting, key=exactness, default="")
