"""Bringing a lab up: each step is idempotent, so that a second `up` finishes what a first one began."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fairlead.api.resources import NODES
from fairlead.base.errors import UserError
from fairlead.lab import fabric, pki, ports, preflight, state
from fairlead.lab.home import LabHome
from fairlead.lab.processes import recorded, spawn
from fairlead.lab.topology import GATEWAY_PORTS, Topology, design
from fairlead.sources.client import Client, wait_available
from fairlead.sources.errors import ApiError, Unreachable

T = TypeVar("T")

Step = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user asked of the topology; None: as it is, or the default for a new lab."""

    nodes: int | None = None
    zones: int | None = None
    tunnel: str | None = None
    strict_commands: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Where the lab is reached."""

    kubeconfig: Path
    server: str
    nodes: tuple[str, ...]
    gateway: tuple[str, str]
    """What leads to ports 80 and 443 of the lab's Gateways."""


def start(name: str, wishes: Wishes, *, manifests: Sequence[Path], timeout_s: float, step: Step) -> Report:
    """Bring lab `name` up, wait until all nodes are ready, apply `manifests`; raises UserError naming what failed."""
    home = LabHome.of(name)
    deadline = time.monotonic() + timeout_s
    with step("checking this machine"):
        preflight.check()
    # The port stays chosen until the API server holds it.
    with (
        state.locked(home),
        ports.chosen() as port,
        ports.chosen(GATEWAY_PORTS[0]) as plain,
        ports.chosen(GATEWAY_PORTS[1]) as secure,
    ):
        topology = _settle(home, wishes, port, (plain, secure))
        with step(f"building the network of {len(topology.nodes)} nodes in {len(topology.zones)} zones"):
            try:
                fabric.build(topology, home)
            except subprocess.CalledProcessError as error:
                raise UserError(f"the network cannot be built: {error.stderr.strip()}") from error
            pki.issue(topology, home)
        with step("starting the components"):
            _start_supervisor(home)
            _wait_api(home, deadline - time.monotonic())
        with step("waiting for the nodes"):
            asyncio.run(_wait_nodes(home, topology, deadline - time.monotonic()))
    if manifests:
        with step("applying manifests"):
            _apply(home, manifests)
    return Report(
        kubeconfig=home.kubeconfig,
        server=f"https://127.0.0.1:{topology.api_port}",
        nodes=tuple(node.name for node in topology.nodes),
        gateway=(
            f"http://127.0.0.1:{topology.gateway_ports[0]}",
            f"https://127.0.0.1:{topology.gateway_ports[1]}",
        ),
    )


def _settle(home: LabHome, wishes: Wishes, free_port: int, gateway_ports: tuple[int, int]) -> Topology:
    present = state.load(home)
    wanted = design(
        name=home.name,
        nodes=_first(wishes.nodes, len(present.nodes) if present else 3),
        zones=_first(wishes.zones, len(present.zones) if present else 3),
        api_port=present.api_port if present else free_port,
        strict_commands=_first(wishes.strict_commands, present.strict_commands if present else False),
        tunnel=_first(wishes.tunnel, present.tunnel if present else "auto"),
        gateway_ports=present.gateway_ports if present else gateway_ports,
    )
    if present is None:
        if strays := fabric.existing(home):
            raise UserError(
                f"network namespaces of a lab named {home.name!r} exist, {min(strays)} among them, but {home.topology} does not",
                fix=f"use another --name; or, if no other FAIRLEAD_HOME runs it, `fairlead down --name {home.name}`",
            )
        state.save(home, wanted)
    elif present != wanted:
        raise UserError(
            f"lab {home.name!r} runs with {len(present.nodes)} nodes, {len(present.zones)} zones, tunnel {present.tunnel}",
            fix=f"`fairlead down --name {home.name}` first, or start another one with --name",
        )
    return wanted


def _first(wish: T | None, otherwise: T) -> T:
    return otherwise if wish is None else wish


def _start_supervisor(home: LabHome) -> None:
    running = recorded(home, "supervisor")
    if running is None or not running.alive:
        spawn(home, "supervisor", [sys.executable, "-m", "fairlead", "supervisor", "--name", home.name])


def _wait_api(home: LabHome, timeout_s: float) -> None:
    async def wait() -> None:
        async with Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-up") as client:
            await wait_available(client, timeout_s=max(timeout_s, 1.0))

    try:
        asyncio.run(wait())
    except TimeoutError as error:
        raise UserError(str(error), fix=f"see {home.log / 'apiserver.log'}") from error


async def _wait_nodes(home: LabHome, topology: Topology, timeout_s: float) -> None:
    wanted = {node.name for node in topology.nodes}
    unready = dict.fromkeys(wanted, "not registered")
    try:
        async with (
            asyncio.timeout(max(timeout_s, 1.0)),
            Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-up") as client,
        ):
            items, version = await client.list(NODES)
            while True:
                for item in items:
                    _note(unready, item)
                if not unready:
                    return
                async for _, item in client.watch(NODES, resource_version=version):
                    if item.get("status"):
                        _note(unready, item)
                        if not unready:
                            return
                items, version = await client.list(NODES)
    except (TimeoutError, ApiError, Unreachable) as error:
        name, reason = min(unready.items())
        raise UserError(
            f"{len(unready)} of {len(wanted)} nodes are not ready after {timeout_s:.0f} s; {name}: {reason}",
            fix=f"see `fairlead status --name {home.name}` and the logs in {home.log}",
        ) from error


def _note(unready: dict[str, str], node: dict[str, object]) -> None:
    name = node["metadata"]["name"]  # type: ignore[index]
    conditions = {c["type"]: c for c in node.get("status", {}).get("conditions") or ()}  # type: ignore[attr-defined]
    ready = conditions.get("Ready", {})
    if ready.get("status") == "True":
        unready.pop(name, None)
    elif name in unready:
        unready[name] = ready.get("message") or "no Ready condition yet"


def _apply(home: LabHome, manifests: Sequence[Path]) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise UserError("kubectl is missing, -f needs it", fix="apt-get install kubernetes-client")
    for path in manifests:
        command = [kubectl, "--kubeconfig", str(home.kubeconfig), "apply", "--recursive", "-f", str(path)]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise UserError(f"{path} cannot be applied: {result.stderr.strip()}")
