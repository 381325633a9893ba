"""Annotations of Traefik. Source: the reference of its Kubernetes Ingress provider, version 3."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.api.httproute import SessionCookie, SessionPersistence
from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.wishes import Wishes

PREFIXES = ("traefik.ingress.kubernetes.io/",)
ENTRY_POINTS: Mapping[str, int] = {"web": 80, "websecure": 443}
"""Names that Traefik's own chart gives to ports."""
_PROTOCOLS = {"http": ("http1", False), "h2c": ("h2c", False), "https": ("http1", True)}
_IDLE = frozenset(
    (
        "router.observability.accesslogs", "router.observability.metrics", "router.observability.tracing",
        "router.tls.certresolver", "service.nativelb", "service.nodeportlb",
    )
)  # fmt: skip
_REFUSED: Mapping[str, str] = {
    "router.middlewares": "write what the middlewares do as filters of an HTTPRoute, or as policies",
    "router.priority": "routes are ordered by how exact they are",
    "router.rulesyntax": "",
    "router.tls.options": "",
    "service.serverstransport": "",
    "service.passhostheader": "backends get the client's Host header",
}


def read(reader: Reader) -> Wishes:
    """Return what an Ingress's annotations wish."""
    take = reader.take
    points = take("router.entrypoints", values.items(values.one_of(*ENTRY_POINTS)), ())
    ports = {ENTRY_POINTS[each] for each in points} or set(ENTRY_POINTS.values())
    if take("router.tls", values.truth, False):
        ports &= {443}
    take("router.pathmatcher", values.one_of("PathPrefix"), "")
    if reader.has("service.passhostheader") and take("service.passhostheader", str, "").lower() != "true":
        reader.refuse("service.passhostheader", "backends get the client's Host header")
    protocol, encrypted = take("service.serversscheme", _protocol, ("", False))
    session = _session(reader)
    if not ports:
        reader.refuse("router.entrypoints", "with router.tls no entry point is left")
    reader.finish(idle=_IDLE, refused=_REFUSED)
    served = tuple(sorted(ports)) if ports != set(ENTRY_POINTS.values()) else ()
    return Wishes(
        ports=served,
        protocol=protocol,
        encrypted=encrypted,
        session=session,
        refusals=tuple(reader.refusals),
        notes=tuple(reader.notes),
    )


def _session(reader: Reader) -> SessionPersistence | None:
    take = reader.take
    wanted = take("service.sticky.cookie", values.truth, False)
    name = take("service.sticky.cookie.name", values.token, None)
    lasting = take("service.sticky.cookie.maxage", values.seconds, "0s")
    for attribute in ("secure", "httponly", "samesite", "path", "domain"):
        if reader.has(f"service.sticky.cookie.{attribute}"):
            reader.note(f"service.sticky.cookie.{attribute}", "has no effect: the cookie has no such attribute")
    if not wanted:
        return None
    if lasting == "0s":
        return SessionPersistence(session_name=name)
    permanent = SessionCookie(lifetime_type="Permanent")
    return SessionPersistence(session_name=name, absolute_timeout=lasting, cookie_config=permanent)


def _protocol(text: str) -> tuple[str, bool]:
    found = _PROTOCOLS.get(text.lower())
    if found is None:
        raise ValueError(f"{text!r} is not supported; supported are {', '.join(_PROTOCOLS)}")
    return found
