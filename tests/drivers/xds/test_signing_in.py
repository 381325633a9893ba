"""Services that decide about requests, as oauth2-proxy and others are used: what lets pass, who is sent where to sign in, and what nobody can forge."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from tests.drivers.xds.gatewaylab import Backend, GatewayLab
from tests.drivers.xds.ingresslab import ingress, klass, opened, text
from tests.drivers.xds.requestpolicies import policy, route

from fairlead.model.gateway.ingress import gateway_of
from fairlead.plan.render import from_data, to_data

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEW_AND_MANY = True
CLASSES = [klass("nginx"), klass("haproxy")]
URL = "http://judge.default.svc/check"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def judge(lab: GatewayLab) -> Backend:
    """A service that answers with the status that the client names in a header, and says who it is."""
    for each in CLASSES:
        lab.door(*gateway_of(each["metadata"]["name"]), 80)
    found = await lab.backend("judge")

    def decide(seen: dict[str, Any]) -> web.Response:
        status = int(seen["headers"].get("cookie", "want=401").removeprefix("want="))
        headers = {"x-user": "ann", "set-cookie": "s=1", "www-authenticate": "Basic"}
        return web.Response(status=status, headers=headers | ({"location": "/own"} if status == 303 else {}))

    found.respond = decide
    return found


async def said(lab: GatewayLab, url: str, want: int, *, of: str = "nginx", **more: Any) -> tuple[int, str]:
    headers = {"cookie": f"want={want}", **more.pop("headers", {})}
    gateway = gateway_of(of)[1] if of else "web"
    answer = await lab.ask(url, gateway=gateway, headers=headers, **more)
    return answer.status, answer.headers.get("location", "")


async def test_any_success_lets_pass_and_nothing_else(lab: GatewayLab, judge: Backend) -> None:
    sign_in = "signIn: {url: 'https://login.example/', redirectParam: back}"
    http = "http: {backendRef: {name: judge, port: 80}, replaceFullPath: /check, headersToBackend: [x-user], headersToClientOnSuccess: [set-cookie]"
    objects = "".join(
        route(name) + policy(name, f"extAuth: {{timeout: 500ms, {http}{more}}}}}")
        for name, more in (("plain", ""), ("signs", f", {sign_in}"))
    )
    await lab.apply(objects)
    back = "https://login.example/?back=" + quote("http://signs.example.com/a", safe="")
    for name, refused in (("plain", (401, "")), ("signs", (302, back))):
        url = f"http://{name}.example.com/a"
        for status in (200, 202, 204, 206):
            answer = await lab.ask(url, headers={"cookie": f"want={status}", "x-user": "root"})
            assert (answer.status, answer.json["headers"]["x-user"], answer.headers["set-cookie"]) == (
                200,
                "ann",
                "s=1",
            )
        found = {status: await said(lab, url, status, of="") for status in (401, 303, 400, 403, 500, 503)}
        assert found == {
            401: refused, 303: (303, "/own"), 400: (400, ""), 403: (403, ""), 500: (503, ""), 503: (503, "")
        }  # fmt: skip
        judge.delay_s = 2
        assert await said(lab, url, 200, of="") == (503, "")
        judge.delay_s = 0
    answers = [await lab.ask(f"http://{each}.example.com/") for each in ("plain", "signs")]
    assert ["www-authenticate" in each.headers for each in answers] == [True, False]


async def test_nobody_passes_or_signs_in_while_the_service_is_down(lab: GatewayLab, judge: Backend) -> None:
    await lab.serve("vanished")
    wishes = {"auth-url": "http://vanished.default.svc/", "auth-signin": "https://login.example/"}
    await lab.apply(text(*CLASSES, ingress("down", {"/": "one"}, wishes)))
    await opened(lab, "nginx")
    assert await said(lab, "http://down.test/", 200) == (503, "")


ASKED = "/a%20b/c?d=e&f=%26%25"
SIGN_INS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "what nobody names is added": ({"auth-signin": "https://login.example/start"}, "https://login.example/start?rd={escaped}"),
    "by another name": (
        {"auth-signin": "https://login.example/start?x=y", "auth-signin-redirect-param": "next"},
        "https://login.example/start?x=y&next={escaped}",
    ),
    "what is named is not added": (
        {"auth-signin": "https://$host/oauth2/start?rd=$escaped_request_uri"},
        "https://{host}/oauth2/start?rd={escaped_path}",
    ),
    "scheme and host": (
        {"auth-signin": "https://login.example:8443/start?rd=$scheme://$http_host$escaped_request_uri"},
        "https://login.example:8443/start?rd=http://{host}{escaped_path}",
    ),
    "a method": ({"auth-signin": "https://login.example?rm=$request_method"}, "https://login.example?rm=GET&rd={escaped}"),
    "as it is": ({"auth-signin": "$scheme://$host/?rd=$request_uri"}, "http://{host}/?rd=" + ASKED),
    "a path": ({"auth-signin": "/oauth2/start?rd=$uri"}, "/oauth2/start?rd=/a%20b/c"),
}  # fmt: skip


async def test_where_clients_sign_in(lab: GatewayLab, judge: Backend) -> None:
    names = {case: f"sign{at}" for at, case in enumerate(SIGN_INS)}
    objects = [ingress(names[case], {"/": "one"}, {"auth-url": URL, **SIGN_INS[case][0]}) for case in SIGN_INS]
    await lab.apply(text(*CLASSES, *objects))
    await opened(lab, "nginx")
    for case, (_, wanted) in SIGN_INS.items():
        host = f"{names[case]}.test"
        url = f"http://{host}{ASKED}"
        location = wanted.format(host=host, escaped=quote(url, safe=""), escaped_path=quote(ASKED, safe=""))
        assert (case, *await said(lab, url, 401)) == (case, 302, location)
    # What a browser sends on is what was asked for.
    url = f"http://{names['what nobody names is added']}.test{ASKED}"
    _, location = await said(lab, url, 401)
    assert parse_qs(urlsplit(location).query)["rd"] == [url]


async def raw(lab: GatewayLab, request: str) -> str:
    """Send a request of HTTP/1.1 as it is, and return the head of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.ports[gateway_of("nginx")[1], 80])
    try:
        writer.write(request.encode("latin-1"))
        return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1")
    finally:
        writer.close()


