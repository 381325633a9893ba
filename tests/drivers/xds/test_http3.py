"""HTTP/3 by real requests: the same answers, policies and certificates as over TCP, and nothing that TCP would not give."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aioquic.tls import SessionTicket
from tests.drivers.xds import h3
from tests.drivers.xds.gatewaylab import CLASS, GatewayLab
from tests.drivers.xds.load import until
from tests.drivers.xds.requestpolicies import policy as request_policy
from tests.drivers.xds.requestpolicies import secret
from tests.drivers.xds.test_proxy_succession import alive, only_one, renewed, resync
from tests.pki import Authority

from fairlead.observe.gateway_metrics import Counted, render

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEW_AND_MANY = True
AUTHORITY = Authority()
HOST = "a.example"
_UNANSWERED_S = 0.5
ALT_SVC = 'h3=":443"; ma=3600'
TLS = "tls: {certificateRefs: [{name: quic}]}"
HTTPS = f"{{name: https, port: 443, protocol: HTTPS, {TLS}}}"


def gateway(*listeners: str, name: str = "q", more: str = "") -> str:
    return f"""
kind: Gateway
metadata: {{name: {name}}}
spec: {{gatewayClassName: fairlead, listeners: [{", ".join(listeners)}]{more}}}
"""


def policy(spec: str = "http3: {}", *sections: str, name: str = "q") -> str:
    ref = f"group: gateway.networking.k8s.io, kind: Gateway, name: {name}"
    refs = [f"{{{ref}, sectionName: {each}}}" for each in sections] or [f"{{{ref}}}"]
    return f"""
---
kind: ClientTrafficPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{", ".join(refs)}], {spec}}}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quic(lab: GatewayLab) -> GatewayLab:
    hosts = ["b.example", "example.org", "second.org", "unknown.org", "plain.org", "*.wildcard.org"]
    await lab.apply(AUTHORITY.issue(HOST, *hosts).secret("quic"))
    await lab.apply(
        gateway("{name: http, port: 80, protocol: HTTP}", HTTPS)
        + """
---
kind: HTTPRoute
metadata: {name: q}
spec: {parentRefs: [{name: q}], hostnames: [a.example], rules: [{backendRefs: [{name: one, port: 80}]}]}
"""
    )
    return lab


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _with_http3(quic: GatewayLab) -> AsyncIterator[None]:
    await quic.apply(policy())
    yield
    await quic.apply(gateway("{name: http, port: 80, protocol: HTTP}", HTTPS))
    await quic.apply(policy())


def connected(
    lab: GatewayLab, server_name: str = HOST, address: str = "127.0.0.1", name: str = "q", port: int = 443
) -> contextlib.AbstractAsyncContextManager[h3.Http3]:
    return h3.connected(address, lab.udp_ports[name, port], server_name, AUTHORITY.pem)


async def answer(lab: GatewayLab, *, address: str = "127.0.0.1", **more: object) -> h3.Answer:
    async with connected(lab, address=address) as client:
        return await client.ask(HOST, **more)  # type: ignore[arg-type]


def trusted() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=AUTHORITY.pem)


async def welcomes(lab: GatewayLab) -> bool:
    """Whether new connections are taken: those that come in vain are not answered at all."""
    try:
        async with asyncio.timeout(_UNANSWERED_S):
            return (await answer(lab)).status == 200
    except TimeoutError:
        return False


