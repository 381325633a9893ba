"""Starting the kubelet's process: event loop, signals, and the parts that tests replace."""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path

import uvloop

from fairlead.aio import logs
from fairlead.lab.kubelet.kubelet import Kubelet
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.runtime.runtime import Runtime
from fairlead.sources.client import Client


def run(settings: Settings, kubeconfig: Path) -> None:
    """Run the node's kubelet until SIGTERM or SIGINT; raises UserError for a kubeconfig that cannot be used."""
    logs.setup("kubelet")
    client = Client.from_kubeconfig(kubeconfig, user_agent=f"kubelet/{settings.node}")
    gc.freeze()
    uvloop.run(_run(settings, client))


async def _run(settings: Settings, client: Client) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    runtime = Runtime(settings.pods, netns_prefix=f"fl-{settings.lab}-pod-")
    try:
        async with client:
            await Kubelet(settings, client, runtime).run()
    except asyncio.CancelledError:
        return
