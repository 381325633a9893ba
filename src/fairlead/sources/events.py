"""core/v1 Events: what a component tells people about an object, repeated ones counted instead of repeated."""

from __future__ import annotations

import datetime
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fairlead.api.resources import Resource
from fairlead.sources.errors import AlreadyExists, ApiError, NotFound, Unreachable

if TYPE_CHECKING:
    from fairlead.sources.client import Client

log = logging.getLogger(__name__)

_REMEMBERED = 1024
_MESSAGE_BYTES = 1024
_LONGEST_NAME = 236
"""Of the part that is the object's: names of Events have 253 characters at most."""


class Recorder:
    """Remembers the last events that it wrote, so that an equal one becomes a higher count. Memory is bounded."""

    def __init__(self) -> None:
        self._written: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()
        self._last = 0

    async def record(
        self,
        client: Client,
        resource: Resource,
        regarding: Mapping[str, Any],
        *,
        type: str,
        reason: str,
        message: str,
        component: str,
        node: str | None,
        standing: bool,
    ) -> None:
        """Write the event, or raise the count of an equal one written before. Failures are logged only.

        `standing`: it tells of a state, not of something that happened. Its name is made of what it says, so that it is written once for as
        long as the server keeps it, whoever started again in the meantime.
        """
        metadata = regarding.get("metadata", {})
        namespace = metadata.get("namespace") or "default"
        message = message[:_MESSAGE_BYTES]
        key = (namespace, metadata.get("uid", ""), regarding.get("kind", ""), metadata["name"], type, reason, message)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            if key in self._written and not standing:
                name, count = self._written[key]
                try:
                    patch = {"count": count + 1, "lastTimestamp": now}
                    await client.patch(resource, name, patch, namespace=namespace)
                except NotFound:
                    del self._written[key]
                else:
                    self._remember(key, name, count + 1)
                    return
            name = f"{metadata['name'][:_LONGEST_NAME]}.{_digest(key, component) if standing else self._moment()}"
            event = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": {
                    "apiVersion": regarding.get("apiVersion", ""),
                    "kind": regarding.get("kind", ""),
                    "name": metadata["name"],
                    **{
                        field: metadata[field] for field in ("namespace", "uid", "resourceVersion") if field in metadata
                    },
                    **({"fieldPath": regarding["fieldPath"]} if "fieldPath" in regarding else {}),
                },
                "reason": reason,
                "message": message,
                "type": type,
                "count": 1,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "source": {"component": component, **({"host": node} if node else {})},
                "reportingComponent": component,
                "reportingInstance": node or "",
            }
            await client.create(resource, event, namespace=namespace)
            if not standing:
                self._remember(key, name, 1)
        except AlreadyExists:
            return
        except (ApiError, Unreachable) as error:
            log.info("event not recorded", extra={"reason": reason, "about": metadata["name"], "error": str(error)})

    def _moment(self) -> str:
        """Return what Kubernetes names Events by: lists, ordered by name, then tell what happened in its order."""
        self._last = max(time.time_ns(), self._last + 1)
        return f"{self._last:016x}"

    def _remember(self, key: tuple[str, ...], name: str, count: int) -> None:
        self._written[key] = (name, count)
        self._written.move_to_end(key)
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)


def _digest(key: tuple[str, ...], component: str) -> str:
    return hashlib.sha256("\0".join((component, *key)).encode()).hexdigest()[:16]
