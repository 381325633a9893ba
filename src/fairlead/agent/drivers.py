"""The drivers of a node agent, made and started in one place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fairlead.agent.secrets import Vaults
from fairlead.drivers.conntrack.driver import ConntrackDriver
from fairlead.drivers.dns.driver import DnsDriver
from fairlead.drivers.dns.handover import Keeper
from fairlead.drivers.dns.upstream import Upstream
from fairlead.drivers.health.driver import HealthDriver
from fairlead.drivers.netlink.driver import NetlinkDriver
from fairlead.drivers.nft.driver import NftDriver
from fairlead.drivers.nft.egress.driver import EgressDriver
from fairlead.drivers.nft.policy.driver import PolicyDriver
from fairlead.drivers.protocol import Driver
from fairlead.drivers.xds.proxies import Proxies
from fairlead.drivers.xds.settings import ProxySettings
from fairlead.world.settings import Settings

log = logging.getLogger(__name__)


class Drivers(msgspec.Struct, frozen=True):
    """All drivers; the netlink driver also tells about the node's interfaces."""

    netlink: NetlinkDriver
    policy: PolicyDriver
    """One of `others`; also tells what it counts."""
    xds: Proxies
    """One of `others`; also tells what the proxies serve."""
    others: Sequence[Driver]
    dns: DnsDriver | None = None
    """One of `others`, when the cluster has DNS addresses."""

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


def make(
    settings: Settings,
    *,
    dns_upstreams: Sequence[str],
    dns_search: Sequence[str] = (),
    dns_keeper: Path | None = None,
    is_healthy: Callable[[], bool] = lambda: True,
    proxy: Path,
    vaults: Vaults,
) -> Drivers:
    """Return the drivers for the network namespace of this process; raises ValueError for an upstream that is no address.

    `is_healthy` tells whether Services work on this node; `proxy` is the folder of the gateways' proxies, `vaults` have their secrets.
    """
    policy = PolicyDriver()
    xds = Proxies(
        proxy,
        ProxySettings(node=settings.node, keys=vaults.certificates.get, credentials=vaults.credentials.get),
    )
    others: list[Driver] = [NftDriver(), policy, EgressDriver(), ConntrackDriver(), HealthDriver(is_healthy), xds]
    dns: DnsDriver | None = None
    if settings.cluster_dns:
        dns = DnsDriver(
            settings.cluster_dns,
            domain=settings.cluster_domain,
            service_cidrs=settings.service_cidrs,
            pod_cidrs=settings.cluster_cidrs,
            upstreams=[Upstream.parse(each) for each in dns_upstreams],
            search=dns_search,
            keeper=Keeper(dns_keeper) if dns_keeper is not None else None,
            admission=policy,
        )
        others.append(dns)
    return Drivers(NetlinkDriver(), policy, xds, others, dns)


def host_search(path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """Return the search domains of the node itself, which the kubelet appends to its pods' (resolv.conf(5)); none when unknown."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found = [line.split()[1:] for line in lines if line.split()[:1] in (["search"], ["domain"])]
    # The last line counts; the root is no domain to append.
    return tuple(each.rstrip(".") for each in found[-1] if each.strip(".")) if found else ()


def host_resolvers(cluster_dns: Sequence[str], path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """Return the resolvers that this node itself asks, without the cluster's own (resolv.conf(5)); none when unknown."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        log.warning("no upstream resolvers", extra={"path": str(path), "error": str(error)})
        return ()
    found = (line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1)
    return tuple(each for each in found if each not in cluster_dns)
