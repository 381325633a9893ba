"""An engine and a kernel in memory, for tests of everything above them."""

from __future__ import annotations

import asyncio

from fairlead.world.attachment import Attachment


class Network:
    """An engine whose kernel is a dictionary."""

    def __init__(self) -> None:
        self.pod_cidrs: tuple[str, ...] = ("10.244.1.0/29", "fd10:244:0:1::/64")
        self.pod_mtu = 1450
        self.reason: str | None = None
        self.kernel: dict[tuple[str, str], Attachment] = {}
        self.fail_attach: Exception | None = None
        self.fail_detach: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.started = asyncio.Event()

    def ready(self) -> str | None:
        return self.reason

    async def attach(self, attachment: Attachment) -> None:
        self.started.set()
        if self.gate:
            await self.gate.wait()
        if self.fail_attach:
            raise self.fail_attach
        self.kernel[attachment.key] = attachment

    async def detach(self, container_id: str, ifname: str) -> None:
        if self.fail_detach:
            raise self.fail_detach
        self.kernel.pop((container_id, ifname), None)


class Kernel:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.gone: set[str] = set()

    def namespace_problem(self, netns: str) -> str | None:
        return "No such file or directory" if netns in self.gone else None

    async def problems(self, attachment: Attachment) -> list[str]:
        return [] if attachment.key in self.network.kernel else ["link is gone"]