def listens(lab: GatewayLab) -> bool:
    """Whether somebody has the UDP port: then nobody else gets it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", lab.udp_ports["q", 443]))
        except OSError:
            return True
    return False


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_requests_of_both_families(quic: GatewayLab, address: str) -> None:
    lies = {
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-proto": "http",
        "x-forwarded-client-cert": "Subject=x",
        "a_b": "c",
    }
    found = await answer(quic, address=address, path="/a//b", method="POST", body=b"x" * 200_000, headers=lies)
    seen = quic.backends["one"].seen[-1]
    assert (found.status, seen["path"], seen["method"]) == (200, "/a/b", "POST")
    assert seen["headers"]["x-forwarded-proto"] == "https" and "192.0.2.7" not in seen["headers"]["x-forwarded-for"]
    assert not {"x-forwarded-client-cert", "a_b"} & seen["headers"].keys()


async def test_clients_are_told_over_tls_alone_and_where_it_is_wished(quic: GatewayLab) -> None:
    async def told(url: str) -> str | None:
        return (await quic.ask(url, gateway="q", tls=trusted())).headers.get("alt-svc")

    # A backend that speaks of ports of its own would lead clients past the Gateway.
    quic.backends["one"].respond = lambda _: aiohttp.web.Response(headers={"alt-svc": 'h3=":1"'})
    assert await told(f"https://{HOST}/") == ALT_SVC
    assert (await answer(quic)).headers["alt-svc"] == ALT_SVC
    quic.backends["one"].respond = lambda _: None
    assert await told(f"http://{HOST}/") is None
    await quic.delete("ClientTrafficPolicy", "q")
    assert await told(f"https://{HOST}/") is None


async def test_connections_over_tcp_stay_when_it_comes_and_goes(quic: GatewayLab) -> None:
    """The listener over TCP is not touched: one connection, and a request that takes all the while."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", quic.ports["q", 443], ssl=trusted(), server_hostname=HOST
    )

    async def told() -> bool:
        writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode().lower()
        assert head.startswith("http/1.1 200") and "connection: close" not in head
        await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
        return "alt-svc" in head

    try:
        found = [await told()]
        for on in (False, True):
            if on:
                await quic.apply(policy())
            else:
                await quic.delete("ClientTrafficPolicy", "q")
            found += [await told(), await welcomes(quic)]
        assert found == [True, False, False, True, True]
    finally:
        writer.close()


@pytest.mark.few
async def test_connections_may_finish_when_it_goes(quic: GatewayLab) -> None:
    async with connected(quic) as client:
        await client.ask(HOST)
        await quic.delete("ClientTrafficPolicy", "q")
        assert (await client.ask(HOST)).status == 200
        assert not await welcomes(quic)
        await until(lambda: client.leaving and not listens(quic))


async def test_misdirected_requests(quic: GatewayLab) -> None:
    """As over TCP, and hosts of listeners without HTTP/3 are not to be had by the connections of others."""
    names = {"all": "", "second": "second.org", "wild": "*.wildcard.org", "plain": "plain.org"}
    listeners = [
        f"{{name: {name}, port: 443, protocol: HTTPS, {f'hostname: {host!r}, ' if host else ''}{TLS}}}"
        for name, host in names.items()
    ]
    routes = "".join(
        f"""
---
kind: HTTPRoute
metadata: {{name: misdirected-{name}}}
spec:
  parentRefs: [{{name: m, sectionName: {name}}}]
  {"hostnames: [example.org]" if name == "all" else ""}
  rules: [{{backendRefs: [{{name: one, port: 80}}]}}]
"""
        for name in names
    )
    await quic.apply(gateway(*listeners, name="m") + routes + policy("http3: {}", "all", "second", "wild", name="m"))
    cases = {
        "example.org": {"example.org": 200, "second.org": 421, "unknown.org": 404, "plain.org": 421},
        "second.org": {"second.org": 200, "example.org": 421, "SECOND.org": 200, "second.org:443": 200},
        "third.wildcard.org": {"third.wildcard.org": 200, "fifth.wildcard.org": 200, "second.org": 421},
        "plain.org": {"example.org": 200, "plain.org": 421},
    }
    found = {}
    for server_name, wanted in cases.items():
        async with connected(quic, server_name, name="m") as client:
            found[server_name] = {host: (await client.ask(host)).status for host in wanted}
    assert found == cases
    told = {
        host: (await quic.ask(f"https://{host}/", gateway="m", tls=trusted())).headers.get("alt-svc")
        for host in ("example.org", "second.org", "plain.org")
    }
    assert told == {"example.org": ALT_SVC, "second.org": ALT_SVC, "plain.org": None}
    await quic.delete("Gateway", "m")


async def test_policies_of_requests_hold(quic: GatewayLab) -> None:
    async def both() -> tuple[int, int]:
        return (await quic.ask(f"https://{HOST}/", gateway="q", tls=trusted())).status, (await answer(quic)).status

    target = {"target": "q", "of": "Gateway"}
    assert await both() == (200, 200)
    await quic.apply(request_policy("who", "clientCIDRs: {deny: [127.0.0.0/8]}", **target))
    assert await both() == (403, 403)
    assert (await answer(quic, address="::1")).status == 200
    await quic.apply(
        secret("users", __htpasswd="ann:{SHA}UELRRmZ1GKGlAXZElGuGUKr8pEw=")
        + request_policy("who", "basicAuth: {users: {name: users}}", **target)
    )
    assert await both() == (401, 401)
    assert (await answer(quic, headers={"authorization": "Basic YW5uOnNob3A="})).status == 200
    # What cannot be had closes, over QUIC too.
    await quic.apply(request_policy("who", "basicAuth: {users: {name: nobody}}", **target))
    assert await both() == (500, 500)
    await quic.delete("SecurityPolicy", "who")
    limit = "rateLimit: {rules: [{requests: 2, interval: 1h}]}"
    await quic.apply(request_policy("much", limit, kind="TrafficPolicy", **target))
    # One account for both ways: nobody has twice as much by asking twice.
    assert sorted([*await both(), *await both()]) == [200, 200, 429, 429]
    await quic.delete("TrafficPolicy", "much")


