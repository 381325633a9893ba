"""The health of a lab: what each process, node and driver says of itself, and what says nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
import msgspec

from fairlead.api.resources import NODES, PODS
from fairlead.lab import fabric
from fairlead.lab.components import components
from fairlead.lab.home import LabHome
from fairlead.lab.processes import recorded
from fairlead.lab.topology import Topology
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Unreachable

_TIMEOUT = aiohttp.ClientTimeout(total=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One component's health. `detail` says what it does, or why it is not healthy and what to do."""

    component: str
    healthy: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The health of a whole lab."""

    lab: str
    items: tuple[Item, ...]

    @property
    def healthy(self) -> bool:
        """Tell whether every component is healthy."""
        return all(item.healthy for item in self.items)

    def as_dict(self) -> dict[str, Any]:
        """Return the stable form of `-o json`: lab, healthy, components[] of component, healthy, detail."""
        return {"lab": self.lab, "healthy": self.healthy, "components": [asdict(item) for item in self.items]}


async def collect(home: LabHome, topology: Topology) -> Report:
    """Ask every component of the lab; never raises for a dead one."""
    items = [_fabric(home, topology), *_processes(home, topology)]
    items += await _api(home, topology)
    for node in topology.nodes:
        items.append(await _agent(home, node.name))
    return Report(lab=home.name, items=tuple(items))


def _fabric(home: LabHome, topology: Topology) -> Item:
    missing = sorted(set(fabric.namespaces(topology, home)) - fabric.existing(home))
    detail = (
        f"missing {', '.join(missing)}; run `fairlead up --name {home.name}`" if missing else "namespaces and links"
    )
    return Item(component="fabric", healthy=not missing, detail=detail)


def _processes(home: LabHome, topology: Topology) -> list[Item]:
    names = ["supervisor", *(component.name for component in components(topology, home))]
    items = []
    for name in names:
        record = recorded(home, name)
        if record is not None and record.alive:
            items.append(Item(component=name, healthy=True, detail=f"pid {record.pid}"))
        else:
            fix = f"run `fairlead up --name {home.name}`" if name == "supervisor" else f"see {home.log / name}.log"
            items.append(Item(component=name, healthy=False, detail=f"not running; {fix}"))
    return items


async def _api(home: LabHome, topology: Topology) -> list[Item]:
    try:
        async with Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-status") as client:
            nodes, version = await client.list(NODES)
            pods, _ = await client.list(PODS)
    except (ApiError, Unreachable) as error:
        return [Item(component="api", healthy=False, detail=f"no answer: {error}")]
    conditions: dict[str, dict[str, Any]] = {
        node["metadata"]["name"]: next(
            (c for c in node.get("status", {}).get("conditions") or () if c["type"] == "Ready"), {}
        )
        for node in nodes
    }
    on_node: dict[str, list[dict[str, Any]]] = {}
    for pod in pods:
        on_node.setdefault(pod["spec"].get("nodeName", ""), []).append(pod)
    items = [Item(component="api", healthy=True, detail=f"revision {version}, {len(pods)} pods")]
    for node in topology.nodes:
        ready = conditions.get(node.name, {})
        healthy = ready.get("status") == "True"
        detail = f"{node.zone}, {node.addresses[0]}, {len(on_node.get(node.name, ()))} pods"
        if not healthy:
            detail = ready.get("message") or "not registered"
        items.append(Item(component=f"node {node.name}", healthy=healthy, detail=detail))
    return items


async def _agent(home: LabHome, node: str) -> Item:
    component = f"network {node}"
    socket = home.node(node) / "agent.sock"
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=_TIMEOUT) as session,
            session.get("http://agent/status") as response,
        ):
            answer = msgspec.json.decode(await response.read())
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
        return Item(component=component, healthy=False, detail=f"agent does not answer: {error}")
    return Item(component=component, healthy=bool(answer.get("healthy")), detail=str(answer.get("summary", "")))
