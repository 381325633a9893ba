"""The drivers of a node agent, made and started in one place."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairlead.drivers.netlink.driver import NetlinkDriver
from fairlead.drivers.protocol import Driver
from fairlead.world.settings import Settings


class Drivers(msgspec.Struct, frozen=True):
    """All drivers; the netlink driver also tells about the node's interfaces."""

    netlink: NetlinkDriver
    others: Sequence[Driver]

    @property
    def all(self) -> tuple[Driver, ...]:
        """Return every driver, in the order in which they start."""
        return (self.netlink, *self.others)

    async def start(self) -> None:
        """Start every driver: each adopts what is there. Raises OSError."""
        for driver in self.all:
            await driver.start()

    async def close(self) -> None:
        """Release every driver's handles; everything stays in place."""
        for driver in reversed(self.all):
            await driver.close()


def make(settings: Settings) -> Drivers:
    """Return the drivers for the network namespace of this process."""
    return Drivers(NetlinkDriver(), ())
