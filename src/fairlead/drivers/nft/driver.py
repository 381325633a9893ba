"""The nftables driver: Services, masquerade and anti-spoofing of the node, equal to the plan.

Small changes are made at once on the event loop, since the kernel takes them in less time than a change of threads; whatever may take
long runs in a thread of the driver's own.

Stale conntrack entries of removed endpoints are not this driver's: the kernel holds them elsewhere, and another driver
(`drivers/conntrack`) compares the same `service_ports` rows with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fairlead.drivers.nft.difference import TABLES
from fairlead.drivers.nft.kernel import Kernel
from fairlead.drivers.nft.socket import NftSocket
from fairlead.drivers.nft.threaded import ThreadedDriver
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan
from fairlead.plan.tables import Key, Row

_SMALL = 128
"""Changed rows up to which a change is made on the event loop: about a millisecond."""


class NftDriver(ThreadedDriver[Kernel]):
    """Implements `fairlead.drivers.protocol.Driver` for pod sources, local ranges, exemptions from masquerade and Services."""

    name = "nft"
    tables = frozenset(TABLES)

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

    def _machine(self, socket: NftSocket) -> Kernel:
        return Kernel(socket)
