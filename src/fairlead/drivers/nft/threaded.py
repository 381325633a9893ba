"""What the drivers of nf_tables have in common: a socket to one namespace, and a thread in which it is used when that may take long.

It must never decide what is in the kernel.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from fairlead.drivers.nft.socket import NftSocket

T = TypeVar("T")


class Machine(Protocol):
    """A state machine between plans and a socket. Blocking."""

    def probe(self) -> None:
        """Ask the kernel whether it could hold what is wanted, changing nothing; raises OSError when it could not."""

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return (packets, bytes) by counter; raises OSError."""

    def close(self) -> None:
        """Close the socket; everything stays in place."""


K = TypeVar("K", bound=Machine)


class ThreadedDriver(ABC, Generic[K]):
    """The part of a driver that owns its machine; `start` comes first and `close` last."""

    name: str

    def __init__(self, netns: Path | None = None) -> None:
        """Drive the network namespace at `netns`; by default the one of the process."""
        self._netns = netns
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=self.name)
        self._kernel: K | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._netns or 'this namespace'}: {self._kernel or 'not started'}>"

    async def start(self) -> None:
        """Open the socket and adopt what is there; raises OSError when the kernel could not hold what is wanted."""
        self._kernel = await self._run(self._open)

    async def counters(self) -> Mapping[str, tuple[int, int]]:
        """Return (packets, bytes) by counter."""
        return await self._run(self._started().counters)

    async def close(self) -> None:
        """Release the socket; everything stays in place."""
        if self._kernel is not None:
            await self._run(self._kernel.close)
            self._kernel = None
        self._worker.shutdown()

    @abstractmethod
    def _machine(self, socket: NftSocket) -> K:
        """Return the machine on `socket`."""

    def _open(self) -> K:
        kernel = self._machine(NftSocket(self._netns))
        try:
            kernel.probe()
        except BaseException:
            kernel.close()
            raise
        return kernel

    def _started(self) -> K:
        if self._kernel is None:
            raise RuntimeError(f"the {self.name} driver is not started: call start() first")
        return self._kernel

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)
