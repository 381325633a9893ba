"""How long a lab takes: to come, to run pods, to go; and what it weighs.

Everything is measured from outside, as a user or a container runtime would: whole commands, whole plugin executions, clocks
from the first request to the last Ready. Labs of its own only, which it removes however it ends; it must never touch another one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from fairlead.api.resources import DEPLOYMENTS, PODS
from fairlead.base.errors import UserError
from fairlead.lab import down
from fairlead.lab.bench.footprint import footprint
from fairlead.lab.bench.report import Measurement, Report, machine, quantile
from fairlead.lab.home import LabHome
from fairlead.sources.client import Client
from fairlead.sources.errors import NotFound

Step = Callable[[str], AbstractContextManager[None]]

_SINGLE_PODS = 10
_CNI_ROUNDS = 100
_READY_S = 300.0
_COMMAND_S = 180


def run(*, small: tuple[int, int], large: tuple[int, int] | None, rounds: int, step: Step) -> Report:
    """Measure a small and a large lab, each given as (nodes, pods), and report; `step` shows progress.

    Times of the small lab are medians over `rounds` labs. Raises UserError when a lab does not come up or its pods do not become
    ready.
    """
    if os.geteuid() != 0:
        raise UserError("measuring a lab needs root", fix="run it with sudo or as root")
    name = f"bench{os.getpid()}"
    rows = list(_small(name, *small, rounds=rounds, step=step))
    if large is not None:
        rows += _large(name, *large, step=step)
    return Report(name="lab", machine=machine(), rows=tuple(rows))


def _small(name: str, nodes: int, pods: int, *, rounds: int, step: Step) -> Iterator[Measurement]:
    ups: list[float] = []
    downs: list[float] = []
    rates: list[float] = []
    singles: list[float] = []
    adds: list[float] = []
    deletes: list[float] = []
    for number in range(1, rounds + 1):
        title = f"{nodes} nodes, round {number} of {rounds}"
        with temporary(name, nodes, ups, downs, title, step) as home:
            with step(f"{title}: pods one by one"):
                singles += asyncio.run(_one_by_one(home, _SINGLE_PODS))
            with step(f"{title}: {pods} pods at once"):
                rates.append(pods / asyncio.run(_rollout(home, "burst", pods)))
            with step(f"{title}: CNI"):
                for added, deleted in _cni(home, _CNI_ROUNDS):
                    adds.append(added)
                    deletes.append(deleted)
    case = f"{nodes} nodes"
    yield Measurement(case=case, metric="up until ready", value=median(ups), unit="s")
    yield Measurement(
        case=case, metric="one pod, from its creation to Ready, p50", value=median(singles) * 1e3, unit="ms"
    )
    yield Measurement(case=case, metric=f"{pods} pods at once", value=median(rates), unit="pods/s")
    yield Measurement(case=case, metric="CNI ADD, p50", value=quantile(adds, 0.5) * 1e3, unit="ms")
    yield Measurement(case=case, metric="CNI ADD, p99", value=quantile(adds, 0.99) * 1e3, unit="ms")
    yield Measurement(case=case, metric="CNI DEL, p50", value=quantile(deletes, 0.5) * 1e3, unit="ms")
    yield Measurement(case=case, metric="down", value=median(downs), unit="s")


def _large(name: str, nodes: int, pods: int, *, step: Step) -> Iterator[Measurement]:
    ups: list[float] = []
    downs: list[float] = []
    title = f"{nodes} nodes"
    with temporary(name, nodes, ups, downs, title, step) as home:
        empty = footprint(home)
        with step(f"{title}: {pods} pods at once"):
            seconds = asyncio.run(_rollout(home, "burst", pods))
        with step(f"{title}: what it weighs"):
            full = footprint(home)
            spread = asyncio.run(_spread(home, "burst"))
    case = f"{nodes} nodes, {pods} pods"
    yield Measurement(case=case, metric="up until ready", value=ups[0], unit="s")
    yield Measurement(case=case, metric="all pods Ready", value=seconds, unit="s")
    yield Measurement(case=case, metric="pods at once", value=pods / seconds, unit="pods/s")
    yield Measurement(case=case, metric="fewest pods on a node", value=min(spread), unit="pods")
    yield Measurement(case=case, metric="most pods on a node", value=max(spread), unit="pods")
    yield Measurement(case=case, metric="memory without pods", value=empty.memory_mb, unit="MB")
    yield Measurement(case=case, metric="memory in total", value=full.memory_mb, unit="MB")
    yield Measurement(case=case, metric="memory per pod", value=full.pods_mb / pods, unit="MB")
    yield Measurement(case=case, metric="processes in total", value=full.processes, unit="processes")
    yield Measurement(case=case, metric="processes per pod", value=full.pod_processes / pods, unit="processes")
    yield Measurement(case=case, metric="down", value=downs[0], unit="s")


@contextmanager
def temporary(name: str, nodes: int, ups: list[float], downs: list[float], title: str, step: Step) -> Iterator[LabHome]:
    """Bring a lab up by the command and down again, and note how long each takes; down also when the block fails."""
    try:
        with step(f"{title}: up"):
            ups.append(_timed("up", "--name", name, "--nodes", str(nodes)))
        yield LabHome.of(name)
        with step(f"{title}: down"):
            downs.append(_timed("down", "--name", name))
    finally:
        if LabHome.of(name).folder.exists():
            down.stop(name)


def _timed(*arguments: str) -> float:
    """Run a command of ours and return how many seconds it takes; raises UserError with its words when it fails."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "fairlead", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    if result.returncode != 0:
        raise UserError(f"`fairlead {' '.join(arguments)}` failed: {result.stderr.strip()}")
    return time.monotonic() - begun


