"""Keeps one driver at the latest plan: one call in flight, plans that were overtaken are skipped, failures are tried again.

Each driver has a worker of its own, so that a kernel that is slow to remove an interface delays no name and no service.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

import msgspec

from fairlead.aio.backoff import delays
from fairlead.drivers.protocol import Driver, Failure, FollowsChanges, Outcome
from fairlead.plan.plan import Plan
from fairlead.plan.tables import Key

log = logging.getLogger(__name__)


class DriverHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What one driver has done."""

    driver: str
    healthy: bool
    revision: str = ""
    """Of the plan that is in force."""
    serial: int = 0
    applied: int = 0
    """Changes made since the agent started."""
    repaired: int = 0
    """Of these, changes that undid what someone else had done."""
    error: str = ""
    failed: tuple[Failure, ...] = ()


class Worker:
    """Drives one driver. `offer` never blocks; `wait_for_plan` tells what became of a plan."""

    def __init__(
        self,
        driver: Driver,
        *,
        resync_s: float,
        on_progress: Callable[[], None],
        on_applied: Callable[[str, int, float, bool], None] | None = None,
    ) -> None:
        """`on_progress` is called after each call of the driver, `on_applied` with its name, the plan, seconds, and whether it was good."""
        self._on_applied = on_applied
        self.driver = driver
        self._on_progress = on_progress
        self._resync_s = resync_s
        self._wanted: Plan | None = None
        self._offered = 0
        self._done = 0
        self._resync_wanted = False
        self._is_busy = False
        self._wake = asyncio.Event()
        self._finished = asyncio.Condition()
        self._outcome = Outcome()
        self._error = ""
        self._plan: Plan | None = None
        self._changed: dict[str, set[Key]] | None = None
        self._applied = 0
        self._repaired = 0
        self._pauses: Iterator[float] | None = None
        self._following = driver if isinstance(driver, FollowsChanges) else None

    def __repr__(self) -> str:
        return f"<Worker {self.driver.name} offered={self._offered} done={self._done} error={self._error or None}>"

    @property
    def health(self) -> DriverHealth:
        """Return what the driver has done so far."""
        return DriverHealth(
            driver=self.driver.name,
            healthy=self._plan is not None and not self._error and not self._outcome.failed,
            revision=self._plan.revision if self._plan else "",
            serial=self._plan.serial if self._plan else 0,
            applied=self._applied,
            repaired=self._repaired,
            error=self._error,
            failed=self._outcome.failed,
        )

    def offer(self, plan: Plan) -> int:
        """Make `plan` the wanted one and return its number for `wait_for_plan`.

        A plan that says the same about the driver's tables as the one that is in force needs no call: it is in force, too.
        """
        is_idle = self._done == self._offered and not self._is_busy
        self._collect(plan)
        self._wanted = plan
        self._offered += 1
        if is_idle and self.health.healthy and self._changed is not None and not any(self._changed.values()):
            self._done, self._plan = self._offered, plan
            if self._on_applied is not None:
                self._on_applied(self.driver.name, plan.serial, 0.0, True)
        else:
            self._wake.set()
        return self._offered

    def request_resync(self) -> None:
        """Observe and repair soon."""
        self._resync_wanted = True
        self._wake.set()

    async def wait_for_plan(self, number: int) -> tuple[Failure, ...]:
        """Wait until the plan of that number, or a later one, was applied; return what failed. Raises OSError when all did."""
        async with self._finished:
            await self._finished.wait_for(lambda: self._done >= number)
        if self._error:
            raise OSError(f"{self.driver.name}: {self._error}")
        return self._outcome.failed

    async def run(self) -> None:
        """Apply what is offered, forever."""
        while True:
            plan, resync = await self._next()
            number = self._offered
            self._resync_wanted = False
            self._is_busy = True
            await self._apply(plan, resync=resync)
            self._is_busy = False
            async with self._finished:
                self._done = number
                self._finished.notify_all()
            self._on_progress()

    async def _next(self) -> tuple[Plan, bool]:
        """Wait for something to do and return the wanted plan and whether to observe first."""
        while self._wanted is None:
            self._wake.clear()
            await self._wake.wait()
        if self._done == self._offered and not self._resync_wanted:
            self._wake.clear()
            pause = next(self._pauses) if self._pauses else self._resync_s
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                return self._wanted, True
        return self._wanted, self._resync_wanted or bool(self._error)

    def _collect(self, plan: Plan) -> None:
        """Add what `plan` changes to what changed since the driver's last plan, as far as that is known."""
        follows = plan.delta is not None and self._wanted is not None and plan.delta.since == self._wanted.serial
        if not follows or plan.delta is None:
            self._changed = None
        elif self._changed is not None:
            for table in self.driver.tables & plan.delta.keys.keys():
                self._changed.setdefault(table, set()).update(plan.delta.keys[table])

    async def _apply(self, plan: Plan, *, resync: bool) -> None:
        unchanged = plan is self._plan
        # Plans that come meanwhile are collected anew, on top of this one.
        changed, self._changed = self._changed, {}
        begin = time.perf_counter()
        try:
            if resync:
                outcome = await self.driver.resync(plan)
            elif changed is not None and self._following is not None:
                outcome = await self._following.apply_changes(plan, changed)
            else:
                outcome = await self.driver.apply(plan)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if text != self._error:
                log.exception("driver failed", extra={"driver": self.driver.name, "revision": plan.revision})
            self._error = text
            self._changed = None
        else:
            self._error = ""
            self._applied += outcome.applied
            self._report(outcome, plan, repaired=unchanged and resync)
            self._plan, self._outcome = plan, outcome
        if self._on_applied is not None:
            self._on_applied(self.driver.name, plan.serial, time.perf_counter() - begin, not self._error)
        troubled = bool(self._error or self._outcome.failed)
        if not troubled:
            self._pauses = None
        elif self._pauses is None:
            self._pauses = delays(first_s=0.25, most_s=30)

    def _report(self, outcome: Outcome, plan: Plan, *, repaired: bool) -> None:
        extra = {"driver": self.driver.name, "revision": plan.revision, "changes": outcome.applied}
        if repaired and outcome.applied:
            self._repaired += outcome.applied
            log.info("repaired", extra=extra)
        elif outcome.applied:
            log.info("applied", extra=extra)
        for failure in outcome.failed:
            if failure not in self._outcome.failed:
                row = f"{failure.table}/{' '.join(map(str, failure.key))}"
                log.warning("row failed", extra={"driver": self.driver.name, "row": row, "error": failure.error})
