"""What tools expect of a node's service proxy: /healthz and /livez on port 10256, /metrics on port 10249.

Paths, ports and bodies are those of kube-proxy (pkg/proxy/healthcheck, KEP-3836): a node that is being deleted is alive but no longer eligible
for new traffic from load balancers.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from fairlead.aio.plain_http import Answer, Answerer, listen
from fairlead.drivers.xds.proxies import Proxies
from fairlead.engine.reconcile import Engine
from fairlead.observe import gateway_metrics, policy_metrics
from fairlead.observe.proxy_metrics import ProxyMetrics
from fairlead.plan.tables import LocalPort, ServicePort

log = logging.getLogger(__name__)

HEALTH_PORT = 10256
METRICS_PORT = 10249
_DRIVER = "nft"


class ProxySurface:
    """Answers for one engine; implements `fairlead.engine.reconcile.Observer`."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._metrics = ProxyMetrics()
        self._engine: Engine | None = None
        self._counters: Callable[[], Awaitable[Mapping[str, tuple[int, int]]]] | None = None
        self._proxies: Proxies | None = None
        self._updated_s = 0.0

    def attach(
        self, engine: Engine, counters: Callable[[], Awaitable[Mapping[str, tuple[int, int]]]], proxies: Proxies
    ) -> None:
        """Answer for this engine and its proxies from now on, and for the policies that `counters` says (packets, bytes) of."""
        self._engine = engine
        self._counters = counters
        self._proxies = proxies

    def healthy(self) -> bool:
        """Tell whether Services work here: the driver has applied a plan, and its last attempt did not fail."""
        if self._engine is None:
            return False
        found = next((each for each in self._engine.driver_health() if each.driver == _DRIVER), None)
        return found is not None and found.serial > 0 and not found.error

    def compiled(self, serial: int, services: int, endpoints: int, triggers: tuple[float, ...]) -> None:
        """Note that a plan was made."""
        self._metrics.queued(serial, services=services, endpoints=endpoints, triggers=triggers, now_s=time.time())

    def applied(self, driver: str, serial: int, duration_s: float, good: bool) -> None:
        """Note that a driver was called."""
        if driver == _DRIVER:
            self._updated_s = time.time() if good else self._updated_s
            self._metrics.applied(serial, duration_s=duration_s, good=good, now_s=time.time())

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Answer while the context lasts. A port that someone else has is reported and left to them."""
        servers: list[asyncio.Server] = []
        served: tuple[tuple[int, str | None, Answerer], ...] = (
            (HEALTH_PORT, None, self._health),
            (METRICS_PORT, "127.0.0.1", self._metric),
        )
        for port, host, answer in served:
            try:
                servers.append(await listen(port, answer, host=host))
            except OSError as error:
                log.warning("port not served", extra={"port": port, "error": str(error)})
        try:
            yield
        finally:
            for server in servers:
                server.close()

    def _health(self, path: str) -> Answer:
        if path not in ("/healthz", "/livez"):
            return Answer(404, b"not found\n")
        eligible = self._eligible()
        status = 200 if self.healthy() and (eligible or path == "/livez") else 503
        self._metrics.checked(path[1:], status)
        now = datetime.datetime.now(datetime.UTC)
        updated = datetime.datetime.fromtimestamp(self._updated_s, datetime.UTC)
        body: dict[str, object] = {"lastUpdated": _text(updated), "currentTime": _text(now)}
        if path == "/healthz":
            body["nodeEligible"] = eligible
        return Answer(status, json.dumps(body).encode(), "application/json", {"X-Content-Type-Options": "nosniff"})

    async def _metric(self, path: str) -> Answer:
        if path == "/metrics":
            text = self._metrics.render(without_local=self._without_local()) + await self._policies()
            text += await self._gateways()
            return Answer(200, text, "text/plain; version=0.0.4; charset=utf-8")
        if path == "/proxyMode":
            return Answer(200, b"nftables")
        return Answer(*((200, b"ok") if path == "/healthz" else (404, b"not found\n")))

    async def _policies(self) -> bytes:
        if self._counters is None or self._engine is None:
            return b""
        try:
            counts = {name: packets for name, (packets, _) in (await self._counters()).items()}
        except OSError as error:
            log.warning("policies not counted", extra={"error": str(error)})
            return b""
        return policy_metrics.render(counts, self._engine.plan).encode()

    async def _gateways(self) -> bytes:
        if self._proxies is None or not self._proxies.states:
            return b""
        found = await self._proxies.counted()
        listeners = [gateway_metrics.Counted(each.row, not each.error) for each in self._proxies.states.values()]
        return gateway_metrics.render(listeners, found.values, found.durations).encode()

    def _eligible(self) -> bool:
        node = self._engine.snapshot.nodes.get(self._node) if self._engine is not None else None
        return node is None or not node.is_leaving

    def _without_local(self) -> tuple[int, int]:
        plan = self._engine.plan if self._engine is not None else None
        if plan is None:
            return 0, 0
        inside = sum(isinstance(row, ServicePort) and row.drop for row in plan.table("service_ports").values())
        outside = sum(isinstance(row, LocalPort) and not row.endpoints for row in plan.table("local_ports").values())
        return inside, outside


def _text(moment: datetime.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
