"""The cloud's load balancers, and its addresses of egress gateways, as one small process in the namespace of the VPC's router.

Level-triggered: Services, gateways, nodes and their health say where each address should lead, and the routes follow. When it dies, routes
stay as they are.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path

from fairlead.api.resources import EGRESSGATEWAYS, NODES, SERVICES
from fairlead.lab.cloud import decide
from fairlead.lab.cloud.flows import Flows
from fairlead.lab.cloud.routes import Routes
from fairlead.sources.client import Client
from fairlead.sources.health import Health, lives, serves
from fairlead.sources.informer import Informer

log = logging.getLogger(__name__)

_RETRY_S = 1.0
_DEAD_AFTER = 3
"""How many failures in a row take connections from a node: one that is late only must not lose them."""


async def run(kubeconfig: Path) -> None:
    """Work until SIGTERM or SIGINT."""
    routes, flows = Routes(), Flows()
    await routes.start()
    await flows.start()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Client.from_kubeconfig(kubeconfig, user_agent="fairlead-cloud") as client, asyncio.TaskGroup() as group:
        cloud = _Cloud(client, routes, flows)
        tasks = [group.create_task(each) for each in cloud.duties()]
        await stopped.wait()
        for task in tasks:
            task.cancel()


class _Cloud:
    """What is known, and what keeps the routes equal to it."""

    def __init__(self, client: Client, routes: Routes, flows: Flows) -> None:
        self._routes = routes
        self._flows = flows
        self._services, self._nodes = Informer(client, SERVICES), Informer(client, NODES)
        self._gateways = Informer(client, EGRESSGATEWAYS)
        self._changed = asyncio.Event()
        self._balanced = Health(self._changed.set, serves)
        self._held = Health(self._changed.set, lives)
        self._kept = Health(self._changed.set, lives, tolerated=_DEAD_AFTER - 1)
        for informer in self._informers:
            informer.on_change(lambda _old, _new: self._changed.set())

    @property
    def _informers(self) -> tuple[Informer, ...]:
        return self._services, self._nodes, self._gateways

    def duties(self) -> list[Coroutine[None, None, None]]:
        """Return what has to run."""
        health = (self._balanced, self._held, self._kept)
        return [*(each.run() for each in self._informers), *(each.run() for each in health), self._keep()]

    async def _keep(self) -> None:
        for informer in self._informers:
            await informer.wait_synced()
        first = True
        while True:
            nodes = list(self._nodes.store.values())
            balanced = decide.targets(self._services.store.values(), nodes)
            held = decide.gateways(self._gateways.store.values(), nodes)
            self._balanced.watch(decide.checks(balanced))
            self._held.watch(decide.checks(held))
            kept = decide.keepers(nodes, self._flows.nodes)
            self._kept.watch(kept.values())
            if first and decide.checks(balanced | held):
                # What an earlier run found healthy stays until it has been asked.
                first = False
                await self._changed.wait()
            self._changed.clear()
            living = {address for address, check in kept.items() if check not in self._kept.failing}
            to_nodes = decide.hops(balanced, self._balanced.healthy, self._balanced.failing, living)
            try:
                # What remembers connections is there before the first of them.
                await self._flows.apply(balanced, kept, living)
                await self._routes.apply(to_nodes | decide.holders(held, self._held.failing))
            except OSError as error:
                log.warning("routes not changed", extra={"error": str(error)})
                await asyncio.sleep(_RETRY_S)
                continue
            await self._changed.wait()
