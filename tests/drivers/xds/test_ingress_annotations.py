"""Annotations of other controllers by real requests through the real Envoy: what is honored, and that what is not leaves nothing open."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import Counter
from collections.abc import Mapping

import pytest
import pytest_asyncio
from aiohttp import web
from tests.drivers.xds.gatewaylab import Backend, GatewayLab, Json
from tests.drivers.xds.ingresslab import NGINX, Paths, asked, ingress, klass, opened, text
from tests.drivers.xds.load import until
from tests.drivers.xds.requestpolicies import status_from
from tests.drivers.xds.test_proxy_life import secret, trusting

from fairlead.model.gateway import trust
from fairlead.model.gateway.annotations import PREFIXES
from fairlead.model.gateway.ingress import gateway_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRAEFIK = "traefik.ingress.kubernetes.io/"
NAMES = ("nginx", "traefik", "haproxy", "plain")
CLASSES = [klass(each) for each in NAMES]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def doors(lab: GatewayLab) -> None:
    """Open the ports of all classes at once, as free ports do not stay free."""
    key, _ = secret("held", "held.test")
    for each in CLASSES:
        lab.door(*gateway_of(each["metadata"]["name"]), 80, 443)
    held = [ingress(f"held-{each}", {"/": "one"}, of=each, host="held.test", tls="held") for each in NAMES]
    await lab.apply(f"{key}---\n{text(*CLASSES, *held)}")


async def check(lab: GatewayLab, objects: list[Json], wanted: Mapping[str, str], *, of: str = "nginx") -> None:
    await lab.apply(text(*CLASSES, *objects))
    await opened(lab, of)
    assert {url: await asked(lab, url, of=of) for url in wanted} == wanted


Case = tuple[Paths, Mapping[str, str], Mapping[str, str]]
"""Paths, annotations, request's path → what is said."""