KEPT_AWAY = {
    "clients show certificates": (
        ", tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}",
        "http3: {}",
        (),
    ),
    "clients may show certificates": (
        ", tls: {frontend: {default: {validation: {mode: AllowInsecureFallback,"
        " caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}",
        "http3: {}",
        (),
    ),
    "somebody else says who the client is": ("", "http3: {}, proxyProtocol: {mode: Optional}", ()),
    "TLS 1.2 at most": ("", "http3: {}, tls: {maxVersion: '1.2'}", ()),
    "datagrams have the port": ("", "http3: {}", ("{name: u, port: 443, protocol: UDP}",)),
}


@pytest.mark.few
@pytest.mark.parametrize("case", KEPT_AWAY)
async def test_what_tcp_would_not_give_is_not_there(quic: GatewayLab, case: str) -> None:
    more, spec, others = KEPT_AWAY[case]
    assert await welcomes(quic)
    await quic.apply(AUTHORITY.configmap("ca"))
    await quic.apply(gateway(HTTPS, *others, more=more) + policy(spec))
    assert not await welcomes(quic)
    hosts = [each.http3 for (table, _), each in quic.plan.table("gateway_hosts").items() if table == "default/q/443"]  # type: ignore[attr-defined]
    assert hosts and not any(hosts)


@pytest.mark.few
async def test_bounds_hold(quic: GatewayLab) -> None:
    large, many = {"x": "y" * 3000}, {f"x-{at}": "y" for at in range(40)}
    assert [(await answer(quic, headers=each)).status for each in (large, many)] == [200, 200]
    await quic.apply(policy("http3: {}, headers: {maxKiB: 2, maxCount: 20, underscores: Reject}"))
    for headers in (large, many, {"a_b": "c"}):
        with pytest.raises(ConnectionAbortedError):
            await answer(quic, headers=headers)
    assert (await answer(quic)).status == 200
    await quic.apply(policy("http3: {}, connections: {max: 1}, timeouts: {idle: 300ms}"))
    async with connected(quic) as client:
        assert (await client.ask(HOST)).status == 200
        # One that holds the only place keeps others out, and is told to leave when it asks nothing.
        assert not await welcomes(quic)
        await until(lambda: client.leaving)
    assert (await answer(quic)).status == 200


@pytest.mark.few
async def test_who_the_client_is(quic: GatewayLab) -> None:
    async def seen(address: str) -> str:
        assert (await answer(quic, address=address, headers={"x-forwarded-for": "192.0.2.7"})).status == 200
        return str(quic.backends["one"].seen[-1]["headers"]["x-forwarded-for"])

    await quic.apply(policy("http3: {}, forwardedFor: {trustedCIDRs: [127.0.0.0/8]}"))
    assert [(await seen(each)).startswith("192.0.2.7,") for each in ("127.0.0.1", "::1")] == [True, False]


@pytest.mark.few
async def test_certificates_by_server_name_and_kind_of_key(quic: GatewayLab) -> None:
    both = HTTPS.replace("{name: quic}", "{name: quic}, {name: quic-rsa}")
    await quic.apply(AUTHORITY.issue("far.example", rsa_key=True).secret("quic-rsa"))
    await quic.apply(gateway(both))
    found = {}
    for server_name in (HOST, "far.example"):
        async with connected(quic, server_name) as client:
            found[server_name] = (await client.ask(HOST)).status, type(client.shown.public_key()).__name__[:3]
    assert found == {HOST: (200, "ECP"), "far.example": (200, "RSA")}


