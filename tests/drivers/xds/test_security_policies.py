"""SecurityPolicies by real requests: who passes, who does not, and that nobody does where a policy cannot be had."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.jose import Issuer
from tests.drivers.xds.load import until
from tests.drivers.xds.requestpolicies import GROUP, policy, route, secret, status_from

from fairlead.model.gateway import tokens
from fairlead.plan.render import render

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEW_AND_MANY = True


def sha(password: str) -> str:
    return "{SHA}" + base64.b64encode(hashlib.sha1(password.encode(), usedforsecurity=False).digest()).decode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


ADDRESSES = {
    "allowed": ("{allow: [127.0.0.2/32, '::1/128']}", {"127.0.0.1": 403, "127.0.0.2": 200, "::1": 200}),
    "denied": ("{deny: [127.0.0.2/31]}", {"127.0.0.1": 200, "127.0.0.2": 403, "127.0.0.3": 403, "::1": 200}),
    "denied before allowed": ("{allow: [127.0.0.0/8], deny: [127.0.0.2/32]}", {"127.0.0.2": 403, "127.0.0.4": 200}),
    "IPv6 denied": ("{deny: ['::/0']}", {"127.0.0.1": 200, "::1": 403}),
    "nobody allowed": ("{allow: []}", {"127.0.0.1": 403, "::1": 403}),
}


@pytest.mark.parametrize("case", ADDRESSES, ids=str)
async def test_addresses_of_clients(lab: GatewayLab, case: str) -> None:
    spec, wanted = ADDRESSES[case]
    await lab.apply(route("cidr") + policy("cidr", f"clientCIDRs: {spec}"))
    forged = {"X-Forwarded-For": "127.0.0.2, 127.0.0.4"}
    found = {each: await status_from(lab, each, "cidr.example.com", **forged) for each in wanted}
    assert found == wanted


async def test_users_and_passwords(lab: GatewayLab) -> None:
    users = secret("users", __htpasswd=f"ann:{sha('p1')}")
    await lab.apply(
        users + route("basic") + policy("basic", "basicAuth: {users: {name: users}, forwardUsernameHeader: x-user}")
    )
    url = "http://basic.example.com/"
    refused = await lab.ask(url)
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Basic realm=")
    assert (await lab.ask(url, headers=basic("ann", "p2"))).status == 401
    answer = await lab.ask(url, headers={**basic("ann", "p1"), "x-user": "root"})
    assert (answer.status, answer.json["headers"]["x-user"]) == (200, "ann")
    await lab.apply(secret("users", __htpasswd=f"ann:{sha('p2')}"))
    found = [(await lab.ask(url, headers=basic("ann", each))).status for each in ("p1", "p2")]
    assert found == [401, 200]


BAD_SECRETS = {
    "there is no Secret": "",
    "only SHA-1 hashes": secret("bad", auth="ann:$apr1$abcdefgh$WdXcZ3Yk8pBEp3QF7vT6z1"),
    "not of the form": secret("bad", auth="nothing"),
    "is missing": secret("bad", other="x"),
    "there twice": secret("bad", auth=f"ann:{sha('a')}\n    ann:{sha('b')}"),
}


@pytest.mark.parametrize("case", BAD_SECRETS, ids=str)
async def test_nobody_passes_while_users_are_unknown(lab: GatewayLab, case: str) -> None:
    await lab.apply(
        BAD_SECRETS[case] + route("bad-users") + policy("bad-users", "basicAuth: {users: {name: bad}}"), fails=False
    )
    assert (await lab.ask("http://bad-users.example.com/", headers=basic("ann", "a"))).status == 500
    assert any(case in each for each in lab.complaints("SecurityPolicy/default/bad-users"))
    await lab.delete("Credentials", "bad")


async def test_keys_of_clients(lab: GatewayLab) -> None:
    keys = secret("keys", alice="key-of-alice", bob="key-of-bob")
    spec = (
        "apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: {headers: [x-key], params: [key], cookies: [key]}, "
        "forwardClientIDHeader: x-client, sanitize: true}"
    )
    await lab.apply(keys + route("keys") + policy("keys", spec))
    asked: list[tuple[str, dict[str, str]]] = [
        ("/", {"x-key": "key-of-alice"}),
        ("/?key=key-of-bob", {}),
        ("/", {"cookie": "key=key-of-bob"}),
        ("/", {"x-key": "key-of-eve"}),
        ("/", {"x-client": "alice"}),
    ]
    found = [await lab.ask(f"http://keys.example.com{path}", headers=headers) for path, headers in asked]
    assert [each.status for each in found] == [200, 200, 200, 401, 401]
    assert [each.json["headers"]["x-client"] for each in found[:3]] == ["alice", "bob", "bob"]
    assert all("key-of" not in each.body.decode() for each in found)


async def test_a_key_without_a_place_is_looked_for_in_x_api_key(lab: GatewayLab) -> None:
    await lab.apply(
        secret("plain-keys", a="k1")
        + route("plain")
        + policy("plain", "apiKeyAuth: {credentialRefs: [{name: plain-keys}]}")
    )
    found = [(await lab.ask("http://plain.example.com/", headers={"X-API-Key": each})).status for each in ("k1", "k2")]
    assert found == [200, 401]


ANN, EVE = Issuer("https://ann.example"), Issuer("https://ann.example")


def provider(issuer: Issuer, more: str = "", name: str = "ann") -> str:
    return f"{{name: {name}, issuer: {issuer.issuer}, localJWKS: {{inline: '{issuer.jwks}'}}{more}}}"


async def test_tokens(lab: GatewayLab) -> None:
    more = (
        ", audiences: [shop], claimToHeaders: [{claim: sub, header: x-sub}, {claim: org.name, header: x-org}], "
        "requiredClaims: [{name: groups, values: [dev, ops]}], requiredScopes: [read, write]"
    )
    await lab.apply(route("jwt") + policy("jwt", f"jwt: {{providers: [{provider(ANN, more)}]}}"))
    good: dict[str, Any] = {
        "sub": "joe", "aud": "shop", "groups": ["dev"], "scope": "read write", "org": {"name": "acme"},
    }  # fmt: skip
    cases: dict[str, tuple[Issuer, dict[str, Any], int]] = {
        "good": (ANN, {}, 200),
        "one value": (ANN, {"groups": "ops"}, 200),
        "other claim": (ANN, {"groups": ["sales"]}, 403),
        "no claim": (ANN, {"groups": None}, 403),
        "scope missing": (ANN, {"scope": "read"}, 403),
        "other audience": (ANN, {"aud": "bank"}, 403),
        "expired": (ANN, {"exp": 1}, 401),
        "never expires": (ANN, {"exp": None}, 401),
        "other issuer": (ANN, {"iss": "https://bob.example"}, 401),
        "forged": (EVE, {}, 401),
    }
    url = "http://jwt.example.com/"
    found = {
        name: (await lab.ask(url, headers=bearer(issuer.token(**{**good, **claims})))).status
        for name, (issuer, claims, _) in cases.items()
    }
    assert found == {name: wanted for name, (_, _, wanted) in cases.items()}
    assert (await lab.ask(url)).status == 401
    assert (await lab.ask(f"{url}?access_token={ANN.token(**good)}")).status == 401
    headers = bearer(ANN.token(**good)) | {"x-sub": "root", "x-org": "root"}
    seen = (await lab.ask(url, headers=headers)).json["headers"]
    assert (seen["x-sub"], seen["x-org"]) == ("joe", "acme")


async def test_tokens_may_be_missing_where_they_are_optional(lab: GatewayLab) -> None:
    more = ", requiredClaims: [{name: sub, values: [joe]}], claimToHeaders: [{claim: sub, header: x-sub}]"
    await lab.apply(route("maybe") + policy("maybe", f"jwt: {{optional: true, providers: [{provider(ANN, more)}]}}"))
    tokens = [bearer(ANN.token(sub="joe")), bearer(ANN.token(sub="jim")), bearer(EVE.token(sub="joe"))]
    found = [(await lab.ask("http://maybe.example.com/", headers=each)).status for each in tokens]
    assert found == [200, 403, 401]
    answer = await lab.ask("http://maybe.example.com/", headers={"x-sub": "joe"})
    assert answer.status == 200
    assert "x-sub" not in answer.json["headers"]


async def test_keys_for_tokens_from_a_service(lab: GatewayLab) -> None:
    keys = await lab.backend("jwks")
    keys.respond = lambda _: web.Response(text=ANN.jwks)
    remote = f"{{name: r, issuer: {ANN.issuer}, remoteJWKS: {{backendRef: {{name: jwks, port: 80}}, path: /keys}}}}"
    await lab.apply(route("remote") + policy("remote", f"jwt: {{providers: [{remote}]}}"))
    found = [
        (await lab.ask("http://remote.example.com/", headers=bearer(each.token()))).status for each in (ANN, EVE, ANN)
    ]
    assert found == [200, 401, 200]
    assert {each["path"] for each in keys.seen} == {"/keys"}
    assert keys.seen[0]["headers"]["host"] == "jwks.default.svc"


def keys_of(*issuers: Issuer) -> str:
    """A ConfigMap with the keys of some issuers."""
    keys = [key for each in issuers for key in json.loads(each.jwks)["keys"]]
    data = {"jwks": json.dumps({"keys": keys})}
    return yaml.safe_dump({"kind": "ConfigMap", "metadata": {"name": "jwks"}, "data": data})


async def test_keys_for_tokens_from_a_configmap(lab: GatewayLab) -> None:
    local = f"{{name: l, issuer: {ANN.issuer}, localJWKS: {{valueRef: {{kind: ConfigMap, name: jwks}}}}}}"
    await lab.apply(route("local") + policy("local", f"jwt: {{providers: [{local}]}}"))

    async def statuses() -> list[int]:
        url = "http://local.example.com/"
        return [(await lab.ask(url, headers=bearer(each.token()))).status for each in (ANN, EVE)]

    bad = {
        "there is no ConfigMap default/jwks": "",
        "data[jwks] is missing": "kind: ConfigMap\nmetadata: {name: jwks}\ndata: {other: x}\n",
        "holds a private or symmetric key": keys_of(ANN).replace('"kty"', '"d": "x", "kty"'),
        "data[jwks]: a JSON object with a list of 1 to 64 keys": keys_of(),
    }
    for words, text in bad.items():
        await lab.apply(text)
        assert await statuses() == [500, 500]
        assert any(words in each for each in lab.complaints("SecurityPolicy/default/local")), words
    await lab.apply(keys_of(ANN))
    assert await statuses() == [200, 401]
    await lab.apply(keys_of(EVE))
    assert await statuses() == [401, 200]
    await lab.delete("ConfigMap", "jwks")
    assert await statuses() == [500, 500]


async def test_other_keys_for_tokens_lose_no_request(lab: GatewayLab) -> None:
    old, new = Issuer("https://turns.example", "old"), Issuer("https://turns.example", "new")
    local = f"{{name: l, issuer: {old.issuer}, localJWKS: {{valueRef: {{kind: ConfigMap, name: jwks}}}}}}"
    await lab.apply(keys_of(old) + "---" + route("turns") + policy("turns", f"jwt: {{providers: [{local}]}}"))
    signer, done = old, False
    found: list[int] = []

    async def ask() -> None:
        while not done:
            found.append((await lab.ask("http://turns.example.com/", headers=bearer(signer.token()))).status)

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    try:
        for _ in range(5):
            # Both while tokens of either are under way, as an issuer does it.
            await lab.apply(keys_of(old, new))
            signer = new
            at = len(found)
            await until(lambda at=at: len(found) > at + 8)
            await lab.apply(keys_of(new))
            old, new = new, old
    finally:
        done = True
        await asyncio.gather(*asking)
    assert set(found) == {200}


BAD_JWKS = {
    "no JSON": "nonsense",
    "a list of 1 to 64 keys": '{"keys": []}',
    "a symmetric key is a secret": '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
    "no key of type EC": '{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}',
    "kty must be one of": '{"keys": [{"kty": "DSA"}]}',
    "no key of type RSA": '{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}',
}


@pytest.mark.parametrize("case", BAD_JWKS, ids=str)
async def test_keys_that_are_none_close_their_route_alone(lab: GatewayLab, case: str) -> None:
    spec = f"jwt: {{providers: [{{name: a, issuer: i, localJWKS: {{inline: '{BAD_JWKS[case]}'}}}}]}}"
    await lab.apply(route("open") + route("bad-jwks") + policy("bad-jwks", spec))
    assert (await lab.ask("http://bad-jwks.example.com/", headers=bearer(ANN.token()))).status == 500
    assert (await lab.ask("http://open.example.com/")).status == 200
    assert any(case in each for each in lab.complaints("SecurityPolicy/default/bad-jwks"))


async def test_a_server_of_http_decides(lab: GatewayLab) -> None:
    guard = await lab.backend("guard")

    def decide(request: Any) -> web.Response:
        if request["headers"].get("x-token") == "t":
            known = {"x-user": "joe"} if "x-known" not in request["headers"] else {}
            return web.Response(headers={**known, "x-other": "no"})
        return web.Response(status=302, headers={"location": "https://login.example", "x-why": "w", "x-other": "no"})

    guard.respond = decide
    spec = (
        "extAuth: {headersToExtAuth: [x-token, x-known], http: {backendRef: {name: guard, port: 80}, path: /check, "
        "headersToBackend: [x-user], headersToClient: [x-why]}}"
    )
    await lab.apply(route("ext") + policy("ext", spec))
    refused = await lab.ask("http://ext.example.com/a?b=c", headers={"x-secret": "s"})
    told = [refused.headers.get(each) for each in ("location", "x-why", "x-other")]
    assert (refused.status, told) == (302, ["https://login.example", "w", None])
    assert guard.seen[-1]["path"] == "/check/a?b=c"
    assert guard.seen[-1]["headers"]["host"] == "ext.example.com"
    assert "x-secret" not in guard.seen[-1]["headers"]
    answer = await lab.ask("http://ext.example.com/", headers={"x-token": "t", "x-user": "root"})
    seen = answer.json["headers"]
    assert (answer.status, seen["x-user"], "x-other" in seen) == (200, "joe", False)
    # What the server does not say, nobody says in its place.
    answer = await lab.ask("http://ext.example.com/", headers={"x-token": "t", "x-user": "root", "x-known": "1"})
    assert (answer.status, "x-user" in answer.json["headers"]) == (200, False)


async def test_a_server_of_http_is_asked_by_a_path_of_its_own(lab: GatewayLab) -> None:
    gate = await lab.backend("gate")
    gate.respond = lambda seen: (
        web.Response(headers={"set-cookie": "s=1", "x-other": "no"})
        if "x-original-url" in seen["headers"] and "bad" not in seen["headers"]["x-original-url"]
        else web.Response(status=401)
    )
    spec = (
        "extAuth: {http: {backendRef: {name: gate, port: 80}, replaceFullPath: '/check?groups=a', "
        "headersToClientOnSuccess: [set-cookie]}}"
    )
    await lab.apply(route("own-path") + policy("own-path", spec))
    lies = {"x-original-url": "http://good.example/", "x-original-method": "HEAD", "x-auth-request-redirect": "/"}
    answer = await lab.ask("http://own-path.example.com/a?b=c", "POST", headers=lies, body=b"x" * 9)
    assert (answer.status, answer.json["method"], answer.json["path"]) == (200, "POST", "/a?b=c")
    assert not {*lies} & {*answer.json["headers"]}
    assert (answer.headers["set-cookie"], "x-other" in answer.headers) == ("s=1", False)
    (asked,) = gate.seen
    assert (asked["method"], asked["path"]) == ("POST", "/check?groups=a")
    assert {name: asked["headers"][name] for name in lies} == {
        "x-original-url": "http://own-path.example.com/a?b=c",
        "x-original-method": "POST",
        "x-auth-request-redirect": "/a?b=c",
    }
    assert (await lab.ask("http://own-path.example.com/bad", headers=lies)).status == 401
    await lab.apply(policy("own-path", spec.replace("replaceFullPath", "path: /a, replaceFullPath")))
    assert (await lab.ask("http://own-path.example.com/")).status == 500
    assert "exclude each other" in lab.complaints("SecurityPolicy/default/own-path")[0]


async def test_nobody_passes_while_the_server_that_decides_does_not_answer(lab: GatewayLab) -> None:
    await lab.serve("gone")
    for name, more in (("shut", ""), ("ajar", ", failOpen: true")):
        spec = f"extAuth: {{http: {{backendRef: {{name: gone, port: 80}}}}{more}}}"
        await lab.apply(route(name) + policy(name, spec))
    found = [(await lab.ask(f"http://{each}.example.com/")).status for each in ("shut", "ajar")]
    assert found == [503, 200]
    await lab.apply(route("lost") + policy("lost", "extAuth: {http: {backendRef: {name: nowhere, port: 80}}}"))
    assert (await lab.ask("http://lost.example.com/")).status == 500
    assert lab.complaints("SecurityPolicy/default/lost") == [
        "spec.extAuth.http.backendRef: there is no Service default/nowhere with endpoints"
    ]
    await lab.backend("nowhere")
    assert (await lab.ask("http://lost.example.com/")).status == 200


@pytest_asyncio.fixture(loop_scope="module")
async def grpc_guard(lab: GatewayLab) -> AsyncIterator[list[Any]]:
    """A service of envoy.service.auth.v3 that lets method GET pass; what it was asked."""
    from envoy.config.core.v3 import base_pb2
    from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
    from envoy.type.v3 import http_status_pb2
    from google.rpc import status_pb2

    seen: list[Any] = []

    class Guard(external_auth_pb2_grpc.AuthorizationServicer):  # type: ignore[misc]
        async def Check(self, request: Any, _: Any) -> Any:  # noqa: N802
            seen.append(request)
            if request.attributes.request.http.method == "GET":
                header = base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key="x-user", value="joe"))
                return external_auth_pb2.CheckResponse(
                    status=status_pb2.Status(code=0), ok_response=external_auth_pb2.OkHttpResponse(headers=[header])
                )
            denied = external_auth_pb2.DeniedHttpResponse(status=http_status_pb2.HttpStatus(code=402), body="pay")
            return external_auth_pb2.CheckResponse(status=status_pb2.Status(code=7), denied_response=denied)

    server = grpc.aio.server()
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(Guard(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await lab.serve("grpc-guard", port)
    yield seen
    await server.stop(None)


async def test_a_service_of_grpc_decides(lab: GatewayLab, grpc_guard: list[Any]) -> None:
    spec = "extAuth: {grpc: {backendRef: {name: grpc-guard, port: 80}}, bodyToExtAuth: {maxRequestBytes: 10}}"
    await lab.apply(route("ext-grpc") + policy("ext-grpc", spec))
    answer = await lab.ask("http://ext-grpc.example.com/x", headers={"x-h": "v"})
    assert (answer.status, answer.json["headers"]["x-user"]) == (200, "joe")
    assert grpc_guard[-1].attributes.request.http.headers["x-h"] == "v"
    refused = await lab.ask("http://ext-grpc.example.com/x", "POST", body=b"0123456789")
    assert (refused.status, refused.body) == (402, b"pay")
    assert grpc_guard[-1].attributes.request.http.body == "0123456789"
    assert (await lab.ask("http://ext-grpc.example.com/x", "POST", body=b"0123456789a")).status == 413


async def test_a_filter_of_the_route_decides_before_policies(lab: GatewayLab, grpc_guard: list[Any]) -> None:
    never = await lab.backend("never")
    never.respond = lambda _: web.Response(status=418)
    by_http = (
        "{protocol: HTTP, backendRef: {name: own, port: 80}, "
        "http: {path: /p, allowedHeaders: [x-token], allowedResponseHeaders: [x-user]}}"
    )
    by_grpc = "{protocol: GRPC, backendRef: {name: grpc-guard, port: 80}, grpc: {allowedHeaders: [x-token]}}"
    lost = "{protocol: GRPC, backendRef: {name: lost-guard, port: 80}}"
    rules = ", ".join(
        f"{{matches: [{{path: {{value: /{name}}}}}], filters: [{{type: ExternalAuth, externalAuth: {wanted}}}], "
        "backendRefs: [{name: one, port: 80}]}"
        for name, wanted in (("http", by_http), ("grpc", by_grpc))
    )
    own = await lab.backend("own")
    own.respond = lambda request: web.Response(
        status=200 if "x-token" in request["headers"] else 401, headers={"x-user": "j"}
    )
    spec = "extAuth: {http: {backendRef: {name: never, port: 80}}}"
    await lab.apply(
        route("filtered", f"[{rules}, {{backendRefs: [{{name: one, port: 80}}]}}]") + policy("filtered", spec)
    )
    url = "http://filtered.example.com"
    headers = {"x-token": "t", "x-other": "o"}
    answer = await lab.ask(f"{url}/http", headers=headers)
    assert (answer.status, answer.json["headers"]["x-user"]) == (200, "j")
    assert (own.seen[-1]["path"], "x-other" in own.seen[-1]["headers"]) == ("/p/http", False)
    assert (await lab.ask(f"{url}/http")).status == 401
    assert (await lab.ask(f"{url}/grpc", headers=headers)).status == 200
    assert "x-other" not in grpc_guard[-1].attributes.request.http.headers
    assert (await lab.ask(f"{url}/grpc", "POST")).status == 402
    assert (await lab.ask(f"{url}/other")).status == 418
    rule = f"{{filters: [{{type: ExternalAuth, externalAuth: {lost}}}], backendRefs: [{{name: one, port: 80}}]}}"
    await lab.apply(route("lost-filter", f"[{rule}]"))
    assert (await lab.ask("http://lost-filter.example.com/")).status == 500


RULES = {
    "the first that fits": (
        "{defaultAction: Deny, rules: [{action: Deny, principal: {headers: [{name: x-team, values: [a]}]}}, "
        "{action: Allow, operation: {methods: [GET, HEAD]}}]}",
        [("GET", {}, 200), ("POST", {}, 403), ("GET", {"x-team": "a"}, 403), ("GET", {"x-team": "b"}, 200)],
    ),
    "all but some": (
        "{defaultAction: Allow, rules: [{action: Allow, principal: {headers: [{name: x-team, values: [a]}]}}, "
        "{action: Deny, operation: {methods: [DELETE]}}]}",
        [("GET", {}, 200), ("DELETE", {}, 403), ("DELETE", {"x-team": "a"}, 200)],
    ),
    "nothing said": ("{}", [("GET", {}, 403)]),
    "addresses": (
        "{rules: [{action: Allow, principal: {clientCIDRs: [127.0.0.0/8], headers: [{name: x-t, values: [b, c]}]}}]}",
        [("GET", {}, 403), ("GET", {"x-t": "c"}, 200)],
    ),
}


@pytest.mark.parametrize("case", RULES, ids=str)
async def test_rules_of_who_may_do_what(lab: GatewayLab, case: str) -> None:
    spec, wanted = RULES[case]
    await lab.apply(route("rules") + policy("rules", f"authorization: {spec}"))
    found = [
        (method, headers, (await lab.ask("http://rules.example.com/", method, headers=headers)).status)
        for method, headers, _ in wanted
    ]
    assert found == wanted


async def test_rules_about_tokens(lab: GatewayLab) -> None:
    rules = (
        "[{action: Deny, principal: {jwt: {provider: ann, claims: [{name: sub, values: [mallory]}]}}}, "
        "{action: Allow, principal: {jwt: {provider: ann, scopes: [read]}}, operation: {methods: [GET]}}]"
    )
    spec = f"jwt: {{providers: [{provider(ANN)}]}}\n  authorization: {{rules: {rules}}}"
    await lab.apply(route("claims") + policy("claims", spec))
    cases: list[tuple[str, dict[str, str], int]] = [
        ("GET", {"sub": "joe", "scope": "x read"}, 200),
        ("POST", {"sub": "joe", "scope": "read"}, 403),
        ("GET", {"sub": "joe", "scope": "x"}, 403),
        ("GET", {"sub": "mallory", "scope": "read"}, 403),
    ]
    found = [
        (await lab.ask("http://claims.example.com/", method, headers=bearer(ANN.token(**claims)))).status
        for method, claims, _ in cases
    ]
    assert found == [wanted for _, _, wanted in cases]


async def test_the_most_exact_policy_decides_each_check(lab: GatewayLab) -> None:
    rules = (
        "[{name: plain, backendRefs: [{name: one, port: 80}]}, "
        "{name: open, matches: [{path: {value: /open}}], backendRefs: [{name: one, port: 80}]}]"
    )
    gateway = "kind: Gateway\nmetadata: {name: strict}\nspec: {gatewayClassName: fairlead, listeners: [{name: a, port: 80, protocol: HTTP}]}\n"
    await lab.apply(
        gateway
        + secret("g-users", auth=f"ann:{sha('g')}")
        + secret("r-users", auth=f"ann:{sha('r')}")
        + route("own", rules, gateway="strict")
        + route("other", gateway="strict")
        + policy(
            "g",
            "basicAuth: {users: {name: g-users}}\n  clientCIDRs: {deny: [127.0.0.2/32]}",
            target="strict",
            of="Gateway",
        )
        + policy("r", "basicAuth: {users: {name: r-users}}", target="own")
        + f"""
