"""Keeps the components of a lab running: starts, adopts and restarts them.

It holds no state of its own: what runs is in the process records, what should run follows from the topology. Its death stops nothing;
the next supervisor adopts every component that is still alive.

Components are forked from this process, which has imported what they need: a node costs tens of milliseconds instead of a
second, and all share the memory of their code. That is why there is no asyncio here, nor any thread: neither survives a fork.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fairlead.aio.backoff import delays
from fairlead.lab.components import Component
from fairlead.lab.home import LabHome
from fairlead.lab.processes import Record, fork, reap, recorded

log = logging.getLogger(__name__)

_STEADY_S = 10.0
"""A component that ran this long is restarted without a pause when it ends."""
_SHARED = (
    "fairlead.apiserver.run",
    "fairlead.controllers.manager",
    "fairlead.agent.main",
    "fairlead.lab.kubelet.run",
    "fairlead.lab.cloud.run",
    "fairlead.lab.forward.run",
    "uvloop",
)


@dataclass(slots=True)
class _Child:
    component: Component
    record: Record
    since: float
    pauses: Iterator[float] = field(default_factory=lambda: delays(most_s=5.0))


class Supervisor:
    """Runs until it is killed. `main` is the entry of our command line. Not for use beside threads or an event loop."""

    def __init__(self, home: LabHome, components: list[Component], main: Callable[[], object]) -> None:
        self._main = main
        self._home = home
        self._components = components
        self._poll = select.poll()
        self._children: dict[int, _Child] = {}
        """Pidfd → child."""
        self._due: list[tuple[float, _Child]] = []

    def run(self) -> None:
        """Keep the components running forever; the first start of each follows their order."""
        missing = [component for component in self._components if not self._adopt(component)]
        if missing:
            # The API server takes longest to answer, so it alone does not wait for the others' imports.
            importlib.import_module(_SHARED[0])
            self._start(missing[0])
            for module in _SHARED[1:]:
                importlib.import_module(module)
            gc.collect()
            gc.freeze()
        for component in missing[1:]:
            self._start(component)
        while True:
            for descriptor, _ in self._poll.poll(self._patience_ms()):
                self._ended(descriptor)
            self._restart_due()

    def _adopt(self, component: Component) -> bool:
        record = recorded(self._home, component.name)
        if record is None or not record.alive:
            return False
        log.info("adopted", extra={"child": component.name, "pid": record.pid})
        self._watch(_Child(component, record, time.monotonic()))
        return True

    def _start(self, component: Component, child: _Child | None = None) -> None:
        record = fork(self._home, component.name, component.argv, namespace=component.namespace, main=self._main)
        log.info("started", extra={"child": component.name, "pid": record.pid})
        if child is None:
            child = _Child(component, record, time.monotonic())
        child.record, child.since = record, time.monotonic()
        self._watch(child)

    def _watch(self, child: _Child) -> None:
        try:
            descriptor = os.pidfd_open(child.record.pid)
        except ProcessLookupError:
            self._due.append((time.monotonic(), child))
            return
        self._children[descriptor] = child
        self._poll.register(descriptor, select.POLLIN)

    def _ended(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        os.close(descriptor)
        child = self._children.pop(descriptor)
        reap(child.record.pid)
        log.warning("ended", extra={"child": child.component.name, "pid": child.record.pid})
        now = time.monotonic()
        if now - child.since > _STEADY_S:
            child.pauses = delays(most_s=5.0)
            self._due.append((now, child))
        else:
            self._due.append((now + next(child.pauses), child))

    def _patience_ms(self) -> float | None:
        if not self._due:
            return None
        return max(0.0, min(due for due, _ in self._due) - time.monotonic()) * 1000 + 1

    def _restart_due(self) -> None:
        now = time.monotonic()
        ready = [child for due, child in self._due if due <= now]
        self._due = [(due, child) for due, child in self._due if due > now]
        for child in ready:
            self._start(child.component, child)
