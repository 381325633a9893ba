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
    """The current ConfigMaps and Secrets. `changed` is called with the key of each that changes."""

    def __init__(self, client: Client, group: asyncio.TaskGroup, changed: Callable[[Key], None]) -> None:
        self._client = client
        self._group = group
        self._changed = changed
        self._informers: dict[str, Informer] = {}

    async def objects(self, namespace: str, wanted: Iterable[tuple[str, str]]) -> dict[str, dict[str, Json]]:
        """Return kind → name → object for those of `wanted` (kind, name) that exist; raises ApiError or Unreachable."""
        found: dict[str, dict[str, Json]] = {kind: {} for kind in _KINDS}
        for kind, name in set(wanted):
            obj = await self._get(kind, namespace, name)
            if obj is not None:
                found[kind][name] = obj
        return found

    async def _get(self, kind: str, namespace: str, name: str) -> Json | None:
        informer = self._informers.get(kind)
        if informer is None:
            informer = self._informers[kind] = self._watch(kind)
        if (obj := informer.store.get((namespace, name))) is not None:
            return obj
        try:
            return {"kind": _KINDS[kind].kind} | await self._client.get(_KINDS[kind], name, namespace=namespace)
        except (NotFound, Forbidden):
            return None

    def _watch(self, kind: str) -> Informer:
        informer = Informer(self._client, _KINDS[kind])

        def on_change(old: Json | None, new: Json | None) -> None:
            metadata = (new or old or {})["metadata"]
            self._changed((kind, metadata["namespace"], metadata["name"]))

        informer.on_change(on_change)
        self._group.create_task(informer.run())
        return informer
