"""The cluster's objects as events: what the API server says, typed.

Until the first list of a kind is complete nothing is said about it; then the whole list as one event, then each change. It must never
stop: without the API server it falls silent, and what was said stays true until it is back.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Mapping

from fairlead.api.decode import decode
from fairlead.api.resources import ENDPOINTSLICES, NODES, SERVICES, Resource
from fairlead.sources.client import Client, Json
from fairlead.sources.informer import Informer, key_of
from fairlead.world.events import Event, KindReplaced, ObjectChanged

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
"""Annotation of EndpointSlices: when the change of a pod or Service that led to the slice's last change happened."""

WATCHED: Mapping[str, Resource] = {"Node": NODES, "Service": SERVICES, "EndpointSlice": ENDPOINTSLICES}
"""Kind → resource of everything that a node's plan is compiled from."""


async def follow(client: Client, push: Callable[[Event], None]) -> None:
    """Tell `push` about the cluster, forever."""
    async with asyncio.TaskGroup() as group:
        for kind, resource in WATCHED.items():
            group.create_task(_follow(Informer(client, resource), kind, push))


async def _follow(informer: Informer, kind: str, push: Callable[[Event], None]) -> None:
    def changed(old: Json | None, new: Json | None) -> None:
        if not informer.synced:
            return
        subject = new or old
        assert subject is not None
        decoded = decode(kind, new) if new is not None else None
        push(ObjectChanged(kind, key_of(subject), decoded, _version(new), _trigger(old, new)))

    async def announce() -> None:
        await informer.wait_synced()
        objects = {key: decode(kind, obj) for key, obj in informer.store.items()}
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
    text = (obj["metadata"].get("annotations") or {}).get(TRIGGER_TIME) if obj else None
    return text if isinstance(text, str) else None
