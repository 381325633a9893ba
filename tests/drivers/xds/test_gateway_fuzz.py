"""Whatever objects say, and however wrong they are: a healthy Gateway beside them serves its requests. Real Envoy, one for all examples."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.schemas import definitions, objects
from tests.drivers.xds.test_proxy_life import secret

from fairlead.api.decode import decode
from fairlead.api.securitypolicy import SecurityPolicy
from fairlead.api.trafficpolicy import TrafficPolicy
from fairlead.base.diagnostics import Diagnostic
from fairlead.controllers.gateway.services import desired
from fairlead.model.gateway import status
from fairlead.model.gateway.stage import GatewayStage
from fairlead.world.events import ObjectChanged
from fairlead.world.fold import fold

in_one_loop = pytest.mark.asyncio(loop_scope="module")
Json = dict[str, Any]
_WORLD = """
kind: Gateway
metadata: {name: web, creationTimestamp: '2020-01-01T00:00:00Z'}
spec:
  gatewayClassName: fairlead
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
kind: HTTPRoute
metadata: {name: healthy, creationTimestamp: '2020-01-01T00:00:00Z'}
spec:
  parentRefs: [{name: web}]
  hostnames: [healthy.example.com]
  rules: [{matches: [{path: {type: Exact, value: /healthy/0d1e}}], backendRefs: [{name: healthy, port: 80}]}]
---
kind: ReferenceGrant
metadata: {name: all, namespace: default}
spec:
  from:
    - {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: other}
    - {group: gateway.networking.k8s.io, kind: Gateway, namespace: other}
  to: [{group: '', kind: Service}, {group: '', kind: Secret}]
"""
_EXAMPLES, _MANY = 200, 6000
_SEVERAL = objects()
_SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayLab]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    found = GatewayLab(folder)
    try:
        await found.start()
        for name in ("healthy", "one"):
            await found.backend(name)
        certificate, _ = secret("cert", "a.example.com")
        await found.apply(f"{_WORLD}---\n{certificate}")
        yield found
    finally:
        await found.stop()


def test_every_kind_that_gateways_are_made_of_is_tried() -> None:
    assert {
        "Gateway",
        "HTTPRoute",
        "GRPCRoute",
        "TLSRoute",
        "TCPRoute",
        "UDPRoute",
        "ReferenceGrant",
        "GatewayClass",
    } <= {kind for kind, _ in definitions()}


@in_one_loop
@settings(_SETTINGS, max_examples=_EXAMPLES, derandomize=True)
@given(_SEVERAL)
async def test_no_object_harms_a_healthy_gateway(lab: GatewayLab, several: list[Json]) -> None:
    await _try(lab, several)


@pytest.mark.soak
@pytest.mark.timeout(900)
@in_one_loop
@settings(_SETTINGS, max_examples=_MANY)
@given(_SEVERAL)
async def test_no_object_harms_a_healthy_gateway_for_long(lab: GatewayLab, several: list[Json]) -> None:
    await _try(lab, several)


async def _try(lab: GatewayLab, several: list[Json]) -> None:
    before = lab.snapshot
    try:
        for obj in several:
            found = decode(obj["kind"], obj)
            if not isinstance(found, Diagnostic) and not _governs_the_healthy(found):
                key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
                lab.snapshot = fold(lab.snapshot, [ObjectChanged(obj["kind"], key, found)])
        _reach(lab)
        for bring in (lab.driver.apply, lab.driver.resync):
            outcome = await bring(lab.compiler.compile(lab.snapshot).plan)
            # What is wrong is found by the model, which can say where; the proxy gets nothing that it rejects.
            assert not outcome.failed, [each.error[-400:] for each in outcome.failed]
            assert (await lab.ask("http://healthy.example.com/healthy/0d1e")).backend == "healthy"
    finally:
        lab.snapshot = before


def _governs_the_healthy(obj: object) -> bool:
    """Tell whether a policy is about the requests of the healthy Gateway: refusing them may be its purpose."""
    return isinstance(obj, SecurityPolicy | TrafficPolicy) and any(
        (each.kind, each.name) == ("Gateway", "web") for each in obj.spec.target_refs
    )


def _reach(lab: GatewayLab) -> None:
    """Do for all Gateways what the controller does: doors, and statuses."""
    stage = GatewayStage()
    stage.update(lab.snapshot, None)
    stage.diagnostics()
    serving = status.Serving()
    for gateway in stage.gateways.values():
        wanted = desired(gateway, None, (), {})
        status.gateway_conditions(gateway, serving)
        for listener in gateway.listeners:
            status.listener_conditions(listener, gateway, serving)
        ports: dict[str, list[int]] = {protocol: [] for protocol in ("TCP", "UDP")}
        for each in wanted["spec"]["ports"]:
            ports[each["protocol"]].append(each["port"])
        lab.door(*gateway.key, *ports["TCP"], udp=ports["UDP"])
    for route in stage.bound.values():
        status.route_parents(stage.described(route.key) or route, stage.affected)
