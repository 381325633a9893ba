"""The shell of egress gateways' status."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import EGRESSGATEWAYS, NODES
from fairlead.controllers.actions import Action, Event, Status
from fairlead.controllers.conditions import condition, is_true
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.egress import core
from fairlead.controllers.expectations import Key

Json = dict[str, Any]


class EgressGatewayController(Controller):
    """Keeps the status of EgressGateways. Keys: (``, name)."""

    name = "egress-gateway-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # The kind may not be installed: nobody waits for its list.
        self._gateways = context.informers.of(EGRESSGATEWAYS)
        self._gateways.on_change(self._changed)
        self._nodes = self.follow(NODES)
        self._nodes.on_change(self._node_changed)

    async def reconcile(self, key: Key) -> None:
        """Bring the status of one gateway up to date."""
        gateway = self._gateways.store.get(key)
        if gateway is None:
            return
        status = core.status(gateway, list(self._nodes.store.values()), self.context.now())
        if status == gateway.get("status"):
            return
        gateway = {"apiVersion": EGRESSGATEWAYS.api_version, "kind": EGRESSGATEWAYS.kind, **gateway}
        updated = {**gateway, "status": status}
        actions: list[Action] = [Status(EGRESSGATEWAYS, updated)]
        before, after = condition(gateway, core.READY), condition(updated, core.READY)
        if after is not None and (before is None or before["message"] != after["message"]):
            is_ready = is_true(updated, core.READY)
            actions.append(Event(gateway, "Normal" if is_ready else "Warning", after["reason"], after["message"]))
        await self.perform(key, actions)

    def _changed(self, old: Json | None, new: Json | None) -> None:
        if new is not None:
            self.queue.add(("", new["metadata"]["name"]))

    def _node_changed(self, old: Json | None, new: Json | None) -> None:
        if old is not None and new is not None and _read(old) == _read(new):
            return
        for key in self._gateways.store:
            self.queue.add(key)


def _read(node: Json) -> tuple[object, ...]:
    """Return what a status is made of: nodes' heartbeats are none of it."""
    return node["metadata"].get("labels"), is_true(node, core.READY), (node.get("status") or {}).get("addresses")
