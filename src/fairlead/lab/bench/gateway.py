"""How long Gateways take: from a world of many routes to rows, and until Envoy has acknowledged them, all of them or one that changed.

The real Envoy on a port of loopback; no request is sent to the backends, which do not exist. What serving costs is not measured here.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from fairlead.api.decode import decode
from fairlead.drivers.xds.driver import XdsDriver
from fairlead.lab import ports
from fairlead.lab.bench.report import Measurement, Report, machine, quantile
from fairlead.model.compile import Compiler
from fairlead.model.gateway.names import CONTROLLER, GATEWAY_LABEL, service_name
from fairlead.plan.plan import Plan
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

Step = Callable[[str], contextlib.AbstractContextManager[None]]

_CHANGES = 100
_FIRST_PORT = 20000
_NODE = "bench"


def run(*, routes: int, step: Step) -> Report:
    """Measure and report; `step` shows progress. Raises UserError when no port is free."""
    with tempfile.TemporaryDirectory() as folder, ports.chosen(_FIRST_PORT) as port:
        rows = asyncio.run(_measure(Path(folder), routes, port, step))
    return Report(name="gateway", machine=machine(), rows=tuple(rows))


async def _measure(folder: Path, routes: int, port: int, step: Step) -> list[Measurement]:
    driver = XdsDriver(folder / "envoy", _NODE, lambda _: None, answer_s=60)
    compiler = Compiler()
    snapshot = fold(Snapshot(settings=Settings(node=_NODE)), _world(routes, port))
    case = f"{routes} routes"
    try:
        with step(f"serving {routes} routes"):
            begin = time.perf_counter()
            plan = compiler.compile(snapshot).plan
            compiled = time.perf_counter()
            await _apply(driver, plan)
            applied = time.perf_counter()
        rows = [
            Measurement(case=case, metric="compile everything", value=compiled - begin, unit="s"),
            Measurement(case=case, metric="start Envoy, until all is acknowledged", value=applied - compiled, unit="s"),
            Measurement(case=case, metric="memory of Envoy", value=_resident_mb(driver.pid), unit="MB"),
        ]
        for what, change in (("endpoint", _moved_endpoint), ("route", _moved_route)):
            with step(f"changing one {what} at a time"):
                decided: list[float] = []
                told: list[float] = []
                for number in range(_CHANGES):
                    begin = time.perf_counter()
                    snapshot = fold(snapshot, [change(number % routes, number)])
                    plan = compiler.compile(snapshot).plan
                    compiled = time.perf_counter()
                    await _apply(driver, plan)
                    decided.append((compiled - begin) * 1000)
                    told.append((time.perf_counter() - compiled) * 1000)
            rows += _quantiles(case, f"one {what} changed: decide", decided)
            rows += _quantiles(case, f"one {what} changed: Envoy", told)
    finally:
        await driver.apply(Plan.empty(_NODE))
    return rows


def _quantiles(case: str, metric: str, values: list[float]) -> Iterator[Measurement]:
    yield Measurement(case=case, metric=f"{metric}, p50", value=median(values), unit="ms")
    yield Measurement(case=case, metric=f"{metric}, p99", value=quantile(values, 0.99), unit="ms")


async def _apply(driver: XdsDriver, plan: Plan) -> None:
    outcome = await driver.apply(plan)
    if outcome.failed:
        raise RuntimeError(f"Envoy does not follow: {outcome.failed[0]}")


def _resident_mb(pid: int | None) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _world(routes: int, port: int) -> Iterator[Event]:
    yield _event("GatewayClass", "bench", {"spec": {"controllerName": CONTROLLER}}, namespace="")
    yield _event(
        "Node", _NODE, {"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}}, namespace=""
    )
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    yield _event("Gateway", "web", {"spec": {"gatewayClassName": "bench", "listeners": [listener]}})
    door = {"metadata": {"labels": {GATEWAY_LABEL: "web"}}, "spec": {"ports": [{"port": 80, "targetPort": port}]}}
    yield _event("Service", service_name("web"), door)
    for number in range(routes):
        address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        yield _event("Service", f"s{number}", {"spec": {"clusterIP": address, "ports": [{"port": 80}]}})
        yield _moved_endpoint(number, 0)
        yield _moved_route(number, 0)


def _moved_endpoint(number: int, turn: int) -> Event:
    labels = {"kubernetes.io/service-name": f"s{number}"}
    endpoints = [{"addresses": [f"127.0.1.{1 + turn % 250}"]}]
    return _event(
        "EndpointSlice",
        f"s{number}-a",
        {"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 1}]},
    )


def _moved_route(number: int, turn: int) -> Event:
    rule = {"matches": [{"path": {"value": f"/{turn}"}}], "backendRefs": [{"name": f"s{number}", "port": 80}]}
    spec = {"parentRefs": [{"name": "web"}], "hostnames": [f"h{number}.example.com"], "rules": [rule]}
    return _event("HTTPRoute", f"r{number}", {"spec": spec})


def _event(kind: str, name: str, obj: dict[str, Any], *, namespace: str = "default") -> Event:
    metadata = {"name": name, "namespace": namespace, **obj.get("metadata", {})}
    return ObjectChanged(kind, (namespace, name), decode(kind, {**obj, "metadata": metadata}))
