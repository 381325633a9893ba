"""What others are known by, for the engine: the ConfigMaps that something refers to are followed by name, all others are left alone."""

from __future__ import annotations

import asyncio

from fairlead.api.decode import ApiObject, decode
from fairlead.api.resources import CONFIGMAPS
from fairlead.api.trust_material import reduced
from fairlead.base.diagnostics import Diagnostic
from fairlead.engine.reconcile import Engine
from fairlead.model.gateway import trust
from fairlead.sources.client import Client, Json
from fairlead.sources.named import NamedObjects
from fairlead.world.events import KindReplaced, ObjectChanged, ObjectKey
from fairlead.world.snapshot import TABLES, Snapshot


class TrustKeeper:
    """Tells an engine about them. Its first word waits until it is known who refers to which."""

    def __init__(self, client: Client, engine: Engine) -> None:
        self._engine = engine
        self._objects = NamedObjects(client, CONFIGMAPS, self._changed, reduce=reduced)
        self._found: dict[ObjectKey, ApiObject | Diagnostic] = {}
        self._said = False
        self._read: tuple[object, ...] = ()

    def __repr__(self) -> str:
        return f"<TrustKeeper {self._objects!r}>"

    async def run(self) -> None:
        """Follow them, forever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._objects.run())
            await self._engine.wait_listed(trust.SOURCES.keys())
            self._engine.on_snapshot(self._follow)
            self._follow(self._engine.snapshot)
            await self._objects.wait_known()
            self._engine.push(KindReplaced("ConfigMap", dict(self._found)))
            self._said = True

    def _follow(self, snapshot: Snapshot) -> None:
        read = tuple(getattr(snapshot, TABLES[kind]) for kind in trust.SOURCES)
        if len(self._read) == len(read) and all(a is b for a, b in zip(read, self._read, strict=True)):
            return
        self._read = read
        self._objects.want(trust.wanted(snapshot))

    def _changed(self, key: ObjectKey, obj: Json | None) -> None:
        found = decode("ConfigMap", obj) if obj is not None else None
        if found is None:
            self._found.pop(key, None)
        else:
            self._found[key] = found
        if self._said:
            self._engine.push(ObjectChanged("ConfigMap", key, found))
