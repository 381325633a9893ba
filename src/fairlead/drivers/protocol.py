"""What every driver promises to the engine, and what it answers.

A driver owns some tables of the Plan and makes one part of the world (kernel objects, a server's records) equal to them. It knows
nothing but the Plan: where the rows came from is none of its business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from fairlead.plan.plan import Plan
from fairlead.plan.tables import Key


class Failure(msgspec.Struct, frozen=True, gc=False):
    """One row that could not be made true."""

    table: str
    key: Key
    error: str
    """What was tried and the kernel's answer: errno name and extended message where there is one."""


class Outcome(msgspec.Struct, frozen=True):
    """What one call of a driver did."""

    applied: int = 0
    """How many objects were added, changed or removed; zero when all was right already."""
    failed: tuple[Failure, ...] = ()


class Driver(Protocol):
    """Makes the world equal to the tables that it owns. Calls never overlap: the engine awaits each one."""

    name: str
    tables: frozenset[str]
    """The plan tables that this driver owns; it must look at no other."""

    async def start(self) -> None:
        """Open sockets and adopt what is there already; removes nothing. Raises OSError when the kernel lacks what is needed."""

    async def apply(self, plan: Plan) -> Outcome:
        """Make the world equal to `plan`: idempotent, by the difference to what the driver knows from its last observation.

        Adds go in dependency order, removals in reverse. A row that fails is reported and does not stop the others; it is
        tried again by the next call.
        """

    async def resync(self, plan: Plan) -> Outcome:
        """Observe the world anew, then `apply`: repairs whatever others changed."""

    async def close(self) -> None:
        """Release handles and leave everything in place."""


@runtime_checkable
class FollowsChanges(Protocol):
    """A driver that can be told what changed, and then looks at nothing else."""

    async def apply_changes(self, plan: Plan, changed: Mapping[str, Collection[Key]]) -> Outcome:
        """As `apply`; `changed` (table → keys) are all keys whose rows may differ from the plan that was applied last."""
