"""The shell of node life: listens to heartbeats, condemns the silent, taints, and evicts what does not tolerate it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fairlead.api.resources import LEASES, NAMESPACES, NODES, PODS
from fairlead.controllers import conditions
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.controllers.nodes import core
from fairlead.controllers.nodes.heartbeat import Heartbeats
from fairlead.sources.errors import ApiError, Unreachable

Json = dict[str, Any]

LEASE_NAMESPACE = "kube-node-lease"


def node_index(pod: Json) -> tuple[str, ...]:
    """Index function: the node of a pod."""
    node = pod["spec"].get("nodeName")
    return (node,) if node else ()


class NodeLifecycleController(Controller):
    """Keeps conditions and taints of nodes true and evicts pods."""

    name = "node-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._heartbeats = Heartbeats(context.settings.node_monitor_grace_s)
        self._nodes = self.follow(NODES)
        self._nodes.on_change(self._node_changed)
        self._leases = self.follow(LEASES)
        self._leases.on_change(self._lease_changed)
        self.follow(PODS).on_change(self._pod_changed)
        self._pods = context.informers.index(PODS, node_index)

    async def run(self) -> None:
        """Watch over the nodes forever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self._monitor())

    async def reconcile(self, key: Key) -> None:
        """Make the conditions and taints of one node and the fate of its pods what they should be."""
        node = self._nodes.store.get(key)
        if node is None:
            self._heartbeats.forget(key[1])
            return
        now = self.context.now()
        if self._heartbeats.silent(key[1], time.monotonic()):
            status = core.unknown_status(node, now)
            if status is not None:
                self.context.events.put(
                    self.name, node, "Normal", "NodeNotReady", f"Node {key[1]} status is now: NodeNotReady"
                )
                node = await self.client.replace(NODES, {**node, "status": status}, subresource="status")
        pods = list(self._pods.get(key[1]))
        # First the endpoints, then everything else: traffic must leave a dead node as early as possible.
        await self.perform(key, core.not_ready_pods(node, pods, now))
        wanted = core.taints(node, now)
        if wanted != ((node.get("spec") or {}).get("taints") or []):
            await self.perform(key, [core.taint_patch(node, wanted)])
            return
        for pod in pods:
            wait = core.eviction(node, pod, now)
            if wait == 0:
                await self.perform(key, core.evict(pod, now))
            elif wait is not None:
                self.queue.add_after(key, wait + 0.01)

    async def _monitor(self) -> None:
        for informer in (self._nodes, self._leases):
            await informer.wait_synced()
        before = time.monotonic()
        while True:
            await asyncio.sleep(self.context.settings.node_monitor_period_s)
            heard = await self._server_answers()
            now = time.monotonic()
            if not heard or now - before > 3 * self.context.settings.node_monitor_period_s:
                # While the server (or this process) stands still, no node can make itself heard.
                self._heartbeats.excuse(now - before)
            before = now
            for key, node in self._nodes.store.items():
                self._heartbeats.hear(node, self._leases.store.get((LEASE_NAMESPACE, key[1])), now)
                ready = conditions.condition(node, "Ready")
                if self._heartbeats.silent(key[1], now) and (ready is None or ready["status"] != "Unknown"):
                    self.queue.add(key)

    async def _server_answers(self) -> bool:
        try:
            await self.client.get(NAMESPACES, "kube-system")
        except Unreachable:
            return False
        except ApiError:
            return True
        return True

    def _node_changed(self, old: Json | None, new: Json | None) -> None:
        current = new or old
        assert current is not None
        name = current["metadata"]["name"]
        if new is not None:
            self._heartbeats.hear(new, self._leases.store.get((LEASE_NAMESPACE, name)), time.monotonic())
        if old is None or new is None or _relevant(old) != _relevant(new):
            self.enqueue(current)

    def _lease_changed(self, old: Json | None, new: Json | None) -> None:
        if new is None or new["metadata"].get("namespace") != LEASE_NAMESPACE:
            return
        node = self._nodes.store.get(("", new["metadata"]["name"]))
        if node is not None:
            self._heartbeats.hear(node, new, time.monotonic())

    def _pod_changed(self, old: Json | None, new: Json | None) -> None:
        """A pod that comes to a node which is not well, or reports Ready from before it fell silent."""
        if new is None or not new["spec"].get("nodeName"):
            return
        node = self._nodes.store.get(("", new["spec"]["nodeName"]))
        if node is None:
            return
        tainted = any(each["effect"] == "NoExecute" for each in (node.get("spec") or {}).get("taints") or ())
        if tainted or not conditions.is_true(node, "Ready"):
            self.enqueue(node)


def _relevant(node: Json) -> object:
    states = {each["type"]: each["status"] for each in (node.get("status") or {}).get("conditions") or ()}
    spec = node.get("spec") or {}
    return states, spec.get("taints"), spec.get("unschedulable")
