"""A port with many hosts by real requests: each host finds its table, whatever its form, and nobody gets past a policy on the way there."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import yaml
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.load import Load
from tests.drivers.xds.requestpolicies import policy, secret, status_from
from tests.drivers.xds.test_proxy_life import broken
from tests.drivers.xds.test_security_policies import ANN, basic, bearer, provider, sha

from fairlead.drivers.xds import scopes
from fairlead.world.fold import fold

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATEWAY = """
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: fairlead
  listeners: [{name: http, port: 80, protocol: HTTP}, {name: other, port: 8080, protocol: HTTP}]
"""


def route(name: str, *hosts: str, backend: str = "one", path: str = "/", section: str = "http") -> str:
    return f"""
---
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: web, sectionName: {section}}}]
  hostnames: {list(hosts)}
  rules: [{{matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: {backend}, port: 80}}]}}]
"""


async def started(folder: Path, many: int) -> GatewayLab:
    lab = GatewayLab(folder, many=many)
    await lab.start()
    for name in ("one", "two"):
        await lab.backend(name)
    await lab.apply(GATEWAY)
    return lab


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def labs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[GatewayLab, GatewayLab]]:
    """Two nodes of one world: one whose ports have many hosts, and one whose ports have few."""
    found = tuple([await started(tmp_path_factory.mktemp("gateway"), many) for many in (0, 1000)])
    try:
        yield found[0], found[1]
    finally:
        for lab in found:
            await lab.stop()


def forms(host: str) -> tuple[str, ...]:
    """A host as clients may write it."""
    return host, host.upper(), f"{host}:80", f"{host.title()}:8080"


GUARDS: dict[str, tuple[str, int, dict[str, str]]] = {
    "addresses": (policy("g", "clientCIDRs: {deny: [127.0.0.1/32, '::1/128']}"), 403, {}),
    "users": (
        secret("g-users", auth=f"ann:{sha('p')}") + policy("g", "basicAuth: {users: {name: g-users}}"), 401,
        basic("ann", "p"),
    ),
    "keys": (
        secret("g-keys", ann="k1") + policy("g", "apiKeyAuth: {credentialRefs: [{name: g-keys}]}"), 401,
        {"x-api-key": "k1"},
    ),
    "tokens": (policy("g", f"jwt: {{providers: [{provider(ANN)}]}}"), 401, bearer(ANN.token(sub="joe"))),
    "claims": (
        policy("g", f"jwt: {{optional: true, providers: [{provider(ANN)}]}}\n  authorization: {{rules: [{{action: Allow, "
               "principal: {jwt: {provider: ann, claims: [{name: sub, values: [joe]}]}}}]}"), 403,
        bearer(ANN.token(sub="joe")),
    ),
    "rules": (
        policy("g", "authorization: {rules: [{action: Allow, principal: {headers: [{name: x-team, values: [a]}]}}]}"),
        403, {"x-team": "a"},
    ),
    "a service that does not answer": (policy("g", "extAuth: {http: {backendRef: {name: nowhere, port: 80}}}"), 500, {}),
    "a service, and then rules": (
        policy("g", "extAuth: {http: {backendRef: {name: two, port: 80}}}\n  authorization: {rules: [{action: Allow, "
               "principal: {headers: [{name: x-team, values: [a]}]}}]}"), 403, {"x-team": "a"},
    ),
    "rates": (policy("g", "rateLimit: {rules: [{requests: 1, unit: Hour, by: Header, header: X-Tenant}]}", kind="TrafficPolicy"), 429,
              {"x-tenant": "fresh"}),
}  # fmt: skip
HOSTS = ("g.example.com", "x.g.example.com")
"""One known by name, and one by a wildcard."""


@pytest.mark.parametrize("case", GUARDS, ids=str)
async def test_nobody_gets_past_a_policy_whatever_the_form_of_the_host(
    labs: tuple[GatewayLab, GatewayLab], case: str
) -> None:
    text, refused, passing = GUARDS[case]
    lab = labs[0]
    await lab.apply(route("g", HOSTS[0], f"*.{HOSTS[0]}") + route("open", "open.example.com"))
    await lab.apply(text)
    if case == "rates":
        # Each host and each of its forms has its share of its own, or one with others: the first of all is used up here.
        for host in HOSTS:
            await status_from(lab, "127.0.0.1", host)
    asked = [(source, form) for source in ("127.0.0.1", "::1") for host in HOSTS for form in forms(host)]
    before = len(lab.backends["one"].seen)
    # A scope that the client names, of a host without a policy, helps nobody.
    lie = {scopes.HEADER: scopes.key("default/web/80", "open.example.com")}
    found = {each: await status_from(lab, *each, **headers) for headers in ({}, lie) for each in asked}
    assert found == dict.fromkeys(asked, refused)
    assert len(lab.backends["one"].seen) == before
    if passing:
        told = {
            form: await status_from(
                lab, "127.0.0.1", form, **{k: f"{v}{at}" if case == "rates" else v for k, v in passing.items()}
            )
            for at, form in enumerate(form for host in HOSTS for form in forms(host))
        }
        assert set(told.values()) == {200}, told
    for kind in ("SecurityPolicy", "TrafficPolicy"):
        await lab.delete(kind, "g")


async def raw(lab: GatewayLab, host: str, method: str, path: str, port: int) -> str:
    def ask() -> str:
        connection = http.client.HTTPConnection("127.0.0.1", lab.ports["web", port], timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host)
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read()
            return str(msgspec.json.decode(body)["pod"]) if answer.status == 200 else f"{answer.status}"
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


ODD = (
    "a.example.com", "A.Example.com", "a.example.com:80", "A.EXAMPLE.COM:1", "a.example.com.", "a.example.com:", "a.example.com:x",
    "b.example.com", "x.w.example.com", "X.W.example.com:80", "x.y.w.example.com", "w.example.com", ".w.example.com", "*.w.example.com",
    "known.w.example.com", "KNOWN.w.example.com", "known.w.example.com:80", "nobody.example", "[::1]", "[::1]:80", "127.0.0.1", "*", "*:80",
    "default/web/80|a.example.com", "|a.example.com", "%REQ(:PATH)%", "a.example.com,b.example.com", "a_b.w.example.com", "xn--bcher-kva.w.example.com",
)  # fmt: skip


@pytest.mark.parametrize("any_host", [False, True], ids=["nobody takes all hosts", "somebody takes all hosts"])
async def test_a_port_with_many_hosts_answers_as_one_with_few(
    labs: tuple[GatewayLab, GatewayLab], *, any_host: bool
) -> None:
    text = (
        route("a", "a.example.com", path="/p")
        + route("b", "b.example.com", backend="two")
        + route("w", "*.w.example.com", backend="two")
        + route("known", "known.w.example.com", path="/p")
        + route("elsewhere", "a.example.com", "nobody.example", backend="two", section="other")
        + (route("all", backend="two") if any_host else "")
    )
    questions = [
        (host, method, path, port)
        for host in ODD
        for method, path in (("GET", "/p"), ("GET", "/q"), ("POST", "/p"), ("OPTIONS", "*"))
        for port in (80, 8080)
    ]
    found = []
    for lab in labs:
        await lab.apply(text)
        found.append({each: await raw(lab, *each) for each in questions})
    assert found[0] == found[1]
    assert {"one", "two", "404"} <= set(found[0].values())
    for lab in labs:
        await lab.delete("HTTPRoute", "all")


async def test_backends_do_not_see_the_scope(labs: tuple[GatewayLab, GatewayLab]) -> None:
    await labs[0].apply(route("seen", "seen.example.com", "*.seen.example.com"))
    for host in ("seen.example.com", "SEEN.example.com", "x.seen.example.com"):
        answer = await labs[0].ask("http://seen.example.com/", headers={"Host": host, scopes.HEADER: "x"})
        assert scopes.HEADER not in answer.json["headers"]
        assert answer.json["headers"]["host"] == host


async def test_clients_from_outside_find_their_host(labs: tuple[GatewayLab, GatewayLab]) -> None:
    """Of those Envoy removes headers of its own, after ours are set."""
    lab = labs[0]
    await lab.apply(route("far", "far.example.com", "*.far.example.com"))
    await lab.apply(
        """
