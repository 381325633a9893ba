"""Answers on the health ports of Services: 200 where this node has ready endpoints, 503 where it has none.

Source: KEP-27 (Source IP preservation), the `healthCheckNodePort` of core/v1 Service; the body is that of kube-proxy.
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable

from fairlead.aio.plain_http import Answer, listen
from fairlead.drivers.protocol import Failure, Outcome
from fairlead.plan.plan import Plan
from fairlead.plan.tables import HealthPort


class HealthDriver:
    """Implements `fairlead.drivers.protocol.Driver` for `health_ports`."""

    name = "health"
    tables = frozenset(("health_ports",))

    def __init__(self, is_healthy: Callable[[], bool] = lambda: True) -> None:
        """`is_healthy` tells whether Services work on this node at all."""
        self.is_healthy = is_healthy
        self._servers: dict[int, asyncio.Server] = {}
        self._rows: dict[int, HealthPort] = {}

    def __repr__(self) -> str:
        return f"<HealthDriver ports={sorted(self._servers)}>"

    async def start(self) -> None:
        """Do nothing: ports are opened by `apply`."""

    async def apply(self, plan: Plan) -> Outcome:
        """Open and close ports; a port that someone else has is reported."""
        wanted = {row.port: row for row in plan.table("health_ports").values() if isinstance(row, HealthPort)}
        changes = sum(self._rows.get(port) != row for port, row in wanted.items())
        failed: list[Failure] = []
        self._rows = wanted
        for port in self._servers.keys() - wanted.keys():
            self._servers.pop(port).close()
            changes += 1
        for port in sorted(wanted.keys() - self._servers.keys()):
            try:
                self._servers[port] = await listen(port, lambda _, port=port: self._answer(port))  # type: ignore[misc]
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, "error")
                failed.append(Failure("health_ports", (port,), f"listening on port {port}: {name} ({error.strerror})"))
        return Outcome(changes, tuple(failed))

    async def resync(self, plan: Plan) -> Outcome:
        """As `apply`: nobody else can change our sockets."""
        return await self.apply(plan)

    async def close(self) -> None:
        """Close all ports: without us nobody can say that this node is healthy."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def _answer(self, port: int) -> Answer:
        row = self._rows.get(port)
        if row is None:
            # A connection outlives the port that it came to.
            return Answer(503, b"no such service\n")
        healthy = self.is_healthy()
        body = {
            "service": {"namespace": row.namespace, "name": row.service},
            "localEndpoints": row.endpoints,
            "serviceProxyHealthy": healthy,
        }
        return Answer(
            200 if row.endpoints and healthy else 503,
            json.dumps(body, indent="\t").encode(),
            "application/json",
            {"X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": str(row.endpoints)},
        )
