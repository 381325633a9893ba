"""Tells the cluster what this node's proxy serves: its EndpointSlices of each Gateway's Service.

Level-triggered: what the proxy has acknowledged and what the API server holds are compared whenever either changes. It must never touch a
slice that does not carry this node's label.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from fairlead.aio.backoff import delays
from fairlead.api.node import Node
from fairlead.api.resources import ENDPOINTSLICES, SERVICES
from fairlead.drivers.xds.driver import ListenerState
from fairlead.drivers.xds.proxies import Proxies
from fairlead.engine.reconcile import Engine
from fairlead.model.gateway.doors import NODE_LABEL, slices
from fairlead.model.gateway.names import service_name
from fairlead.plan.gateway.listener import AnyListener
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Unreachable
from fairlead.sources.informer import Informer
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

Json = dict[str, Any]

log = logging.getLogger(__name__)


class GatewayReporter:
    """Keeps one node's EndpointSlices of Gateways at what its proxy has said."""

    def __init__(self, client: Client, engine: Engine, driver: Proxies, node: str) -> None:
        self._client = client
        self._engine = engine
        self._node = node
        self._states: Mapping[str, ListenerState] | None = None
        """None until the driver has applied its first plan: nothing is known of what an earlier run left."""
        self._changed = asyncio.Event()
        self._informer = Informer(client, ENDPOINTSLICES, label_selector=f"{NODE_LABEL}={node}")
        self._informer.on_change(lambda _old, _new: self._changed.set())
        driver.on_states(self._take)
        self._own: Node | None = None
        engine.on_snapshot(self._look)

    async def run(self) -> None:
        """Report, forever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            await self._informer.wait_synced()
            pauses = delays()
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._states is None:
                    continue
                try:
                    await self._write(self._states)
                    pauses = delays()
                except (ApiError, Unreachable) as error:
                    log.info("gateways not reported", extra={"node": self._node, "error": str(error)})
                    await asyncio.sleep(next(pauses))
                    self._changed.set()

    def _look(self, snapshot: Snapshot) -> None:
        own = snapshot.nodes.get(self._node)
        if own is not self._own:
            self._own = own
            self._changed.set()

    def _take(self, states: Mapping[str, ListenerState]) -> None:
        self._states = states
        self._changed.set()

    async def _write(self, states: Mapping[str, ListenerState]) -> None:
        wanted = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in self._wanted(states)}
        present = self._informer.store
        for key in present.keys() - wanted.keys():
            await self._client.delete(ENDPOINTSLICES, key[1], namespace=key[0])
        for key, obj in wanted.items():
            if key not in present:
                await self._client.create(ENDPOINTSLICES, obj, namespace=key[0])
            elif not _holds(present[key], obj):
                await self._client.patch(ENDPOINTSLICES, key[1], obj, namespace=key[0])

    def _wanted(self, states: Mapping[str, ListenerState]) -> list[Json]:
        snapshot = self._engine.snapshot
        node = snapshot.nodes.get(self._node)
        found: list[Json] = []
        for gateway, listeners in _by_gateway(states).items():
            owner = _owner(snapshot, gateway)
            if owner is not None:
                found += slices(gateway, node, listeners, owner)
        return found


def _by_gateway(states: Mapping[str, ListenerState]) -> dict[ObjectKey, list[tuple[AnyListener, str]]]:
    found: dict[ObjectKey, list[tuple[AnyListener, str]]] = {}
    for state in states.values():
        namespace, name, *_ = state.row.name.split("/")
        found.setdefault((namespace, name), []).append((state.row, state.error))
    return found


def _owner(snapshot: Snapshot, gateway: ObjectKey) -> Json | None:
    service = snapshot.services.get((gateway[0], service_name(gateway[1])))
    if service is None:
        return None
    name, uid = service.metadata.name, service.metadata.uid
    return {"apiVersion": SERVICES.api_version, "kind": SERVICES.kind, "name": name, "uid": uid}


def _holds(present: Json, wanted: Json) -> bool:
    """Tell whether an object says all that is wanted of it, whatever the API server filled in beside that."""
    metadata = present["metadata"]
    return all(metadata.get(field) == value for field, value in wanted["metadata"].items()) and all(
        present.get(field) == wanted[field] for field in ("endpoints", "ports")
    )
