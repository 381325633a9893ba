"""TLSRoutes, TCPRoutes and UDPRoutes by real connections through the real Envoy. One Envoy; each test has ports of its own."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import yaml
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.l4 import REFUSED, Echoes, ask, ask_udp, connected, exchange
from tests.drivers.xds.test_proxy_life import secret, trusting

from fairlead.model.compile import Compiler
from fairlead.model.gateway import status
from fairlead.model.gateway.stage import GatewayStage

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASS, TERMINATE = "tls: {mode: Passthrough}", "tls: {certificateRefs: [{name: gate}]}"


class L4(msgspec.Struct, frozen=True):
    lab: GatewayLab
    gate: ssl.SSLContext
    """Trusts the Gateway's certificate alone."""
    inner: ssl.SSLContext
    """Trusts the backends' certificate alone."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def l4(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[L4]:
    folder: Path = tmp_path_factory.mktemp("l4")
    lab = GatewayLab(folder)
    echoes = Echoes(lab)
    try:
        await lab.start()
        text, gate = secret("gate", "*.example.com")
        inner_text, inner = secret("inner", "*.example.com", "deep.a.example.com")
        pem = folder / "inner.pem"
        data = yaml.safe_load(inner_text)["data"]
        pem.write_bytes(b"".join(base64.b64decode(data[each]) for each in ("tls.crt", "tls.key")))
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(pem)
        await lab.apply(text)
        for name in ("one", "two"):
            await echoes.tcp(name)
            await echoes.udp(f"u-{name}")
            await echoes.tcp(f"s-{name}", tls=server)
        await echoes.tcp("first", greeting=b"220 hello")
        yield L4(lab, trusting(gate), trusting(inner))
    finally:
        await echoes.stop()
        await lab.stop()


def gateway(name: str, *listeners: str) -> str:
    return f"""
kind: Gateway
metadata: {{name: {name}}}
spec: {{gatewayClassName: fairlead, listeners: [{", ".join(f"{{{each}}}" for each in listeners)}]}}
---"""


def listener(name: str, port: int, protocol: str, host: str = "", extra: str = "") -> str:
    hostname = f"hostname: '{host}', " if host else ""
    return f"name: {name}, port: {port}, protocol: {protocol}, {hostname}{extra}"


def route(kind: str, name: str, parent: str, to: str, hosts: str = "", year: int = 2025) -> str:
    """`to`: Services, each with a weight where it has one: `one*3 two`."""
    refs = []
    for each in to.split():
        service, _, weight = each.partition("*")
        refs.append(f"{{name: {service}, port: 7, weight: {weight or 1}}}")
    hostnames = f"hostnames: [{hosts}], " if hosts else ""
    return f"""
