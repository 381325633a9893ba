"""The policy driver: network policy of the node's pods, equal to the plan.

Every change is one transaction, and the first packet after it is judged by it, also of connections that were established before. It must
never leave the table empty between two states.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path

from fairlead.base import domainnames
from fairlead.drivers.nft.policy.kernel import TABLES, PolicyKernel
from fairlead.drivers.nft.socket import NftSocket
from fairlead.drivers.nft.threaded import ThreadedDriver
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan

_MOST_ABSENT = 1024


class PolicyDriver(ThreadedDriver[PolicyKernel]):
    """Implements `fairlead.drivers.protocol.Driver` for the tables `policy_pods`, `policy_chains` and `policy_groups`."""

    name = "policy"
    tables = frozenset(TABLES)

    def __init__(self, netns: Path | None = None) -> None:
        """Drive the network namespace at `netns`; by default the one of the process."""
        super().__init__(netns)
        self._applied = asyncio.Event()
        self._absent: OrderedDict[bytes, None] = OrderedDict()

    async def apply(self, plan: Plan) -> Outcome:
        """Make the kernel equal to `plan`. Raises OSError when the kernel refuses; then all is as before."""
        kernel = self._started()
        try:
            return await self._run(lambda: kernel.apply(plan))
        finally:
            self._applied.set()

    async def resync(self, plan: Plan) -> Outcome:
        """Observe when anyone has changed any table of the namespace, then apply."""
        kernel = self._started()
        try:
            return await self._run(lambda: kernel.apply(plan, observe=kernel.may_have_changed()))
        finally:
            self._applied.set()

    def permits(self, names: Collection[bytes], addresses: Mapping[bytes, int]) -> bool:
        """Tell whether `permit` would return at once. Costs a look-up for each name and address."""
        found = self._kernel is not None and self._kernel.permits(names, addresses)
        if found:
            self._exist(names)
        return found

    async def permit(self, names: Collection[bytes], addresses: Mapping[bytes, int]) -> None:
        """Return when rules for any of the names permit the addresses, at least as long as their TTL; raises OSError.

        `names` are in wire form and lower case, `addresses` packed with their TTL in seconds. Waits for the first plan: only then is
        it known which rules there are. Names that no rule selects are remembered for rules to come.
        """
        self._exist(names)
        await self._applied.wait()
        kernel = self._started()
        await self._run(lambda: kernel.permit(names, addresses))

    def nothing(self, name: bytes) -> None:
        """Note that a pod was told that there is no such name."""
        self._absent[name] = None
        while len(self._absent) > _MOST_ABSENT:
            self._absent.popitem(last=False)

    def absent(self) -> frozenset[str]:
        """Return names, without the final dot, of which pods were told lately that there are none."""
        return frozenset(domainnames.text(each)[:-1] for each in self._absent)

    def _exist(self, names: Collection[bytes]) -> None:
        for name in names if self._absent else ():
            self._absent.pop(name, None)

    async def expire(self) -> bool:
        """Take addresses of names away whose time is over and that no connection uses; return whether to call again at once.

        Raises OSError.
        """
        kernel = self._started()
        return await self._run(kernel.expire)

    def statistics(self) -> Mapping[str, int]:
        """Return how many names, pairs of name and address, and groups of names there are."""
        return self._started().statistics()

    def _machine(self, socket: NftSocket) -> PolicyKernel:
        return PolicyKernel(socket)
