"""Which Gateway has which port of the nodes, as their Services say. Pure.

Proxies share a port of a node where the kernel finds that they are one user's: what two Gateways' Services lead to is the older one's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.api.service import Service
from fairlead.model.gateway.listeners import BoundGateway
from fairlead.model.gateway.names import GATEWAY_LABEL, service_name
from fairlead.world.events import ObjectKey

NodePort = tuple[str, int]
"""Transport and number."""


def door(gateway: ObjectKey, services: Mapping[ObjectKey, Service]) -> Service | None:
    """Return the Service of a Gateway; one that somebody else made under its name is none."""
    found = services.get((gateway[0], service_name(gateway[1])))
    return found if found is not None and found.metadata.label(GATEWAY_LABEL) == gateway[1] else None


def holders(gateways: Iterable[BoundGateway], services: Mapping[ObjectKey, Service]) -> dict[NodePort, ObjectKey]:
    """Return whose each port of the nodes is: the oldest Gateway's whose Service leads there."""
    found: dict[NodePort, ObjectKey] = {}
    for gateway in sorted(gateways, key=lambda each: each.age):
        service = door(gateway.key, services)
        for port in (service.spec.ports or ()) if service is not None else ():
            if isinstance(port.target_port, int):
                found.setdefault((port.protocol or "TCP", port.target_port), gateway.key)
    return found
