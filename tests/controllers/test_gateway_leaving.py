"""What leaves our classes, against the real API server: it is not ours any more, and nothing goes on saying that it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.lab import Lab, lab
from tests.controllers.test_gateways import POOLS, RUN, conditions, made

from fairlead.api import crds
from fairlead.api.resources import GATEWAYCLASSES, GATEWAYS, INGRESSCLASSES, INGRESSES, LISTENERSETS, SERVICES
from fairlead.controllers.gateway.leaving import IN_USE
from fairlead.controllers.ownership import reference_to
from fairlead.model.gateway.ingress_classes import CONTROLLER as INGRESS_CONTROLLER
from fairlead.model.gateway.names import CONTROLLER, GATEWAY_LABEL

Json = dict[str, Any]
DOOR = "fairlead-gateway-web"


async def with_gateway(it: Lab) -> None:
    """A Gateway of ours that has its Service and address."""
    await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "ours", controllerName=CONTROLLER))
    await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "theirs", controllerName="example.com/theirs"))
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    await it.client.create(GATEWAYS, made(GATEWAYS, "web", gatewayClassName="ours", listeners=[listener]))
    for resource in (GATEWAYCLASSES, GATEWAYS, SERVICES):
        it.follow(resource)
    await it.until(lambda: ((it.get(GATEWAYS, "web") or {}).get("status") or {}).get("addresses"), "the address")


def finalizers(it: Lab, name: str) -> list[str]:
    return ((it.get(GATEWAYCLASSES, name) or {}).get("metadata") or {}).get("finalizers") or []


@pytest.mark.parametrize("name", ["theirs", "nobodys"])
async def test_a_gateway_of_another_class_is_not_said_to_be_served(
    tmp_path: Path, certificates: Path, name: str
) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        await with_gateway(it)
        await it.client.patch(GATEWAYS, "web", {"spec": {"gatewayClassName": name}}, namespace="default")
        await it.until(lambda: it.get(SERVICES, DOOR) is None, "no Service")
        gateway = it.get(GATEWAYS, "web") or {}
        assert conditions(gateway) == {"Accepted": ("Unknown", "Pending"), "Programmed": ("Unknown", "Pending")}
        assert gateway["status"].keys() == {"conditions"}
        # What others say of it from now on is theirs.
        theirs = {
            "conditions": [{**each, "status": "True", "reason": "Theirs"} for each in gateway["status"]["conditions"]]
        }
        version = (await it.client.replace(GATEWAYS, {**gateway, "status": theirs}, subresource="status"))["metadata"][
            "resourceVersion"
        ]
        await it.until(lambda: not finalizers(it, "ours"), "the class is free")
        assert (await it.client.get(GATEWAYS, "web", namespace="default"))["metadata"]["resourceVersion"] == version
        await it.client.patch(GATEWAYS, "web", {"spec": {"gatewayClassName": "ours"}}, namespace="default")
        await it.until(lambda: it.get(SERVICES, DOOR), "the Service again")


async def test_what_other_implementations_make_is_left_alone(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        await with_gateway(it)
        # As Istio does: the label that the Gateway API knows, and the Gateway as owner.
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        theirs = made(GATEWAYS, "theirs", gatewayClassName="theirs", listeners=[listener])
        gateway = await it.client.create(GATEWAYS, theirs)
        service = made(SERVICES, "theirs-istio", ports=[{"port": 80}])
        service["metadata"] |= {
            "labels": {GATEWAY_LABEL: "theirs"},
            "ownerReferences": [reference_to(gateway, GATEWAYS)],
        }
        await it.client.create(SERVICES, service)
        conditions_ = [{**each, "status": "True"} for each in gateway["status"]["conditions"]]
        await it.client.replace(GATEWAYS, {**gateway, "status": {"conditions": conditions_}}, subresource="status")
        # The controller has gone round when this has its Service.
        await it.client.create(GATEWAYS, made(GATEWAYS, "next", gatewayClassName="ours", listeners=[listener]))
        await it.until(lambda: ((it.get(GATEWAYS, "next") or {}).get("status") or {}).get("addresses"), "the next one")
        assert it.get(SERVICES, "theirs-istio") is not None
        assert conditions(it.get(GATEWAYS, "theirs"))["Programmed"][0] == "True"


async def test_a_class_stays_as_long_as_it_has_gateways(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        await with_gateway(it)
        await it.until(lambda: finalizers(it, "ours") == [IN_USE], "the finalizer")
        assert finalizers(it, "theirs") == []
        await it.client.delete(GATEWAYCLASSES, "ours")
        await it.until(lambda: "deletionTimestamp" in (it.get(GATEWAYCLASSES, "ours") or {})["metadata"], "it waits")
        assert it.get(SERVICES, DOOR) is not None
        await it.client.delete(GATEWAYS, "web", namespace="default")
        await it.until(lambda: it.get(GATEWAYCLASSES, "ours") is None, "it goes with its last Gateway")


async def test_listener_sets_whose_gateway_goes_are_not_said_to_be_served(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        await with_gateway(it)
        it.follow(LISTENERSETS)
        listeners = [{"name": "more", "port": 8080, "protocol": "HTTP"}]
        await it.client.create(LISTENERSETS, made(LISTENERSETS, "more", parentRef={"name": "web"}, listeners=listeners))
        await it.until(lambda: conditions(it.get(LISTENERSETS, "more")).get("Accepted") == ("False", "NotAllowed"))
        await it.client.delete(GATEWAYS, "web", namespace="default")
        await it.until(lambda: conditions(it.get(LISTENERSETS, "more")).get("Accepted") == ("Unknown", "Pending"))


async def test_ingresses_of_another_class_have_no_address_of_ours(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        it.follow(INGRESSES)
        for name, controller in (("ours", INGRESS_CONTROLLER), ("theirs", "example.com/theirs")):
            await it.client.create(INGRESSCLASSES, made(INGRESSCLASSES, name, controller=controller))
        backend = {"service": {"name": "nobody", "port": {"number": 80}}}
        for name in ("stays", "leaves"):
            ingress = made(INGRESSES, name, ingressClassName="ours", defaultBackend=backend)
            await it.client.create(INGRESSES, ingress)

        def addresses(name: str) -> list[str]:
            status = (it.get(INGRESSES, name) or {}).get("status") or {}
            return [each["ip"] for each in (status.get("loadBalancer") or {}).get("ingress") or ()]

        for name in ("stays", "leaves"):
            await it.until(lambda name=name: addresses(name) == ["203.0.113.10"], f"the address of {name}")
        foreign = made(INGRESSES, "foreign", ingressClassName="theirs", defaultBackend=backend)
        other = {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}
        created = await it.client.create(INGRESSES, foreign)
        await it.client.replace(INGRESSES, {**created, "status": other}, subresource="status")
        await it.client.patch(INGRESSES, "leaves", {"spec": {"ingressClassName": "theirs"}}, namespace="default")
        await it.until(lambda: addresses("leaves") == [], "its address goes")
        assert addresses("stays") == ["203.0.113.10"]
        await it.client.delete(INGRESSCLASSES, "ours")
        await it.until(lambda: addresses("stays") == [], "with the class its addresses go")
        assert addresses("foreign") == ["192.0.2.7"]
