"""The shell that removes pods nobody else will: on nodes that are gone, deleted before they had a node, and too many finished ones."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from fairlead.api.resources import NODES, PODS
from fairlead.controllers import podstate
from fairlead.controllers.actions import Action, Delete, perform
from fairlead.controllers.context import Context
from fairlead.controllers.nodes.core import bury
from fairlead.controllers.nodes.lifecycle import node_index
from fairlead.sources.errors import ApiError, NotFound, Unreachable

Json = dict[str, Any]

log = logging.getLogger(__name__)

_PERIOD_S = 20.0


class PodCollector:
    """Removes lost pods from time to time, and soon after a node was deleted."""

    name = "pod-garbage-collector"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._quarantine_s = min(40.0, context.settings.node_monitor_grace_s)
        self._missing: dict[str, float] = {}
        """Node → since when it is known to be missing: one that is being registered must not lose its pods."""
        self._pods, self._nodes = context.informers.of(PODS), context.informers.of(NODES)
        self._by_node = context.informers.index(PODS, node_index)
        self._wakeup = asyncio.Event()
        self._nodes.on_change(lambda old, new: self._wakeup.set() if new is None else None)

    async def run(self) -> None:
        """Look forever."""
        await self._pods.wait_synced()
        await self._nodes.wait_synced()
        while True:
            try:
                await self._collect()
            except (ApiError, Unreachable) as error:
                log.info("pods are collected later", extra={"error": str(error)})
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wakeup.wait()
            except TimeoutError:
                pass
            self._wakeup.clear()

    def _pause(self) -> float:
        return min(_PERIOD_S, self._quarantine_s + 0.1) if self._missing else _PERIOD_S

    async def _collect(self) -> None:
        now, steady = self._context.now(), time.monotonic()
        actions: list[Action] = []
        absent = [str(name) for name in self._by_node.values() if ("", str(name)) not in self._nodes.store]
        self._missing = {name: self._missing.get(name, steady) for name in absent}
        for name, since in self._missing.items():
            if steady - since >= self._quarantine_s and await self._is_gone(name):
                for pod in self._by_node.get(name):
                    actions += bury(pod, now, "DeletionByPodGC", "PodGC: node no longer exists")
        for pod in self._pods.store.values():
            if podstate.is_terminating(pod) and not pod["spec"].get("nodeName"):
                actions += bury(pod, now, "DeletionByPodGC", "PodGC: terminating unscheduled pod")
        finished = [pod for pod in self._pods.store.values() if podstate.is_finished(pod)]
        surplus = len(finished) - self._context.settings.terminated_pod_limit
        if surplus > 0:
            finished.sort(key=podstate.created_at)
            actions += [Delete(PODS, pod, grace_s=0) for pod in finished[:surplus]]
        await perform(self._context, self.name, actions)

    async def _is_gone(self, name: str) -> bool:
        try:
            await self._context.client.get(NODES, name)
        except NotFound:
            return True
        return False