CASES: dict[str, Case] = {
    "no annotation": ({"/a": "one"}, {}, {"/a/b": "one /a/b", "/ab": "404"}),
    "a new path for all": ({"/a": "one"}, {"rewrite-target": "/new"}, {"/a": "one /new", "/a/b?c=d": "one /new?c=d"}),
    "the rest of the path": (
        {"/api(/|$)(.*)": "one"},
        {"rewrite-target": "/$2", "use-regex": "true"},
        {"/api": "one /", "/api/": "one /", "/api/x/y?q=1": "one /x/y?q=1", "/API/x": "one /x", "/apix": "404"},
    ),
    "a group in the middle": (
        {"/v(1|2)/(.*)": "one"},
        {"rewrite-target": "/version-$1/$2/end"},
        {"/v2/x": "one /version-2/x/end", "/v3/x": "404"},
    ),
    "an optional slash": (
        {"/something/?(.*)": "one"},
        {"rewrite-target": "/$1"},
        {"/something": "one /", "/something/": "one /", "/something/new": "one /new"},
    ),
    "a group that is not there is nothing": ({"/a(.*)": "one"}, {"rewrite-target": "/x$2"}, {"/ab": "one /x"}),
    "an exact path is no pattern": ({"Exact /a.b": "one"}, {"rewrite-target": "/x"}, {"/a.b": "one /x", "/axb": "404"}),
    "patterns without a new path": (
        {"/foo/[a-z]{3}$": "one"}, {"use-regex": "true"}, {"/foo/abc": "one /foo/abc", "/foo/abcd": "404"},
    ),
    "the longest pattern goes first": (
        {"/foo/bar": "one", "/foo/bar/[A-Z0-9]{3}": "two", "/foo/bar/bar": "one"},
        {"use-regex": "true"},
        {"/foo/bar/bar": "two /foo/bar/bar", "/foo/bar/ba": "one /foo/bar/ba"},
    ),
    "either of two": ({"/a|/b": "one"}, {"use-regex": "true"}, {"/a": "one /a", "/b/c": "one /b/c", "/c": "404"}),
    "a root of the application": (
        {"/": "one"}, {"app-root": "/app"}, {"/": "302 http://HOST/app", "/app": "one /app"},
    ),
    "moved for ever": (
        {"/": "one"}, {"permanent-redirect": "https://there.example/x"}, {"/a": "301 https://there.example/x"},
    ),
    "moved for ever by 308, path and query kept": (
        {"/": "one"},
        {"permanent-redirect": "https://there.example$request_uri", "permanent-redirect-code": "308"},
        {"/a?b=c": "308 https://there.example/a?b=c"},
    ),
    "moved for now": (
        {"/": "one"}, {"temporal-redirect": "http://there.example:8080/"}, {"/a": "302 http://there.example:8080/"},
    ),
    "moved to a path": ({"/old": "one"}, {"temporal-redirect": "/new"}, {"/old": "302 http://HOST/new"}),
    "redirected without a certificate": (
        {"/": "one"}, {"force-ssl-redirect": "true"}, {"/a?b": "308 https://HOST/a?b"},
    ),
    "redirected only with a certificate": ({"/": "one"}, {"ssl-redirect": "true"}, {"/a": "one /a"}),
    "where a certificate authority looks is never redirected": (
        {"/.well-known/acme-challenge": "two", "/": "one"},
        {"force-ssl-redirect": "true"},
        {"/.well-known/acme-challenge/t": "two /.well-known/acme-challenge/t", "/": "308 https://HOST/"},
    ),
    "what has no effect is served": ({"/": "one"}, {"proxy-buffering": "on"}, {"/a": "one /a"}),
    "what is refused serves where it is off": (
        {"/": "one"},
        {"ssl-passthrough": "false", "enable-modsecurity": "off", "proxy-redirect-from": "off", "satisfy": "all"},
        {"/a": "one /a"},
    ),
    "either of several checks is not enough": ({"/": "one"}, {"satisfy": "any"}, {"/a": "500"}),
    "what nobody knows is served": ({"/": "one"}, {"colour": "blue"}, {"/a": "one /a"}),
    "what may guard is refused": ({"/": "one"}, {"auth-something": "yes"}, {"/a": "500"}),
    "a snippet is refused": ({"/": "one"}, {"configuration-snippet": "deny all;"}, {"/a": "500"}),
    "a value that is none is refused": ({"/": "one"}, {"proxy-read-timeout": "soon"}, {"/a": "500"}),
    "a redirect has no query of its own": ({"/": "one"}, {"temporal-redirect": "/x?y=z"}, {"/a": "500"}),
    "a refused redirect leads nowhere": (
        {"/": "one"}, {"permanent-redirect": "https://x.example/$uri", "app-root": "/x"}, {"/": "500", "/a": "500"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_paths_and_redirects(lab: GatewayLab, case: str) -> None:
    paths, annotations, wanted = CASES[case]
    host = f"case{list(CASES).index(case)}.test"
    kind = "ImplementationSpecific" if any("(" in each or "|" in each for each in paths) else "Prefix"
    obj = ingress("case", paths, annotations, host=host, kind=kind)
    await check(lab, [obj], {f"http://{host}{path}": answer.replace("HOST", host) for path, answer in wanted.items()})


async def test_prefixes_beside_patterns_go_by_length(lab: GatewayLab) -> None:
    pattern = ingress("pattern", {"/foo/(.*)": "one"}, {"rewrite-target": "/$1"}, host="beside.test")
    prefix = ingress("prefix", {"/foo/static/files": "two", "Exact /foo/x": "two"}, host="beside.test")
    wanted = {
        "http://beside.test/foo/a": "one /a",
        "http://beside.test/foo/static/files/a": "two /foo/static/files/a",
        "http://beside.test/foo/static/filesystem": "one /static/filesystem",
        "http://beside.test/foo/x": "two /foo/x",
    }
    await check(lab, [pattern, prefix], wanted)
    await lab.delete("Ingress", "pattern")
    assert await asked(lab, "http://beside.test/foo/a") == "404"
    assert await asked(lab, "http://beside.test/foo/static/files") == "two /foo/static/files"


async def test_hosts_with_a_certificate_are_redirected(lab: GatewayLab) -> None:
    key, chain = secret("secured-tls", "secured.test")
    trust = trusting(chain)
    await lab.apply(text(*CLASSES, ingress("secured", {"/": "one"}, tls="secured-tls")) + "---\n" + key)
    await opened(lab, "nginx", 443)
    assert await asked(lab, "http://secured.test/a?b") == "308 https://secured.test/a?b"
    assert await asked(lab, "https://secured.test/a", tls=trust) == "one /a"
    # Another Ingress of the host has no `tls` of its own, and the host has a certificate all the same.
    await check(
        lab,
        [ingress("beside", {"/b": "two"}, host="secured.test")],
        {"http://secured.test/b": "308 https://secured.test/b"},
    )
    assert await asked(lab, "https://secured.test/b", tls=trust) == "two /b"
    never = ingress("beside", {"/b": "two"}, {"ssl-redirect": "false"}, host="secured.test")
    await check(
        lab, [never], {"http://secured.test/b": "two /b", "http://secured.test/a": "308 https://secured.test/a"}
    )
    moved = ingress("beside", {"/b": "two"}, {"permanent-redirect": "https://x.example/"}, host="secured.test")
    await check(lab, [moved], {"http://secured.test/b": "308 https://secured.test/b"})
    assert await asked(lab, "https://secured.test/b", tls=trust) == "301 https://x.example/"


async def test_a_class_without_a_dialect_redirects_nothing_by_itself(lab: GatewayLab) -> None:
    key, _ = secret("plain-tls", "plain.test")
    await lab.apply(key)
    await check(
        lab, [ingress("plain", {"/": "one"}, of="plain", tls="plain-tls")], {"http://plain.test/": "one /"}, of="plain"
    )
    wished = ingress("plain", {"/": "one"}, {"ssl-redirect": "true"}, of="plain", tls="plain-tls")
    await check(lab, [wished], {"http://plain.test/": "308 https://plain.test/"}, of="plain")


async def test_aliases_and_www(lab: GatewayLab) -> None:
    main = ingress("main", {"/": "one"}, {"server-alias": "alias.test, taken.test", "from-to-www-redirect": "true"})
    taken = ingress("taken", {"/x": "two"})
    wanted = {
        "http://main.test/a": "one /a",
        "http://alias.test/a": "one /a",
        "http://www.main.test/a?b": "308 http://main.test/a?b",
        "http://taken.test/x": "two /x",
        "http://taken.test/a": "404",
    }
    await check(lab, [main, taken], wanted)
    await lab.delete("Ingress", "taken")
    assert await asked(lab, "http://taken.test/a") == "one /a"


async def test_headers_for_backends(lab: GatewayLab) -> None:
    wishes = {"upstream-vhost": "inner.example", "x-forwarded-prefix": "/outer"}
    await lab.apply(text(*CLASSES, ingress("headers", {"/": "one"}, wishes)))
    seen = (await lab.ask("http://headers.test/", gateway=gateway_of("nginx")[1])).json["headers"]
    assert (seen["host"], seen["x-forwarded-prefix"]) == ("inner.example", "/outer")


def configmap(data: Mapping[str, str], namespace: str = "default") -> Json:
    return {"kind": "ConfigMap", "metadata": {"name": "extra", "namespace": namespace}, "data": dict(data)}


async def test_answers_have_the_headers_of_a_configmap(lab: GatewayLab) -> None:
    async def answer() -> tuple[int, str | None]:
        found = await lab.ask("http://extra.test/", gateway=gateway_of("nginx")[1])
        return found.status, found.headers.get("x-frame-options")

    def why() -> str:
        return " ".join(lab.complaints("Ingress/default/extra"))

    await lab.apply(text(*CLASSES, ingress("extra", {"/": "one"}, {"custom-headers": "extra"})))
    assert await answer() == (500, None)
    assert "there is no ConfigMap default/extra" in why()
    for value in ("DENY", "SAMEORIGIN"):
        await lab.apply(text(configmap({"X-Frame-Options": value, "X-Other": "%REQ(host)% $host"})))
        assert await answer() == (200, value)
    found = await lab.ask("http://extra.test/", gateway=gateway_of("nginx")[1])
    assert found.headers["x-other"] == "%REQ(host)% $host"
    bad = (
        {"Transfer-Encoding": "chunked"},
        {"connection": "close"},
        {"a b": "c"},
        {"a": "b\r\nc: d"},
        {"ca.crt": "x"},
        {},
    )
    for data in bad:
        await lab.apply(text(configmap(data)))
        assert await answer() == (500, None), data
        assert "ConfigMap default/extra: data" in why()
    abroad = ingress("extra", {"/": "one"}, {"custom-headers": "team/extra"})
    await lab.apply(text(abroad, configmap({"X-Frame-Options": "DENY"}, "team")))
    assert await answer() == (500, None)
    assert "no ReferenceGrant in namespace team permits ConfigMap team/extra" in why()
    source = {"group": "networking.k8s.io", "kind": "Ingress", "namespace": "default"}
    to = {"group": "", "kind": "ConfigMap", "name": "extra"}
    metadata = {"name": "headers", "namespace": "team"}
    await lab.apply(text({"kind": "ReferenceGrant", "metadata": metadata, "spec": {"from": [source], "to": [to]}}))
    assert await answer() == (200, "DENY")
    assert ("team", "extra") in trust.wanted(lab.snapshot)
    await lab.delete("Ingress", "extra")
    assert ("team", "extra") not in trust.wanted(lab.snapshot)
    assert await answer() == (404, None)


async def test_cors(lab: GatewayLab) -> None:
    wishes = {
        "enable-cors": "true",
        "cors-allow-origin": "https://a.example, https://*.b.example:8443",
        "cors-allow-methods": "GET, PUT",
        "cors-max-age": "600",
    }
    await lab.apply(text(*CLASSES, ingress("cors", {"/": "one"}, wishes)))
    gateway = gateway_of("nginx")[1]
    preflight = {"Access-Control-Request-Method": "PUT"}
    found = {}
    for origin in ("https://a.example", "https://x.b.example:8443", "https://evil.example"):
        answer = await lab.ask("http://cors.test/", "OPTIONS", gateway=gateway, headers={"Origin": origin, **preflight})
        found[origin] = answer.headers.get("access-control-allow-origin", "")
        assert answer.headers["access-control-max-age"] == "600"
    assert found == {
        "https://a.example": "https://a.example",
        "https://x.b.example:8443": "https://x.b.example:8443",
        "https://evil.example": "",
    }


async def test_any_origin_has_no_credentials(lab: GatewayLab) -> None:
    """Where the other controllers answer with a star, which no browser takes for requests with credentials."""
    wishes: dict[str, tuple[dict[str, str], str]] = {
        "any": ({}, ""),
        "one": ({"cors-allow-origin": "https://a.example"}, "true"),
        "one of several, and any": ({"cors-allow-origin": "https://a.example, *"}, ""),
    }
    found = {}
    for name, (given, _) in wishes.items():
        await lab.apply(text(*CLASSES, ingress("any", {"/": "one"}, {"enable-cors": "true", **given})))
        answer = await lab.ask(
            "http://any.test/", gateway=gateway_of("nginx")[1], headers={"Origin": "https://a.example"}
        )
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        found[name] = answer.headers.get("access-control-allow-credentials", "")
    assert found == {name: credentials for name, (_, credentials) in wishes.items()}


async def test_a_silent_backend_is_given_up(lab: GatewayLab) -> None:
    await lab.apply(
        text(*CLASSES, ingress("silent", {"/": "slow"}, {"proxy-read-timeout": "1", "proxy-send-timeout": "1s"}))
    )
    slow = await lab.backend("slow")
    slow.delay_s = 3
    began = asyncio.get_running_loop().time()
    assert await asked(lab, "http://silent.test/") == "504"
    assert asyncio.get_running_loop().time() - began < 2.5


async def test_requests_are_sent_again_as_wished(lab: GatewayLab) -> None:
    failing = await lab.backend("failing")
    failing.respond = lambda _: web.Response(status=503)
    wishes = {"proxy-next-upstream": "error timeout http_503", "proxy-next-upstream-tries": "3"}
    variants = {
        "thrice": (wishes, "GET", 3),
        "never twice": (wishes, "POST", 1),
        "all the same": ({**wishes, "proxy-next-upstream": "http_503 non_idempotent"}, "POST", 3),
        "off": ({"proxy-next-upstream": "off"}, "GET", 1),
        "errors alone": ({"proxy-next-upstream": "error timeout"}, "GET", 1),
    }
    found = {}
    for name, (given, method, _) in variants.items():
        await lab.apply(text(*CLASSES, ingress("again", {"/": "failing"}, given)))
        failing.seen.clear()
        await asked(lab, "http://again.test/", method=method)
        found[name] = len(failing.seen)
    assert found == {name: times for name, (_, _, times) in variants.items()}


async def ask_many(lab: GatewayLab, url: str, count: int) -> Counter[str]:
    return Counter([(await asked(lab, url)).partition(" ")[0] for _ in range(count)])


async def test_canary_by_header_cookie_and_weight(lab: GatewayLab) -> None:
    main = ingress("main", {"/": "one"}, host="canary.test")
    wishes = {"canary": "true", "canary-by-header": "X-Canary", "canary-by-cookie": "try", "canary-weight": "0"}
    await lab.apply(text(*CLASSES, main, ingress("canary", {"/": "two"}, wishes, host="canary.test")))
    cases: dict[str, tuple[dict[str, str], str]] = {
        "nothing": ({}, "one"),
        "header always": ({"x-canary": "always"}, "two"),
        "header never": ({"x-canary": "never", "cookie": "try=always"}, "one"),
        "header of another value": ({"x-canary": "perhaps", "cookie": "a=b; try=always"}, "two"),
        "cookie": ({"cookie": "try=always; c=d"}, "two"),
        "another cookie": ({"cookie": "retry=always"}, "one"),
        "cookie never": ({"cookie": "try=never"}, "one"),
    }
    found = {
        name: (await asked(lab, "http://canary.test/", headers=headers)).partition(" ")[0]
        for name, (headers, _) in cases.items()
    }
    assert found == {name: backend for name, (_, backend) in cases.items()}
    for weight, total, low, high in (("30", "100", 60, 180), ("100", "100", 400, 400), ("500", "1000", 150, 250)):
        wishes = {"canary": "true", "canary-weight": weight, "canary-weight-total": total}
        await lab.apply(text(ingress("canary", {"/": "two"}, wishes, host="canary.test")))
        count = await ask_many(lab, "http://canary.test/", 400)
        assert low <= count["two"] <= high
        assert count["one"] + count["two"] == 400
    value = {"canary": "true", "canary-by-header": "x-canary", "canary-by-header-value": "blue"}
    await lab.apply(text(ingress("canary", {"/": "two"}, value, host="canary.test")))
    assert await asked(lab, "http://canary.test/", headers={"x-canary": "blue"}) == "two /"
    assert await asked(lab, "http://canary.test/", headers={"x-canary": "always"}) == "one /"
    pattern = {"canary": "true", "canary-by-header": "x-canary", "canary-by-header-pattern": "^b.ue"}
    await lab.apply(text(ingress("canary", {"/": "two"}, pattern, host="canary.test")))
    assert await asked(lab, "http://canary.test/", headers={"x-canary": "bluest"}) == "two /"
    assert await asked(lab, "http://canary.test/", headers={"x-canary": "a blue"}) == "one /"
    await lab.delete("Ingress", "canary")
    assert await asked(lab, "http://canary.test/", headers={"x-canary": "bluest"}) == "one /"


async def test_a_canary_serves_nothing_of_its_own(lab: GatewayLab) -> None:
    lost = ingress("lost", {"/": "two"}, {"canary": "true", "canary-weight": "50"})
    await check(lab, [lost], {"http://lost.test/": "404"})
    assert lab.complaints("Ingress/default/lost") == [
        "no other Ingress of its namespace and class has one of its paths, or an older canary has them all"
    ]
    refused = ingress("lost", {"/": "two"}, {"canary": "true", "canary-weight": "much"})
    await check(lab, [ingress("found", {"/": "one"}, host="lost.test"), refused], {"http://lost.test/": "one /"})
    assert "'much' is no number from 0 to 1000000; no request goes to this canary" in lab.complaints(
        "Ingress/default/lost"
    )


REFUSED = sorted(name for name, known in PREFIXES[NGINX].table.items() if known.state == "refused")


async def test_each_refused_annotation_answers_500_and_is_named(lab: GatewayLab) -> None:
    objects = [ingress(f"refused{at}", {"/": "one"}, {name: "x"}) for at, name in enumerate(REFUSED)]
    await check(lab, objects, {f"http://refused{at}.test/": "500" for at in range(len(REFUSED))})
    found = lab.compiler.compile(lab.snapshot).diagnostics
    named = {each.field for each in found if each.object.startswith("Ingress/default/refused")}
    assert named == {f"metadata.annotations[{NGINX}{name}]" for name in REFUSED}
    for at in range(len(REFUSED)):
        await lab.delete("Ingress", f"refused{at}")


async def test_nobody_else_gets_what_is_refused(lab: GatewayLab) -> None:
    refused = ingress("guarded", {"/": "one", "/a": "one"}, {"server-snippet": "deny all;"}, age=1)
    others = [
        ingress("younger", {"/": "two", "/b": "two"}, host="guarded.test", age=2),
        ingress("wild", {"/": "two"}, host="*.test", age=2),
        ingress("last", {}, default="two", age=2),
    ]
    urls = {"/": "500", "/a/x": "500", "/c": "500", "/b": "two /b"}
    await check(lab, [refused, *others], {f"http://guarded.test{path}": said for path, said in urls.items()})
    for each in ("guarded", "younger", "wild", "last"):
        await lab.delete("Ingress", each)


async def test_backends_of_http2(lab: GatewayLab) -> None:
    await lab.apply(text(*CLASSES, ingress("grpc", {"/": "one"}, {"backend-protocol": "GRPC"})))
    clusters = lab.compiler.compile(lab.snapshot).plan.table("gateway_clusters")
    assert clusters["default/one/80/h2c",].protocol == "h2c"  # type: ignore[union-attr]


ENCRYPTED = {
    "nginx": ("nginx", {NGINX + "backend-protocol": "HTTPS"}),
    "nginx, gRPC": ("nginx", {NGINX + "backend-protocol": "GRPCS"}),
    "haproxy": ("haproxy", {"haproxy.org/server-ssl": "true"}),
    "traefik": ("traefik", {TRAEFIK + "service.serversscheme": "https"}),
}


@pytest.mark.parametrize("case", ENCRYPTED, ids=str)
async def test_backends_of_tls_need_somebody_to_believe(lab: GatewayLab, case: str) -> None:
    of, wishes = ENCRYPTED[case]
    await check(lab, [ingress("tls-backend", {"/": "one"}, wishes, of=of)], {"http://tls-backend.test/": "500"}, of=of)
    (complaint,) = lab.complaints("Ingress/default/tls-backend")
    assert "backend-protocol needs a BackendTLSPolicy for Service default/one" in complaint
    await lab.delete("Ingress", "tls-backend")


async def test_traefik(lab: GatewayLab) -> None:
    key, chain = secret("traefik-tls", "points.test", "tls.test")
    await lab.apply(text(*CLASSES) + "---\n" + key)
    cases: dict[str, tuple[dict[str, str], str, str, str]] = {
        "all": ({}, "", "one /", ""),
        "plain": ({"router.entrypoints": "web"}, "", "one /", ""),
        "secure": ({"router.entrypoints": "websecure"}, "traefik-tls", "404", "one /"),
        "both": ({"router.entrypoints": "web,websecure"}, "traefik-tls", "404", "one /"),
        "tls": ({"router.tls": "true"}, "traefik-tls", "404", "one /"),
        "another point": ({"router.entrypoints": "metrics"}, "", "500", ""),
        "middlewares": ({"router.middlewares": "default-auth@kubernetescrd"}, "", "500", ""),
        "host header": ({"service.passhostheader": "true"}, "", "one /", ""),
        "no host header": ({"service.passhostheader": "false"}, "", "500", ""),
        "idle": (
            {"router.tls.certresolver": "le", "router.tls.domains.0.main": "a.test", "service.nativelb": "true"},
            "",
            "one /",
            "",
        ),
    }
    found = {}
    for name, (wishes, tls, _, _) in cases.items():
        given = {TRAEFIK + each: value for each, value in wishes.items()}
        await lab.apply(text(ingress("points", {"/": "one"}, given, of="traefik", tls=tls)))
        await opened(lab, "traefik", 443 if tls else 80)
        plain = await asked(lab, "http://points.test/", of="traefik")
        secure = await asked(lab, "https://points.test/", of="traefik", tls=trusting(chain)) if tls else ""
        found[name] = (plain, secure)
    assert found == {name: (plain, secure) for name, (_, _, plain, secure) in cases.items()}


HAPROXY: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "path": ({"haproxy.org/path-rewrite": "/new"}, {"/a/b": "one /new"}),
    "pattern": ({"haproxy.org/path-rewrite": r"/a/(.*) /\1/x"}, {"/a/b": "one /b/x"}),
    "a part of the pattern is enough": ({"haproxy.org/path-rewrite": "b(.) /new/\\1"}, {"/a/bc/d": "one /new/c"}),
    "host and code": (
        {"haproxy.org/request-redirect": "there.example:8080", "haproxy.org/request-redirect-code": "301"},
        {"/a?b": "301 http://there.example:8080/a?b"},
    ),
    "prefix": ({"haproxy-ingress.github.io/rewrite-target": "/new"}, {"/a/b": "one /new/b"}),
    "root": ({"haproxy-ingress.github.io/app-root": "/app"}, {"/": "302 http://HOST/app"}),
    "elsewhere": ({"haproxy-ingress.github.io/redirect-to": "https://x.example/"}, {"/a": "302 https://x.example/"}),
    "config": ({"haproxy.org/backend-config-snippet": "http-request deny"}, {"/a": "500"}),
    "guard": ({"haproxy.org/allow-list": "patterns/x"}, {"/a": "500"}),
    "idle": ({"haproxy.org/timeout-connect": "5s", "haproxy.org/check": "true"}, {"/a": "one /a"}),
    "by its other name": ({"haproxy.com/path-rewrite": "/new"}, {"/a/b": "one /new"}),
    "a prefix of two meanings": ({"ingress.kubernetes.io/app-root": "/app"}, {"/a": "500"}),
    "by port 443": ({"haproxy.org/ssl-redirect-port": "443"}, {"/a": "one /a"}),
    "by another port": ({"haproxy.org/ssl-redirect-port": "8443"}, {"/a": "500"}),
    "an answer of its own": ({"haproxy-ingress.github.io/http-response-404": "404 gone"}, {"/a": "500"}),
    "passwords of crypt": ({"haproxy.org/auth-type": "basic-auth", "haproxy.org/auth-secret": "x"}, {"/a": "500"}),
}


@pytest.mark.parametrize("case", HAPROXY, ids=str)
async def test_haproxy(lab: GatewayLab, case: str) -> None:
    annotations, wanted = HAPROXY[case]
    prefix = "/a" if "a" in next(iter(wanted)) else "/"
    obj = ingress("ha", {prefix: "one"}, annotations, of="haproxy")
    answers = {f"http://ha.test{path}": answer.replace("HOST", "ha.test") for path, answer in wanted.items()}
    await check(lab, [obj], answers, of="haproxy")


async def test_headers_of_haproxy(lab: GatewayLab) -> None:
    wishes = {
        "haproxy.org/request-set-header": 'X-Ask "100 of them"\nX-Two b',
        "haproxy.org/response-set-header": "Strict-Transport-Security max-age=31536000",
        "haproxy.org/set-host": "inner.example",
    }
    await lab.apply(text(*CLASSES, ingress("ha-headers", {"/": "one"}, wishes, of="haproxy")))
    answer = await lab.ask("http://ha-headers.test/", gateway=gateway_of("haproxy")[1])
    seen = answer.json["headers"]
    assert (seen["x-ask"], seen["x-two"], seen["host"]) == ("100 of them", "b", "inner.example")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_headers_of_haproxy_ingress(lab: GatewayLab) -> None:
    own = "haproxy-ingress.github.io/"
    wishes = {
        own + "headers": "x-older: not this",
        own + "request-set-headers": "x-path: /\nx-two  b",
        own + "request-add-headers": "x-more: 2",
        own + "request-del-headers": "x-gone, x-lost",
        own + "response-del-headers": "x-from",
        own + "response-set-headers": "x-said: yes",
        own + "hsts": "true",
        own + "hsts-max-age": "600",
        own + "hsts-preload": "true",
    }
    await lab.apply(text(*CLASSES, ingress("hi-headers", {"/": "one"}, wishes, of="haproxy")))
    await opened(lab, "haproxy")
    sent = {"x-more": "1", "x-gone": "a", "x-lost": "b", "x-path": "/other"}
    answer = await lab.ask("http://hi-headers.test/", gateway=gateway_of("haproxy")[1], headers=sent)
    seen = answer.json["headers"]
    assert {name: seen.get(name) for name in (*sent, "x-two", "x-older")} == {
        "x-more": "2", "x-gone": None, "x-lost": None, "x-path": "/", "x-two": "b", "x-older": None,
    }  # fmt: skip
    assert (answer.headers["x-said"], "x-from" in answer.headers) == ("yes", False)
    assert answer.headers["strict-transport-security"] == "max-age=600; preload"


MATCHERS: dict[str, tuple[str, str, str, Mapping[str, str]]] = {
    "traefik, all of it": (TRAEFIK + "router.pathmatcher", "Path", "/a", {"/a": "one /a", "/a/b": "404"}),
    "traefik, a pattern": (
        TRAEFIK + "router.pathmatcher", "PathRegexp", "/v[0-9]+$", {"/a/v12": "one /a/v12", "/a/v": "404", "/a/V1": "404"},
    ),
    "haproxy-ingress, all of it": ("haproxy-ingress.github.io/path-type", "exact", "/a", {"/a": "one /a", "/a/": "404"}),
    "haproxy-ingress, text": (
        "haproxy-ingress.github.io/path-type", "begin", "/a.c", {"/A.cd": "one /A.cd", "/abc": "404", "/x/a.c": "404"},
    ),
    "haproxy-ingress, a pattern": (
        "haproxy-ingress.github.io/path-type", "Regex", "/v[0-9]+", {"/v1x": "one /v1x", "/V1": "404", "/a/v1": "404"},
    ),
    "haproxy-ingress, no type": ("haproxy-ingress.github.io/path-type", "fuzzy", "/a", {"/a": "500"}),
}  # fmt: skip


async def test_paths_are_what_an_annotation_calls_them(lab: GatewayLab) -> None:
    objects, wanted = [], {}
    for at, (name, value, path, answers) in enumerate(MATCHERS.values()):
        of = "traefik" if name.startswith(TRAEFIK) else "haproxy"
        host = f"matcher{at}.test"
        objects.append(
            ingress(f"matcher{at}", {path: "one"}, {name: value}, of=of, host=host, kind="ImplementationSpecific")
        )
        wanted |= {(of, f"http://{host}{each}"): said for each, said in answers.items()}
    await lab.apply(text(*CLASSES, *objects))
    for of in ("traefik", "haproxy"):
        await opened(lab, of)
    assert {(of, url): await asked(lab, url, of=of) for of, url in wanted} == wanted


async def test_hosts_lead_to_another_one(lab: GatewayLab) -> None:
    own = "haproxy-ingress.github.io/"
    moved = ingress(
        "moved", {"/": "one"}, {own + "redirect-from": "old.test", own + "redirect-from-code": "301"}, of="haproxy"
    )
    wanted = {"http://old.test/a?b": "301 http://moved.test/a?b", "http://moved.test/a": "one /a"}
    await check(lab, [moved], wanted, of="haproxy")
    # A host of a rule goes first.
    await check(lab, [ingress("old", {"/": "two"}, of="haproxy")], {"http://old.test/a": "two /a"}, of="haproxy")
    await lab.delete("Ingress", "old")


async def test_a_copy_of_each_request(lab: GatewayLab) -> None:
    copies = await lab.backend("copies")
    target = "http://copies.default.svc.cluster.local$request_uri"
    wishes = {"mirror-target": target, "mirror-request-body": "on", "mirror-host": "copy.example"}
    await lab.apply(text(*CLASSES, ingress("mirrored", {"/": "one"}, wishes)))
    assert await asked(lab, "http://mirrored.test/a?b=c", method="POST", body=b"xyz") == "one /a?b=c"
    await until(lambda: copies.seen)
    assert [(each["method"], each["path"]) for each in copies.seen] == [("POST", "/a?b=c")]
    assert copies.seen[0]["headers"]["host"] == "copy.example"
    wrong = ("http://copies.default.svc/fixed", "https://outside.example$request_uri", "http://copies.default.svc")
    objects = [ingress(f"mirror{at}", {"/": "one"}, {"mirror-target": each}) for at, each in enumerate(wrong)]
    await check(lab, objects, {f"http://mirror{at}.test/": "500" for at in range(len(wrong))})
    gone = ingress("mirrored", {"/": "one"}, {"mirror-target": target.replace("copies.default", "copies.team")})
    await check(lab, [gone], {"http://mirrored.test/": "one /"})
    assert any("no ReferenceGrant" in each for each in lab.complaints("Ingress/default/mirrored"))


ANNOUNCED: dict[str, tuple[Mapping[str, str], str]] = {
    "haproxy.org": ({"haproxy.org/send-proxy-protocol": "proxy-v2"}, "v2"),
    "haproxy-ingress": ({"haproxy-ingress.github.io/proxy-protocol": "v1"}, "v1"),
}


async def test_backends_are_told_the_clients_address_first(lab: GatewayLab) -> None:
    for name, (wishes, version) in ANNOUNCED.items():
        await lab.serve("announced", lab.backends["one"].port)
        await lab.apply(text(*CLASSES, ingress("announced", {"/": "announced"}, wishes, of="haproxy")))
        row = lab.plan.table("gateway_clusters")["default/announced/80",]
        assert row.traffic.proxy_protocol == version, name  # type: ignore[union-attr]
        await lab.delete("Ingress", "announced")


async def test_annotations_of_two_dialects_need_a_class_that_says_which(lab: GatewayLab) -> None:
    both = {f"{TRAEFIK}router.entrypoints": "web", "app-root": "/app"}
    await check(lab, [ingress("both", {"/": "one"}, both, of="plain")], {"http://both.test/": "500"}, of="plain")
    await check(lab, [ingress("both", {"/": "one"}, both)], {"http://both.test/": "302 http://both.test/app"})


CLAIMS = {
    "not ours": (klass("claimed", "k8s.io/ingress-nginx"), "404"),
    "claimed": (klass("claimed", "k8s.io/ingress-nginx", **{"ingress-claim": "true"}), "302 http://claim.test/app"),
    "of nobody known": (klass("claimed", "example.com/other", **{"ingress-claim": "true"}), "404"),
    "ours, by dialect": (klass("claimed", **{"ingress-dialect": "nginx"}), "302 http://claim.test/app"),
    "ours, of another dialect": (klass("claimed", **{"ingress-dialect": "haproxy"}), "one /"),
}


@pytest.mark.parametrize("case", CLAIMS, ids=str)
async def test_classes_of_others_are_claimed_by_choice_alone(lab: GatewayLab, case: str) -> None:
    given, wanted = CLAIMS[case]
    # A name of its own for each: a listener that comes back while its predecessor drains shares its port with it.
    name = f"claimed{list(CLAIMS).index(case)}"
    lab.door(*gateway_of(name), 80)
    obj = ingress("claim", {"/": "one"}, {"app-root": "/app"}, of=name)
    await lab.apply(text({**given, "metadata": {**given["metadata"], "name": name}}, obj))
    if wanted == "404":
        # Nothing of the class exists; not even a port is open.
        table = lab.compiler.compile(lab.snapshot).plan.table("gateway_listeners")
        assert not [key for key in table if name in key[0]]
    else:
        await opened(lab, name)
        assert await asked(lab, "http://claim.test/", of=name) == wanted


async def several(lab: GatewayLab, name: str, count: int) -> None:
    """Make a Service of some endpoints."""
    found = [Backend(f"{name}-{at}") for at in range(count)]
    for each in found:
        lab.backends[each.name] = each
        await each.start()
    await lab.serve(name, *(each.port for each in found))


ALIKE: dict[str, tuple[Mapping[str, str], Mapping[str, str], str]] = {
    "a header": ({"upstream-hash-by": "$http_x_user"}, {"x-user": "a"}, ""),
    "a parameter": ({"upstream-hash-by": "$arg_user"}, {}, "?user=a"),
    "the client": ({"upstream-hash-by": "$binary_remote_addr"}, {}, ""),
    "a cookie": ({"upstream-hash-by": "$cookie_at"}, {"cookie": "at=a"}, ""),
    "haproxy, a parameter": ({"haproxy.org/load-balance": "url_param user"}, {}, "?user=a"),
    "haproxy-ingress, a header": ({"haproxy-ingress.github.io/balance-algorithm": "hdr(x-user)"}, {"x-user": "a"}, ""),
}


@pytest.mark.parametrize("case", ALIKE, ids=str)
async def test_requests_that_are_alike_go_to_one_endpoint(lab: GatewayLab, case: str) -> None:
    wishes, headers, query = ALIKE[case]
    name = f"alike{list(ALIKE).index(case)}"
    await several(lab, name, 4)
    of = "haproxy" if case.startswith("haproxy") else "nginx"
    await lab.apply(text(*CLASSES, ingress("alike", {"/": name}, wishes, of=of)))
    await opened(lab, of)
    answers = [await asked(lab, f"http://alike.test/{query}", of=of, headers=headers) for _ in range(24)]
    assert len(set(answers)) == 1
    await lab.delete("Ingress", "alike")
    await lab.apply(text(ingress("alike", {"/": name}, of=of)))
    assert len({await asked(lab, f"http://alike.test/{query}", of=of, headers=headers) for _ in range(24)}) > 1
    await lab.delete("Ingress", "alike")


SESSIONS: dict[str, tuple[str, Mapping[str, str], str, str]] = {
    "nginx": ("nginx", {NGINX + "affinity": "cookie"}, "INGRESSCOOKIE", ""),
    "nginx, for an hour": (
        "nginx",
        {NGINX + "affinity": "cookie", NGINX + "session-cookie-name": "at", NGINX + "session-cookie-max-age": "3600"},
        "at",
        "Max-Age=3600",
    ),
    "haproxy": ("haproxy", {"haproxy.org/cookie-persistence": "at"}, "at", ""),
    "haproxy-ingress": (
        "haproxy", {"haproxy-ingress.github.io/affinity": "cookie", "haproxy-ingress.github.io/session-cookie-name": "at"}, "at", "",
    ),
    "traefik": (
        "traefik", {TRAEFIK + "service.sticky.cookie": "true", TRAEFIK + "service.sticky.cookie.name": "at"}, "at", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SESSIONS, ids=str)
async def test_clients_stay_with_their_endpoint_by_a_cookie(lab: GatewayLab, case: str) -> None:
    of, wishes, name, attribute = SESSIONS[case]
    service = f"given{list(SESSIONS).index(case)}"
    await several(lab, service, 3)
    await lab.apply(text(*CLASSES, ingress("given", {"/": service}, wishes, of=of)))
    await opened(lab, of)
    answer = await lab.ask("http://given.test/", gateway=gateway_of(of)[1])
    cookie, *attributes = (each.strip() for each in answer.headers["set-cookie"].split(";"))
    assert cookie.startswith(f"{name}=")
    assert {each for each in attributes if each.startswith("Max-Age")} == ({attribute} if attribute else set())
    again = [await asked(lab, "http://given.test/", of=of, headers={"cookie": cookie}) for _ in range(12)]
    assert {each.partition(" ")[0] for each in again} == {answer.json["pod"]}
    assert len({await asked(lab, "http://given.test/", of=of) for _ in range(24)}) > 1


async def test_a_policy_that_somebody_wrote_goes_before_an_annotation(lab: GatewayLab) -> None:
    await lab.serve("written", lab.backends["one"].port)
    target = {"group": "", "kind": "Service", "name": "written"}
    policy = {"targetRefs": [target], "loadBalancing": {"type": "RoundRobin"}, "connectTimeout": "1s"}
    wishes = {"load-balance": "ewma", "proxy-connect-timeout": "3"}
    obj = ingress("written", {"/": "written"}, wishes)
    await lab.apply(text(*CLASSES, obj))

    def cluster() -> tuple[str, int]:
        row = lab.compiler.compile(lab.snapshot).plan.table("gateway_clusters")["default/written/80",]
        return row.traffic.balancing.kind, row.traffic.connect_ms  # type: ignore[union-attr]

    assert cluster() == ("least-request", 3000)
    await lab.delete("Ingress", "written")
    await lab.apply(text({"kind": "BackendTrafficPolicy", "metadata": {"name": "zz"}, "spec": policy}, obj))
    assert cluster() == ("round-robin", 1000)
    (complaint,) = lab.complaints("Ingress/default/written")
    assert "BackendTrafficPolicy default/zz is attached there and goes first" in complaint
    await lab.delete("Ingress", "written")
    await lab.delete("BackendTrafficPolicy", "zz")


async def statuses(
    lab: GatewayLab, host: str, sources: tuple[str, ...], *, of: str = "nginx", **more: str
) -> list[int]:
    return [await status_from(lab, each, host, gateway=gateway_of(of)[1], **more) for each in sources]


RANGES: dict[str, tuple[str, Mapping[str, str], list[int]]] = {
    "allowed": ("nginx", {"whitelist-source-range": "127.0.0.2, ::1/128"}, [403, 200, 403, 200]),
    "denied": ("nginx", {"denylist-source-range": "127.0.0.2/31"}, [200, 403, 403, 200]),
    "denied before allowed": (
        "nginx", {"whitelist-source-range": "127.0.0.0/8", "denylist-source-range": "127.0.0.3"}, [200, 200, 403, 403],
    ),
    "wrong": ("nginx", {"whitelist-source-range": "127.0.0.2, all"}, [500, 500, 500, 500]),
    "haproxy.org": ("haproxy", {"haproxy.org/allow-list": "127.0.0.2"}, [403, 200, 403, 403]),
    "haproxy-ingress": ("haproxy", {"haproxy-ingress.github.io/denylist-source-range": "::1"}, [200, 200, 200, 403]),
}  # fmt: skip


@pytest.mark.parametrize("case", RANGES, ids=str)
async def test_prefixes_of_clients(lab: GatewayLab, case: str) -> None:
    of, wishes, wanted = RANGES[case]
    await lab.apply(text(*CLASSES, ingress("from", {"/": "one"}, wishes, of=of)))
    await opened(lab, of)
    assert await statuses(lab, "from.test", ("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"), of=of) == wanted


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_passwords(lab: GatewayLab) -> None:
    wishes = {"auth-type": "basic", "auth-secret": "users", "auth-realm": "here"}
    await lab.apply(text(*CLASSES, ingress("users", {"/": "one"}, wishes)))
    # Without its Secret nobody passes, and the Ingress is told why.
    assert await asked(lab, "http://users.test/") == "500"
    assert any("no Secret default/users with the label" in each for each in lab.complaints("Ingress/default/users"))
    digest = base64.b64encode(hashlib.sha1(b"secret").digest()).decode()
    secret = {"name": "users", "labels": {"fairlead.dev/credentials": ""}}
    users = {"auth": base64.b64encode(f"ann:{{SHA}}{digest}".encode()).decode()}
    await lab.apply(text({"kind": "Secret", "metadata": secret, "data": users}))
    found = {
        name: await asked(lab, "http://users.test/", headers=headers)
        for name, headers in {
            "nobody": {},
            "ann": {"authorization": basic("ann", "secret")},
            "a thief": {"authorization": basic("ann", "guess")},
        }.items()
    }
    assert found == {"nobody": "401", "ann": "one /", "a thief": "401"}
    lost = {"auth-type": "basic"}
    await check(lab, [ingress("users", {"/": "one"}, lost)], {"http://users.test/": "500"})
    assert await asked(lab, "http://users.test/", headers={"authorization": basic("ann", "secret")}) == "500"


async def test_somebody_else_decides(lab: GatewayLab) -> None:
    judge = await lab.backend("judge")
    judge.respond = lambda seen: (
        web.Response(headers={"x-user": "ann", "set-cookie": "s=2"})
        if seen["headers"].get("cookie") == "a=b"
        else web.Response(status=302, headers={"set-cookie": "s=1", "location": "/sign-in"})
    )
    gateway = gateway_of("nginx")[1]
    for url, path in (
        ("http://judge.default.svc.cluster.local:80/oauth2/auth?allowed_groups=a", "/oauth2/auth?allowed_groups=a"),
        ("http://judge.default.svc", "/"),
    ):
        wishes = {
            "auth-url": url,
            "auth-response-headers": "X-User",
            "auth-cache-key": "$remote_user",
            "auth-method": "GET",
        }
        await lab.apply(text(*CLASSES, ingress("judged", {"/": "one"}, wishes)))
        judge.seen.clear()
        refused = await lab.ask("http://judged.test/a?b=c", gateway=gateway)
        assert (refused.status, refused.headers["set-cookie"], refused.headers["location"]) == (302, "s=1", "/sign-in")
        assert (judge.seen[0]["path"], judge.seen[0]["headers"]["x-auth-request-redirect"]) == (path, "/a?b=c")
        passed = await lab.ask("http://judged.test/a?b=c", gateway=gateway, headers={"cookie": "a=b", "x-user": "root"})
        assert (passed.json["headers"]["x-user"], passed.json["path"]) == ("ann", "/a?b=c")
        assert passed.headers["set-cookie"] == "s=2"
    wrong = (
        "https://judge.default.svc/path", "https://outside.example/auth", "http://$host/auth", "http://judge.default.svc/$x",
        "http://judge.default.svc$request_uri", "http://judge.default.svc:99999/",
    )  # fmt: skip
    objects = [ingress(f"judged{at}", {"/": "one"}, {"auth-url": each}) for at, each in enumerate(wrong)]
    await check(lab, objects, {f"http://judged{at}.test/": "500" for at in range(len(wrong))})


async def test_somebody_else_decides_for_haproxy_ingress(lab: GatewayLab) -> None:
    arbiter = await lab.backend("arbiter")
    arbiter.respond = lambda seen: (
        web.Response(headers={"x-user": "ann"})
        if seen["headers"].get("x-key") == "k"
        else web.Response(status=401, headers={"x-why": "no key"})
    )
    own = "haproxy-ingress.github.io/auth-"
    gateway = gateway_of("haproxy")[1]
    for url in ("svc://arbiter:80/check", "service://default/arbiter:80/check", "http://arbiter.default.svc/check"):
        wishes = {
            own + "url": url,
            own + "headers-request": "x-key",
            own + "headers-succeed": "x-user",
            own + "headers-fail": "x-why",
        }
        await lab.apply(text(*CLASSES, ingress("arbited", {"/": "one"}, wishes, of="haproxy")))
        await opened(lab, "haproxy")
        refused = await lab.ask("http://arbited.test/", gateway=gateway)
        assert (refused.status, refused.headers["x-why"]) == (401, "no key")
        passed = await lab.ask("http://arbited.test/a", gateway=gateway, headers={"x-key": "k", "x-user": "root"})
        assert (passed.json["headers"]["x-user"], arbiter.seen[-1]["path"]) == ("ann", "/check")
    for given in ({own + "url": "svc://arbiter:80"}, {own + "url": "svc://arbiter:80", own + "headers-succeed": "*"}):
        # All headers of an answer cannot be had, and a client's own must not pass for them.
        await lab.apply(text(*CLASSES, ingress("arbited", {"/": "one"}, given, of="haproxy")))
        assert await asked(lab, "http://arbited.test/", of="haproxy", headers={"x-key": "k"}) == "500"


RATES: dict[str, tuple[str, Mapping[str, str], int]] = {
    "a minute": ("nginx", {"limit-rpm": "2", "limit-burst-multiplier": "2"}, 4),
    "all but some": (
        "nginx",
        {"limit-rpm": "2", "limit-burst-multiplier": "1", "limit-whitelist": "127.0.0.2, ::1"},
        2,
    ),
    "haproxy.org": ("haproxy", {"haproxy.org/rate-limit-requests": "3", "haproxy.org/rate-limit-period": "1h"}, 3),
}


@pytest.mark.parametrize("case", RATES, ids=str)
async def test_requests_of_a_client_are_counted(lab: GatewayLab, case: str) -> None:
    of, wishes, most = RATES[case]
    host = f"rate{list(RATES).index(case)}.test"
    await lab.apply(text(*CLASSES, ingress("rate", {"/": "one"}, wishes, of=of, host=host)))
    await opened(lab, of)
    answers = Counter(await statuses(lab, host, ("127.0.0.1",) * (most + 3), of=of))
    assert answers == {200: most, 429: 3}
    again = most + 1 if "limit-whitelist" in wishes else 1
    assert await statuses(lab, host, ("127.0.0.2",) * again, of=of) == [200] * again


async def test_bodies_have_a_limit(lab: GatewayLab) -> None:
    await lab.apply(text(*CLASSES, ingress("body", {"/": "one"}, {"proxy-body-size": "1k"})))
    gateway = gateway_of("nginx")[1]
    sizes = {1024: 200, 1025: 413}
    assert {
        size: (await lab.ask("http://body.test/", "POST", gateway=gateway, body=b"x" * size)).status for size in sizes
    } == sizes
    await lab.apply(text(ingress("body", {"/": "one"}, {"proxy-body-size": "0"})))
    assert (await lab.ask("http://body.test/", "POST", gateway=gateway, body=b"x" * 4096)).status == 200