async def test_its_requests_are_counted_and_its_clients_asked_to_leave_a_node_that_is_about_to_go(
    quic: GatewayLab,
) -> None:
    async def counted() -> int:
        found = await quic.driver.counted()
        text = render([Counted(each.row, True) for each in quic.driver.states.values()], found.values, {})
        labels = 'namespace="default",gateway="q",port="443",protocol="UDP",code_class="2xx"'
        return int(text.partition(f"fairlead_gateway_requests_total{{{labels}}} ")[2].partition("\n")[0])

    async with connected(quic) as client:
        assert (await client.ask(HOST)).status == 200 and not client.leaving
        before = await counted()
        await quic.apply(CLASS.replace("{name: n1}", "{name: n1, deletionTimestamp: '2026-01-01T00:00:00Z'}"))
        assert (await client.ask(HOST)).status == 200 and client.leaving
        assert await counted() == before + 1
    await quic.apply(CLASS)
    async with connected(quic) as client:
        assert (await client.ask(HOST)).status == 200 and not client.leaving


@pytest.mark.few
async def test_a_request_may_take_longer_than_a_connection_without_any(quic: GatewayLab) -> None:
    """What QUIC itself calls idle is silence, also of a backend that is still at work."""
    await quic.apply(policy("http3: {}, timeouts: {idle: 200ms}"))
    quic.backends["one"].delay_s = 0.6
    assert (await answer(quic)).status == 200
    quic.backends["one"].delay_s = 0


@pytest.mark.few
async def test_nothing_is_read_before_the_handshake_is_done(quic: GatewayLab) -> None:
    """Without early data (0-RTT) nobody can send a request again that he has seen (RFC 9001, 9.2)."""
    tickets: list[SessionTicket] = []
    port = quic.udp_ports["q", 443]
    async with h3.connected("127.0.0.1", port, HOST, AUTHORITY.pem, tickets=tickets) as client:
        assert (await client.ask(HOST)).status == 200
    assert tickets and not any(each.max_early_data_size for each in tickets)


async def test_a_connection_stays_when_its_client_moves_and_others_come(quic: GatewayLab) -> None:
    """Another address of the client, another certificate, another server name, another agent: nobody begins anew."""
    async with contextlib.AsyncExitStack() as stack:
        # Workers share the port, and each has connections of its own.
        several = [await stack.enter_async_context(connected(quic)) for _ in range(8)]

        async def all_answer() -> bool:
            return {(await each.ask(HOST)).status for each in several} == {200}

        assert await all_answer()
        first = several[0].shown.serial_number
        for each in several:
            await each.move()
        assert await all_answer()
        await quic.apply(AUTHORITY.issue(HOST).secret("quic"))
        for host in ("b.example", "c.example"):
            more = f"{{name: more, port: 443, protocol: HTTPS, hostname: {host}, {TLS}}}"
            await quic.apply(gateway(HTTPS, more))
            assert await all_answer()
        await quic.driver.close()
        quic.driver = quic.new_driver()
        assert not (await quic.driver.resync(quic.plan)).failed
        assert await all_answer()
    async with connected(quic) as client:
        assert client.shown.serial_number != first


@pytest.mark.few
async def test_rotated_certificates_fail_no_request(quic: GatewayLab) -> None:
    async with h3.Load(quic.udp_ports["q", 443], HOST, AUTHORITY.pem) as load:
        for _ in range(8):
            await quic.apply(AUTHORITY.issue(HOST).secret("quic"))
            await load.more(25)
    assert not load.failed and load.good >= 200


async def test_a_successor_takes_over_and_no_request_is_lost(quic: GatewayLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new process reads the port's packets, and gives those of connections that are not its own to the former one."""
    before = await only_one(quic)
    async with connected(quic) as client:
        await client.ask(HOST)
        async with h3.Load(quic.udp_ports["q", 443], HOST, AUTHORITY.pem) as load:
            await load.more(50)
            renewed(monkeypatch, stats_flush_interval="6s")
            await resync(quic)
            assert len(alive(quic)) == 2
            assert (await client.ask(HOST)).status == 200
            await load.more(50)
            after = await only_one(quic)
            await load.more(50)
        assert not load.failed
        assert after.pid != before.pid
        # Its clients are told to leave before the former one ends.
        assert client.leaving


@pytest.mark.few
async def test_the_last_gateway_lets_its_clients_finish(quic: GatewayLab) -> None:
    # The last test's bootstrap has gone, and so a successor has come.
    await only_one(quic)
    before = dict(quic.snapshot.gateways)
    backend = quic.backends["one"]
    async with connected(quic) as client:
        await client.ask(HOST)
        backend.delay_s, count = 0.5, len(backend.seen)
        asked = asyncio.create_task(client.ask(HOST))
        await until(lambda: len(backend.seen) > count)
        for namespace, name in before:
            await quic.delete("Gateway", name, namespace)
        assert quic.driver.pid is not None
        assert (await asked).status == 200
    backend.delay_s = 0.0
    await until(lambda: quic.driver.pid is None)
