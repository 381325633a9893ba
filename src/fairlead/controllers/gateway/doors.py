"""The shell that says of nodes' proxies what their agents may not be able to say: that the node is not well, is leaving, or is gone.

Agents write their slices themselves. What their Node means for these follows from one rule, whoever applies it, so that nobody takes back
what the other wrote; that a proxy serves is for its agent alone to say.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.api.node import Node
from fairlead.api.resources import ENDPOINTSLICES, NODES
from fairlead.controllers.actions import Action, Delete, Patch
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.model.gateway.doors import NODE_LABEL, revised
from fairlead.sources.errors import NotFound

Json = dict[str, Any]


class DoorController(Controller):
    """Keeps the conditions of Gateways' endpoints true to their nodes. Keys: (``, name of a node). Costs time proportional to its slices."""

    name = "gateway-door-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes = self.follow(NODES)
        self._nodes.on_change(self._node_changed)
        self.follow(ENDPOINTSLICES, enqueue=self._enqueue_node)
        self._slices = context.informers.index(ENDPOINTSLICES, _node_of)

    async def reconcile(self, key: Key) -> None:
        """Make the slices of one node true."""
        slices = list(self._slices.get(key[1]))
        if not slices:
            return
        node = self._nodes.store.get(key)
        typed = msgspec.convert(node, Node) if node is not None else None
        if typed is None or typed.is_shut_down:
            if typed is not None or await self._is_gone(key[1]):
                await self.perform(key, [Delete(ENDPOINTSLICES, each) for each in slices])
            return
        changes = ((each, revised(each, typed)) for each in slices)
        actions: list[Action] = [
            Patch(ENDPOINTSLICES, each, {"metadata": _version(each), "endpoints": wanted})
            for each, wanted in changes
            if wanted is not None
        ]
        await self.perform(key, actions)

    async def _is_gone(self, name: str) -> bool:
        """Ask the API server: a new node's slices may be heard of before it."""
        try:
            await self.client.get(NODES, name)
        except NotFound:
            return True
        return False

    def _node_changed(self, old: Json | None, new: Json | None) -> None:
        if _read(old) != _read(new):
            self.enqueue(new or old or {})

    def _enqueue_node(self, endpoint_slice: Json) -> None:
        for name in _node_of(endpoint_slice):
            self.queue.add(("", name))


def _node_of(endpoint_slice: Json) -> tuple[str, ...]:
    """Index function: the node whose proxy a slice is about."""
    name = (endpoint_slice["metadata"].get("labels") or {}).get(NODE_LABEL)
    return (name,) if name else ()


def _read(node: Json | None) -> object:
    """Return what conditions are made of: heartbeats are none of it."""
    if node is None:
        return None
    typed = msgspec.convert(node, Node)
    return typed.is_leaving, typed.is_ready, typed.is_shut_down


def _version(obj: Json) -> Json:
    return {"resourceVersion": obj["metadata"]["resourceVersion"]}
