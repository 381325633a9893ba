"""Middlewares of Traefik as part of what an Ingress wishes; one that cannot be had refuses all of it. Pure."""

from __future__ import annotations

import msgspec

from fairlead.api.ingress import Ingress
from fairlead.model.gateway.annotations import traefik
from fairlead.model.gateway.annotations.wishes import Remark, Wishes
from fairlead.model.gateway.ingress_routes import hosts_of, places
from fairlead.model.gateway.middlewares.lookup import MiddlewareError, Middlewares
from fairlead.model.gateway.middlewares.translate import Asking, applied
from fairlead.world.events import ObjectKey

_ANNOTATION = traefik.PREFIX + "router.middlewares"
_GROUP = "networking.k8s.io"


class IngressMiddlewares(Middlewares):
    """Middlewares, and what they make of Ingresses' wishes."""

    def with_those(self, key: ObjectKey, ingress: Ingress, wishes: Wishes, asked: set[str]) -> Wishes:
        """Return wishes with those of the Middlewares that they name; notes in `asked` for which it looked."""
        if not wishes.middlewares:
            return wishes
        try:
            named = self.named((_GROUP, "Ingress", key[0]), wishes.middlewares, asked)
            return applied(wishes, Asking(key[0], hosts_of(ingress), _paths(key, ingress, wishes)), named)
        except MiddlewareError as error:
            refusal = Remark(_ANNOTATION, str(error), error.fix)
            return msgspec.structs.replace(wishes, refusals=(*wishes.refusals, refusal))


def _paths(key: ObjectKey, ingress: Ingress, wishes: Wishes) -> tuple[str, ...]:
    """Return prefixes that requests for an Ingress have; where some have none that is known, the root."""
    if wishes.has_patterns or ingress.spec.default_backend is not None:
        return ("/",)
    return tuple(place[3] for place, _ in places(key, ingress))
