"""Health ports by real connections to loopback."""

from __future__ import annotations

import asyncio
import socket

import msgspec

from fairlead.drivers.health.driver import HealthDriver
from fairlead.plan.plan import Plan, index
from fairlead.plan.tables import HealthPort

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_a_connection_that_outlives_its_port_gets_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    row = HealthPort(port=port, namespace="default", service="web", endpoints=1)
    plan = msgspec.structs.replace(Plan.empty("n1"), tables={"health_ports": index([row])})
    driver = HealthDriver()
    assert (await driver.apply(plan)).failed == ()
    try:
        before, open_before = await asyncio.open_connection("127.0.0.1", port)
        after, open_after = await asyncio.open_connection("127.0.0.1", port)
        open_before.write(REQUEST)
        assert (await before.readline()).split()[1] == b"200"
        await driver.apply(Plan.empty("n1"))
        open_after.write(REQUEST)
        assert (await after.readline()).split()[1] == b"503"
        for each in (open_before, open_after):
            each.close()
    finally:
        await driver.close()
