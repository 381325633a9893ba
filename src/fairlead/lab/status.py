"""The health of a lab: what each process, node, driver and Gateway says of itself, and what says nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
import msgspec

from fairlead.api.resources import GATEWAYCLASSES, GATEWAYS, NODES, PODS
from fairlead.base.diagnostics import Diagnostic
from fairlead.lab import fabric
from fairlead.lab.components import components
from fairlead.lab.gateway_status import KINDS, GatewayItem, gateways
from fairlead.lab.home import LabHome
from fairlead.lab.processes import recorded
from fairlead.lab.topology import Topology
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Unreachable

_TIMEOUT = aiohttp.ClientTimeout(total=3)
_MOST_WORDS = 3
"""Of a proxy's complaints in one line."""


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
    gateways: tuple[GatewayItem, ...] = ()
    problems: tuple[Diagnostic, ...] = ()
    """What is wrong with objects of Gateways, as nodes see it."""

    @property
    def healthy(self) -> bool:
        """Tell whether every component is healthy."""
        return all(item.healthy for item in self.items)

    def as_dict(self) -> dict[str, Any]:
        """Return the stable form of `-o json` (docs/cli.md)."""
        return {
            "lab": self.lab,
            "healthy": self.healthy,
            "components": [asdict(item) for item in self.items],
            "gateways": [asdict(each) for each in self.gateways],
            "problems": [
                {"object": each.object, "field": each.field, "message": each.message} for each in self.problems
            ],
        }


async def collect(home: LabHome, topology: Topology) -> Report:
    """Ask every component of the lab; never raises for a dead one."""
    items = [_fabric(home, topology), *_processes(home, topology)]
    items += await _api(home, topology)
    problems: set[Diagnostic] = set()
    for node in topology.nodes:
        answer = await _asked(home, node.name)
        items += _agent(node.name, answer)
        problems |= _problems(answer)
    found = await _gateways(home)
    return Report(lab=home.name, items=tuple(items), gateways=found, problems=tuple(sorted(problems)))


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


async def _gateways(home: LabHome) -> tuple[GatewayItem, ...]:
    try:
        async with Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-status") as client:
            found, _ = await client.list(GATEWAYS)
            classes, _ = await client.list(GATEWAYCLASSES)
    except (ApiError, Unreachable):
        # That it does not answer is said already.
        return ()
    return tuple(gateways(found, classes))


async def _asked(home: LabHome, node: str) -> dict[str, Any] | str:
    """Return what a node's agent says, or why it says nothing."""
    socket = home.node(node) / "agent.sock"
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=_TIMEOUT) as session,
            session.get("http://agent/status") as response,
        ):
            return msgspec.json.decode(await response.read(), type=dict[str, Any])
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
        return f"agent does not answer: {error}"


def _agent(node: str, answer: dict[str, Any] | str) -> list[Item]:
    """Return a node's network and, where it serves Gateways, its proxies."""
    component = f"network {node}"
    if isinstance(answer, str):
        return [Item(component=component, healthy=False, detail=answer)]
    healthy, summary = bool(answer.get("healthy")), str(answer.get("summary", ""))
    return [Item(component=component, healthy=healthy, detail=summary), *_proxies(node, answer)]


def _proxies(node: str, answer: dict[str, Any]) -> list[Item]:
    """Return the proxy that Gateways share, and those of Gateways' own, as far as they have something to serve."""
    driver: dict[str, Any] = next((each for each in answer.get("drivers", ()) if each["driver"] == "xds"), {})
    found = []
    for name, proxy in (answer.get("proxies") or {}).items():
        failed = [f"{' '.join(map(str, each['key']))}: {each['error']}" for each in proxy["failed"]]
        if not proxy["listeners"] and not failed:
            continue
        words = driver.get("error") or "; ".join(failed[:_MOST_WORDS])
        if len(failed) > _MOST_WORDS:
            words += f"; and {len(failed) - _MOST_WORDS} more"
        served = f"{proxy['serving']} of {proxy['listeners']} ports"
        detail = f"pid {proxy['pid']}, {served}, revision {driver.get('revision', '')}"
        component = f"proxy {node} {name}".rstrip()
        found.append(Item(component=component, healthy=not words, detail=f"{detail}; {words}" if words else detail))
    return found


def _problems(answer: dict[str, Any] | str) -> set[Diagnostic]:
    if isinstance(answer, str):
        return set()
    found = msgspec.convert(answer.get("diagnostics", ()), tuple[Diagnostic, ...])
    return {each for each in found if each.object.partition("/")[0] in KINDS}
