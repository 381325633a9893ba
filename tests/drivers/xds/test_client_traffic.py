"""ClientTrafficPolicies by real requests: who the client is, what may be spoken, how much and how long, and where requests are sent."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.pki import Authority

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUTHORITY = Authority()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clients(lab: GatewayLab) -> GatewayLab:
    """A Gateway `c` with a port without TLS and one with it."""
    await lab.apply(AUTHORITY.issue("a.example", "b.example").secret("client"))
    await lab.apply(
        """
kind: Gateway
metadata: {name: c}
spec:
  gatewayClassName: fairlead
  allowedListeners: {namespaces: {from: All}}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: client}]}}
---
kind: HTTPRoute
metadata: {name: c}
spec: {parentRefs: [{name: c}], hostnames: [a.example], rules: [{backendRefs: [{name: one, port: 80}]}]}
"""
    )
    return lab


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _without_a_policy(clients: GatewayLab) -> AsyncIterator[None]:
    yield
    await clients.delete("ClientTrafficPolicy", "p")


def policy(spec: str, name: str = "p", target: str = "kind: Gateway, name: c", year: int = 2024) -> str:
    return f"""
kind: ClientTrafficPolicy
metadata: {{name: {name}, creationTimestamp: '{year}-01-01T00:00:00Z'}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, {target}}}], {spec}}}
"""


def secure(
    least: ssl.TLSVersion | None = None, most: ssl.TLSVersion | None = None, ciphers: str = ""
) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=AUTHORITY.pem)
    with warnings.catch_warnings():
        # Old versions are asked for to see that they are refused.
        warnings.simplefilter("ignore", DeprecationWarning)
        if least is not None:
            context.minimum_version = least
        if most is not None:
            context.maximum_version = most
    if ciphers:
        context.set_ciphers(ciphers)
    return context


async def exchange(lab: GatewayLab, text: str, port: int = 80) -> str:
    """Send bytes as they are and return what comes back until the proxy closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.ports["c", port])
    try:
        writer.write(text.encode())
        return (await asyncio.wait_for(reader.read(), 20)).decode()
    except ConnectionError:
        return ""
    finally:
        writer.close()


def request(path: str = "/", *headers: str) -> str:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: a.example", "Connection: close", *headers, "", ""))


async def forwarded(lab: GatewayLab, said: str) -> tuple[str, str]:
    answer = await lab.ask(
        "http://a.example/", gateway="c", headers={"x-forwarded-for": said, "x-forwarded-proto": "https"}
    )
    headers = answer.json["headers"]
    return headers["x-forwarded-for"], headers["x-forwarded-proto"]


async def test_who_the_client_is(clients: GatewayLab) -> None:
    # Envoy calls a client on loopback by the machine's own address.
    me, scheme = await forwarded(clients, "192.0.2.7, 192.0.2.8")
    assert (me.count(","), scheme) == (0, "http") and not me.startswith("192.0.2.7")
    await clients.apply(policy("forwardedFor: {trustedHops: 1}"))
    assert await forwarded(clients, "192.0.2.7, 192.0.2.8") == (f"192.0.2.7, 192.0.2.8,{me}", "https")
    await clients.apply(policy("forwardedFor: {trustedCIDRs: [127.0.0.0/8, 192.0.2.8/32]}"))
    assert await forwarded(clients, "192.0.2.7, 192.0.2.8") == (f"192.0.2.7, 192.0.2.8,{me}", "https")
    # Who is none of them is believed nothing.
    await clients.apply(policy("forwardedFor: {trustedCIDRs: [192.0.2.0/24, '2001:db8::/32']}"))
    assert await forwarded(clients, "192.0.2.7, 192.0.2.8") == (me, "http")
    await clients.delete("ClientTrafficPolicy", "p")
    assert await forwarded(clients, "192.0.2.7") == (me, "http")


@pytest.mark.parametrize("family", ["TCP4 192.0.2.9 192.0.2.1", "TCP6 2001:db8::9 2001:db8::1"])
async def test_proxy_protocol(clients: GatewayLab, family: str) -> None:
    header = f"PROXY {family} 5555 80\r\n"
    theirs = f'"x-forwarded-for": "{family.split()[1]}"'
    mine = f'"x-forwarded-for": "{(await forwarded(clients, "x"))[0]}"'
    await clients.apply(policy("proxyProtocol: {mode: Required}"))
    assert theirs in await exchange(clients, header + request())
    assert await exchange(clients, request()) == ""
    await clients.apply(policy("proxyProtocol: {mode: Optional}"))
    assert theirs in await exchange(clients, header + request())
    assert mine in await exchange(clients, request())


