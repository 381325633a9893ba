"""The node's resolver alone, with records for a benchmark: `python -m fairlead.lab.bench.dns_server ADDRESS NAMES`."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.responder import Responder
from fairlead.drivers.dns.server import DnsServer
from fairlead.drivers.dns.upstream import Resolver
from fairlead.drivers.dns.zone import Zones, record_set
from fairlead.lab.bench.dns_load import names


async def serve(address: str, count: int) -> None:
    """Answer at `address` for `count` names, forever."""
    zones = Zones("cluster.local", ["10.96.0.0/16"])
    for name, target in names(count):
        zones.put(wire.name(name), record_set(wire.A, 5, [wire.rdata(wire.A, target)]))
    server = DnsServer(Responder(zones, Resolver([])))
    server.open([address], 53)
    await server.run()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
