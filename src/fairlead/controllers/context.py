"""What all controllers of one process share: the client, the informers with their indexes, the recorder of events, the clock.

Sharing informers is what keeps the process small: each resource is listed and watched once, however many controllers read it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fairlead.api.resources import Resource
from fairlead.sources.client import Client
from fairlead.sources.informer import Informer, Key, key_of

Json = dict[str, Any]
IndexFunction = Callable[[Json], Iterable[Hashable]]

_EVENT_BACKLOG = 2000
_EVENT_WRITERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an administrator may set. Durations are in seconds."""

    node_monitor_period_s: float = 5.0
    """How often the heartbeats of nodes are looked at."""
    node_monitor_grace_s: float = 40.0
    """For how long a node may be silent before its state counts as unknown."""
    pod_eviction_default_s: float = 300.0
    """For how long a pod stays on an unreachable node when its tolerations do not say."""
    load_balancer_cidrs: tuple[str, ...] = ()
    """Ranges from which Services of type LoadBalancer get addresses; none: somebody else does that."""
    cluster_signing: tuple[Path, Path] | None = None
    """Files of the certificate and the key with which requests are signed; None: somebody else does that."""
    cluster_signing_duration_s: float = 365 * 86400.0
    """For how long a signed certificate is valid at most."""
    terminated_pod_limit: int = 12500
    """How many finished pods may exist before the oldest are removed."""


class Index:
    """The objects of an informer by what a function says of them."""

    def __init__(self, informer: Informer, function: IndexFunction) -> None:
        self._function = function
        self._entries: dict[Hashable, dict[Key, Json]] = {}
        for obj in informer.store.values():
            self._change(None, obj)
        informer.on_change(self._change)

    def get(self, value: Hashable) -> Collection[Json]:
        """Return the objects for which the function gave `value`."""
        return self._entries.get(value, {}).values()

    def values(self) -> Collection[Hashable]:
        """Return all values that occur."""
        return self._entries.keys()

    def _change(self, old: Json | None, new: Json | None) -> None:
        if old is not None:
            key = key_of(old)
            for value in self._function(old):
                entries = self._entries.get(value)
                if entries is not None:
                    entries.pop(key, None)
                    if not entries:
                        del self._entries[value]
        if new is not None:
            key = key_of(new)
            for value in self._function(new):
                self._entries.setdefault(value, {})[key] = new


class Informers:
    """One informer per resource, made when first asked for and run together."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informers: dict[Resource, Informer] = {}
        self._indexes: dict[tuple[Resource, IndexFunction], Index] = {}
        self._tasks: dict[Resource, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def of(self, resource: Resource) -> Informer:
        """Return the informer of `resource` in all namespaces."""
        informer = self._informers.get(resource)
        if informer is None:
            informer = self._informers[resource] = Informer(self._client, resource)
            self._start(resource, informer)
        return informer

    def has(self, resource: Resource) -> bool:
        """Tell whether `resource` is followed."""
        return resource in self._informers

    def drop(self, resource: Resource) -> None:
        """Stop following `resource`, which is no longer served."""
        self._informers.pop(resource, None)
        task = self._tasks.pop(resource, None)
        if task is not None:
            task.cancel()

    def index(self, resource: Resource, function: IndexFunction) -> Index:
        """Return the index of `resource` by `function`, shared by all who ask for the same."""
        index = self._indexes.get((resource, function))
        if index is None:
            index = self._indexes[resource, function] = Index(self.of(resource), function)
        return index

    async def run(self) -> None:
        """Run all informers forever, also those that are made later."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for resource, informer in list(self._informers.items()):
                self._start(resource, informer)
            group.create_task(asyncio.Event().wait())

    def _start(self, resource: Resource, informer: Informer) -> None:
        if self._group is not None:
            self._tasks[resource] = self._group.create_task(informer.run(), name=f"informer {resource.plural}")


class Events:
    """Events to be written in the background: they must never delay work. When too many wait, new ones are dropped."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: asyncio.Queue[tuple[str, Json, Literal["Normal", "Warning"], str, str, bool]] = asyncio.Queue(
            _EVENT_BACKLOG
        )

    def put(
        self,
        component: str,
        regarding: Json,
        type_: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        standing: bool = False,
    ) -> None:
        """Write an Event about `regarding` when there is time; of a `standing` state once for as long as it is kept."""
        try:
            self._waiting.put_nowait((component, regarding, type_, reason, message, standing))
        except asyncio.QueueFull:
            pass

    async def run(self) -> None:
        """Write events forever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_EVENT_WRITERS):
                group.create_task(self._write())

    async def _write(self) -> None:
        while True:
            component, regarding, type_, reason, message, standing = await self._waiting.get()
            await self._client.event(
                regarding, type=type_, reason=reason, message=message, component=component, standing=standing
            )


class Context:
    """Everything that a controller is given."""

    def __init__(
        self, client: Client, *, settings: Settings | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self.client = client
        self.settings = settings or Settings()
        self.informers = Informers(client)
        self.events = Events(client)
        self.now = now