---
kind: SecurityPolicy
metadata: {{name: s}}
spec: {{targetRefs: [{{group: {GROUP}, kind: HTTPRoute, name: own, sectionName: open}}], exempt: [basicAuth]}}
"""
    )
    cases = {
        ("other", "/", "g"): 200,
        ("other", "/", "r"): 401,
        ("own", "/", "r"): 200,
        ("own", "/", "g"): 401,
        ("own", "/open", ""): 200,
    }
    found = {
        (host, path, password): (
            await lab.ask(f"http://{host}.example.com{path}", gateway="strict", headers=basic("ann", password))
        ).status
        for host, path, password in cases
    }
    assert found == cases
    # What nobody else says something about holds for all.
    for host, path in (("other", "/"), ("own", "/open")):
        assert await status_from(lab, "127.0.0.2", f"{host}.example.com", path=path, gateway="strict") == 403


async def test_a_redirect_asks_for_no_password(lab: GatewayLab) -> None:
    rules = "[{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}]"
    spec = "basicAuth: {users: {name: users}}\n  clientCIDRs: {deny: [127.0.0.2/32]}"
    await lab.apply(secret("users", auth=f"ann:{sha('x')}") + route("redirected", rules) + policy("redirected", spec))
    found = [await status_from(lab, each, "redirected.example.com") for each in ("127.0.0.1", "127.0.0.2")]
    assert found == [302, 403]


async def test_a_preflight_needs_no_password(lab: GatewayLab) -> None:
    rules = "[{filters: [{type: CORS, cors: {allowOrigins: ['https://app.example']}}], backendRefs: [{name: one, port: 80}]}]"
    spec = "basicAuth: {users: {name: users}}"
    await lab.apply(secret("users", auth=f"ann:{sha('x')}") + route("cors-auth", rules) + policy("cors-auth", spec))
    headers = {"origin": "https://app.example", "access-control-request-method": "GET"}
    seen = len(lab.backends["one"].seen)
    preflight = await lab.ask("http://cors-auth.example.com/", "OPTIONS", headers=headers)
    refused = await lab.ask("http://cors-auth.example.com/", headers={"origin": "https://app.example"})
    assert (preflight.status, refused.status) == (200, 401)
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    assert len(lab.backends["one"].seen) == seen


async def test_a_policy_changes_no_listener_and_goes_without_a_trace(lab: GatewayLab) -> None:
    await lab.apply(route("later"))
    # A changed listener would close the connection after the next answer.
    connection = http.client.HTTPConnection("127.0.0.1", lab.ports["web", 80], timeout=10)

    def ask() -> int:
        connection.request("GET", "/", headers={"Host": "later.example.com"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    connection.auto_open = 0
    connection.connect()
    found = [await asyncio.to_thread(ask)]
    await lab.apply(policy("later", f"clientCIDRs: {{allow: []}}\n  jwt: {{providers: [{provider(ANN)}]}}"))
    found.append(await asyncio.to_thread(ask))
    await lab.delete("SecurityPolicy", "later")
    found.append(await asyncio.to_thread(ask))
    connection.close()
    assert found == [200, 403, 200]


async def test_what_cannot_be_understood_closes(lab: GatewayLab) -> None:
    await lab.apply(route("garbled") + policy("garbled", "clientCIDRs: {allow: 7}"))
    assert (await lab.ask("http://garbled.example.com/")).status == 500
    assert lab.complaints("SecurityPolicy/default/garbled") == [
        "spec.clientCIDRs.allow: Expected `array | null`, got `int`"
    ]


async def test_keys_that_only_envoy_finds_wrong_harm_no_other_policy(
    lab: GatewayLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "check", lambda *_: None)
    bad = "jwt: {providers: [{name: a, issuer: i, localJWKS: {inline: nonsense}}]}"
    names = ("first", "wrong", "second")
    specs = [f"jwt: {{providers: [{provider(ANN)}]}}", bad, f"jwt: {{providers: [{provider(EVE)}]}}"]
    text = "".join(route(name) + policy(name, spec) for name, spec in zip(names, specs, strict=True))
    outcome = await lab.apply(text, fails=True)
    assert {each.table for each in outcome.failed} == {"gateway_jwt", "gateway_hosts"}
    assert all("Envoy: " in each.error for each in outcome.failed)
    found = {
        (name, issuer): (await lab.ask(f"http://{name}.example.com/", headers=bearer(who.token()))).status
        for name in names
        for issuer, who in (("ann", ANN), ("eve", EVE))
    }
    assert [found[each] for each in (("first", "ann"), ("first", "eve"))] == [200, 401]
    assert [found[each] for each in (("second", "ann"), ("second", "eve"))] == [401, 200]
    assert [found[each] for each in (("wrong", "ann"), ("wrong", "eve"))] == [403, 403]
    assert not (await lab.delete("SecurityPolicy", "wrong")).failed


async def test_the_next_agent_leaves_hosts_alone_until_it_knows_their_credentials(lab: GatewayLab) -> None:
    users = secret("kept", auth=f"ann:{sha('p')}")
    await lab.apply(users + route("kept") + policy("kept", "basicAuth: {users: {name: kept}}"))
    await lab.driver.close()
    lab.hidden, lab.driver = True, lab.new_driver()
    await lab.driver.start()
    assert (await lab.settle()).failed
    found = [(await lab.ask("http://kept.example.com/", headers=basic("ann", each))).status for each in ("p", "q")]
    lab.hidden = False
    assert not (await lab.settle()).failed
    found += [(await lab.ask("http://kept.example.com/", headers=basic("ann", each))).status for each in ("p", "q")]
    assert found == [200, 401, 200, 401]


async def test_secrets_stand_in_no_plan_and_in_no_words(lab: GatewayLab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    keys = secret("silent", ann="secret-of-ann", bob="secret-of-bob")
    users = secret("silent-users", auth=f"ann:{sha('secret-of-ann')}")
    spec = "apiKeyAuth: {credentialRefs: [{name: silent}]}\n  basicAuth: {users: {name: silent-users}}"
    await lab.apply(keys + users + route("silent") + policy("silent", spec))
    headers = basic("ann", "secret-of-ann") | {"x-api-key": "secret-of-bob"}
    assert (await lab.ask("http://silent.example.com/", headers=headers)).status == 200
    compiled = lab.compiler.compile(lab.snapshot)
    files = [each for each in lab.folder.rglob("*") if each.is_file()]
    logs = "".join(each.read_text(errors="replace") for each in files)
    assert "process.json" in {each.name for each in files}
    said = [render(compiled.plan), repr(lab.snapshot), repr(compiled), repr(lab.credentials), caplog.text, logs]
    for each in ("secret-of", sha("secret-of-ann"), base64.b64encode(b"secret-of-ann").decode()):
        assert all(each not in text for text in said)


async def test_hosts_wait_closed_for_bytes_that_come_later(lab: GatewayLab) -> None:
    text = secret("late", auth=f"ann:{sha('p')}") + route("late") + policy("late", "basicAuth: {users: {name: late}}")
    lab.hidden = True
    outcome = await lab.apply(text, fails=True)
    assert [each.error for each in outcome.failed if "late" in str(each.key)] == [
        "the bytes of Secret default/late are not known yet"
    ]
    assert (await lab.ask("http://late.example.com/", headers=basic("ann", "p"))).status == 500
    lab.hidden = False
    assert not (await lab.settle()).failed
    assert (await lab.ask("http://late.example.com/", headers=basic("ann", "p"))).status == 200


async def test_calls_of_grpc_have_policies_too(lab: GatewayLab) -> None:
    await lab.apply(
        """
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{name: web}]
  hostnames: [calls.example.com]
  rules: [{name: guarded, matches: [{method: {service: s, method: m}}]}, {matches: [{method: {service: s}}]}]
"""
        + f"""
---
kind: SecurityPolicy
metadata: {{name: calls}}
spec:
  targetRefs: [{{group: {GROUP}, kind: GRPCRoute, name: calls, sectionName: guarded}}]
  clientCIDRs: {{deny: [127.0.0.2/32]}}
"""
    )
    found = [
        await status_from(lab, source, "calls.example.com", path=path)
        for source in ("127.0.0.1", "127.0.0.2")
        for path in ("/s/m", "/s/n")
    ]
    # The calls have no backend: who gets through is told 500.
    assert found == [500, 500, 403, 500]
