"""HTTPRoutes by real requests through the real Envoy: matching, filters, weights, timeouts. One Envoy; each test has hosts of its own."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter

import pytest
from aiohttp import web
from tests.drivers.xds.gatewaylab import GatewayLab

from fairlead.model.gateway.names import service_name
from fairlead.world.events import ObjectChanged
from fairlead.world.fold import fold

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEW_AND_MANY = True


def route(name: str, rules: str, host: str = "", extra: str = "") -> str:
    hosts = f"hostnames: ['{host or name + '.example.com'}']"
    return f"""
kind: HTTPRoute
metadata: {{name: {name}{extra}}}
spec: {{parentRefs: [{{name: web}}], {hosts}, rules: {rules}}}
"""


ONE, TWO = "backendRefs: [{name: one, port: 80}]", "backendRefs: [{name: two, port: 80}]"


async def test_the_more_exact_match_decides(lab: GatewayLab) -> None:
    for name in ("exact", "long", "method", "header", "query", "short"):
        await lab.backend(f"m-{name}")

    def to(match: str, name: str) -> str:
        return f"{{name: to-{name}, matches: [{match}], backendRefs: [{{name: m-{name}, port: 80}}]}}"

    rules = ", ".join(
        (
            to("{path: {type: PathPrefix, value: /a}}", "short"),
            to("{path: {type: PathPrefix, value: /a}, queryParams: [{name: q, value: x}]}", "query"),
            to("{path: {type: PathPrefix, value: /a}, headers: [{name: X-H, value: x}]}", "header"),
            to("{path: {type: PathPrefix, value: /a}, method: PUT}", "method"),
            to("{path: {type: PathPrefix, value: /a/b/}}", "long"),
            to("{path: {type: Exact, value: /a/b/c}}", "exact"),
        )
    )
    await lab.apply(route("match", f"[{rules}]"))
    cases = {
        ("/a", "GET", ""): "m-short",
        ("/a/", "GET", ""): "m-short",
        ("/ab", "GET", ""): "404",
        ("/a/x?q=x", "GET", ""): "m-query",
        ("/a/x?q=xy", "GET", ""): "m-short",
        ("/a/x?q=x", "GET", "x"): "m-header",
        ("/a/x?q=x", "PUT", "x"): "m-method",
        ("/a/b", "PUT", "x"): "m-long",
        ("/a/b/d", "GET", ""): "m-long",
        ("/a/bc", "GET", ""): "m-short",
        ("/a/b/c", "GET", ""): "m-exact",
        ("/a/b/c/", "GET", ""): "m-long",
        ("/other", "GET", ""): "404",
    }
    found = {}
    for path, method, header in cases:
        headers = {"x-h": header} if header else {}
        answer = await lab.ask(f"http://match.example.com{path}", method, headers=headers)
        found[path, method, header] = answer.backend
    assert found == cases


async def test_patterns_of_paths_headers_and_queries(lab: GatewayLab) -> None:
    match = (
        "{path: {type: RegularExpression, value: '/v[0-9]+/.*'}, "
        "headers: [{type: RegularExpression, name: x-h, value: 'a|b'}], "
        "queryParams: [{type: RegularExpression, name: q, value: '[0-9]+'}]}"
    )
    await lab.apply(route("regex", f"[{{matches: [{match}], {ONE}}}]"))
    cases = {("/v1/x?q=1", "a"): "one", ("/v1/x?q=1", "c"): "404", ("/v/x?q=1", "a"): "404", ("/v1/x?q=z", "b"): "404"}
    found = {}
    for path, header in cases:
        found[path, header] = (await lab.ask(f"http://regex.example.com{path}", headers={"x-h": header})).backend
    assert found == cases


async def test_hosts_exact_before_wildcard_before_all(lab: GatewayLab) -> None:
    await lab.apply(route("host-all", f"[{{{ONE}}}]", host="*.hosts.example"))
    await lab.apply(route("host-exact", f"[{{matches: [{{path: {{value: /x}}}}], {TWO}}}]", host="A.hosts.example"))
    cases = {
        "http://b.hosts.example/x": "one",
        "http://c.b.hosts.example/x": "one",
        "http://a.hosts.example/x": "two",
        "http://A.HOSTS.example/x": "two",
        # The exact host decides even where none of its routes matches.
        "http://a.hosts.example/y": "404",
        "http://hosts.example/x": "404",
    }
    assert {url: (await lab.ask(url)).backend for url in cases} == cases


async def test_of_equal_routes_the_oldest_decides(lab: GatewayLab) -> None:
    old, new = (f", creationTimestamp: '202{year}-01-01T00:00:00Z'" for year in (4, 5))
    await lab.apply(route("b-old", f"[{{{ONE}}}]", host="age.example.com", extra=old))
    await lab.apply(route("a-new", f"[{{{TWO}}}]", host="age.example.com", extra=new))
    assert (await lab.ask("http://age.example.com/")).backend == "one"
    await lab.delete("HTTPRoute", "b-old")
    assert (await lab.ask("http://age.example.com/")).backend == "two"


async def test_weights(lab: GatewayLab) -> None:
    refs = "[{name: one, port: 80, weight: 3}, {name: two, port: 80, weight: 1}, {name: two, port: 80, weight: 0}]"
    await lab.apply(route("weights", f"[{{backendRefs: {refs}}}]"))
    count = Counter([(await lab.ask("http://weights.example.com/")).backend for _ in range(400)])
    assert count["one"] + count["two"] == 400
    # Five standard deviations of a binomial distribution around the mean.
    assert 256 < count["one"] < 344


async def test_what_leads_nowhere_is_500_and_what_is_empty_503(lab: GatewayLab) -> None:
    await lab.serve("empty")
    refs = "[{name: one, port: 80}, {name: nobody, port: 80}]"
    await lab.apply(
        route(
            "nowhere",
            f"""[
    {{matches: [{{path: {{value: /missing}}}}], backendRefs: [{{name: nobody, port: 80}}]}},
    {{matches: [{{path: {{value: /port}}}}], backendRefs: [{{name: one, port: 81}}]}},
    {{matches: [{{path: {{value: /kind}}}}], backendRefs: [{{group: x.io, kind: Bucket, name: one, port: 80}}]}},
    {{matches: [{{path: {{value: /foreign}}}}], backendRefs: [{{name: one, namespace: other, port: 80}}]}},
    {{matches: [{{path: {{value: /none}}}}]}},
    {{matches: [{{path: {{value: /empty}}}}], backendRefs: [{{name: empty, port: 80}}]}},
    {{matches: [{{path: {{value: /half}}}}], backendRefs: {refs}}}]""",
        )
    )
    paths = {"/missing": 500, "/port": 500, "/kind": 500, "/foreign": 500, "/none": 500, "/empty": 503}
    assert {path: (await lab.ask(f"http://nowhere.example.com{path}")).status for path in paths} == paths
    count = Counter([(await lab.ask("http://nowhere.example.com/half")).backend for _ in range(400)])
    assert count["one"] + count["500"] == 400
    assert 150 < count["500"] < 250
    assert any("no Service default/nobody" in each for each in lab.complaints("nowhere"))


async def test_headers_of_requests_and_answers(lab: GatewayLab) -> None:
    change = "{set: [{name: X-Set, value: '100%'}], add: [{name: x-add, value: b}], remove: [x-gone]}"
    answer = "{set: [{name: x-from, value: gateway}], add: [{name: x-more, value: m}], remove: [Server]}"
    filters = (
        f"[{{type: RequestHeaderModifier, requestHeaderModifier: {change}}}, "
        f"{{type: ResponseHeaderModifier, responseHeaderModifier: {answer}}}]"
    )
    await lab.apply(route("headers", f"[{{filters: {filters}, {ONE}}}]"))
    sent = {"x-set": "old", "x-add": "a", "X-Gone": "secret"}
    found = await lab.ask("http://headers.example.com/", headers=sent)
    seen = found.json["headers"]
    assert seen["x-set"] == "100%"
    assert seen["x-add"] in ("a,b", "a, b", "b")
    assert "x-gone" not in seen
    assert (found.headers["x-from"], found.headers["x-more"]) == ("gateway", "m")
    assert "server" not in found.headers


async def test_headers_of_one_backend(lab: GatewayLab) -> None:
    change = "[{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-b, value: y}]}}]"
    refs = f"[{{name: one, port: 80, filters: {change}}}, {{name: two, port: 80}}]"
    await lab.apply(route("backend-headers", f"[{{backendRefs: {refs}}}]"))
    found = [(await lab.ask("http://backend-headers.example.com/")).json for _ in range(60)]
    assert {(each["pod"], each["headers"].get("x-b")) for each in found} == {("one", "y"), ("two", None)}


async def test_rewrites_and_redirects_of_one_backend(lab: GatewayLab) -> None:
    rewrite = "{hostname: one.internal, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}"
    refs = f"""[
    {{name: one, port: 80, filters: [{{type: URLRewrite, urlRewrite: {rewrite}}}]}},
    {{name: two, port: 80}},
    {{name: two, port: 80, filters: [{{type: RequestRedirect, requestRedirect: {{hostname: other.example}}}}]}},
    {{name: nobody, port: 80}}]"""
    await lab.apply(route("apart", f"[{{matches: [{{path: {{value: /p}}}}], backendRefs: {refs}}}]"))
    answers = [await lab.ask("http://apart.example.com/p/a") for _ in range(400)]
    count = Counter(
        (each.json["pod"], each.json["path"], each.json["headers"]["host"])
        if each.status == 200
        else (str(each.status), each.headers.get("location", ""), "")
        for each in answers
    )
    assert set(count) == {
        ("one", "/new/a", "one.internal"),
        ("two", "/p/a", "apart.example.com"),
        ("302", "http://other.example/p/a", ""),
        ("500", "", ""),
    }
    # Five standard deviations of a binomial distribution around the mean.
    assert all(57 < each < 143 for each in count.values())


async def test_parts_are_kept_whatever_the_weights_have_in_common(lab: GatewayLab) -> None:
    refs = "[{name: one, port: 80, weight: 500000}, {name: two, port: 80, weight: 500000}, {name: nobody, weight: 1000000, port: 80}]"
    await lab.apply(route("parts", f"[{{backendRefs: {refs}}}]"))
    count = Counter([(await lab.ask("http://parts.example.com/")).backend for _ in range(400)])
    assert 57 < count["one"] < 143
    assert 57 < count["two"] < 143
    assert 150 < count["500"] < 250


REDIRECTS = {
    "scheme": ("{scheme: https}", "/a?b=c", 302, "https://redirect.example.com/a?b=c"),
    "host and status": ("{hostname: other.example, statusCode: 301}", "/a", 301, "http://other.example/a"),
    "see other": ("{hostname: other.example, statusCode: 303}", "/a", 303, "http://other.example/a"),
    "temporary": ("{hostname: other.example, statusCode: 307}", "/a", 307, "http://other.example/a"),
    "permanent": ("{hostname: other.example, statusCode: 308}", "/a", 308, "http://other.example/a"),
    "port": ("{port: 8443, scheme: https}", "/a", 302, "https://redirect.example.com:8443/a"),
    "whole path": (
        "{path: {type: ReplaceFullPath, replaceFullPath: /new}}",
        "/a/b",
        302,
        "http://redirect.example.com/new",
    ),
    "prefix": (
        "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}}",
        "/p/b",
        302,
        "http://redirect.example.com/new/b",
    ),
    "prefix away": (
        "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}",
        "/p/b",
        302,
        "http://redirect.example.com/b",
    ),
}


@pytest.mark.parametrize("case", REDIRECTS, ids=str)
async def test_redirects(lab: GatewayLab, case: str) -> None:
    redirect, path, status, location = REDIRECTS[case]
    prefix = "/p" if path.startswith("/p") else "/"
    rule = f"[{{matches: [{{path: {{value: {prefix}}}}}], filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]}}]"
    await lab.apply(route("redirect", rule))
    answer = await lab.ask(f"http://redirect.example.com{path}")
    assert (answer.status, answer.headers["location"]) == (status, location)


PORTED = """
kind: Gateway
metadata: {name: ported}
spec: {gatewayClassName: fairlead, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: ported}
spec:
  parentRefs: [{name: web}, {name: ported}]
  hostnames: [ported.example.com]
  rules:
  - {matches: [{path: {value: /kept}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]}
  - {matches: [{path: {value: /port}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example, port: 81}}]}
  - {matches: [{path: {value: /http}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example, scheme: http}}]}
  - {matches: [{path: {value: /https}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example, scheme: https}}]}
  - {matches: [{path: {value: /same}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}
  - matches: [{path: {value: /backend}}]
    backendRefs: [{name: one, port: 80, filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]}]
"""


async def test_a_redirect_without_a_port_leads_to_that_of_its_scheme_or_its_listener(lab: GatewayLab) -> None:
    await lab.apply(PORTED)
    wanted = {
        ("web", "", "/kept"): "http://other.example/kept",
        ("web", "", "/backend"): "http://other.example/backend",
        ("web", "", "/same"): "https://ported.example.com/same",
        ("ported", ":8080", "/kept"): "http://other.example:8080/kept",
        ("ported", ":8080", "/backend"): "http://other.example:8080/backend",
        ("ported", ":8080", "/port"): "http://other.example:81/port",
        ("ported", ":8080", "/http"): "http://other.example/http",
        ("ported", ":8080", "/https"): "https://other.example/https",
        ("ported", ":8080", "/same"): "https://ported.example.com:443/same",
    }
    found = {}
    for gateway, port, path in wanted:
        answer = await lab.ask(f"http://ported.example.com{port}{path}", gateway=gateway)
        found[gateway, port, path] = answer.headers["location"]
    assert found == wanted
    await lab.delete("Gateway", "ported")


TAKEN = """
kind: Gateway
metadata: {{name: {name}}}
spec: {{gatewayClassName: fairlead, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
---
kind: HTTPRoute
metadata: {{name: taken}}
spec: {{parentRefs: [{{name: {name}}}], hostnames: [taken.example.com], rules: [{{backendRefs: [{{name: one, port: 80}}]}}]}}
"""


async def test_a_port_passes_from_one_gateway_to_another_in_one_plan(lab: GatewayLab) -> None:
    await lab.apply(TAKEN.format(name="former"))
    assert (await lab.ask("http://taken.example.com/", gateway="former")).backend == "one"
    lab.ports["latter", 80] = lab.ports["former", 80]
    gone = [ObjectChanged("Gateway", ("default", "former"), None)]
    gone.append(ObjectChanged("Service", ("default", service_name("former")), None))
    lab.snapshot = fold(lab.snapshot, gone)
    # None of it is told before the other Gateway is there.
    await lab.apply(TAKEN.format(name="latter"))
    assert (await lab.ask("http://taken.example.com/", gateway="latter")).backend == "one"
    await lab.delete("Gateway", "latter")


REWRITES = {
    "whole": ("/", "{type: ReplaceFullPath, replaceFullPath: /new}", "/a/b?c=d", "/new?c=d"),
    "prefix": ("/p", "{type: ReplacePrefixMatch, replacePrefixMatch: /new}", "/p/b", "/new/b"),
    "prefix alone": ("/p", "{type: ReplacePrefixMatch, replacePrefixMatch: /new}", "/p", "/new"),
    "prefix with a slash": ("/p/", "{type: ReplacePrefixMatch, replacePrefixMatch: /new/}", "/p/b", "/new/b"),
    "prefix away": ("/p", "{type: ReplacePrefixMatch, replacePrefixMatch: /}", "/p/b?c=d", "/b?c=d"),
    "prefix away, nothing left": ("/p", "{type: ReplacePrefixMatch, replacePrefixMatch: /}", "/p", "/"),
    "in front of all": ("/", "{type: ReplacePrefixMatch, replacePrefixMatch: /new}", "/a", "/new/a"),
}


@pytest.mark.parametrize("case", REWRITES, ids=str)
async def test_rewrites(lab: GatewayLab, case: str) -> None:
    prefix, change, path, wanted = REWRITES[case]
    rule = (
        f"[{{matches: [{{path: {{value: {prefix}}}}}], {ONE}, "
        f"filters: [{{type: URLRewrite, urlRewrite: {{hostname: inner.example, path: {change}}}}}]}}]"
    )
    await lab.apply(route("rewrite", rule))
    seen = (await lab.ask(f"http://rewrite.example.com{path}")).json
    assert (seen["path"], seen["headers"]["host"]) == (wanted, "inner.example")


async def test_mirrors(lab: GatewayLab) -> None:
    first, second = await lab.backend("mirror-all"), await lab.backend("mirror-some")
    filters = (
        "[{type: RequestMirror, requestMirror: {backendRef: {name: mirror-all, port: 80}}}, "
        "{type: RequestMirror, requestMirror: {backendRef: {name: mirror-some, port: 80}, percent: 50}}]"
    )
    await lab.apply(route("mirror", f"[{{filters: {filters}, {ONE}}}]"))
    for _ in range(100):
        assert (await lab.ask("http://mirror.example.com/x")).backend == "one"
    # The last copies may be on their way yet: nobody waits for their answers.
    async with asyncio.timeout(10):
        while len(first.seen) < 100:
            await lab.ask("http://nobody.example.com/")
    assert len(first.seen) == 100
    assert 20 < len(second.seen) < 80


async def test_timeouts(lab: GatewayLab) -> None:
    slow = await lab.backend("slow")
    refs = "backendRefs: [{name: slow, port: 80}]"
    await lab.apply(
        route(
            "timeout",
            f"[{{matches: [{{path: {{value: /request}}}}], {refs}, timeouts: {{request: 50ms}}}}, "
            f"{{matches: [{{path: {{value: /try}}}}], {refs}, timeouts: {{request: 10s, backendRequest: 50ms}}}}, "
            f"{{matches: [{{path: {{value: /zero}}}}], {refs}, timeouts: {{request: 0s}}}}]",
        )
    )
    slow.delay_s = 0.5
    found = {
        path: (await lab.ask(f"http://timeout.example.com{path}")).status for path in ("/request", "/try", "/zero")
    }
    assert found == {"/request": 504, "/try": 504, "/zero": 200}


async def test_a_backend_that_refuses_is_tried_elsewhere(lab: GatewayLab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()[1]
    await lab.serve("half", closed, lab.backends["one"].port)
    await lab.apply(route("half", "[{backendRefs: [{name: half, port: 80}]}]"))
    assert {(await lab.ask("http://half.example.com/", "POST")).backend for _ in range(40)} == {"one"}


async def test_retries(lab: GatewayLab) -> None:
    flaky = await lab.backend("flaky")
    flaky.respond = lambda _: web.Response(status=503) if len(flaky.seen) % 3 else None
    refs = "backendRefs: [{name: flaky, port: 80}]"
    await lab.apply(
        route(
            "retry",
            f"[{{{refs}, retry: {{attempts: 2, codes: [503], backoff: 1ms}}}}, "
            f"{{matches: [{{path: {{value: /once}}}}], {refs}}}]",
        )
    )
    assert (await lab.ask("http://retry.example.com/")).backend == "flaky"
    assert len(flaky.seen) == 3
    assert (await lab.ask("http://retry.example.com/once")).status == 503


async def test_tries_that_take_too_long_are_repeated(lab: GatewayLab) -> None:
    slow = await lab.backend("slow-at-first")

    slow.delay_s = 2.0
    refs = "backendRefs: [{name: slow-at-first, port: 80}]"
    rule = f"{{{refs}, timeouts: {{request: 5s, backendRequest: 150ms}}, retry: {{attempts: 2, backoff: 1ms}}}}"
    await lab.apply(route("retry-slow", f"[{rule}]"))
    assert (await lab.ask("http://retry-slow.example.com/")).status == 504
    assert len(slow.seen) == 3
    asking = asyncio.create_task(lab.ask("http://retry-slow.example.com/"))
    while len(slow.seen) < 4:
        await asyncio.wait({asking}, timeout=0.005)
    slow.delay_s = 0.0
    assert (await asking).backend == "slow-at-first"


async def test_connections_that_break_are_repeated(lab: GatewayLab) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            if len(seen) % 3:
                writer.transport.abort()
                return
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await lab.serve("breaking", server.sockets[0].getsockname()[1])
        refs = "backendRefs: [{name: breaking, port: 80}]"
        rules = f"[{{{refs}, retry: {{attempts: 2, backoff: 1ms}}}}, {{matches: [{{path: {{value: /once}}}}], {refs}}}]"
        await lab.apply(route("breaking", rules))
        assert (await lab.ask("http://breaking.example.com/", "POST")).body == b"ok"
        assert len(seen) == 3
        assert (await lab.ask("http://breaking.example.com/once", "POST")).status == 503
        assert len(seen) == 4
    finally:
        server.close()
        await server.wait_closed()


async def test_cors(lab: GatewayLab) -> None:
    cors = (
        "{allowOrigins: ['https://app.example', 'https://*.apps.example'], allowMethods: [GET, PUT], "
        "allowHeaders: [x-token], exposeHeaders: [x-from], allowCredentials: true, maxAge: 60}"
    )
    await lab.apply(route("cors", f"[{{filters: [{{type: CORS, cors: {cors}}}], {ONE}}}]"))
    asked = {"access-control-request-method": "PUT", "access-control-request-headers": "x-token"}

    async def preflight(origin: str) -> dict[str, str]:
        answer = await lab.ask("http://cors.example.com/", "OPTIONS", headers={"origin": origin, **asked})
        return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}

    granted = await preflight("https://app.example")
    assert granted["access-control-allow-origin"] == "https://app.example"
    assert granted["access-control-allow-methods"] == "GET, PUT"
    assert granted["access-control-allow-headers"] == "x-token"
    assert granted["access-control-allow-credentials"] == "true"
    assert granted["access-control-max-age"] == "60"
    assert (await preflight("https://x.apps.example"))["access-control-allow-origin"] == "https://x.apps.example"
    assert "access-control-allow-origin" not in await preflight("https://evil.example")
    answer = await lab.ask("http://cors.example.com/", headers={"origin": "https://app.example"})
    assert answer.headers["access-control-expose-headers"] == "x-from"


async def test_a_filter_that_is_not_known_is_refused_and_never_left_out(lab: GatewayLab) -> None:
    rule = f"[{{filters: [{{type: ExtensionRef}}], {ONE}}}]"
    await lab.apply(route("extension", rule))
    assert (await lab.ask("http://extension.example.com/")).status == 404
    assert lab.complaints("extension") == [
        "spec.rules[0].filters[0].type: a filter of type ExtensionRef is not supported"
    ]


async def test_a_changed_endpoint_is_followed(lab: GatewayLab) -> None:
    await lab.apply(route("moving", "[{backendRefs: [{name: moving, port: 80}]}]"))
    for name in ("one", "two", "one"):
        await lab.serve("moving", lab.backends[name].port)
        assert (await lab.ask("http://moving.example.com/")).backend == name


async def test_a_host_is_the_most_exact_listeners_alone(lab: GatewayLab) -> None:
    await lab.apply(
        f"""
kind: Gateway
metadata: {{name: isolated}}
spec:
  gatewayClassName: fairlead
  listeners:
    - {{name: all, port: 80, protocol: HTTP}}
    - {{name: own, port: 80, protocol: HTTP, hostname: own.example}}
---
kind: HTTPRoute
metadata: {{name: for-all}}
spec: {{parentRefs: [{{name: isolated, sectionName: all}}], rules: [{{{ONE}}}]}}
---
kind: HTTPRoute
metadata: {{name: thief}}
spec: {{parentRefs: [{{name: isolated, sectionName: all}}], hostnames: [own.example], rules: [{{{ONE}}}]}}
---
kind: HTTPRoute
metadata: {{name: for-own}}
spec: {{parentRefs: [{{name: isolated, sectionName: own}}], rules: [{{matches: [{{path: {{value: /x}}}}], {TWO}}}]}}
"""
    )
    urls = ("http://any.example/", "http://own.example/x", "http://own.example/y")
    found = [(await lab.ask(url, gateway="isolated")).backend for url in urls]
    assert found == ["one", "two", "404"]


async def test_the_more_exact_name_decides_at_a_listener_of_that_name_before_any_match(lab: GatewayLab) -> None:
    """HTTPRouteSpec.hostnames: names come before paths, whatever the listener's own name makes of both."""
    listeners = "{name: http, port: 8086, protocol: HTTP, hostname: a.names.test}"
    rules = f"{{matches: [{{path: {{value: /wild}}}}], {TWO}}}"
    wild = f"[{rules}, {{matches: [{{path: {{value: /both}}}}], {TWO}}}]"
    own = f"[{{matches: [{{path: {{value: /w}}}}, {{path: {{value: /both}}}}, {{path: {{value: /wil}}}}, {{path: {{value: /}}}}], {ONE}}}]"
    texts = [
        f"kind: Gateway\nmetadata: {{name: names}}\nspec: {{gatewayClassName: fairlead, listeners: [{listeners}]}}\n"
    ]
    texts += [
        route("names-wild", wild, "*.names.test", ", creationTimestamp: '2020-01-01T00:00:00Z'").replace(
            "name: web", "name: names"
        ),
        route("names-own", own, "A.names.test").replace("name: web", "name: names"),
    ]
    await lab.apply("---".join(texts))
    urls = [f"http://a.names.test:8086{path}" for path in ("/wild/x", "/both", "/c")]
    assert [(await lab.ask(url, gateway="names")).backend for url in urls] == ["one", "one", "one"]
    assert lab.complaints("HTTPRoute/default/names") == []
    await lab.apply(
        route("names-own", own.replace(", {path: {value: /}}", ""), "a.names.test").replace("name: web", "name: names")
    )
    assert [(await lab.ask(url, gateway="names")).backend for url in urls] == ["two", "one", "404"]


async def test_routes_of_other_namespaces_need_the_listeners_consent(lab: GatewayLab) -> None:
    def listener(port: int, source: str) -> str:
        return f"{{name: p{port}, port: {port}, protocol: HTTP, allowedRoutes: {{namespaces: {source}}}}}"

    selector = "{from: Selector, selector: {matchLabels: {team: a}}}"
    listeners = ", ".join((listener(80, "{from: Same}"), listener(81, selector), listener(82, "{from: All}")))
    namespaces = "".join(
        f"---\nkind: Namespace\nmetadata: {{name: team-{team}, labels: {{team: {team}}}}}\n" for team in "ab"
    )
    routes = "".join(
        f"""---
kind: HTTPRoute
metadata: {{name: r, namespace: team-{team}}}
spec:
  parentRefs: [{{name: consent, namespace: default}}]
  hostnames: [{team}.example]
  rules: [{{filters: [{{type: RequestRedirect, requestRedirect: {{hostname: {team}.there}}}}]}}]
"""
        for team in "ab"
    )
    await lab.apply(
        f"kind: Gateway\nmetadata: {{name: consent}}\nspec: {{gatewayClassName: fairlead, listeners: [{listeners}]}}\n"
        + namespaces
        + routes
    )
    found = {
        (team, port): (await lab.ask(f"http://{team}.example:{port}/", gateway="consent")).status
        for team in "ab"
        for port in (80, 81, 82)
    }
    assert found == {
        ("a", 80): 404,
        ("a", 81): 302,
        ("a", 82): 302,
        ("b", 80): 404,
        ("b", 81): 404,
        ("b", 82): 302,
    }


async def test_a_grant_lets_a_route_use_a_backend_of_another_namespace(lab: GatewayLab) -> None:
    await lab.backend("theirs", namespace="other")
    refs = "[{name: theirs, namespace: other, port: 80}]"
    await lab.apply(route("granted", f"[{{backendRefs: {refs}}}]"))
    assert (await lab.ask("http://granted.example.com/")).status == 500
    await lab.apply("""
kind: ReferenceGrant
metadata: {name: open, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: '', kind: Service, name: theirs}]
""")
    assert (await lab.ask("http://granted.example.com/")).backend == "theirs"
    await lab.delete("ReferenceGrant", "open", "other")
    assert (await lab.ask("http://granted.example.com/")).status == 500


async def test_a_route_serves_at_the_ports_that_it_names(lab: GatewayLab) -> None:
    await lab.apply("""
kind: Gateway
metadata: {name: two-ports}
spec:
  gatewayClassName: fairlead
  listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 8080, protocol: HTTP}]
""")
    for name, parent in (("low", "port: 80"), ("high", "sectionName: b, port: 8080"), ("both", "")):
        await lab.apply(f"""
kind: HTTPRoute
metadata: {{name: port-{name}}}
spec: {{parentRefs: [{{name: two-ports, {parent}}}], hostnames: [{name}.ports.example], rules: [{{{ONE}}}]}}
""")
    found = {
        (name, port): (await lab.ask(f"http://{name}.ports.example:{port}/", gateway="two-ports")).status
        for name in ("low", "high", "both")
        for port in (80, 8080)
    }
    assert found == {
        ("low", 80): 200,
        ("low", 8080): 404,
        ("high", 80): 404,
        ("high", 8080): 200,
        ("both", 80): 200,
        ("both", 8080): 200,
    }