kind: {kind}
metadata: {{name: {name}, creationTimestamp: '{year}-01-01T00:00:00Z'}}
spec: {{parentRefs: [{{name: {parent}}}], {hostnames}rules: [{{backendRefs: [{", ".join(refs)}]}}]}}
---"""


def accepted(lab: GatewayLab, kind: str, name: str) -> tuple[bool, str, str]:
    """What the Accepted condition of a route with one parent says."""
    stage = GatewayStage()
    stage.update(lab.snapshot, None)
    bound = stage.described((kind, ("default", name)))
    assert bound is not None
    ((_, (found, _)),) = status.route_parents(bound)
    return found.status, found.reason, found.message


async def test_a_port_of_tcp_in_both_families(l4: L4) -> None:
    text = gateway("plain", listener("t", 7, "TCP"))
    await l4.lab.apply(text + route("TCPRoute", "plain", "plain", "one"))
    port = l4.lab.ports["plain", 7]
    assert [await ask(port, address=each) for each in ("127.0.0.1", "::1")] == ["one", "one"]


async def test_a_server_that_speaks_first(l4: L4) -> None:
    await l4.lab.apply(gateway("greets", listener("t", 25, "TCP")) + route("TCPRoute", "greets", "greets", "first"))
    async with connected(l4.lab.ports["greets", 25]) as (reader, _):
        assert await asyncio.wait_for(reader.read(100), 2) == b"220 hello"


async def test_another_route_touches_no_connection_that_exists(l4: L4) -> None:
    both = gateway("moves", listener("t", 7, "TCP"), listener("s", 443, "TLS", extra=PASS))
    await l4.lab.apply(both + route("TCPRoute", "moves", "moves", "one"))
    port = l4.lab.ports["moves", 7]
    async with connected(port) as (reader, writer):
        assert await exchange(reader, writer) == "one"
        for change in (
            route("TCPRoute", "moves", "moves", "two"),
            route("TLSRoute", "more-names", "moves", "s-one", "a.example.com, b.example.com"),
            route("TLSRoute", "more-names", "moves", "s-two", "b.example.com"),
        ):
            await l4.lab.apply(change)
            assert await ask(port) == "two"
            assert await exchange(reader, writer) == "one"
        await l4.lab.delete("TCPRoute", "moves")
        assert await ask(port) == REFUSED
        assert await exchange(reader, writer) == "one"


async def test_weights_and_what_leads_nowhere(l4: L4) -> None:
    await Echoes(l4.lab).service("nobody", [])
    await l4.lab.apply(
        gateway("weights", listener("t", 7, "TCP"))
        + route("TCPRoute", "weights", "weights", "one*3 missing*1 nobody*1 two*2 two*1 one*0")
    )
    count = Counter([await ask(l4.lab.ports["weights", 7]) for _ in range(400)])
    # Five standard deviations of a binomial distribution around the mean.
    assert set(count) == {"one", "two", REFUSED}
    assert 102 < count["one"] < 198
    assert 102 < count["two"] < 198
    assert 58 < count[REFUSED] < 142
    await l4.lab.apply(route("TCPRoute", "weights", "weights", "one*0 missing*0"))
    assert await ask(l4.lab.ports["weights", 7]) == REFUSED


async def test_of_several_routes_the_oldest_gets_the_connections(l4: L4) -> None:
    for kind, protocol, prefix in (("TCPRoute", "TCP", ""), ("UDPRoute", "UDP", "u-")):
        name = protocol.lower()
        await l4.lab.apply(gateway(f"ages-{name}", listener("t", 7, protocol)))

        async def answer(name: str = name) -> str:
            ports = l4.lab.ports if name == "tcp" else l4.lab.udp_ports
            return await (ask if name == "tcp" else ask_udp)(ports[f"ages-{name}", 7])

        await l4.lab.apply(route(kind, f"a-new-{name}", f"ages-{name}", f"{prefix}two"))
        assert await answer() == f"{prefix}two"
        await l4.lab.apply(route(kind, f"b-old-{name}", f"ages-{name}", f"{prefix}one", year=2024))
        assert await answer() == f"{prefix}one"
        words = f"{kind}/default/b-old-{name} is older and gets the connections"
        assert accepted(l4.lab, kind, f"a-new-{name}") == (True, "Accepted", words)
        assert accepted(l4.lab, kind, f"b-old-{name}") == (True, "Accepted", "")
        assert l4.lab.complaints(f"a-new-{name}") == [words]
        await l4.lab.delete(kind, f"b-old-{name}")
        assert await answer() == f"{prefix}two"
        assert accepted(l4.lab, kind, f"a-new-{name}") == (True, "Accepted", "")


async def test_tls_that_is_passed_through_by_server_name(l4: L4) -> None:
    await l4.lab.apply(
        gateway("pass", listener("s", 443, "TLS", extra=PASS))
        + route("TLSRoute", "pass-exact", "pass", "s-one", "a.example.com")
        + route("TLSRoute", "pass-wild", "pass", "s-two", "'*.example.com'")
    )
    port = l4.lab.ports["pass", 443]
    # The handshake is the backend's: its certificate is the one that is seen.
    cases = {"a.example.com": "s-one", "b.example.com": "s-two", "A.example.com": "s-one", "example.org": REFUSED}
    assert {name: await ask(port, name=name, tls=l4.inner) for name in cases} == cases
    assert await ask(port, name="a.example.com", tls=l4.gate) == REFUSED
    # Neither without a server name nor without TLS does anything get through.
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.check_hostname, nameless.verify_mode = False, ssl.CERT_NONE
    assert await ask(port, tls=nameless) == REFUSED
    assert await ask(port) == REFUSED


async def test_tls_that_ends_at_the_gateway(l4: L4) -> None:
    text = gateway("ends", listener("s", 443, "TLS", extra=TERMINATE))
    await l4.lab.apply(text + route("TLSRoute", "ends", "ends", "one", "a.example.com"))
    port = l4.lab.ports["ends", 443]
    names = ("a.example.com", "b.example.com")
    assert [await ask(port, name=each, tls=l4.gate) for each in names] == ["one", REFUSED]
    assert await ask(port, name="a.example.com", tls=l4.gate, address="::1") == "one"


async def test_listeners_of_one_port_by_server_name(l4: L4) -> None:
    """HTTPS, TLS that ends here and TLS that is passed through share a port, and the most exact listener has the say."""
    await l4.lab.backend("web")
    await l4.lab.apply(
        gateway(
            "mixed",
            listener("pass", 443, "TLS", "*.example.com", PASS),
            listener("ends", 443, "TLS", "ends.example.com", TERMINATE),
            listener("https", 443, "HTTPS", "web.example.com", TERMINATE),
            listener("empty", 443, "TLS", "empty.example.com", PASS),
        )
        + route("TLSRoute", "mixed-pass", "mixed, sectionName: pass", "s-one", "'*.example.com', ends.example.com")
        + route("TLSRoute", "mixed-ends", "mixed, sectionName: ends", "two", "'*.example.com'")
        + """
