"""What is to be said and taken away where something is not ours any more: Gateways and Ingresses that left our classes, ListenerSets without one. Pure.

Nobody else would correct what stands there: a Gateway of a class that is gone went on saying that it is programmed, at an address where nobody
answers. What shows that it was ours is what we made: its Service.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from fairlead.api.resources import GATEWAYCLASSES, GATEWAYS, INGRESSES, LISTENERSETS, SERVICES
from fairlead.controllers.actions import Action, Delete, Patch, Status
from fairlead.controllers.expectations import Key
from fairlead.controllers.gateway.services import is_of_gateway
from fairlead.controllers.ownership import controller_of
from fairlead.model.gateway.ingress import gateway_of
from fairlead.model.gateway.names import GATEWAY_LABEL

Json = dict[str, Any]

IN_USE = "gateway-exists-finalizer.gateway.networking.k8s.io"
"""Finalizer of a GatewayClass that has Gateways: it goes when they have gone. Source: GatewayClassFinalizerGatewaysExist."""


def finalizer(gateway_class: Json, used: bool) -> Iterator[Action]:
    """Yield what keeps a GatewayClass as long as Gateways use it, and no longer."""
    metadata = gateway_class["metadata"]
    present = list(metadata.get("finalizers") or ())
    if used == (IN_USE in present) or (used and "deletionTimestamp" in metadata):
        return
    wanted = [*present, IN_USE] if used else [each for each in present if each != IN_USE]
    version = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    yield Patch(GATEWAYCLASSES, gateway_class, {"metadata": {**version, "finalizers": wanted}})


def gateways(
    services: Iterable[Json], present: Mapping[Key, Json], left: Collection[Key], now: str
) -> Iterator[Action]:
    """Yield, for each Gateway that has a Service of ours and is not ours (`left`), that nobody serves it; its Service goes, and its address."""
    for service in services:
        owner = controller_of(service)
        if not is_of_gateway(service) or owner is None or owner["kind"] != "Gateway":
            continue
        key = (service["metadata"]["namespace"], service["metadata"]["labels"][GATEWAY_LABEL])
        gateway = present.get(key)
        # With its Gateway a Service goes by itself.
        if gateway is None or gateway["metadata"]["uid"] != owner["uid"] or key not in left:
            continue
        if "deletionTimestamp" not in service["metadata"]:
            yield Status(GATEWAYS, {**gateway, "status": _unserved(now)})
            yield Delete(SERVICES, service, owner=gateway)


def listener_sets(present: Iterable[Json], gateways: Mapping[Key, Json], now: str) -> Iterator[Action]:
    """Yield, for each ListenerSet whose Gateway is gone, that nobody serves it."""
    for each in present:
        parent = each["spec"]["parentRef"]
        at = (parent.get("namespace") or each["metadata"]["namespace"], parent["name"])
        said = (each.get("status") or {}).get("conditions") or ()
        if at not in gateways and any(condition["status"] != "Unknown" for condition in said):
            yield Status(LISTENERSETS, {**each, "status": _unserved(now)})


def _unserved(now: str) -> Json:
    """Return the status of a Gateway or ListenerSet that no controller has seen. Source: the default of its definition."""
    waiting = {
        "status": "Unknown",
        "reason": "Pending",
        "message": "Waiting for controller",
        "lastTransitionTime": now,
    }
    return {"conditions": [{"type": each, **waiting} for each in ("Accepted", "Programmed")]}


def addresses(services: Iterable[Json]) -> frozenset[str]:
    """Return the addresses that classes of Ingresses have."""
    namespace, prefix = gateway_of("")
    return frozenset(
        each["ip"]
        for service in services
        if service["metadata"]["namespace"] == namespace
        and is_of_gateway(service)
        and service["metadata"]["labels"][GATEWAY_LABEL].startswith(prefix)
        for each in (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
        if each.get("ip")
    )


def ingresses(present: Mapping[Key, Json], ours: Collection[Key], given: Collection[str]) -> Iterator[Action]:
    """Yield, for each Ingress that is not ours and says that it has addresses of our classes (`given`), that it has none."""
    for key, ingress in present.items():
        said = (ingress.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
        if said and key not in ours and all(each.get("ip") in given for each in said):
            yield Status(INGRESSES, {**ingress, "status": {"loadBalancer": {}}})
