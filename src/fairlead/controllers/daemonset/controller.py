"""The shell of DaemonSets."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from fairlead.base.selectors import from_object
from fairlead.controllers import ownership
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.daemonset import core
from fairlead.controllers.expectations import Key
from fairlead.controllers.scheduler import facts
from fairlead.controllers.scheduler.facts import Node

Json = dict[str, Any]

_GATHER_S = 0.02


class DaemonSetController(Controller):
    """Keeps the pods of DaemonSets."""

    name = "daemonset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes: dict[str, Node] = {}
        self._sets = self.follow(DAEMONSETS, enqueue=self.enqueue)
        self.follow_owned(PODS, DAEMONSETS.kind, delay_s=_GATHER_S)
        self.follow(PODS, enqueue=self._orphan_changed)
        self.follow_owned(CONTROLLERREVISIONS, DAEMONSETS.kind, delay_s=_GATHER_S)
        self.follow(NODES).on_change(self._node_changed)
        self._pods = context.informers.index(PODS, ownership.controller_index)
        self._orphans = context.informers.index(PODS, ownership.orphan_index)
        self._revisions = context.informers.index(CONTROLLERREVISIONS, ownership.controller_index)

    async def reconcile(self, key: Key) -> None:
        """Take the next steps of one DaemonSet."""
        owner = self._sets.store.get(key)
        if owner is None:
            return
        uid = owner["metadata"]["uid"]
        actions = core.reconcile(
            owner,
            list(self._pods.get(uid)),
            list(self._orphans.get(key[0])),
            list(self._revisions.get(uid)),
            [self._nodes[name] for name in sorted(self._nodes)],
            now=self.context.now(),
        )
        await self.perform(key, actions)

    def _node_changed(self, old: Json | None, new: Json | None) -> None:
        if new is None:
            assert old is not None
            self._nodes.pop(old["metadata"]["name"], None)
        else:
            node = facts.node_of(new)
            if self._nodes.get(node.name) == node:
                return
            self._nodes[node.name] = node
        for key in self._sets.store:
            self.queue.add_after(key, _GATHER_S)

    def _orphan_changed(self, pod: Json) -> None:
        if ownership.controller_uid(pod) is not None:
            return
        metadata = pod["metadata"]
        for (namespace, _), owner in self._sets.store.items():
            if namespace == metadata["namespace"] and from_object(owner["spec"]["selector"]).matches(
                metadata.get("labels")
            ):
                self.enqueue(owner)