kind: HTTPRoute
metadata: {name: mixed}
spec: {parentRefs: [{name: mixed}], rules: [{backendRefs: [{name: web, port: 80}]}]}
"""
    )
    port = l4.lab.ports["mixed", 443]
    assert l4.lab.complaints("Gateway/default/mixed") == []
    assert await ask(port, name="other.example.com", tls=l4.inner) == "s-one"
    assert await ask(port, name="ends.example.com", tls=l4.gate) == "two"
    assert (await l4.lab.ask("https://web.example.com/", gateway="mixed", tls=l4.gate)).backend == "web"
    # A connection that the listener for HTTPS took does not reach the name of another one by a request.
    for host, code in (("ends.example.com", 421), ("web.example.com", 200)):
        answer = await l4.lab.ask("https://web.example.com/", gateway="mixed", tls=l4.gate, headers={"Host": host})
        assert answer.status == code
    # A name that a more exact listener has does not fall to the less exact one where no route serves it.
    assert await ask(port, name="empty.example.com", tls=l4.inner) == REFUSED


async def test_hosts_in_common_of_listener_and_route(l4: L4) -> None:
    cases = {
        ("a.example.com", "'*.example.com'"): {"a.example.com": "s-one", "b.example.com": REFUSED},
        ("*.example.com", "a.example.com, a.example.org"): {"a.example.com": "s-one", "b.example.com": REFUSED},
        ("*.a.example.com", "'*.example.com'"): {"deep.a.example.com": "s-one", "a.example.com": REFUSED},
    }
    for at, ((host, hosts), wanted) in enumerate(cases.items()):
        name = f"common-{at}"
        text = gateway(name, listener("s", 443, "TLS", host, PASS))
        await l4.lab.apply(text + route("TLSRoute", name, name, "s-one", hosts))
        port = l4.lab.ports[name, 443]
        assert {each: await ask(port, name=each, tls=l4.inner) for each in wanted} == wanted, (host, hosts)


async def test_a_port_of_udp_in_both_families(l4: L4) -> None:
    text = gateway("dns", listener("t", 53, "TCP"), listener("u", 53, "UDP"))
    await l4.lab.apply(text + route("TCPRoute", "dns", "dns", "one") + route("UDPRoute", "dns", "dns", "u-two"))
    assert l4.lab.complaints("Gateway/default/dns") == []
    port = l4.lab.udp_ports["dns", 53]
    assert [await ask_udp(port, each) for each in ("127.0.0.1", "::1")] == ["u-two", "u-two"]
    assert await ask(l4.lab.ports["dns", 53]) == "one"


async def test_a_client_keeps_its_endpoint_and_moves_when_it_goes(l4: L4) -> None:
    text = gateway("sticks", listener("u", 7, "UDP"))
    await l4.lab.apply(text + route("UDPRoute", "sticks", "sticks", "u-one u-two"))
    port = l4.lab.udp_ports["sticks", 7]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        (first,) = {await ask_udp(port, sock=client) for _ in range(8)}
        await l4.lab.apply(route("UDPRoute", "sticks", "sticks", "u-two" if first == "u-one" else "u-one"))
        (then,) = {await ask_udp(port, sock=client) for _ in range(8)}
        assert {first, then} == {"u-one", "u-two"}


async def test_weights_of_datagrams_and_what_leads_nowhere(l4: L4) -> None:
    echoes = Echoes(l4.lab)
    try:
        # Six servers get no more together than one with the same weight.
        await echoes.udp("u-many", count=6)
        await echoes.service("u-nobody", [], "UDP")
        refs = "u-many*3 u-one*3 missing*1 u-nobody*1"
        await l4.lab.apply(gateway("shares", listener("u", 7, "UDP")) + route("UDPRoute", "shares", "shares", refs))
        port = l4.lab.udp_ports["shares", 7]
        count = Counter(await asyncio.gather(*(ask_udp(port) for _ in range(400))))
        assert set(count) == {"u-many", "u-one", REFUSED}
        assert 102 < count["u-many"] < 198
        assert 102 < count["u-one"] < 198
        assert 57 < count[REFUSED] < 143
    finally:
        await echoes.stop()


async def test_datagrams_that_nobody_serves_are_dropped(l4: L4) -> None:
    await l4.lab.apply(gateway("drops", listener("u", 7, "UDP")) + route("UDPRoute", "drops", "drops", "missing"))
    port = l4.lab.udp_ports["drops", 7]
    assert await ask_udp(port, wait_s=0.2) == REFUSED
    await l4.lab.apply(route("UDPRoute", "drops", "drops", "u-one"))
    assert await ask_udp(port) == "u-one"
    await l4.lab.delete("UDPRoute", "drops")
    assert await ask_udp(port, wait_s=0.2) == REFUSED


async def test_a_port_of_udp_takes_datagrams_as_soon_as_it_is_said_to_be_there(l4: L4) -> None:
    for at in range(10):
        name = f"soon-{at}"
        await l4.lab.apply(gateway(name, listener("u", 7, "UDP")) + route("UDPRoute", name, name, "u-one"))
        assert await ask_udp(l4.lab.udp_ports[name, 7]) == "u-one"
        await l4.lab.delete("Gateway", name)


async def test_references_cross_namespaces_with_a_grant_alone(l4: L4) -> None:
    echoes = Echoes(l4.lab)
    try:
        await echoes.udp("afar", namespace="other")
        text = route("UDPRoute", "granted", "granted", "afar").replace("name: afar,", "name: afar, namespace: other,")
        await l4.lab.apply(gateway("granted", listener("u", 7, "UDP")) + text)
        port = l4.lab.udp_ports["granted", 7]
        assert await ask_udp(port, wait_s=0.2) == REFUSED
        await l4.lab.apply(
            """
