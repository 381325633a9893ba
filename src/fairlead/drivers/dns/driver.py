"""The DNS driver: the plan's `dns_records`, answered on the cluster's DNS addresses by this node.

Pods find the resolver at the well-known address of the cluster's DNS Service, which is local to every node: a question never leaves
the node that it was asked on. It must never look at another table.
"""

from __future__ import annotations

import contextlib
import logging
import struct
from collections.abc import Iterable, Mapping, Sequence

from fairlead.drivers.dns import address, wire
from fairlead.drivers.dns.server import DnsServer
from fairlead.drivers.dns.upstream import Resolver, Upstream
from fairlead.drivers.dns.zone import Zones, record_set
from fairlead.drivers.protocol import Failure, Outcome
from fairlead.plan.plan import Plan
from fairlead.plan.tables import DnsRecords, Key, Row

log = logging.getLogger(__name__)

TABLE = "dns_records"


class DnsDriver:
    """Implements `fairlead.drivers.protocol.Driver` for the table `dns_records`."""

    name = "dns"
    tables = frozenset([TABLE])

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        domain: str = "cluster.local",
        service_cidrs: Iterable[str] = (),
        pod_cidrs: Iterable[str] = (),
        upstreams: Sequence[Upstream] = (),
        port: int = 53,
    ) -> None:
        """Answer at `addresses` for `domain` and the reverse zones of both kinds of ranges; ask `upstreams` about all else. Raises ValueError."""
        if loops := [each.address for each in upstreams if each.address in addresses]:
            raise ValueError(f"upstream {loops[0]} is the cluster's own DNS address: questions would never end")
        pods = tuple(pod_cidrs)
        self._addresses = tuple(addresses)
        self._port = port
        self._zones = Zones(domain, (*service_cidrs, *pods), pods, self._addresses)
        self._resolver = Resolver(upstreams)
        self._server = DnsServer(self._zones, self._resolver)
        self._rows: Mapping[Key, Row] = {}
        self._bad: dict[Key, Failure] = {}
        self._open = False

    def __repr__(self) -> str:
        return f"<DnsDriver {', '.join(self._addresses)} rows={len(self._rows)} {self._server!r}>"

    @property
    def server(self) -> DnsServer:
        """Return the server, for its statistics."""
        return self._server

    async def start(self) -> None:
        """Bind the sockets: questions wait in them until the first plan. Raises OSError."""
        self._listen()

    async def apply(self, plan: Plan) -> Outcome:
        """Answer from `plan` from now on. Costs what changed, and one comparison by identity per row that did not."""
        rows = plan.table(TABLE)
        applied = self._update(rows)
        if not plan.tables:
            await self._retire()
            return Outcome(applied=applied)
        self._listen()
        await self._server.run()
        return Outcome(applied=applied, failed=tuple(self._bad.values()))

    async def resync(self, plan: Plan) -> Outcome:
        """Claim the addresses anew, in case somebody took them away, then `apply`."""
        if self._open and plan.tables:
            address.claim(self._addresses)
        return await self.apply(plan)

    async def close(self) -> None:
        """Stop answering; the addresses stay local to the node, for the next process to answer at."""
        await self._server.close()
        await self._resolver.close()
        self._open = False

    def _listen(self) -> None:
        if not self._open:
            address.claim(self._addresses)
            self._server.open(self._addresses, self._port)
            self._open = True

    async def _retire(self) -> None:
        await self._server.close()
        address.release(self._addresses)
        self._open = False

    def _update(self, rows: Mapping[Key, Row]) -> int:
        old = self._rows
        if rows is old:
            return 0
        applied = 0
        for key, row in rows.items():
            known = old.get(key)
            if known is not row and known != row:
                applied += self._put(key, row)
        for key in old.keys() - rows.keys():
            self._drop(key)
            applied += 1
        self._rows = rows
        return applied

    def _put(self, key: Key, row: Row) -> int:
        assert isinstance(row, DnsRecords)
        self._bad.pop(key, None)
        try:
            kind = wire.TYPES[row.type]
            datas = [wire.rdata(kind, data) for data in row.data]
            self._zones.put(wire.name(row.name), record_set(kind, row.ttl, datas))
        except KeyError:
            self._bad[key] = Failure(TABLE, key, f"records of type {row.type} are not served")
        except (ValueError, OSError, OverflowError, struct.error) as error:
            self._forget(key)
            self._bad[key] = Failure(TABLE, key, f"{row.name} {row.type}: {error}")
        else:
            return 1
        return 0

    def _drop(self, key: Key) -> None:
        if self._bad.pop(key, None) is None:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        name, kind = key
        with contextlib.suppress(ValueError):
            self._zones.remove(wire.name(str(name)), wire.TYPES[str(kind)])
