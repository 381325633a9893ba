"""Annotations of other Ingress controllers, as typed wishes: an allow-list for each dialect, strict values, nothing that is text of a proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import msgspec

from fairlead.model.gateway.annotations import haproxy_ingress, haproxy_org, known, nginx, traefik
from fairlead.model.gateway.annotations.known import haproxy_ingress as known_haproxy_ingress
from fairlead.model.gateway.annotations.known import haproxy_org as known_haproxy_org
from fairlead.model.gateway.annotations.known import nginx as known_nginx
from fairlead.model.gateway.annotations.known import traefik as known_traefik
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.wishes import Remark, Wishes


class Prefix(msgspec.Struct, frozen=True, kw_only=True):
    """What annotations with one prefix mean."""

    dialect: str
    table: known.Table
    read: Callable[[Reader], Wishes]


PREFIXES: Mapping[str, Prefix] = {
    nginx.PREFIX: Prefix(dialect="nginx", table=known_nginx.TABLE, read=nginx.read),
    traefik.PREFIX: Prefix(dialect="traefik", table=known_traefik.TABLE, read=traefik.read),
    haproxy_org.PREFIX: Prefix(dialect="haproxy", table=known_haproxy_org.TABLE, read=haproxy_org.read),
    haproxy_org.OTHER_PREFIX: Prefix(dialect="haproxy", table=known_haproxy_org.TABLE, read=haproxy_org.read),
    haproxy_ingress.PREFIX: Prefix(dialect="haproxy", table=known_haproxy_ingress.TABLE, read=haproxy_ingress.read),
}
"""Prefix → what its annotations mean."""
DIALECTS: tuple[str, ...] = tuple(dict.fromkeys(each.dialect for each in PREFIXES.values()))
_AMBIGUOUS = "ingress.kubernetes.io/"
"""Both controllers of HAProxy have it, each with a meaning of its own."""


def read(annotations: Mapping[str, str], dialect: str) -> Wishes:
    """Return what an Ingress wishes; with a dialect by its annotations alone, without one by those of whichever it has."""
    prefixes = [prefix for prefix, each in PREFIXES.items() if dialect in ("", each.dialect)]
    given: dict[str, dict[str, str]] = {}
    for name, value in annotations.items():
        prefix, slash, rest = name.partition("/")
        if prefix + slash in prefixes:
            given.setdefault(prefix + slash, {})[rest] = value
        elif prefix + slash == _AMBIGUOUS and dialect == "haproxy":
            fix = f"write it with the prefix {haproxy_org.PREFIX} or {haproxy_ingress.PREFIX}"
            return Wishes(refusals=(Remark(name, "may be meant for either of two controllers", fix),))
    if not given:
        return _unsaid(dialect)
    first, *others = [prefix for prefix in prefixes if prefix in given]
    if others:
        fix = "keep those of one, or name the dialect on the IngressClass: fairlead.dev/ingress-dialect"
        name = min(given[others[0]])
        return Wishes(refusals=(Remark(others[0] + name, f"{first} and {others[0]} annotate one Ingress", fix),))
    return PREFIXES[first].read(Reader(first, given[first], PREFIXES[first].table))


@cache
def _unsaid(dialect: str) -> Wishes:
    """Return what a dialect's Ingresses without annotations wish."""
    for prefix, each in PREFIXES.items():
        if each.dialect == dialect:
            return each.read(Reader(prefix, {}, each.table))
    return Wishes()
