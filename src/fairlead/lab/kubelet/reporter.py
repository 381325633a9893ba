"""Events of pods, as the kubelet's: best effort, one at a time, never in the way of a pod."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal, Protocol

from fairlead.lab.kubelet.pod import Container, Json, Pod

_MOST_WAITING = 1000


class Sink(Protocol):
    """Where events go: `fairlead.sources.client.Client`."""

    async def event(
        self,
        regarding: Json,
        *,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        component: str,
        node: str | None = None,
    ) -> None:
        """Record one event; never raises."""


class Reporter:
    """Queues events and writes them in order; when too many wait, the oldest are dropped."""

    def __init__(self, sink: Sink, node: str) -> None:
        self._sink = sink
        self._node = node
        self._waiting: deque[tuple[Json, Literal["Normal", "Warning"], str, str]] = deque(maxlen=_MOST_WAITING)
        self._wakeup = asyncio.Event()

    def normal(self, pod: Pod, reason: str, message: str, container: Container | None = None) -> None:
        """Queue an event of type Normal about a pod or one of its containers."""
        self._add(_regarding(pod, container), "Normal", reason, message)

    def warning(self, pod: Pod, reason: str, message: str, container: Container | None = None) -> None:
        """Queue an event of type Warning."""
        self._add(_regarding(pod, container), "Warning", reason, message)

    async def run(self) -> None:
        """Write events forever."""
        while True:
            while self._waiting:
                regarding, kind, reason, message = self._waiting.popleft()
                await self._sink.event(
                    regarding, type=kind, reason=reason, message=message, component="kubelet", node=self._node
                )
            self._wakeup.clear()
            await self._wakeup.wait()

    def _add(self, regarding: Json, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._waiting.append((regarding, kind, reason, message))
        self._wakeup.set()


def _regarding(pod: Pod, container: Container | None) -> Json:
    metadata = {"name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": pod.metadata.uid}
    regarding: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    if container is not None:
        field = "containers"
        if any(container is other for other in pod.init):
            field = "initContainers"
        elif any(container is other for other in pod.ephemeral):
            field = "ephemeralContainers"
        regarding["fieldPath"] = f"spec.{field}{{{container.name}}}"
    return regarding
