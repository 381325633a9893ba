"""No request finds a port with many hosts before its tables, however slowly these come. Real Envoy, real requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any

import pytest
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.load import until
from tests.drivers.xds.test_proxy_succession import renewed

from fairlead.drivers.xds.resources import ROUTES
from fairlead.drivers.xds.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 20
HOSTS = 30
PAUSE_S = 0.01


def gateway(name: str) -> str:
    return f"""
---
kind: Gateway
metadata: {{name: {name}}}
spec: {{gatewayClassName: fairlead, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
"""


def routes(gateway: str, count: int = HOSTS) -> str:
    return "".join(
        f"""
---
kind: HTTPRoute
metadata: {{name: {gateway}-{at}}}
spec:
  parentRefs: [{{name: {gateway}}}]
  hostnames: [h{at}.{gateway}.example.com]
  rules: [{{backendRefs: [{{name: one, port: 80}}]}}]
"""
        for at in range(count)
    )


class Sent:
    """How many tables proxies were sent."""

    def __init__(self) -> None:
        self.tables = 0


@pytest.fixture(scope="module")
def patch() -> Any:
    with pytest.MonkeyPatch.context() as found:
        yield found


@pytest.fixture(scope="module")
def sent(patch: pytest.MonkeyPatch) -> Sent:
    """Has each table take its time on its way."""
    found, serve = Sent(), Server._serve

    async def slow(self: Server, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async with contextlib.aclosing(serve(self, requests, context)) as responses:  # type: ignore[type-var]
            async for response in responses:
                if response.type_url == ROUTES and response.resources:
                    found.tables += 1
                    await asyncio.sleep(PAUSE_S)
                yield response

    patch.setattr(Server, "_serve", slow)
    return found


class Eager:
    """Asks for some hosts of a port in turn while it is entered, from before there is anybody to ask."""

    def __init__(self, lab: GatewayLab, gateway: str, count: int = HOSTS) -> None:
        self._lab = lab
        self._gateway = gateway
        self._count = count
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.seen: Counter[str] = Counter()

    async def __aenter__(self) -> Eager:
        self._tasks = [asyncio.create_task(self._ask(at)) for at in range(3)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is None:
            before = self.seen["200"]
            await until(lambda: self.seen["200"] > before + self._count)
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _ask(self, at: int) -> None:
        while not self._stop.is_set():
            at = (at + 7) % self._count
            try:
                port = self._lab.ports[self._gateway, 80]
                status = await asyncio.wait_for(_status(port, f"h{at}.{self._gateway}.example.com"), 20)
            except (ConnectionError, KeyError):
                status = "nobody"
                await asyncio.sleep(0)
            self.seen[status] += 1


async def _status(port: int, host: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return (await reader.readline()).decode().split(" ")[1]
    except IndexError:
        raise ConnectionError("no answer") from None
    finally:
        writer.transport.abort()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> GatewayLab:
    return GatewayLab(tmp_path_factory.mktemp("gateway"), many=MANY)


async def restarted(lab: GatewayLab) -> None:
    await lab.driver.close()
    lab.driver = lab.new_driver()
    await lab.driver.start()


async def killed_on_the_way(lab: GatewayLab, sent: Sent, tables: int) -> None:
    """An agent that is gone when it has sent so many tables, and the next one."""
    before = sent.tables
    task = asyncio.create_task(lab.settle())
    await until(lambda: sent.tables >= before + tables)
    task.cancel()
    await restarted(lab)


Step = Callable[[GatewayLab, Sent], Awaitable[None]]


async def _comes(lab: GatewayLab, _: Sent) -> None:
    lab.add(gateway("two") + routes("two"))


async def _comes_slowly(lab: GatewayLab, sent: Sent) -> None:
    lab.add(gateway("three") + routes("three"))
    await killed_on_the_way(lab, sent, 1)
    await killed_on_the_way(lab, sent, HOSTS // 2)


async def _ends(lab: GatewayLab, _: Sent) -> None:
    assert lab.driver.pid is not None
    os.kill(lab.driver.pid, signal.SIGKILL)
    await until(lambda: lab.driver.pid is None)


async def test_a_port_that_comes_answers_when_it_has_its_tables(lab: GatewayLab, sent: Sent) -> None:
    await lab.start()
    await lab.backend("one")
    lab.add(gateway("one") + routes("one") + gateway("zero") + routes("zero"))
    # Two of them in a proxy that starts; one beside these; one whose agent is killed on the way; all of them when the proxy has ended.
    cases: dict[str, tuple[tuple[str, ...], Step | None]] = {
        "the proxy starts": (("zero", "one"), None),
        "beside others": (("two",), _comes),
        "by agents that are killed": (("three",), _comes_slowly),
        "the proxy starts again": (("zero", "three"), _ends),
    }
    for case, (names, step) in cases.items():
        async with contextlib.AsyncExitStack() as stack:
            asked = [await stack.enter_async_context(Eager(lab, name)) for name in names]
            if step is not None:
                await step(lab, sent)
            assert not (await lab.settle()).failed, case
        for each in asked:
            assert each.seen.keys() <= {"200", "nobody"}, (case, each.seen)


async def test_all_ports_with_scopes_go_and_come_back(lab: GatewayLab, sent: Sent) -> None:
    await lab.apply(gateway("few") + routes("few", 1))
    for name in ("zero", "one", "two", "three"):
        lab.remove("Gateway", name)
    assert not (await lab.settle()).failed
    lab.add(gateway("one") + gateway("three"))
    async with Eager(lab, "one") as one, Eager(lab, "three") as three:
        assert not (await lab.settle()).failed
    assert {*one.seen, *three.seen} <= {"200", "nobody"}


async def test_what_is_there_is_served_all_the_while(lab: GatewayLab, sent: Sent, patch: pytest.MonkeyPatch) -> None:
    try:
        for case in ("it grows", "its agent was away", "its agents are killed"):
            name = f"grows-{case.replace(' ', '-')}"
            await lab.apply(gateway(name) + routes(name, 5))
            async with Eager(lab, name, 5) as eager:
                lab.add(routes(name))
                if case == "its agent was away":
                    await restarted(lab)
                elif case == "its agents are killed":
                    for tables in (1, 10, 20):
                        await killed_on_the_way(lab, sent, tables)
                assert not (await lab.settle()).failed, case
                assert (await lab.ask(f"http://h{HOSTS - 1}.{name}.example.com/", gateway=name)).status == 200
            assert eager.seen.keys() == {"200"}, (case, eager.seen)
        async with Eager(lab, "one") as eager:
            renewed(patch, stats_flush_interval="4s")
            await restarted(lab)
            before = lab.driver.pid
            assert not (await lab.settle()).failed
            await until(lambda: lab.driver.pid != before)
        assert eager.seen.keys() == {"200"}, eager.seen
    finally:
        await lab.stop()
