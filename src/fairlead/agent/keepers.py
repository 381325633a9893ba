"""The agent's small duties beside the engine: its record of the cluster, its status file, and the node's own interfaces.

Each waits for a nudge, lets others follow for a moment, and then does its work once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from fairlead.agent import facts
from fairlead.drivers.netlink.driver import NetlinkDriver
from fairlead.engine.reconcile import Engine
from fairlead.world.events import InterfacesObserved
from fairlead.world.snapshot import TABLES, Snapshot

log = logging.getLogger(__name__)

_PATIENCE_S = 2.0
_STATUS_PERIOD_S = 1.0
_HOST_DEBOUNCE_S = 0.1
_FACTS_DEBOUNCE_S = 1.0
# Writing may take this part of the time at most, however large the cluster.
_FACTS_SHARE = 0.02


async def remember(path: Path, engine: Engine, *, patience_s: float = _PATIENCE_S) -> None:
    """Go on with the record at `path` for every kind that the API server has not listed within `patience_s`.

    Not at once: a record may lack what the last run applied a moment before it was killed, and would take it back. Until then
    everything stays as that run left it.
    """
    await asyncio.sleep(patience_s)
    if unlisted := engine.unlisted:
        log.warning("going on with the record of the cluster", extra={"kinds": ",".join(sorted(unlisted))})
        engine.push(*(event for event in facts.load(path) if event.kind in unlisted))


class FactsKeeper:
    """Writes the record of the cluster some time after it changed."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._engine = engine
        self._changed = asyncio.Event()
        self._seen: tuple[object, ...] = ()
        engine.on_snapshot(self._on_snapshot)

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        now = tuple(getattr(snapshot, field) for field in TABLES.values())
        if len(self._seen) != len(now) or any(a is not b for a, b in zip(now, self._seen, strict=True)):
            self._seen = now
            if self._engine.plan is not None:
                self._changed.set()

    async def run(self) -> None:
        """Keep the record current, forever."""
        pause = _FACTS_DEBOUNCE_S
        while True:
            await self._changed.wait()
            await asyncio.sleep(pause)
            self._changed.clear()
            begin = time.monotonic()
            try:
                await asyncio.to_thread(facts.save, self._path, facts.facts_of(self._engine.snapshot))
            except OSError as error:
                log.warning("record of the cluster not written", extra={"path": str(self._path), "error": str(error)})
            pause = max(_FACTS_DEBOUNCE_S, (time.monotonic() - begin) / _FACTS_SHARE)


class StatusKeeper:
    """Writes the receipt to a file whenever it says something new, atomically."""

    def __init__(self, path: Path, receipt: Callable[[], object]) -> None:
        self._path = path
        self._receipt = receipt

    async def run(self) -> None:
        """Keep the file current, forever."""
        written: object = None
        while True:
            receipt = self._receipt()
            if receipt != written:
                try:
                    self._write(receipt)
                    written = receipt
                except OSError as error:
                    log.warning("status not written", extra={"path": str(self._path), "error": str(error)})
            await asyncio.sleep(_STATUS_PERIOD_S)

    def _write(self, receipt: object) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        temporary.write_bytes(msgspec.json.encode(receipt) + b"\n")
        temporary.replace(self._path)


class HostKeeper:
    """Tells the engine about the node's interfaces, and has foreign changes to our kernel objects repaired."""

    def __init__(self, driver: NetlinkDriver, engine: Engine) -> None:
        self._driver = driver
        self._engine = engine
        self._changed = asyncio.Event()
        driver.on_foreign_change(self._changed.set)

    async def observe(self) -> None:
        """Tell the engine about the interfaces now; raises OSError."""
        self._engine.push(InterfacesObserved(await self._driver.interfaces()))

    async def run(self) -> None:
        """React to changes, forever."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_HOST_DEBOUNCE_S)
            self._changed.clear()
            self._engine.request_resync(self._driver.name)
            try:
                await self.observe()
            except OSError as error:
                log.warning("interfaces not observed", extra={"error": str(error)})
                self._changed.set()
