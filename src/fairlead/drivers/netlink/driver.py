"""The netlink driver: links, neighbors, forwarding entries, routes and sysctls of the node, equal to the plan.

All requests run in one thread of the driver's own, so that the kernel's slow moments (removing an interface waits for every
processor) never stop the event loop, and so that the visits to pods' namespaces concern no other thread.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fairlead.base.interfaces import Interface
from fairlead.drivers.netlink import inet, link
from fairlead.drivers.netlink.kernel import TABLES, Kernel
from fairlead.drivers.netlink.socket import RouteSocket
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan

log = logging.getLogger(__name__)
T = TypeVar("T")

_GROUPS = (1, 3, 5, 7, 9, 11)
"""RTNLGRP of links, neighbors, IPv4 addresses and routes, IPv6 addresses and routes."""


class NetlinkDriver:
    """Implements `fairlead.drivers.protocol.Driver` for the tables `TABLES`."""

    name = "netlink"
    tables = frozenset(TABLES)

    def __init__(self, *, namespace: Path | None = None) -> None:
        """Drive the network namespace at `namespace`; by default the one of the process."""
        self._namespace = namespace
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="netlink")
        self._kernel: Kernel | None = None
        self._monitor: RouteSocket | None = None
        self._callbacks: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<NetlinkDriver of {self._namespace or 'this namespace'}>"

    def on_foreign_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` (often, cheaply) when someone else changed our objects or the node's addresses."""
        self._callbacks.append(callback)

    async def start(self) -> None:
        """Open the sockets and observe; raises OSError."""
        self._kernel, monitor = await self._run(self._open)
        self._monitor = monitor
        asyncio.get_running_loop().add_reader(monitor.fileno(), self._on_notification)

    async def interfaces(self) -> tuple[Interface, ...]:
        """Return the node's own interfaces with their addresses."""
        return await self._run(self._started().interfaces)

    async def apply(self, plan: Plan) -> Outcome:
        """Make the kernel equal to `plan` by the difference to what is known."""
        kernel = self._started()
        return await self._run(lambda: kernel.apply(plan))

    async def resync(self, plan: Plan) -> Outcome:
        """Observe, then apply."""
        kernel = self._started()

        def work() -> Outcome:
            kernel.observe()
            return kernel.apply(plan)

        return await self._run(work)

    async def close(self) -> None:
        """Release handles; everything stays in place."""
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None
        if self._kernel is not None:
            await self._run(self._kernel.close)
            self._kernel = None
        self._worker.shutdown()

    def _open(self) -> tuple[Kernel, RouteSocket]:
        kernel = Kernel(self._namespace)
        monitor = RouteSocket(_GROUPS)
        kernel.observe()
        return kernel, monitor

    def _started(self) -> Kernel:
        if self._kernel is None:
            raise RuntimeError("the netlink driver is not started: call start() first")
        return self._kernel

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _on_notification(self) -> None:
        assert self._monitor is not None
        relevant = False
        try:
            while notifications := self._monitor.receive():
                relevant = relevant or any(self._is_relevant(*each) for each in notifications)
        except OSError:
            # Some were lost (ENOBUFS): only a resync knows.
            relevant = True
        if relevant:
            for callback in self._callbacks:
                callback()

    def _is_relevant(self, kind: int, port: int, payload: bytes) -> bool:
        kernel = self._started()
        if port == kernel.port:
            return False
        match kind:
            case inet.RTM_DELROUTE:
                return inet.decode_route(payload) is not None
            case inet.RTM_DELNEIGH:
                return kernel.is_ours(int.from_bytes(payload[4:8], sys.byteorder))
            case inet.RTM_NEWADDR | inet.RTM_DELADDR | link.RTM_DELLINK:
                return True
            case link.RTM_NEWLINK:
                found = link.decode(payload)
                return kernel.has_changed(found)
            case _:
                return False
