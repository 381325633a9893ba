"""What Services say by annotations of other controllers holds for requests through Ingresses, by real requests through the real Envoy."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.drivers.xds.gatewaylab import GatewayLab, Json
from tests.drivers.xds.ingresslab import asked, ingress, klass, opened, text
from tests.drivers.xds.test_ingress_annotations import TRAEFIK, doors, several

from fairlead.model.gateway.conversion import Options, convert
from fairlead.model.gateway.ingress import gateway_of
from fairlead.model.gateway.ingress_routes import routes

__all__ = ["doors"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
ORG, COMMUNITY = "haproxy.org/", "haproxy-ingress.github.io/"


def service(name: str, annotations: Mapping[str, str]) -> Json:
    ports = [{"name": "http", "port": 80, "appProtocol": "http"}]
    metadata = {"name": name, "annotations": dict(annotations)}
    return {"kind": "Service", "metadata": metadata, "spec": {"clusterIP": "10.96.0.99", "ports": ports}}


def told(lab: GatewayLab, name: str) -> list[str]:
    found = lab.compiler.compile(lab.snapshot).diagnostics
    return [each.message for each in found if each.object == f"Service/default/{name}" and "annotations" in each.field]


async def test_a_session_of_a_service_is_that_services_alone_and_follows_its_annotations(lab: GatewayLab) -> None:
    await several(lab, "stuck", 3)
    await lab.apply(text(klass("traefik"), ingress("both", {"/": "one", "/stuck": "stuck"}, of="traefik")))
    await opened(lab, "traefik")
    sticky = {"service.sticky.cookie": "true", "service.sticky.cookie.name": "at", "service.nativelb": "true"}
    await lab.apply(text(service("stuck", {TRAEFIK + name: value for name, value in sticky.items()})))

    async def cookie(path: str) -> str:
        answer = await lab.ask(f"http://both.test{path}", gateway=gateway_of("traefik")[1])
        return answer.headers.get("set-cookie", "").partition("=")[0]

    assert (await cookie("/"), await cookie("/stuck")) == ("", "at")
    given = await lab.ask("http://both.test/stuck", gateway=gateway_of("traefik")[1])
    mine = given.headers["set-cookie"].partition(";")[0]
    again = {await asked(lab, "http://both.test/stuck", of="traefik", headers={"cookie": mine}) for _ in range(12)}
    assert again == {f"{given.json['pod']} /stuck"}
    assert told(lab, "stuck") == ["has no effect: requests go to the endpoints, with the same outcome"]
    await lab.apply(text(service("stuck", {TRAEFIK + "service.sticky.cookie": "false"})))
    assert await cookie("/stuck") == ""
    await lab.apply(text(service("stuck", {TRAEFIK + "service.serverstransport": "x@file"})))
    assert (await asked(lab, "http://both.test/", of="traefik")) == "one /"
    assert (await asked(lab, "http://both.test/stuck", of="traefik")) == "500"
    (complaint,) = told(lab, "stuck")
    assert "through Ingresses of class traefik are answered with 500" in complaint
    await lab.delete("Service", "stuck")
    assert told(lab, "stuck") == []


Case = tuple[str, Mapping[str, str], Mapping[str, str], str]
"""Class, annotations of the Ingress and of the Service, what `/a/b` is answered and by which protocol and policy."""
CASES: dict[str, Case] = {
    "the Service goes first": (
        "haproxy", {ORG + "server-proto": "h2", ORG + "cookie-persistence": "a"}, {ORG + "cookie-persistence": "b"}, "cookie b",
    ),
    "annotation by annotation": (
        "haproxy", {COMMUNITY + "affinity": "cookie"}, {COMMUNITY + "session-cookie-name": "mine"}, "cookie mine",
    ),
    "a path of its own": ("haproxy", {}, {COMMUNITY + "rewrite-target": "/new"}, "one /new/b"),
    "a class without a dialect has that of the Service": ("plain", {}, {TRAEFIK + "service.sticky.cookie": "true", TRAEFIK + "service.sticky.cookie.name": "at"}, "cookie at"),
    "another dialect says nothing": ("traefik", {}, {ORG + "cookie-persistence": "b"}, "one /a/b"),
    "not read on Services there": ("traefik", {}, {TRAEFIK + "router.middlewares": "x@kubernetescrd"}, "one /a/b"),
    "what holds for whole routes": ("haproxy", {}, {COMMUNITY + "allowlist-source-range": "192.0.2.0/24"}, "500"),
    "a guard that nobody knows": ("haproxy", {}, {ORG + "auth-other": "x"}, "500"),
    "a value that is none": ("haproxy", {}, {ORG + "load-balance": "best"}, "500"),
    "the prefix of two": ("haproxy", {}, {"ingress.kubernetes.io/rewrite-target": "/x"}, "500"),
    "two controllers, the Ingress says which": (
        "haproxy", {ORG + "timeout-server": "5s"}, {ORG + "cookie-persistence": "b", COMMUNITY + "rewrite-target": "/x"}, "cookie b",
    ),
    "two controllers": ("haproxy", {}, {ORG + "cookie-persistence": "b", COMMUNITY + "rewrite-target": "/x"}, "500"),
}  # fmt: skip


async def test_what_a_service_says(lab: GatewayLab) -> None:
    found = {}
    for name, (of, wishes, said, _) in CASES.items():
        await lab.apply(text(klass(of), service("one", said), ingress("said", {"/a": "one"}, wishes, of=of)))
        await opened(lab, of)
        answer = await lab.ask("http://said.test/a/b", gateway=gateway_of(of)[1])
        cookie = answer.headers.get("set-cookie", "").partition("=")[0]
        what = f"{answer.json['pod']} {answer.json['path']}" if answer.status == 200 else str(answer.status)
        found[name] = f"cookie {cookie}" if cookie else what
        await lab.delete("Ingress", "said")
    sticky, named = (
        {TRAEFIK + "service.sticky.cookie": "true"},
        {TRAEFIK + "router.middlewares": "default-lost@kubernetescrd"},
    )
    await lab.apply(text(klass("traefik"), service("one", sticky), ingress("said", {"/a": "one"}, named, of="traefik")))
    assert await asked(lab, "http://said.test/a", of="traefik") == "500"
    assert told(lab, "one") == []
    await lab.delete("Ingress", "said")
    await lab.apply(text(service("one", {})))
    assert found == {name: wanted for name, (_, _, _, wanted) in CASES.items()}


async def test_how_a_service_is_spoken_to_is_one_policy_whoever_leads_there(lab: GatewayLab) -> None:
    await lab.serve("shared", lab.backends["one"].port)
    said = {ORG + "load-balance": "random", ORG + "send-proxy-protocol": "proxy-v2"}
    both = [ingress(name, {"/": "one", "/s": "shared"}, of="haproxy") for name in ("first", "second")]
    await lab.apply(text(klass("haproxy"), service("shared", said), *both))
    clusters = lab.compiler.compile(lab.snapshot).plan.table("gateway_clusters")
    traffic = {key[0]: row.traffic for key, row in clusters.items() if "/shared/" in key[0] or "/one/" in key[0]}  # type: ignore[union-attr]
    assert {name: each.proxy_protocol for name, each in traffic.items()} == {
        "default/shared/80": "v2",
        "default/one/80": "",
    }
    assert [each for name in ("first", "second") for each in lab.complaints(f"Ingress/default/{name}")] == []
    ingresses = {key: each for key, each in lab.snapshot.ingresses.items() if key[1] in ("first", "second")}
    made = convert(lab.snapshot.ingress_classes, ingresses, lab.snapshot.services, Options())
    (policy,) = [each for each in made.objects if each["kind"] == "BackendTrafficPolicy"]
    assert policy["spec"] == {
        "targetRefs": [{"group": "", "kind": "Service", "name": "shared"}],
        "loadBalancing": {"type": "Random"},
        "proxyProtocol": "V2",
    }
    for name in ("first", "second"):
        await lab.delete("Ingress", name)


async def test_a_service_costs_the_ingresses_that_lead_to_it(lab: GatewayLab, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [ingress(f"many-{at}", {"/": "one" if at else "two"}, of="traefik") for at in range(20)]
    lab.add(text(klass("traefik"), *many))
    await lab.settle()
    read: list[str] = []

    def noting(key: tuple[str, str], *rest: object) -> object:
        read.append(key[1])
        return routes(key, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("fairlead.model.gateway.ingress.routes", noting)
    await lab.apply(text(service("two", {TRAEFIK + "service.sticky.cookie": "true"})))
    assert read == ["many-0"]
    await lab.apply(text(service("two", {TRAEFIK + "service.sticky.cookie": "true", "another": "x"})))
    assert read == ["many-0"]
    for each in many:
        lab.remove("Ingress", each["metadata"]["name"])
    await lab.apply(text(service("two", {})))
