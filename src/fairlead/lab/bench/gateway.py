"""How long Gateways take: from a world of many routes to rows, and until Envoy has acknowledged them, all of them or one that changed.

The real Envoy on a port of loopback. Of the backends one exists, by which it is measured what requests cost, with few routes and with all of them, in
several starts of Envoy.
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
from fairlead.drivers.xds.settings import ProxySettings
from fairlead.lab import ports
from fairlead.lab.bench import gateway_peers, gateway_rounds, gateway_serving
from fairlead.lab.bench.gateway_peers import AS_MANY, ONE_HOST, SILENT
from fairlead.lab.bench.gateway_rounds import Start
from fairlead.lab.bench.gateway_serving import OURS, Request, Target
from fairlead.lab.bench.processes import SERVERS, cpu_s, on, resident_mb
from fairlead.lab.bench.report import Measurement, Report, machine, quantile
from fairlead.lab.bench.sync import without_collection
from fairlead.model.compile import Compiler
from fairlead.model.gateway.names import CONTROLLER, GATEWAY_LABEL, service_name
from fairlead.plan.plan import Plan
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

Step = Callable[[str], contextlib.AbstractContextManager[None]]

_CHANGES = 500
"""Of each kind: with fewer the p99 is one or two of them."""
_FEW = 10
"""Routes of a Gateway as most people have it."""
_FIRST_PORT = 20000
_NODE = "bench"


def run(*, routes: int, starts: int, rounds: int, requests: int, step: Step) -> Report:
    """Measure and report; `step` shows progress. Raises UserError without the load generator and when no port is free."""
    gateway_serving.require()
    with tempfile.TemporaryDirectory() as folder, ports.chosen(_FIRST_PORT) as port, without_collection():
        rows = asyncio.run(_following(Path(folder), routes, port, step))
        for served in sorted({min(routes, _FEW), routes}):
            rows += asyncio.run(_serving(Path(folder), served, port, starts, rounds, requests, step))
    return Report(name="gateway", machine=machine(), rows=tuple(rows))


async def _following(folder: Path, routes: int, port: int, step: Step) -> list[Measurement]:
    driver = _driver(folder)
    compiler = Compiler()
    snapshot = fold(Snapshot(settings=Settings(node=_NODE)), _world(routes, port))
    case = f"{routes} routes"
    try:
        with step(f"serving {routes} routes"):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            plan = compiler.compile(snapshot).plan
            compiled, compiled_cpu = time.perf_counter(), time.process_time()
            await _apply(driver, plan)
            applied, applied_cpu = time.perf_counter(), time.process_time()
        rows = [
            Measurement(case=case, metric="compile everything", value=compiled - begin, unit="s"),
            Measurement(case=case, metric="start Envoy, until all is acknowledged", value=applied - compiled, unit="s"),
            # What a busy machine changes less.
            Measurement(
                case=case, metric="compile everything, processor time", value=compiled_cpu - begin_cpu, unit="s"
            ),
            Measurement(
                case=case, metric="start Envoy, our processor time", value=applied_cpu - compiled_cpu, unit="s"
            ),
            Measurement(case=case, metric="start Envoy, its processor time", value=cpu_s(driver.pid or 0), unit="s"),
            Measurement(case=case, metric="memory of Envoy", value=resident_mb(driver.pid or 0), unit="MB"),
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
            rows += _quantiles(
                case, f"one {what} changed: both", [sum(each) for each in zip(decided, told, strict=True)]
            )
    finally:
        await driver.apply(Plan.empty(_NODE))
    return rows


async def _serving(
    folder: Path, routes: int, port: int, starts: int, rounds: int, requests: int, step: Step
) -> list[Measurement]:
    """Measure requests with so many routes; where they are few the peers are those of a person who writes by hand, else also one with as many hosts."""
    hosts = [_host(number) for number in range(routes)]
    request = Request(hosts[0], "/0", requests)
    found: list[Start] = []
    async with gateway_serving.backend(folder) as backend_port:
        world = [*_world(routes, port), _endpoint(0, "127.0.0.1", backend_port)]
        plan = Compiler().compile(fold(Snapshot(settings=Settings(node=_NODE)), world)).plan
        written = gateway_peers.envoys(folder, hosts, backend_port)
        if routes > _FEW:
            peers, others = {each: written[each] for each in (ONE_HOST, AS_MANY)}, {}
        else:
            peers, others = {ONE_HOST: written[ONE_HOST]}, {SILENT: written[SILENT]}
            others |= gateway_peers.others(folder, backend_port)
        for number in range(starts):
            driver = _driver(folder)

            def named(words: str, number: int = number) -> contextlib.AbstractContextManager[None]:
                return step(f"{routes} routes, start {number + 1} of {starts}: {words}")

            try:
                with named(f"starting {OURS}"), on(SERVERS):
                    await _apply(driver, plan)
                ours = Target(driver.pid or 0, port)
                found.append(await gateway_serving.serving(folder, ours, peers, others, request, rounds, named))
            finally:
                await driver.apply(Plan.empty(_NODE))
    return list(gateway_rounds.rows(f"serving {routes} routes", found, OURS, list(peers)))


def _driver(folder: Path) -> XdsDriver:
    return XdsDriver(folder / "envoy", ProxySettings(node=_NODE, answer_s=60))


def _quantiles(case: str, metric: str, values: list[float]) -> Iterator[Measurement]:
    yield Measurement(case=case, metric=f"{metric}, p50", value=median(values), unit="ms")
    yield Measurement(case=case, metric=f"{metric}, p99", value=quantile(values, 0.99), unit="ms")


async def _apply(driver: XdsDriver, plan: Plan) -> None:
    outcome = await driver.apply(plan)
    if outcome.failed:
        raise RuntimeError(f"Envoy does not follow: {outcome.failed[0]}")


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
    return _endpoint(number, f"127.0.1.{1 + turn % 250}", 1)


def _endpoint(number: int, address: str, port: int) -> Event:
    labels = {"kubernetes.io/service-name": f"s{number}"}
    endpoints = [{"addresses": [address]}]
    return _event(
        "EndpointSlice",
        f"s{number}-a",
        {"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": port}]},
    )


def _host(number: int) -> str:
    return f"h{number}.example.com"


def _moved_route(number: int, turn: int) -> Event:
    rule = {"matches": [{"path": {"value": f"/{turn}"}}], "backendRefs": [{"name": f"s{number}", "port": 80}]}
    spec = {"parentRefs": [{"name": "web"}], "hostnames": [_host(number)], "rules": [rule]}
    return _event("HTTPRoute", f"r{number}", {"spec": spec})


def _event(kind: str, name: str, obj: dict[str, Any], *, namespace: str = "default") -> Event:
    metadata = {"name": name, "namespace": namespace, **obj.get("metadata", {})}
    return ObjectChanged(kind, (namespace, name), decode(kind, {**obj, "metadata": metadata}))
