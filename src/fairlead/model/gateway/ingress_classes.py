"""IngressClasses of ours: by their controller, or claimed from another one's; and whose annotations their Ingresses have."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.api.ingress import DEFAULT_CLASS, IngressClass
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.gateway.annotations import DIALECTS
from fairlead.world.events import ObjectKey

CONTROLLER = "fairlead.dev/ingress-controller"
"""`spec.controller` of IngressClasses that are ours."""
CLAIM = "fairlead.dev/ingress-claim"
"""Annotation of an IngressClass of another controller, whose `spec.controller` cannot be changed: `true` makes it ours."""
DIALECT = "fairlead.dev/ingress-dialect"
"""Annotation of an IngressClass: whose annotations count (`nginx`, `traefik`, `haproxy`)."""
HTTP3 = "fairlead.dev/http3"
"""Annotation of an IngressClass: `true` has its hosts with a certificate answer over HTTP/3 too."""
_CONTROLLERS: Mapping[str, str] = {
    "k8s.io/ingress-nginx": "nginx",
    "traefik.io/ingress-controller": "traefik",
    "haproxy.org/ingress-controller": "haproxy",
    "haproxy-ingress.github.io/controller": "haproxy",
}


class OurClass(msgspec.Struct, frozen=True):
    """A class of ours."""

    name: str
    dialect: str = ""
    """Whose annotations its Ingresses have; empty: each Ingress's own say so."""
    is_default: bool = False
    http3: bool = False


def our_classes(classes: Mapping[ObjectKey, IngressClass]) -> dict[str, OurClass]:
    """Return the classes of ours by name."""
    found = {}
    for (_, name), each in classes.items():
        annotations = each.metadata.annotations or {}
        theirs = dialect_of_controller(each.spec.controller)
        if each.spec.controller != CONTROLLER and not (theirs and annotations.get(CLAIM) == "true"):
            continue
        wanted = annotations.get(DIALECT, "")
        dialect = wanted if wanted in DIALECTS else theirs or (name if name in DIALECTS else "")
        found[name] = OurClass(
            name, dialect, annotations.get(DEFAULT_CLASS) == "true", annotations.get(HTTP3) == "true"
        )
    return found


def dialect_of_controller(controller: str) -> str:
    """Return whose annotations a controller of Ingresses reads; the part of its name that tells apart several of one kind does not count."""
    return next((dialect for name, dialect in _CONTROLLERS.items() if f"{controller}/".startswith(f"{name}/")), "")


def diagnostics(classes: Mapping[ObjectKey, IngressClass]) -> list[Diagnostic]:
    """Return what is wrong with annotations of classes."""
    found = []
    for (namespace, name), each in classes.items():
        for annotation, values in ((DIALECT, DIALECTS), (HTTP3, ("true", "false"))):
            wanted = (each.metadata.annotations or {}).get(annotation, "")
            if wanted and wanted not in values:
                message = f"{wanted[:64]!r} is none of {', '.join(values)}"
                field = f"metadata.annotations[{annotation}]"
                found.append(Diagnostic(object=f"IngressClass/{namespace}/{name}", field=field, message=message))
    return found
