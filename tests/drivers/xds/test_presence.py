"""What the proxy says of its node: to load balancers, that it serves; to clients, that the node is about to go. Real Envoy, real requests."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest
from tests.drivers.xds.gatewaylab import NODE, GatewayLab
from tests.drivers.xds.load import Load, until

from fairlead.api.decode import decode
from fairlead.api.node import Node
from fairlead.model.gateway.doors import slices
from fairlead.model.gateway.names import service_name
from fairlead.plan.gateway.listener import GatewayListener
from fairlead.world.events import ObjectChanged
from fairlead.world.fold import fold

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOST = "present.example.com"
DOOR = ("default", service_name("present"))
OBJECTS = f"""
kind: Gateway
metadata: {{name: present}}
spec: {{gatewayClassName: fairlead, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
---
kind: HTTPRoute
metadata: {{name: present}}
spec: {{parentRefs: [{{name: present}}], hostnames: [{HOST}], rules: [{{backendRefs: [{{name: one, port: 80}}]}}]}}
"""
DELETION = "spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}"


def node(spec: str = "", ready: str = "True") -> str:
    return f"""
kind: Node
metadata: {{name: {NODE}}}
{spec}
status:
  addresses: [{{type: InternalIP, address: 127.0.0.1}}, {{type: InternalIP, address: '::1'}}]
  conditions: [{{type: Ready, status: '{ready}'}}]
"""


@pytest.fixture(scope="module")
def port() -> int:
    """The healthCheckNodePort, free on both families."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as free:
        return int(free.getsockname()[1])


async def balanced(lab: GatewayLab, port: int) -> None:
    """Have the Gateway's Service be that of a load balancer with policy Local, as the controller makes it."""
    await lab.apply(node() + "---\n" + OBJECTS)
    service = lab.snapshot.services[DOOR]
    spec = msgspec.structs.replace(
        service.spec, type="LoadBalancer", external_traffic_policy="Local", health_check_node_port=port
    )
    lab.snapshot = fold(lab.snapshot, [ObjectChanged("Service", DOOR, msgspec.structs.replace(service, spec=spec))])
    await lab.settle()


async def reported(lab: GatewayLab) -> None:
    """Write what the agent would: its slices, by its Node as it is."""
    row = lab.plan.table("gateway_listeners")[("default/present/80",)]
    assert isinstance(row, GatewayListener)
    for each in slices(("default", "present"), lab.snapshot.nodes[NODE], [(row, "")], {}):
        metadata = each["metadata"] | {"ownerReferences": []}
        found = decode("EndpointSlice", each | {"metadata": metadata})
        lab.snapshot = fold(lab.snapshot, [ObjectChanged("EndpointSlice", ("default", metadata["name"]), found)])
    assert not (await lab.settle()).failed


async def health(address: str, port: int) -> tuple[int, bytes] | None:
    """Return status and body that a load balancer gets, None when nobody answers."""
    try:
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(f"GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    except (ConnectionError, asyncio.IncompleteReadError):
        # Also of a connection that the kernel took when the listener was closed.
        return None
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    body = await reader.readexactly(int(length.partition(":")[2]))
    writer.transport.abort()
    return int(head.split()[1]), body


async def unanswered(address: str, port: int) -> None:
    """Wait until nobody answers a load balancer: Envoy says that a listener is gone a moment before that."""
    for _ in range(500):
        if await health(address, port) is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{address}:{port} answers")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_the_proxy_itself_answers_load_balancers(lab: GatewayLab, port: int, address: str) -> None:
    await balanced(lab, port)
    assert await health(address, port) is None, "nobody has said yet that it serves"
    await reported(lab)
    found = await health(address, port)
    assert found is not None and found[0] == 200
    assert msgspec.json.decode(found[1])["service"] == {"namespace": "default", "name": DOOR[1]}
    await lab.driver.close()
    assert (await health(address, port) or (0,))[0] == 200, "without an agent"
    lab.driver = lab.new_driver()
    await lab.driver.start()
    await lab.settle()
    assert (await health(address, port) or (0,))[0] == 200, "with the next agent"
    for case, text in (("leaving", node(DELETION)), ("not ready", node(ready="Unknown"))):
        await lab.apply(text)
        await reported(lab)
        await unanswered(address, port)
        assert (await lab.ask(f"http://{HOST}/", gateway="present")).backend == "one", case
        await lab.apply(node())
        await reported(lab)
        assert (await health(address, port) or (0,))[0] == 200, f"no longer {case}"
    await lab.delete("Gateway", "present")
    await unanswered(address, port)
    for family in ("ipv4", "ipv6"):
        await lab.delete("EndpointSlice", f"{DOOR[1]}-{NODE}-{family}")


async def test_clients_are_asked_to_connect_elsewhere_while_the_node_is_about_to_go(lab: GatewayLab) -> None:
    async def is_closed() -> bool:
        """Whether the proxy closes a connection that its client would keep."""
        reader, writer = await asyncio.open_connection("127.0.0.1", lab.ports["present", 80])
        writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b" 200 " in head
        writer.close()
        return b"connection: close" in head

    await lab.apply(node() + "---\n" + OBJECTS)
    assert not await is_closed()
    async with Load(lab.ports["present", 80], HOST) as load:
        await load.more(50)
        await lab.apply(node(DELETION))
        assert await is_closed()
        await load.more(50)
        await lab.apply(node())
        assert not await is_closed(), "it stays after all"
        await load.more(50)
        await lab.apply(node(DELETION))
        await lab.driver.close()
        lab.snapshot = fold(lab.snapshot, [ObjectChanged("Node", ("", NODE), msgspec.yaml.decode(node(), type=Node))])
        assert await is_closed(), "whoever asked for it is gone"
        lab.driver = lab.new_driver()
        await lab.driver.start()
        await lab.settle()
        assert not await is_closed(), "the next agent knows better"
        await load.more(50)
    assert not load.failed
    await lab.delete("Gateway", "present")
    await until(lambda: lab.driver.pid is not None)
