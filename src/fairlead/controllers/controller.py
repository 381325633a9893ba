"""The shell that all controllers share: a queue of keys, informers that fill it, and what to do when the API server refuses.

A controller is level-triggered: it gets a key, reads its inputs from the informers, asks its pure core and performs the answer.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from fairlead.aio.workqueue import WorkQueue
from fairlead.api.resources import Resource
from fairlead.controllers.actions import Action, perform
from fairlead.controllers.context import Context
from fairlead.controllers.expectations import Expectations, Key
from fairlead.controllers.ownership import controller_of
from fairlead.sources.errors import AlreadyExists, ApiError, Conflict, NotFound, Unreachable
from fairlead.sources.informer import Informer, key_of

Json = dict[str, Any]

log = logging.getLogger(__name__)

_RECHECK_S = 0.5
_FIRST_RETRY_S = 0.01
_MOST_RETRY_S = 15.0


class Controller(ABC):
    """Base of the controllers; a subclass registers its callbacks in `__init__` and implements `reconcile`."""

    name: ClassVar[str]
    """As in `--controllers` and as the source of events."""
    workers: ClassVar[int] = 4

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client
        self.queue: WorkQueue[Key] = WorkQueue()
        self.expectations = Expectations(context.informers.of)
        self._needed: list[Informer] = []
        self._tries: dict[Key, int] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.queue!r}>"

    @abstractmethod
    async def reconcile(self, key: Key) -> None:
        """Bring what `key` names nearer to what its spec says."""

    def follow(self, resource: Resource, *, enqueue: Callable[[Json], None] | None = None) -> Informer:
        """Return the informer of `resource`, whose first list `run` awaits; `enqueue` gets the new (or last) state at each change."""
        informer = self.context.informers.of(resource)
        if informer not in self._needed:
            self._needed.append(informer)
        if enqueue is not None:

            def changed(old: Json | None, new: Json | None) -> None:
                current = new if new is not None else old
                assert current is not None
                enqueue(current)

            informer.on_change(changed)
        return informer

    def enqueue(self, obj: Json) -> None:
        """Queue the key of `obj`."""
        self.queue.add(key_of(obj))

    def follow_owned(self, resource: Resource, kind: str, *, delay_s: float = 0.0) -> Informer:
        """Return the informer of `resource`; a change of an object queues its controller, old and new, if that is of `kind`.

        `delay_s` lets changes that come in quick succession be handled together.
        """
        informer = self.follow(resource)

        def changed(old: Json | None, new: Json | None) -> None:
            for obj in (old, new):
                if obj is None:
                    continue
                reference = controller_of(obj)
                if reference is not None and reference["kind"] == kind:
                    key = obj["metadata"].get("namespace", ""), reference["name"]
                    self.queue.add_after(key, delay_s)

        informer.on_change(changed)
        return informer

    async def perform(self, key: Key, actions: Iterable[Action]) -> None:
        """Send the actions that the core decided on for `key`."""
        delay = await perform(self.context, self.name, actions, expectations=self.expectations, key=key)
        if delay is not None:
            self.queue.add_after(key, delay)

    async def run(self) -> None:
        """Reconcile forever."""
        for informer in self._needed:
            await informer.wait_synced()
        await self.queue.run(self._handle, workers=self.workers)

    async def _handle(self, key: Key) -> None:
        if not self.expectations.satisfied(key):
            self.queue.add_after(key, _RECHECK_S)
            return
        try:
            await self.reconcile(key)
        except (Conflict, AlreadyExists, NotFound):
            # Our view is behind the server's: the informers will catch up.
            self._retry(key)
        except Unreachable as error:
            log.info("waiting for the API server", extra={"controller": self.name, "key": key, "error": str(error)})
            self._retry(key)
        except ApiError as error:
            if "is being terminated" not in str(error):
                log.warning("refused", extra={"controller": self.name, "key": key, "error": str(error)})
            self._retry(key)
        else:
            self._tries.pop(key, None)

    def _retry(self, key: Key) -> None:
        tries = self._tries.get(key, 0)
        self._tries[key] = tries + 1
        self.queue.add_after(key, min(_FIRST_RETRY_S * 2 ** min(tries, 20), _MOST_RETRY_S))
