"""Gateways of several owners in one round of the controller: what is refused to one keeps nobody else waiting, and none gets another's port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.lab import lab
from tests.controllers.test_gateways import POOLS, RUN, conditions, made

from fairlead.api import crds
from fairlead.api.resources import GATEWAYCLASSES, GATEWAYS, HTTPROUTES, NAMESPACES, RESOURCEQUOTAS, SERVICES
from fairlead.controllers.gateway import services
from fairlead.model.gateway.names import CONTROLLER

Json = dict[str, Any]

LISTENERS = [{"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "b", "port": 81, "protocol": "HTTP"}]


async def test_what_is_refused_to_one_keeps_nobody_else_waiting(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        await it.client.create(NAMESPACES, made(NAMESPACES, "a-poor"))
        quota = {
            **made(RESOURCEQUOTAS, "none", hard={"services": "0"}),
            "metadata": {"name": "none", "namespace": "a-poor"},
        }
        await it.client.create(RESOURCEQUOTAS, quota)
        poor = made(GATEWAYS, "poor", gatewayClassName="ours", listeners=LISTENERS)
        poor["metadata"]["namespace"] = "a-poor"
        await it.client.create(GATEWAYS, poor)
        long = "a" * 64
        for name in (long, "dotted.name", *(f"web-{at}" for at in range(8))):
            await it.client.create(GATEWAYS, made(GATEWAYS, name, gatewayClassName="ours", listeners=LISTENERS))
        await it.client.create(HTTPROUTES, made(HTTPROUTES, "r", parentRefs=[{"name": "web-7"}]))
        for resource in (GATEWAYS, HTTPROUTES, SERVICES):
            it.follow(resource)
        # Only now they are ours, all in one round.
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "ours", controllerName=CONTROLLER))
        for name in ("dotted.name", *(f"web-{at}" for at in range(8))):
            await it.until(
                lambda name=name: len((it.get(GATEWAYS, name) or {}).get("status", {}).get("addresses") or ()) == 1,
                f"the address of {name}",
            )
        await it.until(lambda: (it.get(HTTPROUTES, "r") or {}).get("status", {}).get("parents"), "the route's status")
        ports = [port["targetPort"] for each in it.all(SERVICES) for port in each["spec"]["ports"]]
        gateways = [port for port in ports if isinstance(port, int) and port >= 20000]
        assert len(gateways) == len(set(gateways)) == 18
        assert conditions(it.get(GATEWAYS, long))["Programmed"] == ("False", "Invalid")
        assert "64 characters" in str((it.get(GATEWAYS, long) or {})["status"])
        assert conditions(it.get(GATEWAYS, "poor", "a-poor"))["Programmed"] == ("False", "AddressNotAssigned")
        await it.client.delete(RESOURCEQUOTAS, "none", namespace="a-poor")
        await it.until(lambda: (it.get(GATEWAYS, "poor", "a-poor") or {})["status"].get("addresses"), "its address")


async def test_no_two_get_one_port_before_the_controller_sees_what_it_made(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = services.node_ports
    monkeypatch.setattr(services, "node_ports", lambda found: seen(found) if isinstance(found, list) else set())
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        for at in range(3):
            await it.client.create(GATEWAYS, made(GATEWAYS, f"web-{at}", gatewayClassName="ours", listeners=LISTENERS))
        it.follow(SERVICES)
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "ours", controllerName=CONTROLLER))

        def ports() -> list[int]:
            found = [each for each in it.all(SERVICES) if services.is_of_gateway(each)]
            return [port["targetPort"] for each in found for port in each["spec"]["ports"]]

        await it.until(lambda: len(ports()) == 6, "three Services")
        assert len(set(ports())) == 6
