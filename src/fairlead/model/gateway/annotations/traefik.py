"""Annotations of Traefik. Source: the reference of its Kubernetes Ingress provider, version 3."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.wishes import Wishes

PREFIXES = ("traefik.ingress.kubernetes.io/",)
ENTRY_POINTS: Mapping[str, int] = {"web": 80, "websecure": 443}
"""Names that Traefik's own chart gives to ports."""
_PROTOCOLS = {"http": "http1", "h2c": "h2c"}
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
    "service.sticky.cookie": "",
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
    protocol = take("service.serversscheme", _protocol, "")
    if not ports:
        reader.refuse("router.entrypoints", "with router.tls no entry point is left")
    reader.finish(idle=_IDLE, refused=_REFUSED)
    served = tuple(sorted(ports)) if ports != set(ENTRY_POINTS.values()) else ()
    return Wishes(ports=served, protocol=protocol, refusals=tuple(reader.refusals), notes=tuple(reader.notes))


def _protocol(text: str) -> str:
    found = _PROTOCOLS.get(text.lower())
    if found is None:
        raise ValueError(f"{text!r} is not supported; supported are {', '.join(_PROTOCOLS)}")
    return found
