"""Gateways against the real API server: the Service that is made, and statuses that follow what nodes report."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.controllers.lab import Lab, lab
from tests.pki import Authority

from fairlead.api import crds
from fairlead.api.gateway import Gateway, GatewayAddress, GatewaySpec, Infrastructure, Listener, RouteMeta
from fairlead.api.node import EXCLUDED, Node
from fairlead.api.resources import (
    CRDS,
    ENDPOINTSLICES,
    EVENTS,
    GATEWAYCLASSES,
    GATEWAYS,
    HTTPROUTES,
    INGRESSCLASSES,
    INGRESSES,
    LISTENERSETS,
    MIDDLEWARES,
    NODES,
    SECRETS,
    SERVICES,
    Resource,
)
from fairlead.controllers import manager
from fairlead.controllers.context import Context, Settings
from fairlead.controllers.gateway import services
from fairlead.controllers.loadbalancers.core import ADDRESSES
from fairlead.model.gateway.doors import read_state, slices
from fairlead.model.gateway.ingress_classes import CONTROLLER as INGRESS_CONTROLLER
from fairlead.model.gateway.listeners import BoundGateway, BoundListener
from fairlead.model.gateway.names import CONTROLLER
from fairlead.model.gateway.status import Serving, listener_conditions
from fairlead.plan.gateway.listener import GatewayListener, GatewayUdpListener

Json = dict[str, Any]
RUN = ("gateway", "service-lb")
POOLS = Settings(load_balancer_cidrs=("203.0.113.0/24",))


def made(resource: Resource, name: str, **spec: Any) -> Json:
    metadata = {"name": name, **({"namespace": "default"} if resource.namespaced else {})}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def conditions(obj: Json | None) -> dict[str, tuple[str, str]]:
    found = ((obj or {}).get("status") or {}).get("conditions") or ()
    return {each["type"]: (each["status"], each["reason"]) for each in found}


async def report(it: Lab, node: str, generation: int, error: str = "") -> None:
    """What the agent of a node would say."""
    service = it.get(SERVICES, "fairlead-gateway-web")
    assert service is not None
    port = service["spec"]["ports"][0]["targetPort"]
    await write_slices(it, node, service["metadata"]["uid"], port, generation, error)


async def write_slices(it: Lab, node: str, service: str, port: int, generation: int = 1, error: str = "") -> None:
    row = msgspec.structs.replace(_row(), port=port, generation=generation)
    owner = {"apiVersion": "v1", "kind": "Service", "name": "fairlead-gateway-web", "uid": service}
    typed = msgspec.convert(await it.client.get(NODES, node), Node)
    for each in slices(("default", "web"), typed, [(row, error)], owner):
        if it.get(ENDPOINTSLICES, each["metadata"]["name"]) is None:
            await it.client.create(ENDPOINTSLICES, each, namespace="default")
        else:
            await it.client.patch(ENDPOINTSLICES, each["metadata"]["name"], each, namespace="default")


async def test_a_gateway_gets_a_service_and_is_programmed_when_every_node_says_so(
    tmp_path: Path, certificates: Path
) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=2, settings=POOLS, definitions=crds.FOLDER) as it:
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "fairlead", controllerName=CONTROLLER))
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        await it.client.create(GATEWAYS, made(GATEWAYS, "web", gatewayClassName="fairlead", listeners=[listener]))
        rule = {"backendRefs": [{"name": "nobody", "port": 80}]}
        await it.client.create(HTTPROUTES, made(HTTPROUTES, "r", parentRefs=[{"name": "web"}], rules=[rule]))
        for resource in (GATEWAYCLASSES, GATEWAYS, HTTPROUTES, SERVICES, ENDPOINTSLICES):
            it.follow(resource)

        def gateway() -> Json | None:
            return it.get(GATEWAYS, "web")

        service = await it.until(lambda: it.get(SERVICES, "fairlead-gateway-web"), "the Service")
        assert service["spec"]["type"] == "LoadBalancer"
        assert service["spec"]["externalTrafficPolicy"] == "Local"
        assert [(each["port"], each["targetPort"]) for each in service["spec"]["ports"]] == [(80, 20000)]
        await it.until(lambda: conditions(gateway()).get("Programmed") == ("False", "Pending"), "waits for nodes")
        await report(it, "node-1", 1)
        await it.until(lambda: "node-2" in str((gateway() or {}).get("status")), "waits for the other node")
        await report(it, "node-2", 1, "Envoy: no")
        await it.until(lambda: "Envoy: no" in str((gateway() or {}).get("status")), "Envoy's words")
        await report(it, "node-2", 1)
        done = await it.until(
            lambda: (found := gateway()) and conditions(found).get("Programmed") == ("True", "Programmed") and found,
            "is programmed",
        )
        assert [each["value"] for each in done["status"]["addresses"]] == ["203.0.113.10"]
        assert done["status"]["listeners"][0]["attachedRoutes"] == 1
        (parent,) = (it.get(HTTPROUTES, "r") or {})["status"]["parents"]
        assert parent["controllerName"] == CONTROLLER
        assert conditions({"status": parent})["Accepted"] == ("True", "Accepted")
        assert conditions({"status": parent})["ResolvedRefs"] == ("False", "BackendNotFound")
        known = {"Accepted": ("True", "Accepted"), "SupportedVersion": ("True", "SupportedVersion")}
        assert conditions(it.get(GATEWAYCLASSES, "fairlead")) == known
        older = {"metadata": {"annotations": {"gateway.networking.k8s.io/bundle-version": "v1.4.0"}}}
        await it.client.patch(CRDS, "tlsroutes.gateway.networking.k8s.io", older)
        await it.until(
            lambda: (
                conditions(it.get(GATEWAYCLASSES, "fairlead")).get("SupportedVersion")
                == ("False", "UnsupportedVersion")
            ),
            "another version is told",
        )
        more = [listener, {"name": "more", "port": 8080, "protocol": "HTTP"}]
        await it.client.patch(GATEWAYS, "web", {"spec": {"listeners": more}}, namespace="default")
        await it.until(lambda: conditions(gateway()).get("Programmed") == ("False", "Pending"), "waits again")
        await it.until(
            lambda: (
                [each["targetPort"] for each in (it.get(SERVICES, "fairlead-gateway-web") or {})["spec"]["ports"]]
                == [20000, 20001]
            ),
            "a port more; the first stays",
        )
        await it.client.patch(HTTPROUTES, "r", {"spec": {"parentRefs": [{"name": "other"}]}}, namespace="default")
        await it.until(lambda: not (it.get(HTTPROUTES, "r") or {})["status"]["parents"], "loses its parent")


async def test_ingresses_of_a_class_share_a_service_and_say_its_address(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        it.follow(INGRESSES)
        it.follow(SERVICES)
        await it.client.create(INGRESSCLASSES, made(INGRESSCLASSES, "fairlead", controller=INGRESS_CONTROLLER))
        backend = {"service": {"name": "nobody", "port": {"number": 80}}}
        for name in ("a", "b"):
            await it.client.create(
                INGRESSES, made(INGRESSES, name, ingressClassName="fairlead", defaultBackend=backend)
            )
        other = made(INGRESSES, "other", ingressClassName="theirs", defaultBackend=backend)
        await it.client.create(INGRESSES, other)

        def addresses(name: str) -> list[str]:
            status = (it.get(INGRESSES, name) or {}).get("status") or {}
            return [each["ip"] for each in status.get("loadBalancer", {}).get("ingress") or ()]

        for name in ("a", "b"):
            await it.until(lambda name=name: addresses(name) == ["203.0.113.10"], f"the address of {name}")
        assert addresses("other") == []
        assert len(it.all(SERVICES, "kube-system")) == 1


async def test_what_cannot_be_honored_of_an_ingress_is_an_event(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        it.follow(INGRESSES)
        it.follow(EVENTS)
        await it.client.create(INGRESSCLASSES, made(INGRESSCLASSES, "nginx", controller=INGRESS_CONTROLLER))
        backend = {"service": {"name": "nobody", "port": {"number": 80}}}
        ingress = made(INGRESSES, "a", ingressClassName="nginx", defaultBackend=backend)
        snippet = "nginx.ingress.kubernetes.io/server-snippet"
        ingress["metadata"]["annotations"] = {snippet: "return 200;"}
        await it.client.create(INGRESSES, ingress)

        def notes() -> list[str]:
            found = [each for each in it.all(EVENTS) if each["involvedObject"]["kind"] == "Ingress"]
            assert all((each["type"], each["reason"]) == ("Warning", "NotHonored") for each in found)
            return sorted(each["message"] for each in found)

        first = (
            f"metadata.annotations[{snippet}]: is not supported; the Ingress answers 500; "
            "write what it does as an HTTPRoute; text of another proxy's configuration is never read"
        )
        await it.until(lambda: notes() == [first], "the Event")
        patterns = {"metadata": {"annotations": {snippet: None, "nginx.ingress.kubernetes.io/use-regex": "true"}}}
        paths = [{"path": "/(", "pathType": "ImplementationSpecific", "backend": backend}]
        await it.client.patch(
            INGRESSES, "a", {**patterns, "spec": {"rules": [{"http": {"paths": paths}}]}}, namespace="default"
        )
        await it.until(lambda: any("no pattern of RE2" in each for each in notes()), "the Event about the path")
        assert len(notes()) == 2
        # A controller that starts again finds the same wrong, and says nothing that was said.
        before = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in it.all(EVENTS)}
        again = Context(it.context.client, settings=POOLS)
        told: list[str] = []
        put = again.events.put

        def noting(component: str, regarding: Json, type_: Any, reason: str, message: str, **more: bool) -> None:
            told.append(message)
            put(component, regarding, type_, reason, message, **more)

        monkeypatch.setattr(again.events, "put", noting)
        running = asyncio.gather(
            again.informers.run(), again.events.run(), *(each.run() for each in manager.build(again, ("gateway",)))
        )
        try:
            await it.until(lambda: told, "it sees what is wrong")
            for at in range(2):
                put("test", ingress, "Warning", "NotHonored", f"after all that {at}")
            await it.until(
                lambda: len([each for each in notes() if each.startswith("after all")]) == 2, "all is written"
            )
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert set(told) <= set(notes())
        after = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in it.all(EVENTS)}
        assert before.items() <= after.items()
        assert len(after) == len(before) + 2


async def test_middlewares_are_followed_from_when_somebody_installs_their_definition(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.sources.k8s_watch._DEFINITION_PERIOD_S", 0.05)
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        it.follow(INGRESSES)
        it.follow(EVENTS)
        it.follow(CRDS)
        await it.client.create(INGRESSCLASSES, made(INGRESSCLASSES, "traefik", controller=INGRESS_CONTROLLER))
        backend = {"service": {"name": "nobody", "port": {"number": 80}}}
        ingress = made(INGRESSES, "a", ingressClassName="traefik", defaultBackend=backend)
        named = "traefik.ingress.kubernetes.io/router.middlewares"
        ingress["metadata"]["annotations"] = {named: "default-m@kubernetescrd"}
        await it.client.create(INGRESSES, ingress)

        def notes() -> list[str]:
            return sorted(
                each["message"].partition(";")[0] for each in it.all(EVENTS) if each["reason"] == "NotHonored"
            )

        missing = f"metadata.annotations[{named}]: there is no Middleware default-m"
        await it.until(lambda: notes() == [missing], "the Event about the Middleware that is missing")
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        names = {"plural": "middlewares", "singular": "middleware", "kind": "Middleware", "listKind": "MiddlewareList"}
        spec = {"group": "traefik.io", "scope": "Namespaced", "names": names, "versions": [version]}
        await it.client.create(
            CRDS,
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": "middlewares.traefik.io"},
                "spec": spec,
            },
        )

        await it.until(
            lambda: conditions(it.get(CRDS, "middlewares.traefik.io")).get("Established", ("",))[0] == "True",
            "the definition is served",
        )
        await it.client.create(MIDDLEWARES, made(MIDDLEWARES, "m", inFlightReq={"amount": 1}))
        refused = f"metadata.annotations[{named}]: Middleware default/m: inFlightReq is not supported"
        await it.until(lambda: notes() == sorted([missing, refused]), "the Event about what it says")


async def test_what_is_wrong_with_an_ingress_beside_annotations_is_an_event(tmp_path: Path, certificates: Path) -> None:
    authority = Authority()
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        it.follow(INGRESSES)
        it.follow(EVENTS)
        await it.client.create(INGRESSCLASSES, made(INGRESSCLASSES, "ours", controller=INGRESS_CONTROLLER))
        old = yaml.safe_load(authority.issue("old.example.com", days=(-2, -1)).secret("old"))
        await it.client.create(SECRETS, {"apiVersion": "v1", **old})
        saying = made(SERVICES, "nobody", ports=[{"port": 80}])
        saying["metadata"]["annotations"] = {"traefik.ingress.kubernetes.io/service.serverstransport": "x@file"}
        await it.client.create(SERVICES, saying)
        resource = {"resource": {"apiGroup": "example.com", "kind": "Bucket", "name": "b"}}
        service = {"service": {"name": "nobody", "port": {"number": 80}}}
        paths = [
            {"path": f"/{at}", "pathType": "Prefix", "backend": each} for at, each in enumerate((service, resource))
        ]
        tls = [{"hosts": [f"{name}.example.com"], "secretName": name} for name in ("absent", "old")]
        spec = {"ingressClassName": "ours", "tls": tls, "rules": [{"http": {"paths": paths}}]}
        await it.client.create(INGRESSES, made(INGRESSES, "a", **spec))

        def notes() -> set[str]:
            found = [each for each in it.all(EVENTS) if each["involvedObject"]["kind"] == "Ingress"]
            assert all((each["type"], each["reason"]) == ("Warning", "NotHonored") for each in found)
            return {each["message"].partition(" at 20")[0] for each in found}

        expected = {
            "spec.rules[0].http.paths[1].backend.resource: resources are no backends here: "
            "its requests are answered with 500; name a Service",
            "spec.tls[0].secretName: there is no Secret default/absent of type kubernetes.io/tls",
            "spec.tls[1].secretName: the certificate of Secret default/old expired",
        }
        await it.until(lambda: notes() == expected, "the Events")

        def of_service() -> list[str]:
            found = [each for each in it.all(EVENTS) if each["involvedObject"]["kind"] == "Service"]
            return [each["message"].partition(";")[0] for each in found if each["reason"] == "NotHonored"]

        refused = "metadata.annotations[traefik.ingress.kubernetes.io/service.serverstransport]: is not supported"
        await it.until(lambda: of_service() == [refused], "the Event about the Service")


async def test_a_service_of_somebody_else_is_left_alone(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        foreign = made(SERVICES, "fairlead-gateway-web", ports=[{"port": 5432}])
        await it.client.create(SERVICES, foreign)
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "fairlead", controllerName=CONTROLLER))
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        await it.client.create(GATEWAYS, made(GATEWAYS, "web", gatewayClassName="fairlead", listeners=[listener]))
        it.follow(GATEWAYS)
        await it.until(lambda: conditions(it.get(GATEWAYS, "web")).get("Programmed") == ("False", "Invalid"))
        kept = await it.client.get(SERVICES, "fairlead-gateway-web", namespace="default")
        assert [each["port"] for each in kept["spec"]["ports"]] == [5432]


async def test_static_addresses_are_had_or_the_gateway_says_why_not(tmp_path: Path, certificates: Path) -> None:
    # The steps of the conformance test GatewayStaticAddresses.
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "fairlead", controllerName=CONTROLLER))
        for resource in (GATEWAYS, SERVICES, ENDPOINTSLICES):
            it.follow(resource)
        invalid = {"type": "example.com/fake", "value": "x"}
        unusable, usable = ({"type": "IPAddress", "value": each} for each in ("192.0.2.1", "203.0.113.77"))
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        await it.client.create(
            GATEWAYS,
            made(
                GATEWAYS,
                "web",
                gatewayClassName="fairlead",
                listeners=[listener],
                addresses=[invalid, unusable, usable],
            ),
        )

        def said() -> dict[str, tuple[str, str]]:
            return conditions(it.get(GATEWAYS, "web"))

        async def ask_for(*addresses: Json) -> None:
            await it.client.patch(GATEWAYS, "web", {"spec": {"addresses": list(addresses)}}, namespace="default")

        await it.until(lambda: said().get("Accepted") == ("False", "UnsupportedAddress"), "not accepted")
        assert it.get(SERVICES, "fairlead-gateway-web") is None
        await ask_for(unusable, usable)
        await it.until(lambda: said().get("Programmed") == ("False", "AddressNotUsable"), "not usable")
        assert said()["Accepted"] == ("True", "Accepted")
        assert "192.0.2.1 is in none of this cluster's ranges" in str(it.get(GATEWAYS, "web"))
        await ask_for(usable)
        await it.until(lambda: said().get("Programmed") == ("False", "Pending"), "waits for the node")
        await report(it, "node-1", 3)
        await it.until(lambda: said().get("Programmed") == ("True", "Programmed"), "programmed")
        found = (it.get(GATEWAYS, "web") or {})["status"]["addresses"]
        assert found == [usable]
        await ask_for({"type": "IPAddress"})

        def asked() -> tuple[Json, str | None]:
            service = it.get(SERVICES, "fairlead-gateway-web") or {}
            return service["metadata"].get("annotations") or {}, service["spec"].get("loadBalancerIP")

        await it.until(lambda: asked() == ({}, None), "asks for no address any more")


async def test_listener_sets_are_told_what_became_of_them(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "fairlead", controllerName=CONTROLLER))
        for resource in (GATEWAYS, LISTENERSETS, SERVICES, ENDPOINTSLICES):
            it.follow(resource)
        http = {"name": "http", "port": 80, "protocol": "HTTP"}
        spec = {"gatewayClassName": "fairlead", "listeners": [http]}
        await it.client.create(GATEWAYS, made(GATEWAYS, "web", **spec))
        added = [{**http, "name": "a", "hostname": "a.example"}, {**http, "name": "more", "port": 8080}]
        await it.client.create(LISTENERSETS, made(LISTENERSETS, "s", parentRef={"name": "web"}, listeners=added))

        def said() -> dict[str, tuple[str, str]]:
            return conditions(it.get(LISTENERSETS, "s"))

        await it.until(lambda: said().get("Accepted") == ("False", "NotAllowed"), "not allowed")
        assert (it.get(GATEWAYS, "web") or {})["status"]["attachedListenerSets"] == 0
        allowed = {"allowedListeners": {"namespaces": {"from": "Same"}}}
        await it.client.patch(GATEWAYS, "web", {"spec": allowed}, namespace="default")
        await it.until(lambda: said().get("Accepted") == ("True", "Accepted"), "allowed")
        await it.until(lambda: (it.get(GATEWAYS, "web") or {})["status"]["attachedListenerSets"] == 1, "counted")
        ports = [each["port"] for each in (it.get(SERVICES, "fairlead-gateway-web") or {})["spec"]["ports"]]
        assert ports == [80, 8080]
        listeners = (it.get(LISTENERSETS, "s") or {})["status"]["listeners"]
        assert [each["name"] for each in listeners] == ["a", "more"]
        assert [each["name"] for each in (it.get(GATEWAYS, "web") or {})["status"]["listeners"]] == ["http"]
        assert said()["Programmed"][0] == "False"


def test_what_a_gateway_asks_of_its_service() -> None:
    spec = GatewaySpec(
        gateway_class_name="fairlead",
        listeners=(Listener(name="a", port=80, protocol="HTTP"), Listener(name="b", port=81, protocol="HTTP")),
        addresses=(GatewayAddress(value="203.0.113.50"),),
        infrastructure=Infrastructure(labels={"team": "a"}, annotations={"note": "b"}),
    )
    gateway = Gateway(metadata=RouteMeta(name="web", namespace="default"), spec=spec)
    bound = BoundGateway(
        key=("default", "web"),
        api=gateway,
        own=tuple(BoundListener(gateway=("default", "web"), api=each) for each in spec.listeners),
    )
    wanted = services.desired(bound, None, {20000, 20002}, {})
    assert wanted["spec"]["loadBalancerIP"] == "203.0.113.50"
    assert wanted["metadata"]["labels"]["team"] == "a"
    assert wanted["metadata"]["annotations"] == {"note": "b", ADDRESSES: "203.0.113.50"}
    assert [each["targetPort"] for each in wanted["spec"]["ports"]] == [20001, 20003]
    assert not services.differs(wanted, wanted)
    again = services.desired(bound, wanted, {20000, 20001, 20002, 20003}, {})
    assert again["spec"]["ports"] == wanted["spec"]["ports"]
    # What an older Gateway's Service leads to is not kept, whoever wrote it here.
    moved = services.desired(bound, wanted, {20000, 20001, 20002, 20003}, {}, foreign={("TCP", 20001), ("UDP", 20003)})
    assert [each["targetPort"] for each in moved["spec"]["ports"]] == [20004, 20003]
    with pytest.raises(ValueError, match="all ports of nodes"):
        services.desired(bound, None, range(20000, 25000), {})


def test_ports_of_tcp_and_udp_with_one_number_are_two() -> None:
    listeners = [Listener(name=each, port=53, protocol=each.upper()) for each in ("tcp", "udp")]
    at = ("default", "dns")
    spec = GatewaySpec(gateway_class_name="fairlead", listeners=tuple(listeners))
    bound = BoundGateway(
        key=at,
        api=Gateway(metadata=RouteMeta(name="dns", namespace="default"), spec=spec),
        own=tuple(BoundListener(gateway=at, api=each) for each in listeners),
    )
    wanted = services.desired(bound, None, (), {})
    assert wanted["spec"]["ports"] == [
        {"name": "port-53", "port": 53, "targetPort": 20000, "protocol": "TCP"},
        {"name": "port-53-udp", "port": 53, "targetPort": 20001, "protocol": "UDP"},
    ]
    assert services.desired(bound, wanted, {20000, 20001}, {})["spec"]["ports"] == wanted["spec"]["ports"]
    addresses = ("10.10.0.11",)
    tcp = GatewayListener(name="default/dns/53", port=20000, public_port=53, addresses=addresses, chains=())
    udp = GatewayUdpListener(
        name="default/dns/53/udp", port=20001, public_port=53, addresses=addresses, cluster="default/dns/53/udp"
    )
    (found,) = slices(at, msgspec.convert({"metadata": {"name": "n1"}}, Node), [(udp, "Envoy: no"), (tcp, "")], {})
    assert found["ports"] == [
        {"name": "port-53", "port": 20000, "protocol": "TCP"},
        {"name": "port-53-udp", "port": 20001, "protocol": "UDP"},
    ]
    serving = Serving(addresses=("203.0.113.10",), nodes={"n1": read_state(found)})
    programmed = [listener_conditions(each, bound, serving)[-1] for each in bound.own]
    assert [(each.status, each.message) for each in programmed] == [
        (True, ""),
        (False, "node n1, port 53/UDP: Envoy: no"),
    ]


READY, SILENT, REFUSING = ({"type": "Ready", "status": each} for each in ("True", "Unknown", "False"))
TAINTS = {
    "deletion": {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"},
    "shut down": {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"},
    "cordon": {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
}
NODE_STATES: dict[str, tuple[Json, Json, tuple[bool, bool, bool] | None]] = {
    "well": ({}, READY, (True, True, False)),
    "cordoned or drained": ({"unschedulable": True, "taints": [TAINTS["cordon"]]}, READY, (True, True, False)),
    "excluded from load balancers": ({}, READY | {"label": EXCLUDED}, (True, True, False)),
    "about to be deleted": ({"taints": [TAINTS["deletion"]]}, READY, (False, True, True)),
    "silent": ({}, SILENT, (False, True, True)),
    "its kubelet says that it is not ready": ({}, REFUSING, (False, True, True)),
    "shut down": ({"taints": [TAINTS["shut down"]]}, SILENT, None),
}
"""Name → (spec, Ready, conditions ready, serving and terminating of a proxy that serves; None: no endpoint)."""


async def test_endpoints_of_a_silent_agent_follow_its_node(tmp_path: Path, certificates: Path) -> None:
    """And are what the agent would say itself, so that nobody takes back what the other wrote."""
    async with lab(tmp_path, certificates, ("gateway-door",), nodes=2) as it:
        it.follow(ENDPOINTSLICES)
        await write_slices(it, "node-2", "u", 20000)

        def said(node: str) -> tuple[bool, bool, bool] | None:
            found = it.get(ENDPOINTSLICES, f"fairlead-gateway-web-{node}-ipv4")
            if found is None:
                return None
            state = found["endpoints"][0]["conditions"]
            return state["ready"], state["serving"], state["terminating"]

        for case, (spec, ready, expected) in NODE_STATES.items():
            if said("node-1") is None:
                await write_slices(it, "node-1", "u", 20000)
            labels = {EXCLUDED: "" if "label" in ready else None}
            changed = {"metadata": {"labels": labels}, "spec": {"unschedulable": None, "taints": None, **spec}}
            await it.client.patch(NODES, "node-1", changed)
            status = {"conditions": [{"type": "Ready", "status": ready["status"]}]}
            node = await it.client.patch(NODES, "node-1", {"status": status}, subresource="status")
            await it.until(lambda expected=expected: said("node-1") == expected, case)
            written = slices(("default", "web"), msgspec.convert(node, Node), [(_row(), "")], {})
            assert [each["endpoints"][0]["conditions"] for each in written] == (
                [dict(zip(("ready", "serving", "terminating"), expected, strict=True))] if expected else []
            ), case
        await it.client.delete(NODES, "node-2")
        await it.until(lambda: said("node-2") is None, "a node that is gone has no endpoints")


async def test_a_proxy_that_does_not_serve_is_not_made_to_by_its_node(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ("gateway-door",), nodes=1) as it:
        it.follow(ENDPOINTSLICES)
        await write_slices(it, "node-1", "u", 20000, error="Envoy: no")
        taint = {"spec": {"taints": [TAINTS["deletion"]]}}
        await it.client.patch(NODES, "node-1", taint)

        def state() -> Json:
            found = it.get(ENDPOINTSLICES, "fairlead-gateway-web-node-1-ipv4")
            return dict(found["endpoints"][0]["conditions"]) if found else {}

        await it.until(lambda: state() == {"ready": False, "serving": False, "terminating": True}, "leaving")
        await it.client.patch(NODES, "node-1", {"spec": {"taints": None}})
        await it.until(lambda: state() == {"ready": False, "serving": False, "terminating": False}, "stays")


def _row() -> GatewayListener:
    return GatewayListener(name="default/web/80", port=20000, public_port=80, addresses=("10.10.0.11",), chains=())