async def test_what_is_spoken(clients: GatewayLab) -> None:
    async def speaks(context: ssl.SSLContext, *alpn: str) -> str | None:
        context.set_alpn_protocols(list(alpn or ("h2", "http/1.1")))
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", clients.ports["c", 443], ssl=context, server_hostname="a.example"
            )
        except (ssl.SSLError, ConnectionError):
            return None
        found = writer.get_extra_info("ssl_object")
        writer.close()
        return f"{found.version()} {found.selected_alpn_protocol()}"

    old, new = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    # Without a policy: TLS 1.2 and what is newer, with forward secrecy and authenticated ciphers.
    assert await speaks(secure()) == "TLSv1.3 h2"
    assert await speaks(secure(most=old)) == "TLSv1.2 h2"
    assert await speaks(secure(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0")) is None
    for weak in ("AES128-SHA:AES128-GCM-SHA256:@SECLEVEL=0", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"):
        assert await speaks(secure(most=old, ciphers=weak)) is None
    await clients.apply(policy("tls: {minVersion: '1.3', alpnProtocols: [http/1.1]}"))
    assert (await speaks(secure()), await speaks(secure(most=old))) == ("TLSv1.3 http/1.1", None)
    await clients.apply(policy("tls: {maxVersion: '1.2', cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384]}"))
    assert (await speaks(secure()), await speaks(secure(least=new))) == ("TLSv1.2 h2", None)
    assert await speaks(secure(ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")) is None


async def test_how_much_and_how_long(clients: GatewayLab) -> None:
    async def status(*headers: str, path: str = "/") -> str:
        return (await exchange(clients, request(path, *headers))).partition("\r\n")[0].removeprefix("HTTP/1.1 ")[:3]

    large, many = f"x: {'y' * 3000}", [f"x-{at}: y" for at in range(40)]
    assert [await status(large), await status(*many), await status("a_b: c")] == ["200"] * 3
    await clients.apply(
        policy("headers: {maxKiB: 2, maxCount: 20, underscores: Reject}, timeouts: {requestHeaders: 200ms}")
    )
    assert [await status(large), await status(*many), await status("a_b: c")] == ["431", "431", "400"]
    assert await status() == "200"
    # A client that does not finish its headers is not waited for.
    assert "408" in (await exchange(clients, "GET / HTTP/1.1\r\n")).partition("\r\n")[0]
    await clients.apply(policy("connections: {max: 1, maxRequests: 2}, timeouts: {idle: 10s}"))
    again = request().replace("Connection: close\r\n", "").encode()
    first = b""
    async with asyncio.timeout(20):
        # A connection that has just ended may still have the only place.
        while not first:
            reader, writer = await asyncio.open_connection("127.0.0.1", clients.ports["c", 80])
            writer.write(again)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                first = await reader.readuntil(b"\r\n\r\n")
    # One that holds the only place keeps others out.
    assert await status() == ""
    writer.write(again)
    second = (await asyncio.wait_for(reader.read(), 20)).decode().partition("HTTP/1.1 200")[2]
    assert ["connection: close" in each.lower() for each in (first.decode(), second)] == [False, True]
    writer.close()


async def test_paths(clients: GatewayLab) -> None:
    async def seen(path: str) -> str:
        text = await exchange(clients, request(path))
        line = text.partition("\r\n")[0]
        return clients.backends["one"].seen[-1]["path"] if " 200 " in line else line.split()[1]

    assert [await seen("/a//b"), await seen("/a%2Fb")] == ["/a/b", "307"]
    await clients.apply(policy("paths: {mergeSlashes: false, escapedSlashes: Keep}"))
    assert [await seen("/a//b"), await seen("/a%2Fb")] == ["/a//b", "/a%2Fb"]
    # Whoever follows a redirect to //b leaves for another host.
    await clients.apply(policy("paths: {mergeSlashes: false}"))
    assert [await seen("/%2Fb"), await seen("/%5Cb"), await seen("//b")] == ["400", "400", "//b"]
    await clients.apply(policy("paths: {escapedSlashes: Reject}"))
    assert [await seen("/a//b"), await seen("/a%2Fb")] == ["/a/b", "400"]
    await clients.apply(policy("paths: {escapedSlashes: Decode}"))
    assert await seen("/a%2Fb") == "/a/b"


async def test_a_solver_works_beside_a_redirect_of_everything(clients: GatewayLab) -> None:
    """What cert-manager does for HTTP-01: a route of its own for one path of a host that is sent to HTTPS as a whole."""
    solver = """
kind: HTTPRoute
metadata: {name: solver}
spec:
  parentRefs: [{name: c, sectionName: http}]
  hostnames: [a.example]
  rules:
  - matches: [{path: {type: Exact, value: /.well-known/acme-challenge/token}}]
    backendRefs: [{name: two, port: 80}]
"""
    token = "http://a.example/.well-known/acme-challenge/token"
    await clients.apply(policy("httpsRedirect: {statusCode: 308}"))
    for applied in (False, True):
        if applied:
            await clients.apply(solver)
        answer = await clients.ask("http://a.example/x?y=z", gateway="c")
        assert (answer.status, answer.headers["location"]) == (308, "https://a.example/x?y=z")
        assert (await clients.ask(token, gateway="c")).backend == ("two" if applied else "308")
        assert (await clients.ask("http://nobody.example/", gateway="c")).status == 308
        assert (await clients.ask("https://a.example/x", gateway="c", tls=secure())).backend == "one"
    # The same where the redirect is a route of the user's.
    await clients.delete("ClientTrafficPolicy", "p")
    await clients.apply(
        """
kind: HTTPRoute
metadata: {name: redirect}
spec:
  parentRefs: [{name: c, sectionName: http}]
  hostnames: [a.example]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}]
---
kind: HTTPRoute
metadata: {name: c}
spec:
  parentRefs: [{name: c, sectionName: https}]
  hostnames: [a.example]
  rules: [{backendRefs: [{name: one, port: 80}]}]
"""
    )
    assert (await clients.ask(token, gateway="c")).backend == "two"
    assert (await clients.ask("http://a.example/x", gateway="c")).status == 301
    for name in ("redirect", "solver"):
        await clients.delete("HTTPRoute", name)


async def test_a_tenants_listeners_with_a_policy_of_their_own(clients: GatewayLab) -> None:
    await clients.apply(AUTHORITY.issue("tenant.example").secret("tenant", namespace="tenant"))
    await clients.backend("theirs", namespace="tenant")
    await clients.apply(
        """
kind: ListenerSet
metadata: {name: tenant, namespace: tenant}
spec:
  parentRef: {name: c, namespace: default}
  listeners:
  - {name: plain, port: 80, protocol: HTTP, hostname: tenant.example}
  - {name: safe, port: 443, protocol: HTTPS, hostname: tenant.example, tls: {certificateRefs: [{name: tenant}]}}
---
kind: HTTPRoute
metadata: {name: theirs, namespace: tenant}
spec: {parentRefs: [{kind: ListenerSet, name: tenant}], rules: [{backendRefs: [{name: theirs, port: 80}]}]}
---
"""
        + policy("tls: {minVersion: '1.3'}", "new", "kind: ListenerSet, name: tenant, sectionName: safe").replace(
            "{name: new", "{name: new, namespace: tenant"
        )
    )
    old = ssl.TLSVersion.TLSv1_2
    assert (await clients.ask("http://tenant.example/", gateway="c")).backend == "theirs"
    assert (await clients.ask("https://tenant.example/", gateway="c", tls=secure())).backend == "theirs"
    with pytest.raises(OSError, match="alert"):
        await clients.ask("https://tenant.example/", gateway="c", tls=secure(most=old))
    # The Gateway's own listeners stay as they were, and have hosts of their own.
    assert (await clients.ask("https://a.example/", gateway="c", tls=secure(most=old))).backend == "one"
    await clients.delete("ListenerSet", "tenant", "tenant")
    assert (await clients.ask("http://tenant.example/", gateway="c")).status == 404
    await clients.delete("ClientTrafficPolicy", "new", "tenant")
