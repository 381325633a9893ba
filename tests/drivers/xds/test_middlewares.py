"""Middlewares of Traefik that Ingresses name, by real requests through the real Envoy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from tests.drivers.xds.gatewaylab import Answer, GatewayLab, Json
from tests.drivers.xds.ingresslab import Paths, ingress, klass, opened, said, text
from tests.drivers.xds.test_ingress_annotations import TRAEFIK, doors
from tests.drivers.xds.test_ingress_conversion import both, schemas
from tests.drivers.xds.test_proxy_life import secret, trusting

from fairlead.apiserver.schema.resource import ResourceSchema
from fairlead.model.gateway.ingress import gateway_of
from fairlead.model.gateway.ingress_routes import routes
from fairlead.model.gateway.middlewares.known import TABLE

__all__ = ["doors", "schemas"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = TRAEFIK + "router.middlewares"
TRAEFIK_CLASS = klass("traefik")


def middleware(name: str, namespace: str = "default", **spec: Any) -> Json:
    return {"kind": "Middleware", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def behind(*names: str, paths: Paths | None = None, **more: Any) -> Json:
    """An Ingress of host way.test behind some Middlewares of its namespace."""
    wishes = {NAMES: ", ".join(f"default-{each}@kubernetescrd" for each in names)}
    return ingress("way", paths or {"/": "one"}, {**wishes, **more.pop("wishes", {})}, of="traefik", **more)


async def ask(lab: GatewayLab, url: str, **more: Any) -> Answer:
    return await lab.ask(url, gateway=gateway_of("traefik")[1], **more)


Step = Mapping[str, Any]
"""Kind → what it holds."""
Case = tuple[Paths, list[Step], Mapping[str, str]]
"""Paths, Middlewares in their order, request's path → what is said."""
CASES: dict[str, Case] = {
    "strip": (
        {"/api": "one"}, [{"stripPrefix": {"prefixes": ["/api"]}}], {"/api": "one /", "/api/": "one /", "/api/x?q=1": "one /x?q=1"},
    ),
    "the first of several prefixes": (
        {"/": "one"}, [{"stripPrefix": {"prefixes": ["/a", "/a/b", "/c"]}}],
        {"/a/b/x": "one /b/x", "/c": "one /", "/ax": "one /x", "/d": "one /d"},
    ),
    "strip by pattern": (
        {"/": "one"}, [{"stripPrefixRegex": {"regex": ["/v[0-9]+", "/(a|b)/c"]}}],
        {"/v12/x": "one /x", "/b/c/d": "one /d", "/x/v1": "one /x/v1"},
    ),
    "add": ({"/": "one"}, [{"addPrefix": {"prefix": "/new"}}], {"/a?b": "one /new/a?b", "/": "one /new/"}),
    "strip, then add": (
        {"/api": "one"}, [{"stripPrefix": {"prefixes": ["/api"]}}, {"addPrefix": {"prefix": "/v1"}}],
        {"/api": "one /v1", "/api/x": "one /v1/x"},
    ),
    "strip what not all have, then add": (
        {"/": "one"}, [{"stripPrefix": {"prefixes": ["/api"]}}, {"addPrefix": {"prefix": "/v1"}}], {"/api": "500"},
    ),
    "replace": ({"/a": "one"}, [{"replacePath": {"path": "/x"}}], {"/a/b?c=d": "one /x?c=d"}),
    "replace by pattern": (
        {"/": "one"}, [{"replacePathRegex": {"regex": "^/foo/(.*)", "replacement": "/bar/$1"}}],
        {"/foo/x": "one /bar/x", "/o": "one /o"},
    ),
    "a group by another name": (
        {"/": "one"}, [{"replacePathRegex": {"regex": "^/(?P<x>.*)", "replacement": "/bar/${x}"}}], {"/foo": "500"},
    ),
    "replace after add": (
        {"/": "one"}, [{"addPrefix": {"prefix": "/a"}}, {"replacePath": {"path": "/x"}}], {"/": "500"},
    ),
    "a chain": (
        {"/": "one"}, [{"chain": {"middlewares": [{"name": "m1"}]}}, {"addPrefix": {"prefix": "/new"}}],
        {"/a": "500"},
    ),
    "another scheme": ({"/": "one"}, [{"redirectScheme": {"scheme": "https", "permanent": True}}], {"/a?b": "301 https://way.test/a?b"}),
    "another host": (
        {"/": "one"},
        [{"redirectRegex": {"regex": r"^https?://way\.test/(.*)", "replacement": "https://x.example/${1}"}}],
        {"/a?b=c": "302 https://x.example/a?b=c"},
    ),
    "another host than the regex's": (
        {"/": "one"}, [{"redirectRegex": {"regex": "^https?://other.test/(.*)", "replacement": "https://x.example/${1}"}}], {"/": "500"},
    ),
    "a redirect after what changes the path": (
        {"/": "one"}, [{"addPrefix": {"prefix": "/x"}}, {"redirectScheme": {"scheme": "https"}}], {"/": "500"},
    ),
    "addresses": ({"/": "one"}, [{"ipAllowList": {"sourceRange": ["127.0.0.1", "::1/128"]}}], {"/": "one /"}),
    "other addresses": ({"/": "one"}, [{"ipWhiteList": {"sourceRange": ["192.0.2.0/24"]}}], {"/": "403"}),
    "two lists of addresses": (
        {"/": "one"}, [{"ipAllowList": {"sourceRange": ["127.0.0.0/8"]}}, {"ipAllowList": {"sourceRange": ["10.0.0.0/8"]}}], {"/": "500"},
    ),
    "whose word counts": (
        {"/": "one"}, [{"ipAllowList": {"sourceRange": ["127.0.0.0/8"], "ipStrategy": {"depth": 1}}}], {"/": "500"},
    ),
    "a rate": ({"/": "one"}, [{"rateLimit": {"average": 1, "period": "1m", "burst": 2}}], {"/1": "one /1", "/2": "one /2", "/3": "429"}),
    "a rate of a part": ({"/": "one"}, [{"rateLimit": {"average": 1, "period": "48h"}}], {"/": "500"}),
    "no rate": ({"/": "one"}, [{"rateLimit": {"average": 0}}], {"/": "one /", "/1": "one /1"}),
    "retries and types": ({"/": "one"}, [{"retry": {"attempts": 3, "initialInterval": "100ms"}}, {"contentType": {}}], {"/": "one /"}),
    "a field that nobody knows": ({"/": "one"}, [{"headers": {"allowedHosts": ["a.test"]}}], {"/": "500"}),
    "two kinds": ({"/": "one"}, [{"replacePath": {"path": "/x"}, "compress": {}}], {"/": "500"}),
    "no kind": ({"/": "one"}, [{}], {"/": "500"}),
    "a value that is none": ({"/": "one"}, [{"addPrefix": {"prefix": 7}}], {"/": "500"}),
    "what there is no equal of": ({"/": "one"}, [{"inFlightReq": {"amount": 1}}], {"/": "500"}),
    "whoever decides after headers": (
        {"/": "one"}, [{"headers": {"customRequestHeaders": {"x-a": "b"}}}, {"forwardAuth": {"address": "http://one.default.svc"}}], {"/": "500"},
    ),
}  # fmt: skip


