"""How long an endpoint's change takes from the API object to the kernel, through a real API server and a real agent.

A lab of its own gets Services and hand-made EndpointSlices through the API; then one endpoint after the other is replaced. The clock starts
with the request, before the server has seen it, and stops when the kernel tells everyone who listens that the node's tables hold the
new endpoint. It must never touch another lab.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairlead.api.resources import ENDPOINTSLICES, SERVICES
from fairlead.base.errors import UserError
from fairlead.lab.bench.lab import Step, temporary
from fairlead.lab.bench.places import pod_address
from fairlead.lab.bench.processes import resident_mb
from fairlead.lab.bench.report import Measurement, quantile
from fairlead.lab.home import LabHome
from fairlead.lab.netns import within
from fairlead.lab.processes import recorded
from fairlead.sources.client import Client

_WRITERS = 8
_WARM_UP = 20
_PAUSE_S = 0.02
"""Between two changes: each is one of its own, and none finds the node at work for the one before."""
_PATIENCE_S = 120.0
_NAMESPACE = "default"
_NODE = "node-1"
_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _CHANGES_OF_TABLES = 12, 270, 1, 7
_RECEIVE_BYTES = 1 << 20


def run(count: int, endpoints: int, changes: int, *, step: Step) -> Iterator[Measurement]:
    """Measure a lab of one node with `count` services; raises UserError when the lab does not come up or the node does not follow."""
    title = f"{count} services, API to kernel"
    with temporary(f"bench{os.getpid()}", 1, [], [], title, step) as home:
        with step(f"{title}: creating them"):
            asyncio.run(_create(home, count, endpoints))
        with step(f"{title}: {changes} changes"):
            taken = asyncio.run(_change(home, count, endpoints, changes))
        agent = recorded(home, f"agent-{_NODE}")
        assert agent is not None
        memory = resident_mb(agent.pid)
    case = f"{count} services x {endpoints} endpoints, API to kernel"
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        yield Measurement(case=case, metric=f"one endpoint, {name}", value=quantile(taken, share) * 1e3, unit="ms")
    yield Measurement(case=case, metric="memory of the agent", value=memory, unit="MB")


async def _create(home: LabHome, count: int, endpoints: int) -> None:
    left = iter(range(count))
    async with (
        Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-bench") as client,
        asyncio.TaskGroup() as group,
    ):

        async def write() -> None:
            for number in left:
                await client.create(SERVICES, _service(number), namespace=_NAMESPACE)
                addresses = [pod_address(number * endpoints + place) for place in range(endpoints)]
                await client.create(ENDPOINTSLICES, _slice(number, addresses), namespace=_NAMESPACE)

        for _ in range(_WRITERS):
            group.create_task(write())


async def _change(home: LabHome, count: int, endpoints: int, changes: int) -> list[float]:
    """Replace endpoints one by one and return the seconds of each."""
    found: list[float] = []
    loop = asyncio.get_running_loop()
    with within(Path("/run/netns", home.namespace(_NODE)), _listener) as kernel:
        async with Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-bench") as client:
            for number in range(_WARM_UP + changes):
                place = number * 7919 % count
                fresh = f"11.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
                addresses = [*(pod_address(place * endpoints + each) for each in range(endpoints - 1)), fresh]
                begun = loop.time()
                patch = {"endpoints": _slice(place, addresses)["endpoints"]}
                writing = asyncio.create_task(client.patch(ENDPOINTSLICES, _name(place), patch, namespace=_NAMESPACE))
                await _wait_for(kernel, socket.inet_aton(fresh))
                taken = loop.time() - begun
                await writing
                if number >= _WARM_UP:
                    found.append(taken)
                await asyncio.sleep(_PAUSE_S)
    return found


async def _wait_for(kernel: socket.socket, packed: bytes) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while packed not in await loop.sock_recv(kernel, _RECEIVE_BYTES):
                pass
    except TimeoutError:
        raise UserError(f"a changed endpoint was not in the kernel after {_PATIENCE_S:.0f} s") from None


def _listener() -> socket.socket:
    """Return a socket that hears of every change of the namespace's tables."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    opened.bind((0, 0))
    opened.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _CHANGES_OF_TABLES)
    opened.setblocking(False)
    return opened


def _name(number: int) -> str:
    return f"svc-{number}"


def _service(number: int) -> dict[str, Any]:
    spec = {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": _name(number)}, "spec": spec}


def _slice(number: int, addresses: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": _name(number), "labels": {"kubernetes.io/service-name": _name(number)}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
    }
