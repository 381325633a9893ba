"""The policy driver: network policy of the node's pods, equal to the plan.

Every change is one transaction, and the first packet after it is judged by it, also of connections that were established before. It must
never leave the table empty between two states.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fairlead.drivers.nft.policy.kernel import TABLES, PolicyKernel
from fairlead.drivers.nft.socket import NftSocket
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan

T = TypeVar("T")


class PolicyDriver:
    """Implements `fairlead.drivers.protocol.Driver` for the tables `policy_pods`, `policy_chains` and `policy_groups`."""

    name = "policy"
    tables = frozenset(TABLES)

    def __init__(self, netns: Path | None = None) -> None:
        """Drive the network namespace at `netns`; by default the one of the process."""
        self._netns = netns
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._kernel: PolicyKernel | None = None

    def __repr__(self) -> str:
        return f"<PolicyDriver of {self._netns or 'this namespace'}: {self._kernel or 'not started'}>"

    async def start(self) -> None:
        """Open the socket; raises OSError when the kernel could not hold the table."""
        self._kernel = await self._run(self._open)

    async def apply(self, plan: Plan) -> Outcome:
        """Make the kernel equal to `plan`. Raises OSError when the kernel refuses; then all is as before."""
        kernel = self._started()
        return await self._run(lambda: kernel.apply(plan))

    async def resync(self, plan: Plan) -> Outcome:
        """Observe when anyone has changed any table of the namespace, then apply."""
        kernel = self._started()
        return await self._run(lambda: kernel.apply(plan, observe=kernel.may_have_changed()))

    async def counters(self) -> Mapping[str, tuple[int, int]]:
        """Return (packets, bytes) by what decided: `Kind/namespace/policy/direction/rule`, and a few of the table's own.

        A connection is counted once for each judgement, a dropped packet each time.
        """
        return await self._run(self._started().counters)

    async def close(self) -> None:
        """Release the socket; everything stays in place."""
        if self._kernel is not None:
            await self._run(self._kernel.close)
            self._kernel = None
        self._worker.shutdown()

    def _open(self) -> PolicyKernel:
        kernel = PolicyKernel(NftSocket(self._netns))
        try:
            kernel.probe()
        except BaseException:
            kernel.close()
            raise
        return kernel

    def _started(self) -> PolicyKernel:
        if self._kernel is None:
            raise RuntimeError("the policy driver is not started: call start() first")
        return self._kernel

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)
