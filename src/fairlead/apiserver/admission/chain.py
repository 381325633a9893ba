"""The order in which requests are completed and judged before they are stored.

1. `mutating` fill in what the object lacks. 2. The kind's own preparation and validation run. 3. `validating` may refuse.
4. `allocating` reserve what must be unique in the cluster (addresses, ports); they register what is to be undone when the write
fails, and what follows when it is durable. Functions may be coroutines (webhooks); the write is retried when the object changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from fairlead.apiserver.identity import Identity
from fairlead.apiserver.served import Served

Json = dict[str, Any]
Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(slots=True, kw_only=True)
class Attributes:
    """What admission sees of a request. `obj` may be changed by mutating and allocating functions; `old` never."""

    operation: Operation
    served: Served
    namespace: str
    name: str
    subresource: str
    obj: Json
    old: Json | None
    identity: Identity
    dry_run: bool
    warnings: list[str]
    on_failure: list[Callable[[], None]] = field(default_factory=list)
    on_success: list[Callable[[], None]] = field(default_factory=list)

    def failed(self) -> None:
        """Undo reservations; the object was not stored."""
        for undo in reversed(self.on_failure):
            undo()
        self.on_failure.clear()

    def settle(self, stored: bool) -> None:
        """Finish what a durable write brings with it, or undo the reservations of one that failed.

        The store calls this, whether or not anybody still waits for the answer.
        """
        if not stored:
            self.failed()
            return
        for finish in self.on_success:
            finish()
        self.on_failure.clear()


Plugin = Callable[[Attributes], Awaitable[None] | None]
"""Raises StatusError to refuse."""


@dataclass(slots=True)
class Chain:
    """The functions of each stage, in order."""

    mutating: list[Plugin] = field(default_factory=list)
    validating: list[Plugin] = field(default_factory=list)
    allocating: list[Plugin] = field(default_factory=list)
    connecting: list[Plugin] = field(default_factory=list)
    """Asked about connections to pods, nodes and Services, which store nothing."""
    releasing: list[Callable[[Served, Json], None]] = field(default_factory=list)
    """Called for each object that is gone, with its last state."""

    def release(self, served: Served, obj: Json) -> None:
        """Give back what an object held that is gone."""
        for release in self.releasing:
            release(served, obj)


async def run(plugins: list[Plugin], attributes: Attributes) -> None:
    """Run one stage."""
    for plugin in plugins:
        pending = plugin(attributes)
        if pending is not None:
            await pending
