"""The drivers of a node agent, made and started in one place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fairlead.drivers.dns.driver import DnsDriver
from fairlead.drivers.dns.upstream import Upstream
from fairlead.drivers.netlink.driver import NetlinkDriver
from fairlead.drivers.nft.driver import NftDriver
from fairlead.drivers.protocol import Driver
from fairlead.world.settings import Settings

log = logging.getLogger(__name__)


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


def make(settings: Settings, *, dns_upstreams: Sequence[str]) -> Drivers:
    """Return the drivers for the network namespace of this process; raises ValueError for an upstream that is no address."""
    others: list[Driver] = [NftDriver()]
    if settings.cluster_dns:
        others.append(
            DnsDriver(
                settings.cluster_dns,
                domain=settings.cluster_domain,
                service_cidrs=settings.service_cidrs,
                pod_cidrs=settings.cluster_cidrs,
                upstreams=[Upstream.parse(each) for each in dns_upstreams],
            )
        )
    return Drivers(NetlinkDriver(), others)


def host_resolvers(cluster_dns: Sequence[str], path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """Return the resolvers that this node itself asks, without the cluster's own (resolv.conf(5)); none when unknown."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        log.warning("no upstream resolvers", extra={"path": str(path), "error": str(error)})
        return ()
    found = (line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1)
    return tuple(each for each in found if each not in cluster_dns)