async def test_what_clients_cannot_forge(lab: GatewayLab, judge: Backend) -> None:
    wishes = {"auth-url": URL, "auth-signin": "https://$host/start?rd=$scheme://$http_host$request_uri"}
    await lab.apply(text(*CLASSES, ingress("forged", {"/": "one"}, wishes)))
    await opened(lab, "nginx")
    lies = (
        "X-Original-URL: http://evil.example/x", "X-Original-Method: OPTIONS", "X-Auth-Request-Redirect: http://evil.example/",
        "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 9", "Forwarded: host=evil.example",
        "X-Fairlead-Asks: !POST #sign-in =http://evil.example/", "Content-Type: text/plain",
    )  # fmt: skip
    judge.seen.clear()
    head = await raw(lab, "GET /a?b HTTP/1.1\r\nHost: FORGED.test:81\r\n" + "\r\n".join(lies) + "\r\n\r\n")
    assert head.startswith("HTTP/1.1 302 ")
    (location,) = re.findall(r"(?m)^location: (.*)\r$", head)
    assert location == "https://forged.test/start?rd=http://forged.test:81/a?b"
    told = judge.seen[-1]["headers"]
    assert told["x-auth-request-redirect"] == "/a?b"
    assert told["x-original-url"] == "http://FORGED.test:81/a?b"
    assert (told["x-original-method"], "x-fairlead-asks" in told) == ("GET", False)
    # No route is another host's, and no text of a request ends a header's line or begins one.
    for start, host in (
        ("GET /", "evil.example"), ("GET /", "forged.test@evil.example"), ("GET http://evil.example/", "forged.test"),
        ("GET /", "forged.test\r\nHost: evil.example"), ("GET /\r\nLocation: http://evil.example/", "forged.test"),
        ("GET /%0d%0aLocation:%20http://evil.example/", "forged.test"), ('GET /\x80"<a>', "forged.test"),
    ):  # fmt: skip
        head = await raw(lab, f"{start} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        locations = re.findall(r"(?m)^location: (.*)\r$", head)
        assert all(each.startswith("https://forged.test/start?rd=http://forged.test/") for each in locations)
        assert all(each.isascii() and " " not in each for each in locations), head
        assert len(locations) == head.startswith("HTTP/1.1 302 "), head


async def test_other_answers_stay_what_they_are(lab: GatewayLab, judge: Backend) -> None:
    private = await lab.backend("private")
    private.respond = lambda _: web.Response(status=401, headers={"www-authenticate": "Basic"})
    wishes = {"auth-url": URL, "auth-signin": "https://login.example/"}
    objects = [
        ingress("mixed", {"/": "private"}, wishes),
        ingress(
            "mixed-other",
            {"/other": "one"},
            {**wishes, "auth-signin": "https://other.example/?rd=x"},
            host="mixed.test",
        ),
        ingress("mixed-open", {"/open": "one"}, host="mixed.test"),
        ingress("crossed", {"/": "one"}, {**wishes, "enable-cors": "true", "cors-allow-origin": "https://app.example"}),
    ]
    await lab.apply(text(*CLASSES, *objects))
    await opened(lab, "nginx")
    url = "http://mixed.test"
    assert await said(lab, f"{url}/", 200) == (401, "")
    assert (await said(lab, f"{url}/", 401))[1].startswith("https://login.example/?rd=")
    assert await said(lab, f"{url}/other", 401) == (302, "https://other.example/?rd=x")
    assert await said(lab, f"{url}/open", 401) == (200, "")
    assert await said(lab, f"{url}/other", 401, method="OPTIONS") == (401, "")
    call = await lab.ask(
        f"{url}/other", "POST", gateway=gateway_of("nginx")[1], headers={"content-type": "application/grpc+proto"}
    )
    assert (call.headers["grpc-status"], "location" in call.headers) == ("16", False)
    preflight = {"origin": "https://app.example", "access-control-request-method": "PUT"}
    judge.seen.clear()
    answer = await lab.ask("http://crossed.test/", "OPTIONS", gateway=gateway_of("nginx")[1], headers=preflight)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert not judge.seen


async def test_how_the_service_is_asked(lab: GatewayLab, judge: Backend) -> None:
    kinds: Mapping[str, tuple[Mapping[str, str], str, str]] = {
        "by GET": ({}, "GET", "/a?b"),
        "by HEAD": ({"auth-method": "HEAD"}, "HEAD", "/a?b"),
        "where to come back to": (
            {"auth-method": "POST", "auth-request-redirect": "https://$http_host/x?from=$escaped_request_uri"},
            "POST",
            "https://how2.test/x?from=%2Fa%3Fb",
        ),
    }
    objects = [ingress(f"how{at}", {"/": "one"}, {"auth-url": URL, **kinds[case][0]}) for at, case in enumerate(kinds)]
    await lab.apply(text(*CLASSES, *objects))
    await opened(lab, "nginx")
    for at, (_, method, redirect) in enumerate(kinds.values()):
        judge.seen.clear()
        passed = await lab.ask(
            f"http://how{at}.test/a?b", "PUT", gateway=gateway_of("nginx")[1], headers={"cookie": "want=204"}, body=b"x"
        )
        assert (passed.status, passed.json["method"]) == (200, "PUT")
        (asked,) = judge.seen
        told = {name: asked["headers"][name] for name in ("x-original-method", "x-auth-request-redirect")}
        assert (asked["method"], told) == (method, {"x-original-method": "PUT", "x-auth-request-redirect": redirect})
    told = {
        "x-key": "k",
        "accept": "text/x",
        "accept-encoding": "gzip",
        "range": "bytes=0-1",
        "x-user": "root",
        "host": "how0.test",
    }
    more = {"x-fairlead-scope": "s", "x-envoy-max-retries": "9", "if-none-match": "*", "te": "trailers"}
    await lab.ask("http://how0.test/", "POST", gateway=gateway_of("nginx")[1], headers=told | more, body=b"x" * 9)
    heard = judge.seen[-1]["headers"]
    assert {each for each in (*told, *more) if each in heard} == {"x-key", "accept", "x-user", "host"}
    assert (judge.seen[-1]["method"], heard["content-length"], heard["host"]) == ("GET", "0", "how0.test")
    objects = [
        ingress("own", {"/": "one"}, {f"haproxy-ingress.github.io/auth-{name}": value for name, value in each.items()}, of="haproxy")
        for each in (
            {"url": "svc://judge:80/check", "headers-succeed": "-", "method": "*", "signin": "https://login.example/?rd=http%%3A//%[req.hdr(host)]%[pathq,url_enc]"},
        )
    ]  # fmt: skip
    await lab.apply(text(*CLASSES, *objects))
    await opened(lab, "haproxy")
    wanted = "https://login.example/?rd=http%3A//own.test%2Fa%3Fb"
    assert await said(lab, "http://own.test/a?b", 401, of="haproxy", method="PUT") == (302, wanted)
    assert judge.seen[-1]["method"] == "PUT"


async def test_what_the_service_is_told_by_a_configmap(lab: GatewayLab, judge: Backend) -> None:
    def configmap(data: Mapping[str, str], namespace: str = "default") -> dict[str, Any]:
        return {"kind": "ConfigMap", "metadata": {"name": "told", "namespace": namespace}, "data": dict(data)}

    wishes = {"auth-url": URL, "auth-proxy-set-headers": "default/told", "auth-response-headers": "x-user"}
    both = ingress("by-map", {"/": "one"}, {**wishes, "custom-headers": "told"})
    await lab.apply(text(*CLASSES, both))
    await opened(lab, "nginx")
    url = "http://by-map.test/"
    assert await said(lab, url, 200) == (500, "")
    assert "there is no ConfigMap default/told" in " ".join(lab.complaints("Ingress/default/by-map"))
    for value in ("a", "%REQ(host)% b"):
        await lab.apply(text(configmap({"X-Tenant": value})))
        assert await said(lab, url, 200, headers={"x-tenant": "root"}) == (200, "")
        assert judge.seen[-1]["headers"]["x-tenant"] == value
    for data, words in (
        ({"X-Tenant": "$http_x"}, "data[X-Tenant] must have no variables"),
        ({"X-Fairlead-Asks": "!GET"}, "x-fairlead-asks is the proxy's own matter"),
        ({"Transfer-Encoding": "chunked"}, "data[Transfer-Encoding]"),
    ):
        await lab.apply(text(configmap(data)))
        assert await said(lab, url, 200) == (500, "")
        assert words in " ".join(lab.complaints("Ingress/default/by-map"))
    abroad = ingress("by-map", {"/": "one"}, {**wishes, "auth-proxy-set-headers": "team/told"})
    await lab.apply(text(abroad, configmap({"X-Tenant": "t"}, "team")))
    assert await said(lab, url, 200) == (500, "")
    source = {"group": "networking.k8s.io", "kind": "Ingress", "namespace": "default"}
    spec = {"from": [source], "to": [{"group": "", "kind": "ConfigMap"}]}
    await lab.apply(text({"kind": "ReferenceGrant", "metadata": {"name": "g", "namespace": "team"}, "spec": spec}))
    assert await said(lab, url, 200) == (200, "")
    assert judge.seen[-1]["headers"]["x-tenant"] == "t"


WRONG: Mapping[str, tuple[Mapping[str, str], str]] = {
    "an unknown variable": ({"auth-signin": "https://a.example/?rd=$arg_x"}, "$arg_x is none of"),
    "a variable in the path": ({"auth-signin": "https://a.example$request_uri"}, "is no URL or absolute path"),
    "a variable in the host": ({"auth-signin": "https://$host.evil.example/"}, "is no URL or absolute path"),
    "another host behind a name": ({"auth-signin": "https://$host@evil.example/"}, "is no URL or absolute path"),
    "another scheme": ({"auth-signin": "javascript://a/?rd=$host"}, "is no URL or absolute path"),
    "no scheme": ({"auth-signin": "//evil.example/"}, "is no URL or absolute path"),
    "a line's end": ({"auth-signin": "https://a.example/\nSet-Cookie: a"}, "is no URL or absolute path"),
    "a parameter": (
        {"auth-signin": "https://a.example/", "auth-signin-redirect-param": "a=b"},
        "no name of a parameter",
    ),
    "a method": ({"auth-method": "DELETE"}, "is none of GET, HEAD, POST"),
    "a redirect": ({"auth-request-redirect": "$host.evil.example"}, "is no URL or absolute path"),
}


async def test_what_cannot_be_honored_closes(lab: GatewayLab, judge: Backend) -> None:
    objects = [ingress(f"wrong{at}", {"/": "one"}, {"auth-url": URL, **given}) for at, (given, _) in enumerate(WRONG.values())]  # fmt: skip
    objects.append(ingress("alone", {"/": "one"}, {"auth-signin": "https://a.example/"}))
    await lab.apply(text(*CLASSES, *objects))
    await opened(lab, "nginx")
    for at, (case, (_, words)) in enumerate(WRONG.items()):
        assert (case, *await said(lab, f"http://wrong{at}.test/", 200)) == (case, 500, "")
        assert any(words in each for each in lab.complaints(f"Ingress/default/wrong{at}")), case
    assert await said(lab, "http://alone.test/", 200) == (500, "")


FIELDS: Mapping[str, tuple[str, str]] = {
    "method": ("method: PUT", "spec.extAuth.http.method: 'PUT' is none of"),
    "signIn": ("signIn: {url: 'ftp://a'}", "spec.extAuth.http.signIn.url: 'ftp://a' is no URL"),
    "a parameter": ("signIn: {url: /a, redirectParam: 'a b'}", "spec.extAuth.http.signIn.redirectParam: 'a b'"),
    "requestRedirect": ("requestRedirect: $x", "spec.extAuth.http.requestRedirect: '$x' is no URL"),
    "a header of the proxy's": ("headers: [{name: Content-Length, value: '9'}]", "content-length is the proxy's own matter"),
    "what the script reads": ("headers: [{name: x-fairlead-asks, value: '!GET'}]", "x-fairlead-asks is the proxy's own matter"),
    "a value": ('headers: [{name: a, value: "a\\nb"}]', "spec.extAuth.http.headers[0].value"),
}  # fmt: skip


async def test_policies_say_what_is_wrong(lab: GatewayLab, judge: Backend) -> None:
    http = "http: {backendRef: {name: judge, port: 80}, "
    for case, (field, words) in FIELDS.items():
        await lab.apply(route("told") + policy("told", f"extAuth: {{{http}{field}}}}}"))
        assert (case, *await said(lab, "http://told.example.com/", 200, of="")) == (case, 500, "")
        assert any(words in each for each in lab.complaints("SecurityPolicy/default/told")), case
    await lab.apply(
        policy(
            "told",
            f"extAuth: {{{http}path: /p, headers: [{{name: X-Key, value: 'k%REQ(:PATH)%'}}, {{name: cookie, value: want=200}}]}}}}",
        )
    )
    assert await said(lab, "http://told.example.com/", 401, of="") == (200, "")
    assert (judge.seen[-1]["path"], judge.seen[-1]["headers"]["x-key"]) == ("/p/", "k%REQ(:PATH)%")


async def test_hosts_that_nobody_names(lab: GatewayLab, judge: Backend) -> None:
    wishes = {"auth-url": URL, "auth-signin": "https://login.example/?rd=$scheme://$http_host$uri"}
    await lab.apply(text(*CLASSES, ingress("any", {"/": "one"}, wishes, host="")))
    await opened(lab, "nginx")
    for host, wanted in (
        ("A.example:8080", "a.example:8080"), ("[::1]:81", "[::1]:81"), ("192.0.2.1", "192.0.2.1"), ("a_b.example", "a_b.example"),
        ("a!b.example", ""), ("a,b", ""),
    ):  # fmt: skip
        head = await raw(lab, f"GET /a?b HTTP/1.1\r\nHost: {host}\r\n\r\n")
        found = re.findall(r"(?m)^location: (.*)\r$", head)
        assert found == ([f"https://login.example/?rd=http://{wanted}/a"] if wanted else []), head
        assert head.startswith("HTTP/1.1 302 " if wanted else "HTTP/1.1 401 "), head
    # An agent that starts reads what the former one wrote.
    plan = lab.plan
    assert from_data(msgspec.json.decode(msgspec.json.encode(to_data(plan)))).tables == plan.tables
