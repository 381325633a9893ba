"""What the CNI server needs from the engine, and nothing more.

The engine implements it; the CNI server and its tests depend on this protocol alone.
"""

from __future__ import annotations

from typing import Protocol

from fairlead.world.attachment import Attachment


class AttachError(Exception):
    """A pod's rows could not be brought into force; the message says which and why. Trying again may help."""


class PodNetwork(Protocol):
    """Brings single pods into and out of the node's network."""

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """The ranges from which this node's pods get addresses (`spec.podCIDRs`); empty until known."""

    @property
    def pod_mtu(self) -> int:
        """MTU in bytes for a pod that is attached now."""

    def ready(self) -> str | None:
        """Return None when pods can be attached, else why not."""

    async def attach(self, attachment: Attachment) -> None:
        """Return when links, routes and packet rules of this pod are in the kernel; raises AttachError and leaves nothing behind."""

    async def detach(self, container_id: str, ifname: str) -> None:
        """Return when nothing of this attachment is left in the kernel; one that is unknown is fine."""
