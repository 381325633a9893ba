"""ConfigMaps and Secrets that this node's pods read: watched from the first pod that needs one, and asked for directly when new.

A watch may lag behind the pod that was created with its ConfigMap; the direct question keeps that pod from failing its first start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeAlias

from fairlead.api.resources import CONFIGMAPS, SECRETS, Resource
from fairlead.lab.kubelet.pod import Json
from fairlead.sources.client import Client
from fairlead.sources.errors import Forbidden, NotFound
from fairlead.sources.informer import Informer

Key: TypeAlias = tuple[str, str, str]
"""(`configmap` or `secret`, namespace, name)."""

_KINDS: dict[str, Resource] = {"configmap": CONFIGMAPS, "secret": SECRETS}


class References:
    """The current ConfigMaps and Secrets. `changed` is called with the key of each that changes.

    Each is watched by itself: a node may read those that its pods refer to, and no others.
    """

    def __init__(self, client: Client, group: asyncio.TaskGroup, changed: Callable[[Key], None]) -> None:
        self._client = client
        self._group = group
        self._changed = changed
        self._watched: dict[Key, tuple[Informer, asyncio.Task[None]]] = {}
        self._given: dict[Key, str] = {}
        """The version of each object that was asked for directly."""

    async def objects(self, namespace: str, wanted: Iterable[tuple[str, str]]) -> dict[str, dict[str, Json]]:
        """Return kind → name → object for those of `wanted` (kind, name) that exist; raises ApiError or Unreachable."""
        found: dict[str, dict[str, Json]] = {kind: {} for kind in _KINDS}
        for kind, name in set(wanted):
            obj = await self._get((kind, namespace, name))
            if obj is not None:
                found[kind][name] = obj
        return found

    def release(self, key: Key) -> None:
        """Stop watching what no pod of the node reads any more."""
        self._given.pop(key, None)
        watched = self._watched.pop(key, None)
        if watched is not None:
            watched[1].cancel()

    async def _get(self, key: Key) -> Json | None:
        kind, namespace, name = key
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = self._watch(key)
        if (obj := watched[0].store.get((namespace, name))) is not None:
            return obj
        try:
            found: Json = {"kind": _KINDS[kind].kind} | await self._client.get(_KINDS[kind], name, namespace=namespace)
        except (NotFound, Forbidden):
            return None
        self._given[key] = found["metadata"]["resourceVersion"]
        return found

    def _watch(self, key: Key) -> tuple[Informer, asyncio.Task[None]]:
        kind, namespace, name = key
        informer = Informer(self._client, _KINDS[kind], namespace=namespace, field_selector=f"metadata.name={name}")

        def on_change(_: Json | None, new: Json | None) -> None:
            if new is None or new["metadata"]["resourceVersion"] != self._given.get(key):
                self._changed(key)

        informer.on_change(on_change)
        return informer, self._group.create_task(informer.run())
