"""Host names of listeners and routes: intersections and which is the most exact. Pure; source: Listener.hostname, HTTPRoute.spec.hostnames.

A name is exact, `*.suffix` (one or more labels in place of the star), or empty: all.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

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


def wider(name: str) -> Iterator[str]:
    """Yield all names that match every host of `name` and more, the most exact first; the last is empty, for all hosts."""
    rest = name.removeprefix("*.")
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    yield ""


def exactness(names: Iterable[str], domain: str) -> tuple[int, int]:
    """Return what orders routes that serve a domain by the names that they serve it for, the most exact first.

    Characters of a name without a star, then of any: before what their rules match (HTTPRouteSpec.hostnames).
    """
    fitting = [each for each in (name.lower() for name in names) if matches(each, domain)]
    return min(((0 if each.startswith("*.") else -len(each), -len(each)) for each in fitting), default=(0, 0))


def most_exact(names: Container[str], domain: str) -> str:
    """Return which of `names` decides about a domain; empty is the one for all, also where none matches."""
    if domain == ANY:
        return ""
    return next((name for name in (domain, *wider(domain)) if name in names), "")
