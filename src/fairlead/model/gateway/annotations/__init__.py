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
    on_services: frozenset[str] = frozenset()
    """Those that are read on Services too, where they go before the same of an Ingress."""
    strict: bool = False
    """Whether its controller may heed others on Services, too: they are refused there, not passed over."""


PREFIXES: Mapping[str, Prefix] = {
    nginx.PREFIX: Prefix(dialect="nginx", table=known_nginx.TABLE, read=nginx.read),
    traefik.PREFIX: Prefix(
        dialect="traefik",
        table=known_traefik.TABLE,
        read=traefik.read,
        on_services=known_traefik.ON_SERVICES,
    ),
    **dict.fromkeys(
        (haproxy_org.PREFIX, haproxy_org.OTHER_PREFIX),
        Prefix(
            dialect="haproxy",
            table=known_haproxy_org.TABLE,
            read=haproxy_org.read,
            on_services=known_haproxy_org.ON_SERVICES,
        ),
    ),
    haproxy_ingress.PREFIX: Prefix(
        dialect="haproxy",
        table=known_haproxy_ingress.TABLE,
        read=haproxy_ingress.read,
        on_services=known_haproxy_ingress.ON_SERVICES,
        strict=True,
    ),
}
"""Prefix → what its annotations mean."""
DIALECTS: tuple[str, ...] = tuple(dict.fromkeys(each.dialect for each in PREFIXES.values()))
_AMBIGUOUS = "ingress.kubernetes.io/"
"""Both controllers of HAProxy have it, each with a meaning of its own."""
_SAY = "name the dialect on the IngressClass: fairlead.dev/ingress-dialect"


def read(annotations: Mapping[str, str], dialect: str) -> Wishes:
    """Return what an Ingress wishes; with a dialect by its annotations alone, without one by those of whichever it has."""
    if (shared := _shared(annotations, dialect)) is not None:
        return Wishes(refusals=(shared,))
    given = _by_prefix(annotations, dialect)
    if not given:
        return _unsaid(dialect)
    first, *others = [prefix for prefix in PREFIXES if prefix in given]
    if others:
        name = min(given[others[0]])
        message = f"{first} and {others[0]} annotate one Ingress"
        return Wishes(refusals=(Remark(others[0] + name, message, f"keep those of one, or {_SAY}"),))
    return PREFIXES[first].read(Reader(first, given[first], PREFIXES[first].table))


def of_service(annotations: Mapping[str, str], own: Mapping[str, str], dialect: str) -> Wishes | None:
    """Return what an Ingress's requests for a Service wish; None where the Service's `own` annotations say nothing to it.

    The Service goes first, annotation by annotation. Remarks are about its annotations alone.
    """
    given = _by_prefix(annotations, dialect)
    said = {prefix: names for prefix, names in _by_prefix(own, dialect).items() if PREFIXES[prefix].on_services}
    if given:
        said = {
            prefix: names for prefix, names in said.items() if any(PREFIXES[each] is PREFIXES[prefix] for each in given)
        }
    if (shared := _shared(own, dialect)) is not None:
        return Wishes(refusals=(shared,))
    if not said:
        return None
    first, *others = said
    if others:
        name = min(said[others[0]])
        message = f"{first} and {others[0]} annotate one Service, and its Ingress does not say which counts"
        return Wishes(refusals=(Remark(others[0] + name, message, _SAY),))
    of = PREFIXES[first]
    strays = {name for name in said[first] if name not in of.on_services and _strays(of, name)}
    theirs = next((given[each] for each in given if PREFIXES[each] is of), {})
    reader = Reader(first, {**theirs, **{each: said[first][each] for each in said[first].keys() - strays}}, of.table)
    for name in sorted(strays):
        if of.strict:
            reader.refuse(name, "is read on Ingresses alone", "write it on the Ingresses of the Service")
        else:
            reader.note(name, "has no effect on a Service: it is one for Ingresses")
    wishes = of.read(reader)
    mine = {first + name for name in said[first]}
    refusals, notes = (
        tuple(each for each in some if each.annotation in mine) for some in (wishes.refusals, wishes.notes)
    )
    return msgspec.structs.replace(wishes, refusals=refusals, notes=notes)


def _strays(of: Prefix, name: str) -> bool:
    """Tell whether an annotation that is not read on Services has another thing to be said of it there than on an Ingress."""
    found = known.find(of.table, name)
    return found is not None and (found.state == "honored" or not of.strict)


def _by_prefix(annotations: Mapping[str, str], dialect: str) -> dict[str, dict[str, str]]:
    """Return the annotations of a dialect, or of all, by prefix."""
    given: dict[str, dict[str, str]] = {}
    for name, value in annotations.items():
        prefix, slash, rest = name.partition("/")
        if (of := PREFIXES.get(prefix + slash)) is not None and dialect in ("", of.dialect):
            given.setdefault(prefix + slash, {})[rest] = value
    return given


def _shared(annotations: Mapping[str, str], dialect: str) -> Remark | None:
    """Return what is to be said of a prefix that may mean either of two controllers."""
    if dialect != "haproxy":
        return None
    fix = f"write it with the prefix {haproxy_org.PREFIX} or {haproxy_ingress.PREFIX}"
    found = (name for name in sorted(annotations) if name.startswith(_AMBIGUOUS))
    return next((Remark(name, "may be meant for either of two controllers", fix) for name in found), None)


@cache
def _unsaid(dialect: str) -> Wishes:
    """Return what a dialect's Ingresses without annotations wish."""
    for prefix, each in PREFIXES.items():
        if each.dialect == dialect:
            return each.read(Reader(prefix, {}, each.table))
    return Wishes()
