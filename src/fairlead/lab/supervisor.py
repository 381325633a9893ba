"""Keeps the components of a lab running: starts, adopts and restarts them.

It holds no state of its own: what runs is in the process records, what should run follows from the topology. Its death stops nothing; the
next supervisor adopts every component that is still alive.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

from fairlead.aio.backoff import delays
from fairlead.lab.components import Component
from fairlead.lab.home import LabHome
from fairlead.lab.processes import Record, reap, recorded, spawn

log = logging.getLogger(__name__)

_STEADY_S = 10.0
"""A component that ran this long is restarted without a pause when it ends."""


async def supervise(home: LabHome, components: list[Component]) -> None:
    """Keep `components` running forever; the first start of each follows their order."""
    async with asyncio.TaskGroup() as group:
        for component in components:
            record = _adopt(home, component) or _start(home, component)
            group.create_task(_keep(home, component, record), name=component.name)


def _adopt(home: LabHome, component: Component) -> Record | None:
    record = recorded(home, component.name)
    if record is None or not record.alive:
        return None
    log.info("adopted", extra={"child": component.name, "pid": record.pid})
    return record


def _start(home: LabHome, component: Component) -> Record:
    record = spawn(home, component.name, component.argv, namespace=component.namespace)
    log.info("started", extra={"child": component.name, "pid": record.pid})
    return record


async def _keep(home: LabHome, component: Component, record: Record) -> None:
    loop = asyncio.get_running_loop()
    pauses: Iterator[float] = delays(most_s=5.0)
    while True:
        since = loop.time()
        await _wait_exit(record)
        log.warning("ended", extra={"child": component.name, "pid": record.pid})
        if loop.time() - since > _STEADY_S:
            pauses = delays(most_s=5.0)
        else:
            await asyncio.sleep(next(pauses))
        record = _start(home, component)


async def _wait_exit(record: Record) -> None:
    """Wait until the process of `record` has ended, ours or adopted, and reap it if it is ours."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if record.alive:
            await _wait_readable(descriptor)
    finally:
        os.close(descriptor)
    reap(record.pid)


async def _wait_readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(descriptor, finish)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
