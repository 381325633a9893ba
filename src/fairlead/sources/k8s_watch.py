"""The cluster's objects as events: what the API server says, typed.

Until the first list of a kind is complete nothing is said about it; then the whole list as one event, then each change. It must never
stop: without the API server it falls silent, and what was said stays true until it is back.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable, Mapping

from fairlead.api.decode import decode
from fairlead.api.resources import (
    ADMINNETWORKPOLICIES,
    BASELINEADMINNETWORKPOLICIES,
    CLUSTERNETWORKPOLICIES,
    EGRESSGATEWAYS,
    ENDPOINTSLICES,
    GATEWAY_KINDS,
    INGRESSCLASSES,
    INGRESSES,
    MIDDLEWARES,
    NAMESPACES,
    NETWORKPOLICIES,
    NODES,
    PODS,
    SERVICES,
    Resource,
)
from fairlead.sources.client import Client, Json
from fairlead.sources.errors import ApiError, NotFound, Unreachable
from fairlead.sources.informer import Informer, key_of
from fairlead.world.events import Event, KindReplaced, ObjectChanged

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
"""Annotation of EndpointSlices: when the change of a pod or Service that led to the slice's last change happened."""

log = logging.getLogger(__name__)

WATCHED: Mapping[str, Resource] = {
    "Node": NODES,
    "Service": SERVICES,
    "EndpointSlice": ENDPOINTSLICES,
    "Pod": PODS,
    "Namespace": NAMESPACES,
    "NetworkPolicy": NETWORKPOLICIES,
    "Ingress": INGRESSES,
    "IngressClass": INGRESSCLASSES,
}
"""Kind → resource of everything that a node's plan is compiled from and that every API server has."""

OPTIONAL: Mapping[str, Resource] = {
    "ClusterNetworkPolicy": CLUSTERNETWORKPOLICIES,
    "AdminNetworkPolicy": ADMINNETWORKPOLICIES,
    "BaselineAdminNetworkPolicy": BASELINEADMINNETWORKPOLICIES,
    "EgressGateway": EGRESSGATEWAYS,
    "Middleware": MIDDLEWARES,
    **GATEWAY_KINDS,
}
"""The same of kinds that someone has to install: without their definition there are none of them."""

_DEFINITION_PERIOD_S = 10.0
"""How often to ask whether an optional kind was installed."""
_RETRY_S = 1.0
_IDENTITY = ("name", "namespace", "uid", "resourceVersion")
_DECODED = "decoded"
_NOISY = frozenset(("Pod",))
"""Kinds most of whose changes are about what the network does not read: those are no events."""


async def follow(client: Client, push: Callable[[Event], None]) -> None:
    """Tell `push` about the cluster, forever."""
    async with asyncio.TaskGroup() as group:
        for kind, resource in WATCHED.items():
            group.create_task(_follow(client, resource, kind, push))
        for kind, resource in OPTIONAL.items():
            group.create_task(follow_when_installed(client, resource, kind, push))


async def follow_when_installed(client: Client, resource: Resource, kind: str, push: Callable[[Event], None]) -> None:
    """Say that there is none until the kind is served, then follow it."""
    said = False
    while True:
        try:
            await client.list(resource)
            break
        except NotFound:
            if not said:
                push(KindReplaced(kind, {}))
                said = True
            await asyncio.sleep(_DEFINITION_PERIOD_S)
        except (ApiError, Unreachable) as error:
            log.info("waiting for the API server", extra={"resource": resource.plural, "error": str(error)})
            await asyncio.sleep(_RETRY_S)
    await _follow(client, resource, kind, push)


def _understood(kind: str) -> Callable[[Json], Json]:
    """Return what makes of an object the little that is kept of it: how it is known, and what the network reads, decoded.

    A cluster's objects are many, most of each is about other things, and as JSON it would weigh ten times as much.
    """

    def reduce(obj: Json) -> Json:
        metadata = obj["metadata"]
        kept = {field: metadata[field] for field in _IDENTITY if field in metadata}
        if (triggered := (metadata.get("annotations") or {}).get(TRIGGER_TIME)) is not None:
            kept[TRIGGER_TIME] = triggered
        return {"metadata": kept, _DECODED: decode(kind, obj)}

    return reduce


async def _follow(client: Client, resource: Resource, kind: str, push: Callable[[Event], None]) -> None:
    informer = Informer(client, resource, reduce=_understood(kind))

    def changed(old: Json | None, new: Json | None) -> None:
        if not informer.synced:
            return
        if old is not None and new is not None and kind in _NOISY and old[_DECODED] == new[_DECODED]:
            return
        subject = new or old
        assert subject is not None
        decoded = new[_DECODED] if new is not None else None
        push(ObjectChanged(kind, key_of(subject), decoded, _version(new), _trigger(old, new)))

    async def announce() -> None:
        await informer.wait_synced()
        objects = {key: obj[_DECODED] for key, obj in informer.store.items()}
        push(KindReplaced(kind, objects, informer.resource_version))

    informer.on_change(changed)
    async with asyncio.TaskGroup() as group:
        group.create_task(informer.run())
        group.create_task(announce())


def _version(obj: Json | None) -> str:
    return str(obj["metadata"].get("resourceVersion", "")) if obj else ""


def _trigger(old: Json | None, new: Json | None) -> float | None:
    """Return what a slice's annotation says about this change, None when it is about an earlier one."""
    text = _annotation(new)
    if text is None or text == _annotation(old):
        return None
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _annotation(obj: Json | None) -> str | None:
    text = obj["metadata"].get(TRIGGER_TIME) if obj else None
    return text if isinstance(text, str) else None