def _template(name: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "responder", "ports": [{"containerPort": 8080}]}],
        },
    }


async def _rollout(home: LabHome, name: str, pods: int) -> float:
    """Create a Deployment and return the seconds until all of its pods are Ready."""
    async with Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-bench") as client:
        _, version = await client.list(PODS, namespace="default")
        begun = time.monotonic()
        spec = {"replicas": pods, "selector": {"matchLabels": {"app": name}}, "template": _template(name)}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
        await client.create(DEPLOYMENTS, deployment, namespace="default")
        ready: set[str] = set()
        try:
            async with asyncio.timeout(_READY_S):
                watch = client.watch(PODS, namespace="default", resource_version=version, label_selector=f"app={name}")
                async for _, pod in watch:
                    if _is_ready(pod):
                        ready.add(pod["metadata"]["uid"])
                    if len(ready) == pods:
                        return time.monotonic() - begun
        except TimeoutError:
            pass
    raise UserError(f"{len(ready)} of {pods} pods were Ready after {_READY_S:.0f} s", fix=f"see {home.log}")


async def _one_by_one(home: LabHome, count: int) -> list[float]:
    """Create pods one after the other and return the seconds until each is Ready."""
    found = []
    async with Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-bench") as client:
        for number in range(count):
            name = f"single-{number}"
            _, version = await client.list(PODS, namespace="default")
            begun = time.monotonic()
            pod = {"apiVersion": "v1", "kind": "Pod", **_template("single")}
            pod["metadata"] = {"name": name}
            await client.create(PODS, pod, namespace="default")
            async with asyncio.timeout(_READY_S):
                watch = client.watch(
                    PODS, namespace="default", resource_version=version, field_selector=f"metadata.name={name}"
                )
                async for _, seen in watch:
                    if _is_ready(seen):
                        break
            found.append(time.monotonic() - begun)
            try:
                await client.delete(PODS, name, namespace="default", grace_period_s=0)
            except NotFound:
                continue
    return found


async def _spread(home: LabHome, name: str) -> list[int]:
    """Return how many pods each node has that has any."""
    async with Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-bench") as client:
        items, _ = await client.list(PODS, namespace="default", label_selector=f"app={name}")
    return list(Counter(item["spec"]["nodeName"] for item in items).values())


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _cni(home: LabHome, rounds: int) -> Iterator[tuple[float, float]]:
    """Attach and detach network namespaces by executing the plugin as a container runtime does; yield seconds of ADD and DEL."""
    node = home.node("node-1")
    plugin = node / "cni/bin/fairlead"
    conflist = json.loads(next((node / "cni/net.d").glob("*.conflist")).read_text())
    config = {**conflist["plugins"][0], "name": conflist["name"], "cniVersion": conflist["cniVersion"]}
    namespace = home.namespace("bench")
    for number in range(rounds):
        container = f"bench-{number}"
        subprocess.run(["ip", "netns", "add", namespace], check=True, capture_output=True)
        try:
            path = Path("/run/netns", namespace)
            added = _execute(plugin, "ADD", container, path, config)
            deleted = _execute(plugin, "DEL", container, path, config)
        finally:
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)
        yield added, deleted


def _execute(plugin: Path, command: str, container: str, namespace: Path, config: dict[str, Any]) -> float:
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": str(namespace),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(plugin.parent),
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin"),
    }
    begun = time.monotonic()
    result = subprocess.run(
        [plugin], input=json.dumps(config).encode(), env=environment, capture_output=True, check=False
    )
    seconds = time.monotonic() - begun
    if result.returncode != 0:
        raise UserError(f"CNI {command} failed: {result.stdout.decode(errors='replace').strip()}")
    return seconds
