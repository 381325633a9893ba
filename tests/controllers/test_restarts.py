"""What happens when the controllers or the API server die in the midst of work: it goes on, and nothing is done twice."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

from tests.controllers.lab import Lab
from tests.controllers.test_together import CORE, deployment

from fairlead.api.resources import DEPLOYMENTS, PODS
from fairlead.apiserver.listeners import Address
from fairlead.apiserver.server import Server
from fairlead.apiserver.server import Settings as ServerSettings
from fairlead.controllers import manager
from fairlead.controllers.context import Context, Settings
from fairlead.sources.client import Client
from fairlead.sources.informer import Informer
from fairlead.sources.kubeconfig import Connection

Json = dict[str, Any]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_deaths_in_the_midst_of_work_make_no_pod_too_many(tmp_path: Path, certificates: Path) -> None:
    port = free_port()
    server_settings = ServerSettings(state=tmp_path / "state", pki=certificates, listen=[Address("127.0.0.1", port)])
    connection = Connection(
        server=f"https://127.0.0.1:{port}",
        ca=(certificates / "ca.crt").read_text(),
        certificate=(certificates / "admin.crt").read_text(),
        key=(certificates / "admin.key").read_text(),
    )
    server = Server(server_settings)
    await server.__aenter__()
    async with Client(connection, user_agent="test") as client, Client(connection, user_agent="controllers") as theirs:
        it = Lab(client, Context(client))
        pods: Informer = it.follow(PODS)
        it.follow(DEPLOYMENTS)
        watching = asyncio.ensure_future(it.context.informers.run())
        for index in range(3):
            await it.node(f"node-{index}")
        working = asyncio.create_task(manager.run(theirs, CORE, Settings()))
        try:
            await client.create(DEPLOYMENTS, deployment(replicas=60))
            for several in (5, 20, 40):
                await it.until(lambda several=several: len(pods.store) >= several, f"{several} pods")
                await end(working)
                working = asyncio.create_task(manager.run(theirs, CORE, Settings()))
            await it.until(lambda: len(pods.store) >= 50, "50 pods")
            await server.close()
            await asyncio.sleep(0.3)
            assert not working.done(), "controllers outlive the server"
            server = Server(server_settings)
            await server.__aenter__()
            await it.until(
                lambda: len(pods.store) == 60 and all(pod["spec"].get("nodeName") for pod in pods.store.values()),
                "all pods bound",
                timeout_s=30,
            )
            await asyncio.sleep(0.5)
            assert len(pods.store) == 60
        finally:
            await end(working)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await server.close()