async def test_each_kind(lab: GatewayLab) -> None:
    found = {}
    for case, (paths, steps, wanted) in CASES.items():
        several = [middleware(f"m{at}", **step) for at, step in enumerate(steps)]
        await lab.apply(
            text(TRAEFIK_CLASS, *several, behind(*(each["metadata"]["name"] for each in several), paths=paths))
        )
        await opened(lab, "traefik")
        found[case] = {path: said(await ask(lab, f"http://way.test{path}")) for path in wanted}
    assert found == {case: wanted for case, (_, _, wanted) in CASES.items()}


async def test_what_they_are_converted_to_says_the_same(lab: GatewayLab, schemas: Mapping[str, ResourceSchema]) -> None:
    for case, (paths, steps, wanted) in CASES.items():
        if not case.startswith("a rate"):
            several = [middleware(f"m{at}", **step) for at, step in enumerate(steps)]
            objects = [*several, behind(*(each["metadata"]["name"] for each in several), paths=paths)]
            asks: list[tuple[str, Json]] = [(f"http://way.test{path}", {}) for path in wanted]
            found = await both(lab, schemas, objects, asks, TRAEFIK_CLASS)
            assert found == [(each, each) for each in wanted.values()], case


async def test_every_kind_that_traefik_documents_is_honored_or_told(lab: GatewayLab) -> None:
    for kind, known in TABLE.items():
        await lab.apply(text(TRAEFIK_CLASS, middleware("any", **{kind: {}}), behind("any")))
        complaints = lab.complaints("Ingress/default/way")
        assert any("is not supported" in each for each in complaints) == (known.state == "refused"), kind


