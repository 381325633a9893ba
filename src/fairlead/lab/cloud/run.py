"""The cloud's load balancers as one small process in the namespace of the VPC's router.

Level-triggered: Services, nodes and their health say where each address should lead, and the routes follow. When it dies, routes stay as they
are.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

from fairlead.api.resources import NODES, SERVICES
from fairlead.lab.cloud import decide
from fairlead.lab.cloud.health import Health
from fairlead.lab.cloud.routes import Routes
from fairlead.sources.client import Client
from fairlead.sources.informer import Informer

log = logging.getLogger(__name__)

_RETRY_S = 1.0


async def run(kubeconfig: Path) -> None:
    """Work until SIGTERM or SIGINT."""
    routes = Routes()
    await routes.start()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Client.from_kubeconfig(kubeconfig, user_agent="fairlead-cloud") as client, asyncio.TaskGroup() as group:
        services, nodes = Informer(client, SERVICES), Informer(client, NODES)
        changed = asyncio.Event()
        health = Health(changed.set)
        for informer in (services, nodes):
            informer.on_change(lambda _old, _new: changed.set())
        tasks = [
            group.create_task(each)
            for each in (services.run(), nodes.run(), health.run(), _keep(services, nodes, health, routes, changed))
        ]
        await stopped.wait()
        for task in tasks:
            task.cancel()


async def _keep(services: Informer, nodes: Informer, health: Health, routes: Routes, changed: asyncio.Event) -> None:
    for informer in (services, nodes):
        await informer.wait_synced()
    first = True
    while True:
        wanted = decide.targets(services.store.values(), list(nodes.store.values()))
        health.watch(decide.checks(wanted))
        if first and decide.checks(wanted):
            # What an earlier run found healthy stays until it has been asked.
            first = False
            await changed.wait()
        changed.clear()
        try:
            await routes.apply(decide.hops(wanted, health.healthy))
        except OSError as error:
            log.warning("routes not changed", extra={"error": str(error)})
            await asyncio.sleep(_RETRY_S)
            continue
        await changed.wait()
