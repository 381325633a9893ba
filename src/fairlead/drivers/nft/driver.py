"""The nftables driver: Services, masquerade and anti-spoofing of the node, equal to the plan.

Small changes are made at once on the event loop, since the kernel takes them in less time than a change of threads; whatever may take
long runs in a thread of the driver's own.

Stale conntrack entries of removed endpoints are not this driver's: the kernel holds them elsewhere, and another driver
(`drivers/conntrack`) compares the same `service_ports` rows with them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fairlead.drivers.nft.difference import TABLES
from fairlead.drivers.nft.kernel import Kernel
from fairlead.drivers.nft.socket import NftSocket
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan
from fairlead.plan.tables import Key, Row

log = logging.getLogger(__name__)
T = TypeVar("T")

_SMALL = 128
"""Changed rows up to which a change is made on the event loop: about a millisecond."""


class NftDriver:
    """Implements `fairlead.drivers.protocol.Driver` for pod sources, local ranges, exemptions from masquerade and Services."""

    name = "nft"
    tables = frozenset(TABLES)

    def __init__(self, netns: Path | None = None) -> None:
        """Drive the network namespace at `netns`; by default the one of the process."""
        self._netns = netns
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="nft")
        self._kernel: Kernel | None = None

    def __repr__(self) -> str:
        return f"<NftDriver of {self._netns or 'this namespace'}: {self._kernel or 'not started'}>"

    async def start(self) -> None:
        """Open the socket and adopt what is there; raises OSError when the kernel could not hold our tables."""
        self._kernel = await self._run(self._open)

    async def apply(self, plan: Plan, changed: Mapping[str, Collection[Key]] | None = None) -> Outcome:
        """Make the kernel equal to `plan`, in one transaction.

        The plan before is remembered: tables that are the same object are not looked at, rows that are the same object cost
        30 ns each. A caller who knows which keys differ from the last plan that was applied says so by `changed` (table → keys, all
        of them), and then the cost depends on those alone. Raises OSError when the kernel cannot be talked to.
        """
        kernel = self._started()
        if changed is not None and kernel.is_settled:
            named: Mapping[str, Collection[Key]] | None = {table: changed.get(table, ()) for table in TABLES}
        else:
            named = kernel.changes(plan)
        if named is not None and sum(map(len, named.values())) <= _SMALL:
            return kernel.apply(plan, named)
        return await self._run(lambda: kernel.apply(plan, named))

    async def apply_changes(self, plan: Plan, changed: Mapping[str, Collection[Key]]) -> Outcome:
        """As `apply`, looking at the keys in `changed` alone."""
        return await self.apply(plan, changed)

    async def resync(self, plan: Plan) -> Outcome:
        """Observe when anyone has changed any table of the namespace, then apply."""
        kernel = self._started()

        def work() -> Outcome:
            if kernel.may_have_changed():
                kernel.observe()
            return kernel.apply(plan, kernel.changes(plan))

        return await self._run(work)

    async def observe(self) -> Mapping[str, Mapping[Key, Row]]:
        """Return what the kernel holds now as rows by plan table and key.

        Prefixes that touch are one row, or the fewest that cover the same addresses.
        """
        kernel = self._started()

        def work() -> Mapping[str, Mapping[Key, Row]]:
            kernel.observe()
            return kernel.rows()

        return await self._run(work)

    async def counters(self) -> Mapping[str, tuple[int, int]]:
        """Return (packets, bytes) of `inet/spoofed`, `arp/spoofed` and `inet/refused`."""
        return await self._run(self._started().counters)

    async def close(self) -> None:
        """Release the socket; everything stays in place."""
        if self._kernel is not None:
            await self._run(self._kernel.close)
            self._kernel = None
        self._worker.shutdown()

    def _open(self) -> Kernel:
        kernel = Kernel(NftSocket(self._netns))
        try:
            kernel.observe()
            kernel.probe()
        except BaseException:
            kernel.close()
            raise
        return kernel

    def _started(self) -> Kernel:
        if self._kernel is None:
            raise RuntimeError("the nftables driver is not started: call start() first")
        return self._kernel

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)
