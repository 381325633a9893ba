"""The shell of namespaces: deletes everything in a deleted one, whatever kinds there are, then lets it go."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from fairlead.api.resources import NAMESPACES, PODS
from fairlead.controllers.catalog import Served, discover
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.controllers.namespaces import core
from fairlead.sources.errors import ApiError, NotFound

Json = dict[str, Any]

_PARALLEL = 8
_FIRST_LOOK_S = 0.1
_MOST_LOOK_S = 5.0


class NamespaceController(Controller):
    """Empties and finalizes deleted namespaces."""

    name = "namespace-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._rounds: Counter[Key] = Counter()
        self._namespaces = self.follow(NAMESPACES, enqueue=self._changed)
        self._pods = context.informers.index(PODS, _namespace)
        self.follow(PODS).on_change(self._pod_changed)

    async def reconcile(self, key: Key) -> None:
        """Delete what a deleted namespace holds; when nothing is left, let it go."""
        namespace = self._namespaces.store.get(key)
        if namespace is None or not core.waits_for_us(namespace):
            self._rounds.pop(key, None)
            return
        progress = await self._empty(key[1])
        if progress.done:
            await self.client.replace(NAMESPACES, core.finalized(namespace), subresource="finalize")
            self._rounds.pop(key, None)
            return
        status = core.status(namespace, progress, self.context.now())
        if status != namespace.get("status"):
            await self.client.replace(NAMESPACES, {**namespace, "status": status}, subresource="status")
        self.queue.add_after(key, min(_FIRST_LOOK_S * 2 ** self._rounds[key], _MOST_LOOK_S))
        self._rounds[key] = min(self._rounds[key] + 1, 10)

    async def _empty(self, namespace: str) -> core.Progress:
        try:
            found = await discover(self.client)
        except ApiError as error:
            return core.Progress(discovery_failure=str(error))
        kinds = [served for served in found if served.resource.namespaced]
        pods = [served for served in kinds if served.resource == PODS]
        # Pods go first: while they run they may need their configuration and must stay under the policies on them.
        progress = await self._delete(namespace, pods)
        if progress.done:
            progress = await self._delete(namespace, [served for served in kinds if served not in pods])
        return progress

    async def _delete(self, namespace: str, kinds: list[Served]) -> core.Progress:
        slots = asyncio.Semaphore(_PARALLEL)
        failures: list[str] = []
        remaining: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()

        async def empty(served: Served) -> None:
            resource = served.resource
            title = f"{resource.plural}.{resource.group}"
            async with slots:
                try:
                    items, _ = await self.client.list(resource, namespace=namespace)
                    if not items:
                        return
                    if "deletecollection" in served.verbs:
                        await self.client.request("DELETE", resource.path(namespace))
                    else:
                        for item in items:
                            await self._delete_one(served, item)
                    items, _ = await self.client.list(resource, namespace=namespace)
                except NotFound:
                    return
                except ApiError as error:
                    failures.append(f"{title}: {error}")
                    return
            if items:
                remaining[title] = len(items)
                for item in items:
                    finalizers.update(item["metadata"].get("finalizers") or ())

        await asyncio.gather(*map(empty, kinds))
        return core.Progress(deletion_failures=tuple(failures), remaining=remaining, finalizers=finalizers)

    async def _delete_one(self, served: Served, item: Json) -> None:
        metadata = item["metadata"]
        try:
            await self.client.delete(
                served.resource, metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"]
            )
        except NotFound:
            pass

    def _changed(self, namespace: Json) -> None:
        if core.waits_for_us(namespace):
            self.enqueue(namespace)

    def _pod_changed(self, old: Json | None, new: Json | None) -> None:
        """The last pod of a namespace is what most deletions wait for."""
        if new is not None or old is None:
            return
        name = old["metadata"]["namespace"]
        namespace = self._namespaces.store.get(("", name))
        if namespace is not None and core.waits_for_us(namespace) and not self._pods.get(name):
            self._rounds.pop(("", name), None)
            self.enqueue(namespace)


def _namespace(obj: Json) -> tuple[str, ...]:
    return (obj["metadata"]["namespace"],)
