"""The shell of the garbage collector: follows every kind that the server offers, and carries out what the graph says.

That an owner is gone is believed only when the API server itself says so: the order in which informers deliver says nothing about it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from fairlead.aio.backoff import delays
from fairlead.aio.workqueue import WorkQueue
from fairlead.api.resources import CRDS, ENDPOINTSLICES, EVENTS, EVENTS_V1, HPAS_V1, PODS, REPLICASETS, Resource
from fairlead.controllers.catalog import discover
from fairlead.controllers.collector.graph import (
    FOREGROUND,
    ORPHAN,
    Disown,
    Finish,
    Graph,
    Item,
    Later,
    Reference,
    Remove,
    Standing,
    item_of,
)
from fairlead.controllers.context import Context
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Conflict, NotFound, Unreachable

Json = dict[str, Any]

log = logging.getLogger(__name__)

_WORKERS = 8
_ABSENT_REMEMBERED = 2000
_LATER_S = 5.0
_REDISCOVER_S = 60.0
_SETTLE_S = 0.5
_IGNORED = frozenset({EVENTS, EVENTS_V1, HPAS_V1})


class GarbageCollector:
    """Deletes what has lost all its owners."""

    name = "garbage-collector"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client: Client = context.client
        self._graph = Graph()
        self._queue: WorkQueue[str] = WorkQueue()
        self._followed: dict[Resource, Callable[[Json | None, Json | None], None]] = {}
        self._own: set[Resource] = set()
        self._resources: dict[tuple[str, str], Resource] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._changed = asyncio.Event()
        # These are there always; following them now puts our callbacks before the first list.
        for resource in (PODS, REPLICASETS, ENDPOINTSLICES):
            self._follow(resource)
        self._definitions = context.informers.of(CRDS)
        self._definitions.on_change(self._definition_changed)

    def __repr__(self) -> str:
        return f"<GarbageCollector kinds={len(self._followed)} {self._graph!r}>"

    async def run(self) -> None:
        """Collect forever."""
        await self._discover_at_start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rediscover())
            group.create_task(self._queue.run(self._handle, workers=_WORKERS))

    async def _discover_at_start(self) -> None:
        for pause in delays():
            try:
                await self._discover()
            except (ApiError, Unreachable) as error:
                log.info("waiting for the API server", extra={"controller": self.name, "error": str(error)})
                await asyncio.sleep(pause)
            else:
                return

    async def _rediscover(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_REDISCOVER_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(_SETTLE_S)
            self._changed.clear()
            try:
                await self._discover()
            except (ApiError, Unreachable) as error:
                log.info("discovery is tried again", extra={"controller": self.name, "error": str(error)})
                self._changed.set()
                await asyncio.sleep(_LATER_S)

    async def _discover(self) -> None:
        found = await discover(self._client)
        served = {each.resource for each in found if "watch" in each.verbs}
        self._resources = {(resource.api_version, resource.kind): resource for resource in served}
        for resource in served - self._followed.keys() - _IGNORED:
            self._follow(resource)
        for resource in [each for each in self._own if each not in served]:
            self._drop(resource)

    def _follow(self, resource: Resource) -> None:
        if not self._context.informers.has(resource):
            self._own.add(resource)
        informer = self._context.informers.of(resource)

        def changed(old: Json | None, new: Json | None) -> None:
            if new is not None:
                touched = self._graph.put(item_of(resource, new))
            else:
                assert old is not None
                touched = self._graph.remove(old["metadata"]["uid"])
            for uid in touched:
                self._queue.add(uid)

        self._followed[resource] = changed
        for obj in list(informer.store.values()):
            changed(None, obj)
        informer.on_change(changed)

    def _drop(self, resource: Resource) -> None:
        """A definition was removed, and all its objects with it."""
        self._own.discard(resource)
        self._followed.pop(resource, None)
        self._context.informers.drop(resource)
        for item in self._graph.items_of(resource):
            for uid in self._graph.remove(item.uid):
                self._queue.add(uid)

    def _definition_changed(self, old: Json | None, new: Json | None) -> None:
        if old is None or new is None or old.get("status") != new.get("status") or old["spec"] != new["spec"]:
            self._changed.set()

    async def _handle(self, uid: str) -> None:
        try:
            await self._collect(uid)
        except (Conflict, NotFound):
            # It changed or went meanwhile; its informer will tell. Look again in case that was before our view of it.
            self._queue.add_after(uid, _SETTLE_S)
        except Unreachable as error:
            log.info("waiting for the API server", extra={"controller": self.name, "error": str(error)})
            self._queue.add_after(uid, _LATER_S / 5)
        except ApiError as error:
            log.warning("refused", extra={"controller": self.name, "uid": uid, "error": str(error)})
            self._queue.add_after(uid, _LATER_S)

    async def _collect(self, uid: str) -> None:
        item = self._graph.get(uid)
        if item is None:
            return
        for dependent in self._graph.to_orphan(uid):
            await self._disown(dependent, frozenset({uid}))
        if not item.deleting:
            await self._look_up_owners(item)
        verdict = self._graph.judge(uid, self._standing)
        match verdict:
            case Remove(propagation):
                await self._client.delete(
                    item.resource, item.name, namespace=item.namespace or None, uid=item.uid, propagation=propagation
                )
                log.info(
                    "deleted with its owners",
                    extra={"kind": item.resource.kind, "object": f"{item.namespace}/{item.name}"},
                )
            case Disown(owners):
                await self._disown(item, owners)
            case Finish(finalizer):
                await self._finish(item, finalizer)
            case Later():
                self._queue.add_after(uid, _LATER_S)
            case None:
                pass

    async def _look_up_owners(self, item: Item) -> None:
        """Ask the server for owners that the graph does not hold, and remember those that are gone."""
        for owner in item.owners:
            resource = self._resources.get((owner.api_version, owner.kind))
            if owner.uid in self._absent or resource is None:
                continue
            known = self._graph.get(owner.uid)
            if known is not None and known.namespace in ("", item.namespace):
                continue
            try:
                found = await self._client.get(
                    resource, owner.name, namespace=item.namespace if resource.namespaced else None
                )
            except NotFound:
                self._remember_absent(owner.uid)
            else:
                if found["metadata"]["uid"] != owner.uid:
                    self._remember_absent(owner.uid)

    def _standing(self, item: Item, owner: Reference) -> Standing:
        if owner.uid in self._absent:
            return "absent"
        resource = self._resources.get((owner.api_version, owner.kind))
        # An owner that the server has but our informers have not delivered yet is there.
        return "unknown" if resource is None else "there"

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > _ABSENT_REMEMBERED:
            self._absent.popitem(last=False)

    async def _disown(self, item: Item, owners: frozenset[str]) -> None:
        current = await self._client.get(item.resource, item.name, namespace=item.namespace or None)
        metadata = current["metadata"]
        if metadata["uid"] != item.uid:
            return
        references = [each for each in metadata.get("ownerReferences") or () if each["uid"] not in owners]
        await self._patch(item, metadata, "ownerReferences", references)

    async def _finish(self, item: Item, finalizer: str) -> None:
        assert finalizer in (FOREGROUND, ORPHAN)
        try:
            current = await self._client.get(item.resource, item.name, namespace=item.namespace or None)
        except NotFound:
            return
        metadata = current["metadata"]
        if metadata["uid"] == item.uid:
            left = [each for each in metadata.get("finalizers") or () if each != finalizer]
            await self._patch(item, metadata, "finalizers", left)

    async def _patch(self, item: Item, metadata: Json, field: str, value: list[Any]) -> None:
        patch = {
            "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], field: value or None}
        }
        await self._client.patch(item.resource, item.name, patch, namespace=item.namespace or None)
