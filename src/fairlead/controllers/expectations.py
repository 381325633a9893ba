"""What a controller has done that its informers have not shown yet.

A controller that counts pods in its cache and creates the missing ones would create them twice if it looked again before the cache caught
up. Expectations are states to be reached, checked against the informers' stores, not events to be counted: a lost event cannot block them,
and after a restart there are none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fairlead.api.resources import Resource
from fairlead.sources.informer import Informer

Json = dict[str, Any]
Key = tuple[str, str]

_PATIENCE_S = 60.0


class Expectations:
    """Per key of an owner, the creations and deletions still to be seen. Given up after a minute: the cache is then taken as it is."""

    def __init__(self, informer: Callable[[Resource], Informer]) -> None:
        self._informer = informer
        self._created: dict[Key, list[tuple[float, Resource, Json]]] = {}
        self._deleted: dict[Key, list[tuple[float, Resource, Json]]] = {}

    def created(self, key: Key, resource: Resource, made: Json) -> None:
        """Expect to see `made`, the server's answer."""
        self._created.setdefault(key, []).append((time.monotonic(), resource, made))

    def deleted(self, key: Key, resource: Resource, obj: Json) -> None:
        """Expect to see `obj` gone or going."""
        self._deleted.setdefault(key, []).append((time.monotonic(), resource, obj))

    def satisfied(self, key: Key) -> bool:
        """Tell whether everything expected for `key` has been seen; cost grows with what is outstanding."""
        return self._prune(self._created, key, self._is_visible) and self._prune(self._deleted, key, self._is_going)

    def _prune(
        self,
        pending: dict[Key, list[tuple[float, Resource, Json]]],
        key: Key,
        reached: Callable[[Resource, Json], bool],
    ) -> bool:
        entries = pending.get(key)
        if not entries:
            return True
        oldest = time.monotonic() - _PATIENCE_S
        left = [entry for entry in entries if entry[0] > oldest and not reached(entry[1], entry[2])]
        if left:
            pending[key] = left
            return False
        del pending[key]
        return True

    def _is_visible(self, resource: Resource, made: Json) -> bool:
        informer = self._informer(resource)
        metadata = made["metadata"]
        if _found(informer, made) is not None:
            return True
        return _reached(informer.resource_version, metadata.get("resourceVersion", ""))

    def _is_going(self, resource: Resource, obj: Json) -> bool:
        found = _found(self._informer(resource), obj)
        return found is None or "deletionTimestamp" in found["metadata"]


def _found(informer: Informer, obj: Json) -> Json | None:
    metadata = obj["metadata"]
    found = informer.store.get((metadata.get("namespace", ""), metadata["name"]))
    return found if found is not None and found["metadata"]["uid"] == metadata["uid"] else None


def _reached(current: str, wanted: str) -> bool:
    """Tell whether a store of version `current` includes `wanted`; versions are numbers in every server known, else unknown."""
    return current.isdecimal() and wanted.isdecimal() and int(current) >= int(wanted)
