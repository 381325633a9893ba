"""Annotations of Traefik. Source: the reference of its Kubernetes Ingress provider, version 3."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.api.httproute import SessionPersistence
from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.sessions import by_cookie
from fairlead.model.gateway.annotations.wishes import Matcher, Wishes
from fairlead.model.gateway.middlewares import lookup

PREFIX = "traefik.ingress.kubernetes.io/"
ENTRY_POINTS: Mapping[str, int] = {"web": 80, "websecure": 443}
"""Names that Traefik's own chart gives to ports."""
_PROTOCOLS = {"http": ("http1", False), "h2c": ("h2c", False), "https": ("http1", True)}
_MATCHERS: Mapping[str, Matcher] = {"PathPrefix": "", "Path": "exact", "PathRegexp": "pattern-anywhere"}


def read(reader: Reader) -> Wishes:
    """Return what an Ingress's annotations wish."""
    take = reader.take
    points = take("router.entrypoints", values.items(values.one_of(*ENTRY_POINTS)), ())
    ports = {ENTRY_POINTS[each] for each in points} or set(ENTRY_POINTS.values())
    if take("router.tls", values.truth, False):
        ports &= {443}
    matcher = take("router.pathmatcher", values.one_of(*_MATCHERS), "PathPrefix")
    take("service.passhostheader", values.one_of("true"), "")
    protocol, encrypted = take("service.serversscheme", values.protocol(_PROTOCOLS), ("", False))
    session = _session(reader)
    middlewares = take("router.middlewares", values.items(lookup.name), ())
    if not ports:
        reader.refuse("router.entrypoints", "with router.tls no entry point is left")
    served = tuple(sorted(ports)) if ports != set(ENTRY_POINTS.values()) else ()
    wishes = Wishes(
        ports=served,
        matcher=_MATCHERS[matcher],
        protocol=protocol,
        encrypted=encrypted,
        session=session,
        middlewares=middlewares,
        priority=take("router.priority", values.number(0, (1 << 31) - 1), 0),
    )
    return reader.finish(wishes)


def _session(reader: Reader) -> SessionPersistence | None:
    take = reader.take
    wanted = take("service.sticky.cookie", values.truth, False)
    name = take("service.sticky.cookie.name", values.token, None)
    lasting = take("service.sticky.cookie.maxage", values.seconds, "0s")
    return by_cookie(name, lasting) if wanted else None