async def test_headers_and_other_origins(lab: GatewayLab) -> None:
    wanted = {
        "customRequestHeaders": {"X-New": "a", "X-Old": "", "Host": "inside.test"},
        "customResponseHeaders": {"X-From": "", "X-Last": "first"},
        "stsSeconds": 60, "stsIncludeSubdomains": True, "frameDeny": True, "contentTypeNosniff": True, "referrerPolicy": "no-referrer",
        "accessControlAllowOriginList": ["https://a.example"], "accessControlAllowMethods": ["GET", "PUT"], "accessControlMaxAge": 5,
    }  # fmt: skip
    later = {"customRequestHeaders": {"x-new": "b"}, "customResponseHeaders": {"x-last": "second", "x-more": "c"}}
    await lab.apply(
        text(TRAEFIK_CLASS, middleware("h", headers=wanted), middleware("l", headers=later), behind("h", "l"))
    )
    await opened(lab, "traefik")
    answer = await ask(lab, "http://way.test/", headers={"x-old": "o", "x-new": "n"})
    heard = answer.json["headers"]
    assert (heard["x-new"], heard["host"], "x-old" in heard) == ("b", "inside.test", False)
    expected = {
        "x-last": "first", "x-more": "c", "strict-transport-security": "max-age=60; includeSubDomains", "x-frame-options": "DENY",
        "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    }  # fmt: skip
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert "x-from" not in answer.headers
    preflight = {"origin": "https://a.example", "access-control-request-method": "PUT"}
    allowed = await ask(lab, "http://way.test/", method="OPTIONS", headers=preflight)
    assert (allowed.headers["access-control-allow-origin"], allowed.headers["access-control-max-age"]) == (
        "https://a.example",
        "5",
    )
    for wrong in (
        {"accessControlAllowCredentials": True, "accessControlAllowOriginList": ["*"]},
        {"accessControlAllowMethods": ["GET"]},
        {"customRequestHeaders": {"X-New": "$host"}},
        {"customRequestHeaders": {"a b": "c"}},
    ):
        await lab.apply(text(middleware("h", headers=wrong)))
        assert (await ask(lab, "http://way.test/")).status == 500, wrong


async def test_plain_http_is_redirected_where_https_serves(lab: GatewayLab) -> None:
    key, chain = secret("way", "way.test")
    steps = [middleware("s", redirectScheme={"scheme": "https"}), middleware("a", addPrefix={"prefix": "/x"})]
    await lab.apply(
        f"{key}---\n{text(TRAEFIK_CLASS, *steps, ingress('held', {'/': 'one'}, of='traefik', host='way.test', tls='way'))}"
    )
    await lab.delete("Ingress", "held")
    own = behind("s", "a", wishes={TRAEFIK + "router.entrypoints": "web"})
    secure = behind("a", wishes={TRAEFIK + "router.entrypoints": "websecure"}, tls="way")
    secure["metadata"]["name"] = "secure"
    await lab.apply(text(own, secure))
    await opened(lab, "traefik", 443)
    answers = [await ask(lab, "http://way.test/a?b", method=method) for method in ("GET", "POST")]
    assert [said(each) for each in answers] == ["302 https://way.test/a?b", "307 https://way.test/a?b"]
    assert said(await ask(lab, "https://way.test/a", tls=trusting(chain))) == "one /x/a"
    await lab.delete("Ingress", "secure")


async def test_passwords(lab: GatewayLab) -> None:
    hashed = base64.b64encode(hashlib.sha1(b"secret").digest()).decode()
    data = {"users": base64.b64encode(f"ann:{{SHA}}{hashed}".encode()).decode()}
    users = {
        "kind": "Secret",
        "metadata": {"name": "way-users", "labels": {"fairlead.dev/credentials": "true"}},
        "data": data,
    }
    auth = {"secret": "way-users", "removeHeader": True, "headerField": "X-User"}
    await lab.apply(text(TRAEFIK_CLASS, users, middleware("p", basicAuth=auth), behind("p")))
    await opened(lab, "traefik")
    given = {"authorization": "Basic " + base64.b64encode(b"ann:secret").decode(), "x-user": "root"}
    assert (await ask(lab, "http://way.test/")).status == 401
    heard = (await ask(lab, "http://way.test/", headers=given)).json["headers"]
    assert (heard["x-user"], "authorization" in heard) == ("ann", False)
    crypt = base64.b64encode(b"ann:$apr1$salt$hash").decode()
    await lab.apply(text({**users, "data": {"users": crypt}}))
    assert (await ask(lab, "http://way.test/", headers=given)).status == 500
    assert any("only SHA-1 hashes are supported" in each for each in lab.complaints("Ingress/default/way"))


async def test_somebody_else_decides(lab: GatewayLab) -> None:
    judge = await lab.backend("way-judge")
    judge.respond = lambda seen: (
        web.Response(headers={"x-user": "ann", "set-cookie": "s=2"})
        if seen["headers"].get("cookie") == "a=b"
        else web.Response(status=302, headers={"location": "/sign-in", "x-secret": "s"})
    )
    auth = {"address": "http://way-judge.default.svc/check", "authResponseHeaders": ["X-User"]}
    await lab.apply(
        text(
            TRAEFIK_CLASS,
            middleware("j", forwardAuth=auth),
            middleware("s", stripPrefix={"prefixes": ["/a"]}),
            behind("j", "s", paths={"/a": "one"}),
        )
    )
    await opened(lab, "traefik")
    refused = await ask(lab, "http://way.test/a/b?c", method="POST", headers={"x-own": "o"})
    assert (said(refused), "x-secret" in refused.headers) == ("302 /sign-in", False)
    heard = judge.seen[-1]["headers"]
    told = {
        "x-forwarded-method": "POST",
        "x-forwarded-uri": "/a/b?c",
        "x-forwarded-host": "way.test",
        "x-forwarded-proto": "http",
        "x-own": "o",
    }
    assert {name: heard.get(name) for name in told} == told
    assert judge.seen[-1]["method"] == "GET"
    passed = await ask(
        lab, "http://way.test/a/b", headers={"cookie": "a=b", "x-user": "root", "x-forwarded-uri": "/lie"}
    )
    assert (passed.json["headers"]["x-user"], passed.json["path"], "set-cookie" in passed.headers) == (
        "ann",
        "/b",
        False,
    )
    assert (judge.seen[-1]["headers"]["x-forwarded-uri"], "x-forwarded-uri" in passed.json["headers"]) == (
        "/a/b",
        False,
    )
    assert passed.json["headers"]["x-forwarded-prefix"] == "/a"
    judge.respond = lambda _: web.Response(status=401)
    await lab.apply(text(middleware("j", forwardAuth={**auth, "authSigninURL": "https://sign.test/in"})))
    assert said(await ask(lab, "http://way.test/a")) == "302 https://sign.test/in"
    judge.respond = lambda _: web.Response()
    for wrong in (
        {"address": "https://way-judge.default.svc"},
        {**auth, "tls": {"insecureSkipVerify": True}},
        {**auth, "forwardBody": True},
    ):
        await lab.apply(text(middleware("j", forwardAuth=wrong)))
        assert (await ask(lab, "http://way.test/a", headers={"cookie": "a=b"})).status == 500, wrong


async def test_sizes_and_encodings(lab: GatewayLab) -> None:
    big = lab.backends["one"]
    steps = [
        middleware("b", buffering={"maxRequestBodyBytes": 10}),
        middleware("c", compress={"minResponseBodyBytes": 100}),
    ]
    await lab.apply(text(TRAEFIK_CLASS, *steps, behind("b", "c")))
    await opened(lab, "traefik")
    assert (await ask(lab, "http://way.test/", method="POST", body=b"x" * 11)).status == 413
    assert (await ask(lab, "http://way.test/", method="POST", body=b"x" * 10)).status == 200
    big.respond = lambda _: web.Response(text="x" * 500)
    answer = await ask(lab, "http://way.test/", headers={"accept-encoding": "gzip"})
    big.respond = lambda _: None
    assert answer.headers["content-encoding"] == "gzip"


async def test_a_changed_middleware_is_followed_and_concerns_its_ingresses_alone(
    lab: GatewayLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [ingress(f"free-{at}", {"/": "one"}, of="traefik") for at in range(10)]
    await lab.apply(text(TRAEFIK_CLASS, *many, behind("outer")))
    await opened(lab, "traefik")
    assert said(await ask(lab, "http://way.test/")) == "500"
    assert lab.complaints("Ingress/default/way")[0] == "there is no Middleware default-outer; the Ingress answers 500"
    read: list[str] = []

    def noting(key: tuple[str, str], *rest: Any) -> Any:
        read.append(key[1])
        return routes(key, *rest)

    monkeypatch.setattr("fairlead.model.gateway.ingress.routes", noting)
    await lab.apply(text(middleware("outer", chain={"middlewares": [{"name": "inner"}]})))
    assert said(await ask(lab, "http://way.test/")) == "500"
    await lab.apply(
        text(middleware("inner", addPrefix={"prefix": "/in"}), middleware("other", addPrefix={"prefix": "/other"}))
    )
    assert said(await ask(lab, "http://way.test/")) == "one /in/"
    await lab.apply(text(middleware("inner", addPrefix={"prefix": "/new"})))
    assert said(await ask(lab, "http://way.test/")) == "one /new/"
    await lab.apply(text(middleware("inner", chain={"middlewares": [{"name": "outer"}]})))
    assert said(await ask(lab, "http://way.test/")) == "500"
    assert "part of a chain of itself" in lab.complaints("Ingress/default/way")[0]
    # Each is twice in the one before it, and the last holds nothing.
    doubling = [middleware(f"d{at}", chain={"middlewares": [{"name": f"d{at + 1}"}] * 2}) for at in range(20)]
    await lab.apply(
        text(*doubling, middleware("d20", chain={}), middleware("inner", chain={"middlewares": [{"name": "d0"}]}))
    )
    assert "more than 32 Middlewares" in lab.complaints("Ingress/default/way")[0]
    await lab.delete("Middleware", "inner")
    assert set(read) == {"way"}
    for each in many:
        lab.remove("Ingress", each["metadata"]["name"])
    await lab.settle()


async def test_middlewares_of_other_namespaces_need_a_grant(lab: GatewayLab) -> None:
    wishes = {NAMES: "a-b-c@kubernetescrd"}
    there = [
        middleware("b-c", "a", addPrefix={"prefix": "/there"}),
        middleware("c", "a-b", addPrefix={"prefix": "/elsewhere"}),
    ]
    await lab.apply(text(TRAEFIK_CLASS, *there, ingress("way", {"/": "one"}, wishes, of="traefik")))
    await opened(lab, "traefik")
    assert said(await ask(lab, "http://way.test/")) == "500"
    assert "which grants no reference" in lab.complaints("Ingress/default/way")[0]

    def grant(namespace: str) -> Json:
        spec = {
            "from": [{"group": "networking.k8s.io", "kind": "Ingress", "namespace": "default"}],
            "to": [{"group": "traefik.io", "kind": "Middleware"}],
        }
        return {"kind": "ReferenceGrant", "metadata": {"name": "way", "namespace": namespace}, "spec": spec}

    await lab.apply(text(grant("a")))
    assert said(await ask(lab, "http://way.test/")) == "one /there/"
    await lab.apply(text(grant("a-b")))
    assert said(await ask(lab, "http://way.test/")) == "500"
    assert "may be any of a/b-c, a-b/c" in lab.complaints("Ingress/default/way")[0]
    for namespace in ("a", "a-b"):
        await lab.delete("ReferenceGrant", "way", namespace)
    await lab.apply(text(ingress("way", {"/": "one"}, {NAMES: "default-auth@file"}, of="traefik")))
    assert said(await ask(lab, "http://way.test/")) == "500"