kind: ClientTrafficPolicy
metadata: {name: outside}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]
  forwardedFor: {trustedHops: 1}
"""
    )
    for host in ("far.example.com", "FAR.example.com:80", "x.far.example.com"):
        headers = {"Host": host, "x-forwarded-for": "192.0.2.7", scopes.HEADER: "x"}
        answer = await lab.ask("http://far.example.com/", headers=headers)
        assert answer.status == 200, host
        assert "x-envoy-external-address" in answer.json["headers"]
        assert scopes.HEADER not in answer.json["headers"]
    await lab.delete("ClientTrafficPolicy", "outside")


async def test_hosts_that_envoy_rejects_harm_no_others(labs: tuple[GatewayLab, GatewayLab]) -> None:
    lab = labs[0]
    names = [f"r{at}" for at in range(40)]
    await lab.apply("".join(route(name, f"{name}.example.com") for name in names))
    changed = "".join(route(name, f"{name}.example.com", backend="two") for name in (*names, "rx", "ry"))
    events = [lab.event(each) for each in yaml.safe_load_all(changed) if each]
    lab.snapshot = fold(lab.snapshot, events)
    wrong = {"r3.example.com": "one", "r17.example.com": "one", "rx.example.com": "404"}
    outcome = await lab.driver.apply(broken(lab.plan, *wrong))
    assert sorted(str(each.key[1]) for each in outcome.failed) == sorted(wrong)
    found = {
        f"{name}.example.com": (await lab.ask(f"http://{name}.example.com/")).backend for name in (*names, "rx", "ry")
    }
    assert found == dict.fromkeys(found, "two") | wrong
    assert not (await lab.settle()).failed
    assert {(await lab.ask(f"http://{host}/")).backend for host in wrong} == {"two"}
    for name in (*names, "rx", "ry"):
        await lab.delete("HTTPRoute", name)
    assert {(await lab.ask(f"http://{name}.example.com/")).backend for name in names} == {"404"}


async def test_a_port_grows_and_shrinks_and_its_agent_restarts_without_a_lost_request(tmp_path: Path) -> None:
    lab = await started(tmp_path, 20)
    try:
        await lab.apply(route("stays", "stays.example.com"))
        port = lab.ports["web", 80]
        # A port that grows gets another listener: connections that stay drain, as with every change of one.
        async with Load(port, "stays.example.com", keeping=0, new=4) as load:
            await load.more(20)
            await lab.apply("".join(route(f"n{at}", f"n{at}.example.com") for at in range(30)))
            await load.more(50)
        assert not load.failed
        async with Load(port, "stays.example.com", keeping=3, new=2) as load:
            for turn in range(10):
                await lab.apply(
                    route("stays", "stays.example.com", f"more{turn}.example.com", backend=("one", "two")[turn % 2])
                )
                assert (await lab.ask(f"http://more{turn}.example.com/")).status == 200
            await load.more(50)
            for at in range(30):
                await lab.delete("HTTPRoute", f"n{at}")
            assert (await lab.ask("http://n7.example.com/")).status == 404
            held = await asyncio.to_thread(_connected, lab)
            pid = lab.driver.pid
            await lab.driver.close()
            lab.driver = lab.new_driver()
            assert not (await lab.settle()).failed
            # Few hosts are left, and yet its listener is what it was: a changed one would close the connection.
            assert (await asyncio.to_thread(_ask, held), lab.driver.pid) == (200, pid)
            assert await asyncio.to_thread(_ask, held) == 200
            held.close()
            await load.more(50)
        assert not load.failed
        await lab.delete("HTTPRoute", "stays")
        assert (await lab.ask("http://stays.example.com/")).status == 404
    finally:
        await lab.stop()


def _connected(lab: GatewayLab) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", lab.ports["web", 80], timeout=10)
    connection.auto_open = 0
    connection.connect()
    assert _ask(connection) == 200
    return connection


def _ask(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/", headers={"Host": "stays.example.com"})
    answer = connection.getresponse()
    answer.read()
    return answer.status
