"""Runs a server in this process until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import signal

import uvloop

from fairlead.apiserver.server import Server, Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serve until told to stop; raises UserError when it cannot start."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Server(settings) as server:
        log.info("ready", extra={"ports": server.ports})
        await stop.wait()
        log.info("stopping")
