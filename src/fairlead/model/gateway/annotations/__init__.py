"""Annotations of other Ingress controllers, as typed wishes: an allow-list for each dialect, strict values, nothing that is text of a proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairlead.model.gateway.annotations import haproxy, nginx, traefik
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.wishes import Remark, Wishes

DIALECTS: Mapping[str, tuple[str, ...]] = {
    "nginx": nginx.PREFIXES,
    "traefik": traefik.PREFIXES,
    "haproxy": haproxy.PREFIXES,
}
"""Dialect → prefixes of its annotations."""
_READ: Mapping[str, Callable[[Reader], Wishes]] = {
    nginx.PREFIXES[0]: nginx.read,
    traefik.PREFIXES[0]: traefik.read,
    haproxy.PREFIXES[0]: haproxy.read_haproxy_org,
    haproxy.PREFIXES[1]: haproxy.read_haproxy_ingress,
}


def read(annotations: Mapping[str, str], dialect: str) -> Wishes:
    """Return what an Ingress wishes; with a dialect by its annotations alone, without one by those of whichever it has."""
    prefixes = DIALECTS[dialect] if dialect else tuple(_READ)
    given: dict[str, dict[str, str]] = {}
    for name, value in annotations.items():
        prefix, slash, rest = name.partition("/")
        if slash and prefix + slash in prefixes:
            given.setdefault(prefix + slash, {})[rest] = value
    if not given:
        return Wishes()
    first, *others = [prefix for prefix in prefixes if prefix in given]
    if others:
        fix = "keep those of one, or name the dialect on the IngressClass: fairlead.dev/ingress-dialect"
        name = min(given[others[0]])
        return Wishes(refusals=(Remark(others[0] + name, f"{first} and {others[0]} annotate one Ingress", fix),))
    return _READ[first](Reader(first, given[first]))
