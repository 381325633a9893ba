"""A node's resolver as a process of its own, to be killed: `dnsnode.py KEEPER UPSTREAM`. Prints a line once it answers."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from fairlead.drivers.dns.driver import DnsDriver
from fairlead.drivers.dns.handover import Keeper
from fairlead.drivers.dns.upstream import Upstream
from fairlead.plan.plan import Plan, index
from fairlead.plan.tables import DnsClient, DnsRecords

ADDRESSES = ("10.96.0.10", "fd10:96::a")


async def main(keeper: Path, upstream: str) -> None:
    driver = DnsDriver(
        ADDRESSES,
        service_cidrs=["10.96.0.0/16", "fd10:96::/108"],
        pod_cidrs=["10.244.0.0/16", "fd10:244::/48"],
        upstreams=[Upstream.parse(upstream)],
        keeper=Keeper(keeper),
    )
    await driver.start()
    records = [DnsRecords(name="web.default.svc.cluster.local.", type="A", ttl=5, data=("10.96.0.20",))]
    clients = [DnsClient(address=each, namespace="default") for each in ("10.244.1.2", "fd10:244:0:1::2")]
    await driver.apply(
        Plan(node="n", revision="1", tables={"dns_records": index(records), "dns_clients": index(clients)})
    )
    print("answering", flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await driver.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2]))