kind: ReferenceGrant
metadata: {name: l4, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: UDPRoute, namespace: default}]
  to: [{group: '', kind: Service}]
"""
        )
        assert await ask_udp(port) == "afar"
    finally:
        await echoes.stop()


async def test_an_agent_that_restarts_and_a_proxy_that_restarts(l4: L4) -> None:
    text = gateway("again", listener("t", 7, "TCP"), listener("u", 7, "UDP"))
    await l4.lab.apply(text + route("TCPRoute", "again", "again", "one") + route("UDPRoute", "again", "again", "u-one"))
    tcp, udp = l4.lab.ports["again", 7], l4.lab.udp_ports["again", 7]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        async with connected(tcp) as (reader, writer):
            assert (await exchange(reader, writer), await ask_udp(udp, sock=client)) == ("one", "u-one")
            await l4.lab.driver.close()
            l4.lab.driver = l4.lab.new_driver()
            lost = asyncio.Event()
            l4.lab.driver.on_lost(lost.set)
            l4.lab.compiler = Compiler()
            assert not (await l4.lab.settle()).failed
            assert (await exchange(reader, writer), await ask_udp(udp, sock=client)) == ("one", "u-one")
        before = l4.lab.driver.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await lost.wait()
        outcome = await l4.lab.driver.resync(l4.lab.compiler.compile(l4.lab.snapshot).plan)
        assert not outcome.failed
        assert l4.lab.driver.pid != before
        assert (await ask(tcp), await ask_udp(udp, sock=client)) == ("one", "u-one")
