"""The egress driver: marks and source addresses of pods that leave the cluster through a gateway, equal to the plan."""

from __future__ import annotations

from fairlead.drivers.nft.egress.kernel import EgressKernel
from fairlead.drivers.nft.egress.state import TABLES
from fairlead.drivers.nft.socket import NftSocket
from fairlead.drivers.nft.threaded import ThreadedDriver
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan


class EgressDriver(ThreadedDriver[EgressKernel]):
    """Implements `fairlead.drivers.protocol.Driver` for the tables `TABLES`; it reads `nat_exemptions` besides."""

    name = "egress"
    tables = frozenset((*TABLES, "nat_exemptions"))

    async def apply(self, plan: Plan) -> Outcome:
        """Make the kernel equal to `plan`. Raises OSError when the kernel refuses; then all is as before."""
        kernel = self._started()
        return await self._run(lambda: kernel.apply(plan))

    async def resync(self, plan: Plan) -> Outcome:
        """Observe, then apply."""
        kernel = self._started()
        return await self._run(lambda: kernel.apply(plan, observe=True))

    def _machine(self, socket: NftSocket) -> EgressKernel:
        return EgressKernel(socket)
