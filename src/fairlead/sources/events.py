"""core/v1 Events: what a component tells people about an object, repeated ones counted instead of repeated."""

from __future__ import annotations

import datetime
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fairlead.api.resources import Resource
from fairlead.sources.errors import ApiError, NotFound, Unreachable

if TYPE_CHECKING:
    from fairlead.sources.client import Client

log = logging.getLogger(__name__)

_REMEMBERED = 1024
_MESSAGE_BYTES = 1024


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
    ) -> None:
        """Write the event, or raise the count of an equal one written before. Failures are logged only."""
        metadata = regarding.get("metadata", {})
        namespace = metadata.get("namespace") or "default"
        message = message[:_MESSAGE_BYTES]
        key = (namespace, metadata.get("uid", ""), regarding.get("kind", ""), metadata["name"], type, reason, message)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            if key in self._written:
                name, count = self._written[key]
                try:
                    patch = {"count": count + 1, "lastTimestamp": now}
                    await client.patch(resource, name, patch, namespace=namespace)
                except NotFound:
                    del self._written[key]
                else:
                    self._remember(key, name, count + 1)
                    return
            # As Kubernetes names them: lists, ordered by name, then tell what happened in its order.
            name = f"{metadata['name']}.{max(time.time_ns(), self._last + 1):016x}"
            self._last = int(name.rpartition(".")[2], 16)
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
            self._remember(key, name, 1)
        except (ApiError, Unreachable) as error:
            log.info("event not recorded", extra={"reason": reason, "about": metadata["name"], "error": str(error)})

    def _remember(self, key: tuple[str, ...], name: str, count: int) -> None:
        self._written[key] = (name, count)
        self._written.move_to_end(key)
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)
