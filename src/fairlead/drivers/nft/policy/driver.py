"""The policy driver: network policy of the node's pods, equal to the plan.

Every change is one transaction, and the first packet after it is judged by it, also of connections that were established before. It must
never leave the table empty between two states.
"""

from __future__ import annotations

from fairlead.drivers.nft.policy.kernel import TABLES, PolicyKernel
from fairlead.drivers.nft.socket import NftSocket
from fairlead.drivers.nft.threaded import ThreadedDriver
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan


class PolicyDriver(ThreadedDriver[PolicyKernel]):
    """Implements `fairlead.drivers.protocol.Driver` for the tables `policy_pods`, `policy_chains` and `policy_groups`."""

    name = "policy"
    tables = frozenset(TABLES)

    async def apply(self, plan: Plan) -> Outcome:
        """Make the kernel equal to `plan`. Raises OSError when the kernel refuses; then all is as before."""
        kernel = self._started()
        return await self._run(lambda: kernel.apply(plan))

    async def resync(self, plan: Plan) -> Outcome:
        """Observe when anyone has changed any table of the namespace, then apply."""
        kernel = self._started()
        return await self._run(lambda: kernel.apply(plan, observe=kernel.may_have_changed()))

    def _machine(self, socket: NftSocket) -> PolicyKernel:
        return PolicyKernel(socket)
