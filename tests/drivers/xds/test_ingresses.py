"""Ingresses by real requests: classes, path types, hosts, default backends, TLS. The Gateway API's code serves them."""

from __future__ import annotations

import pytest
from tests.drivers.xds import h3
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.test_proxy_life import secret, trusting

from fairlead.model.gateway.ingress import gateway_of
from fairlead.model.gateway.ingress_classes import CONTROLLER

pytestmark = pytest.mark.asyncio(loop_scope="module")
GATEWAY = gateway_of("ours")[1]
CLASSES = f"""
kind: IngressClass
metadata: {{name: ours}}
spec: {{controller: {CONTROLLER}}}
---
kind: IngressClass
metadata: {{name: theirs}}
spec: {{controller: example.com/other}}
"""


def path(where: str, to: str, kind: str = "Prefix", port: str = "{number: 80}") -> str:
    return f"{{path: {where}, pathType: {kind}, backend: {{service: {{name: {to}, port: {port}}}}}}}"


def ingress(name: str, spec: str, *, cls: str = "ours", more: str = "") -> str:
    named = f"ingressClassName: {cls}, " if cls else ""
    return f"\n---\nkind: Ingress\nmetadata: {{name: {name}{more}}}\nspec: {{{named}{spec}}}\n"


async def ask(lab: GatewayLab, *urls: str) -> list[str]:
    return [(await lab.ask(url, gateway=GATEWAY)).backend for url in urls]


@pytest.fixture(autouse=True)
def door(lab: GatewayLab) -> None:
    lab.door(*gateway_of("ours"), 80, 443)


async def test_paths_exact_and_by_prefix(lab: GatewayLab) -> None:
    paths = ", ".join((path("/a", "one"), path("/a/b", "two"), path("/a/b/c", "one", "Exact")))
    await lab.apply(CLASSES + ingress("paths", f"rules: [{{host: paths.test, http: {{paths: [{paths}]}}}}]"))
    urls = [f"http://paths.test{each}" for each in ("/a", "/a/", "/ax", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/", "/")]
    assert await ask(lab, *urls) == ["one", "one", "404", "two", "two", "one", "two", "404"]


async def test_a_star_stands_for_one_label(lab: GatewayLab) -> None:
    rules = f"rules: [{{host: '*.star.test', http: {{paths: [{path('/', 'one')}]}}}}]"
    await lab.apply(CLASSES + ingress("star", rules))
    urls = ["http://a.star.test/", "http://A.Star.Test/", "http://b.a.star.test/", "http://star.test/"]
    assert await ask(lab, *urls) == ["one", "one", "404", "404"]


async def test_ports_by_name(lab: GatewayLab) -> None:
    rules = f"rules: [{{host: named.test, http: {{paths: [{path('/', 'one', port='{name: http}')}]}}}}]"
    await lab.apply(CLASSES + ingress("named", rules))
    assert await ask(lab, "http://named.test/") == ["one"]
    await lab.apply(ingress("named", rules.replace("name: http", "name: other")).removeprefix("\n---"))
    assert await ask(lab, "http://named.test/") == ["500"]
    assert lab.complaints("Ingress/default/named") == [
        "spec.rules[0].backendRefs[0]: Service default/one has no port other"
    ]


async def test_the_default_backend_takes_what_no_rule_wants(lab: GatewayLab) -> None:
    last = "defaultBackend: {service: {name: two, port: {number: 80}}}"
    rules = f"rules: [{{host: last.test, http: {{paths: [{path('/x', 'one')}]}}}}]"
    await lab.apply(CLASSES + ingress("last", f"{last}, {rules}"))
    assert await ask(lab, "http://last.test/x", "http://last.test/y", "http://unknown.test/") == ["one", "two", "two"]
    await lab.delete("Ingress", "last")
    assert await ask(lab, "http://last.test/x", "http://unknown.test/") == ["404", "404"]


async def test_classes(lab: GatewayLab) -> None:
    def rules(name: str) -> str:
        return f"rules: [{{host: {name}.test, http: {{paths: [{path('/', 'one')}]}}}}]"

    legacy = ", annotations: {kubernetes.io/ingress.class: ours}"
    texts = (
        ingress("other", rules("other"), cls="theirs"),
        ingress("none", rules("none"), cls=""),
        ingress("legacy", rules("legacy"), cls="", more=legacy),
    )
    await lab.apply(CLASSES + "".join(texts))
    urls = ["http://other.test/", "http://none.test/", "http://legacy.test/"]
    assert await ask(lab, *urls) == ["404", "404", "one"]
    default = "{name: ours, annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}}"
    await lab.apply(CLASSES.replace("{name: ours}", default))
    assert await ask(lab, *urls) == ["404", "one", "one"]


async def test_tls_by_host_and_plain_beside_it(lab: GatewayLab) -> None:
    text, chain = secret("ingress-tls", "tls.test", namespace="team")
    await lab.serve("three", lab.backends["two"].port, namespace="team")
    spec = f"tls: [{{hosts: [tls.test], secretName: ingress-tls}}], rules: [{{host: tls.test, http: {{paths: [{path('/', 'three')}]}}}}]"
    await lab.apply(text + "---" + CLASSES + ingress("tls", spec, more=", namespace: team"))
    assert (await lab.ask("https://tls.test/", gateway=GATEWAY, tls=trusting(chain))).backend == "two"
    assert await ask(lab, "http://tls.test/") == ["two"]


async def test_http3_where_the_class_says_so(lab: GatewayLab) -> None:
    text, chain = secret("quick-tls", "quick.test")
    spec = f"tls: [{{hosts: [quick.test], secretName: quick-tls}}], rules: [{{host: quick.test, http: {{paths: [{path('/', 'one')}]}}}}]"
    lab.door(*gateway_of("ours"), 80, 443, udp={443})
    told = []
    for on in ("false", "true", "false"):
        annotated = CLASSES.replace("{name: ours}", f"{{name: ours, annotations: {{fairlead.dev/http3: '{on}'}}}}")
        await lab.apply(text + "---" + annotated + ingress("quick", spec))
        answer = await lab.ask("https://quick.test/", gateway=GATEWAY, tls=trusting(chain))
        told.append((answer.backend, "alt-svc" in answer.headers))
        if on == "true":
            found = await h3.ask("::1", lab.udp_ports[GATEWAY, 443], "quick.test", chain.decode())
            assert (found.status, found.headers["alt-svc"]) == (200, 'h3=":443"; ma=3600')
    assert told == [("one", False), ("one", True), ("one", False)]
    await lab.apply(CLASSES.replace("{name: ours}", "{name: ours, annotations: {fairlead.dev/http3: sometimes}}"))
    assert lab.complaints("IngressClass//ours") == ["'sometimes' is none of true, false"]
