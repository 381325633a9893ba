"""Single objects that others refer to, each followed by its name: for kinds of which a cluster has many and nobody needs most."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable

from fairlead.api.resources import Resource
from fairlead.sources.client import Client, Json
from fairlead.sources.errors import ApiError, Forbidden, Unreachable
from fairlead.sources.informer import Informer, Key

log = logging.getLogger(__name__)

_RETRY_S = 10.0
_MOST = 256
"""How many objects are followed at most: each costs a connection to the API server."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class NamedObjects:
    """Follows the objects of a resource that are wanted, and no others.

    `changed` hears of each its state at first, None when there is none or when it may not be read, and every change; of one that is
    wanted no more, None. Names that no object can have, and those beyond the first 256 in the order of the alphabet, have no object.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        changed: Callable[[Key, Json | None], None],
        *,
        reduce: Callable[[Json], Json] | None = None,
    ) -> None:
        self._client = client
        self._resource = resource
        self._changed = changed
        self._reduce = reduce
        self._wanted: frozenset[Key] = frozenset()
        self._wake = asyncio.Event()
        self._known: set[Key] = set()
        self._progress = asyncio.Condition()

    def __repr__(self) -> str:
        return f"<NamedObjects {self._resource.plural} wanted={len(self._wanted)}>"

    def want(self, keys: Iterable[Key]) -> None:
        """Follow these from now on, and no others; returns at once."""
        able = sorted(key for key in keys if all(_NAME.fullmatch(part) for part in self._parts(key)))
        self._wanted = frozenset(able[:_MOST])
        self._wake.set()

    def _parts(self, key: Key) -> Key | tuple[str]:
        return key if self._resource.namespaced else key[1:]

    async def wait_known(self) -> None:
        """Wait until something is known of all that is wanted."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._wanted <= self._known)

    async def run(self) -> None:
        """Follow them, forever."""
        tasks: dict[Key, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for key in tasks.keys() - self._wanted:
                    tasks.pop(key).cancel()
                    self._known.discard(key)
                    self._changed(key, None)
                for key in self._wanted - tasks.keys():
                    tasks[key] = group.create_task(self._follow(key))
                async with self._progress:
                    self._progress.notify_all()

    async def _follow(self, key: Key) -> None:
        namespace, name = key
        selector = f"metadata.name={name}"
        informer = Informer(
            self._client, self._resource, namespace=namespace, field_selector=selector, reduce=self._reduce
        )
        informer.on_change(lambda _, new: self._tell(key, new))
        while not await self._may_read(namespace, selector):
            await self._note(key)
            await asyncio.sleep(_RETRY_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            await informer.wait_synced()
            await self._note(key)

    async def _may_read(self, namespace: str, selector: str) -> bool:
        try:
            await self._client.list(self._resource, namespace=namespace, field_selector=selector)
        except Forbidden as error:
            log.warning("not read", extra={"resource": self._resource.plural, "error": str(error)})
            return False
        except (ApiError, Unreachable):
            # The informer waits for the server as every other does.
            return True
        return True

    def _tell(self, key: Key, obj: Json | None) -> None:
        self._known.add(key)
        self._changed(key, obj)

    async def _note(self, key: Key) -> None:
        """Note that all is known of an object that is known now: where nothing was said of it, there is none."""
        if key not in self._known:
            self._tell(key, None)
        async with self._progress:
            self._progress.notify_all()
