"""A local copy of one resource, kept current by list and watch.

Level-triggered: callbacks get (old, new) for each difference, also for those found by a new list after the watch was lost, so that a
consumer that only ever reacts to callbacks never misses a change. It never gives up: an unreachable server is retried with back-off,
and the last known state stays in the store meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from fairlead.aio.backoff import delays
from fairlead.api.resources import Resource
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Gone, Unreachable

Json = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped objects."""
Callback = Callable[[Json | None, Json | None], None]

log = logging.getLogger(__name__)


def key_of(obj: Json) -> Key:
    """Return the key of `obj` in a store."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Informer:
    """Keeps `store` (key → object, read-only for users) equal to the server's objects that match the selectors.

    Without their managedFields.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        reduce: Callable[[Json], Json] | None = None,
    ) -> None:
        """`reduce` returns what to keep of an object: its metadata must keep name, namespace, uid and resourceVersion."""
        self.resource = resource
        self.store: dict[Key, Json] = {}
        self.resource_version = ""
        """The version up to which the store is current; empty before the first list."""
        self._client = client
        self._scope: dict[str, str | None] = {
            "namespace": namespace,
            "label_selector": label_selector,
            "field_selector": field_selector,
        }
        self._reduce = reduce
        self._callbacks: list[Callback] = []
        self._synced = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Informer {self.resource.plural} objects={len(self.store)} version={self.resource_version or None}>"

    @property
    def synced(self) -> bool:
        """Tell whether the first list is complete."""
        return self._synced.is_set()

    def on_change(self, callback: Callback) -> None:
        """Call `callback(old, new)` for each change from now on: None as old for a new object, as new for a deleted one."""
        self._callbacks.append(callback)

    async def wait_synced(self) -> None:
        """Wait until the first list is complete and its callbacks have run."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follow the resource forever."""
        pauses = delays()
        while True:
            try:
                if not self.resource_version:
                    await self._relist()
                await self._follow()
                pauses = delays()
            except Gone:
                self.resource_version = ""
            except (ApiError, Unreachable) as error:
                pause = next(pauses)
                log.info("waiting for the API server", extra={"resource": self.resource.plural, "error": str(error)})
                await asyncio.sleep(pause)

    async def _relist(self) -> None:
        items, version = await self._client.list(self.resource, **self._scope)
        found = {key_of(item): item for item in items}
        for key in self.store.keys() - found.keys():
            self._set(key, None)
        for key, item in found.items():
            self._set(key, item)
        self.resource_version = version
        self._synced.set()

    async def _follow(self) -> None:
        watch = self._client.watch(self.resource, resource_version=self.resource_version, **self._scope)
        async for kind, obj in watch:
            if kind != "BOOKMARK":
                self._set(key_of(obj), None if kind == "DELETED" else obj)
            self.resource_version = obj["metadata"]["resourceVersion"]

    def _set(self, key: Key, new: Json | None) -> None:
        old = self.store.get(key)
        if old is None and new is None:
            return
        if old is not None and new is not None:
            if old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]:
                return
            if old["metadata"]["uid"] != new["metadata"]["uid"]:
                # Deleted and made anew while we were not looking: two changes, not one.
                self._set(key, None)
                old = None
        if new is None:
            del self.store[key]
        else:
            # Who owns which field is half of an object, and nobody here asks. The server keeps it where a write does not say.
            new["metadata"].pop("managedFields", None)
            new = new if self._reduce is None else self._reduce(new)
            self.store[key] = new
        for callback in self._callbacks:
            callback(old, new)
