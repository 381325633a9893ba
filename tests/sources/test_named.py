"""Objects that are followed by name: only what is wanted is asked for, and what cannot be had does not hold up the rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, cast

from fairlead.api.resources import CONFIGMAPS
from fairlead.sources.client import Client, Json
from fairlead.sources.errors import Forbidden
from fairlead.sources.informer import Key
from fairlead.sources.named import NamedObjects


class Scripted:
    """ConfigMaps by key, of which some may not be read; what happens to one comes out of its queue."""

    def __init__(self) -> None:
        self.objects: dict[Key, Json] = {}
        self.hidden: set[Key] = set()
        self.queues: defaultdict[Key, asyncio.Queue[tuple[str, Json]]] = defaultdict(asyncio.Queue)

    def _key(self, scope: dict[str, Any]) -> Key:
        return scope["namespace"], scope["field_selector"].removeprefix("metadata.name=")

    async def list(self, resource: object, **scope: Any) -> tuple[list[Json], str]:
        key = self._key(scope)
        if key in self.hidden:
            raise Forbidden({"message": "no", "code": 403})
        return ([self.objects[key]] if key in self.objects else []), "10"

    async def watch(self, resource: object, **scope: Any) -> AsyncIterator[tuple[str, Json]]:
        scope.pop("resource_version")
        queue = self.queues[self._key(scope)]
        while True:
            yield await queue.get()


def configmap(name: str, version: int, text: str) -> Json:
    metadata = {"name": name, "namespace": "x", "uid": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "data": {"ca.crt": text}}


async def test_what_is_wanted_is_followed_and_nothing_else() -> None:
    client = Scripted()
    client.objects = {("x", name): configmap(name, 1, "one") for name in ("a", "b", "c")}
    client.hidden = {("x", "c")}
    said: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()

    def changed(key: Key, obj: Json | None) -> None:
        said.put_nowait((key[1], obj["data"]["ca.crt"] if obj else None))

    objects = NamedObjects(cast(Client, client), CONFIGMAPS, changed)
    task = asyncio.create_task(objects.run())
    try:
        async with asyncio.timeout(20):
            # A name that would become another selector is no name.
            objects.want([("x", "a"), ("x", "c"), ("x", "none"), ("x", "a,metadata.namespace!=x"), ("", "a")])
            await objects.wait_known()
            found = {await said.get() for _ in range(3)}
            assert found == {("a", "one"), ("c", None), ("none", None)}
            client.queues["x", "a"].put_nowait(("MODIFIED", configmap("a", 2, "two")))
            assert await said.get() == ("a", "two")
            objects.want([("x", "b")])
            assert {await said.get() for _ in range(4)} == {("a", None), ("c", None), ("none", None), ("b", "one")}
            assert said.empty()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
