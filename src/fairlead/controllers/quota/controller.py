"""The shell of ResourceQuotas: follows the collections that quotas name, and no others."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fairlead.api.resources import RESOURCEQUOTAS, Resource
from fairlead.controllers.catalog import discover
from fairlead.controllers.context import Context, Index
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.controllers.quota import core

Json = dict[str, Any]

_GATHER_S = 0.05


class QuotaController(Controller):
    """Keeps the status of ResourceQuotas."""

    name = "resourcequota-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._quotas = self.follow(RESOURCEQUOTAS, enqueue=self.enqueue)
        self._by_namespace = context.informers.index(RESOURCEQUOTAS, _namespace)
        self._indexes: dict[str, Index] = {}

    async def reconcile(self, key: Key) -> None:
        """Count what is there."""
        quota = self._quotas.store.get(key)
        if quota is None or "deletionTimestamp" in quota["metadata"]:
            return
        wanted = core.collections_of(quota)
        await self._follow(wanted - self._indexes.keys())
        objects: dict[str, Collection[Json]] = {
            name: self._indexes[name].get(key[0]) for name in sorted(wanted & self._indexes.keys())
        }
        await self.perform(key, core.reconcile(quota, objects))

    async def _follow(self, missing: set[str]) -> None:
        """Begin to follow collections that are served; a quota may name others, of which nothing is used."""
        if not missing:
            return
        for served in await discover(self.client):
            resource = served.resource
            name = _collection(resource)
            if name in missing and resource.namespaced:
                informer = self.context.informers.of(resource)
                index = self.context.informers.index(resource, _namespace)
                await informer.wait_synced()
                informer.on_change(self._changed)
                self._indexes[name] = index

    def _changed(self, old: Json | None, new: Json | None) -> None:
        current = new or old
        assert current is not None
        for quota in self._by_namespace.get(current["metadata"]["namespace"]):
            self.queue.add_after((quota["metadata"]["namespace"], quota["metadata"]["name"]), _GATHER_S)


def _collection(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _namespace(obj: Json) -> tuple[str, ...]:
    return (obj["metadata"]["namespace"],)
