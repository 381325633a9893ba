"""What the CNI service needs from the rest of the agent: the floor under it, swappable in tests.

Attaching and detaching is the engine's (`fairlead.engine.api.PodNetwork`); looking at the kernel for CHECK is `Inspector`.
"""

from __future__ import annotations

from typing import Protocol

from fairlead.engine.api import AttachError, PodNetwork
from fairlead.world.attachment import Attachment

__all__ = ["AttachError", "Inspector", "PodNetwork"]


class Inspector(Protocol):
    """Compares attachments with the kernel; changes nothing."""

    def namespace_problem(self, netns: str) -> str | None:
        """Return why `netns` is not another network namespace than the node's, or None."""

    async def problems(self, attachment: Attachment) -> list[str]:
        """Return each way in which the kernel differs from `attachment`: links, addresses, default routes."""
