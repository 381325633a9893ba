"""SecurityPolicies of TCPRoutes, TLSRoutes and UDPRoutes by real connections and datagrams: who is refused hears nothing, and no backend of him."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.l4 import REFUSED, Echoes, ask, ask_udp, connected, exchange
from tests.drivers.xds.requestpolicies import policy
from tests.drivers.xds.test_l4_routes import TERMINATE, gateway, listener, route
from tests.drivers.xds.test_proxy_life import secret, trusting

from fairlead.model.compile import Compiler
from fairlead.model.gateway import admission, status
from fairlead.model.gateway.stage import GatewayStage
from fairlead.plan.render import render

pytestmark = pytest.mark.asyncio(loop_scope="module")

V4, OTHER, V6 = "127.0.0.1", "127.0.0.2", "::1"


class Greeter:
    """Speaks first, and counts who came."""

    def __init__(self) -> None:
        self.clients = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        writer.write(b"220 hello")
        try:
            await reader.read()
        except OSError:
            pass
        finally:
            writer.close()


class World(msgspec.Struct, frozen=True):
    lab: GatewayLab
    greeter: Greeter
    gate: ssl.SSLContext


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("admission")
    lab = GatewayLab(folder)
    echoes = Echoes(lab)
    greeter = Greeter()
    server = await asyncio.start_server(greeter, V4, 0)
    try:
        await lab.start()
        text, pem = secret("gate", "*.example.com")
        await lab.apply(text)
        for name in ("one", "two"):
            await echoes.tcp(name)
            await echoes.udp(f"u-{name}")
        await echoes.service("first", [server.sockets[0].getsockname()[1]])
        await lab.backend("web")
        yield World(lab, greeter, trusting(pem))
    finally:
        server.close()
        await echoes.stop()
        await lab.stop()


async def said(port: int, source: str, tls: ssl.SSLContext | None = None, name: str = "") -> str:
    """What a client from an address hears before it has said anything; the name of the error where TLS did not come about."""
    target = V6 if ":" in source else V4
    try:
        reader, writer = await asyncio.open_connection(
            target, port, local_addr=(source, 0), ssl=tls, server_hostname=name if tls else None
        )
        try:
            return (await asyncio.wait_for(reader.read(100), 5)).decode()
        finally:
            writer.transport.abort()
    except ssl.SSLError:
        return "TLS failed"
    except ConnectionError:
        return ""


async def echoed(port: int, source: str) -> bool:
    """Whether a datagram from an address is answered."""
    family, target = (socket.AF_INET6, V6) if ":" in source else (socket.AF_INET, V4)
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.bind((source, 0))
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(client, b"hello", (target, port))
        try:
            return bool(await asyncio.wait_for(loop.sock_recv(client, 100), 0.3))
        except TimeoutError:
            return False


def affected(lab: GatewayLab, kind: str, name: str) -> tuple[str, str]:
    """Reason and message of what a route with one parent is told about policies."""
    stage = GatewayStage()
    stage.update(lab.snapshot, None)
    bound = stage.described((kind, ("default", name)))
    assert bound is not None
    ((_, (*_, found)),) = status.route_parents(bound, stage.affected)
    return found.reason, found.message


def told(lab: GatewayLab, name: str, kind: str = "SecurityPolicy") -> list[tuple[str, bool, str, str]]:
    """(type, status, reason, message) of what a policy with one ancestor is told."""
    stage = GatewayStage()
    stage.update(lab.snapshot, None)
    ((_, conditions),) = status.policy_ancestors(stage.policies.state(kind, ("default", name)))
    return [(each.type, each.status, each.reason, each.message) for each in conditions]


LISTS = {
    "allowed": ("clientCIDRs: {allow: [127.0.0.1/32, '::1/128']}", {V4: True, OTHER: False, V6: True}),
    "denied": ("clientCIDRs: {deny: [127.0.0.2/31]}", {V4: True, OTHER: False, V6: True}),
    "denied before allowed": (
        "clientCIDRs: {allow: [127.0.0.0/8], deny: [127.0.0.1/32]}",
        {V4: False, OTHER: True, V6: False},
    ),
    "IPv6 denied": ("clientCIDRs: {deny: ['::/0']}", {V4: True, OTHER: True, V6: False}),
    "nobody allowed": ("clientCIDRs: {allow: []}", {V4: False, OTHER: False, V6: False}),
    "rules in their order": (
        "authorization: {rules: [{action: Deny, principal: {clientCIDRs: [127.0.0.2/32]}}, "
        "{action: Allow, principal: {clientCIDRs: [127.0.0.0/8]}}]}",
        {V4: True, OTHER: False, V6: False},
    ),
    "rules and lists": (
        "clientCIDRs: {deny: ['::1/128']}\n  authorization: {defaultAction: Allow, rules: "
        "[{action: Deny, principal: {clientCIDRs: [127.0.0.2/32]}}]}",
        {V4: True, OTHER: False, V6: False},
    ),
}


@pytest.mark.parametrize("case", LISTS, ids=str)
async def test_who_is_refused_hears_nothing_of_a_server_that_speaks_first(world: World, case: str) -> None:
    spec, wanted = LISTS[case]
    lab = world.lab
    await lab.apply(
        gateway("lists", listener("t", 25, "TCP"), listener("s", 443, "TLS", extra=TERMINATE), listener("u", 7, "UDP"))
        + route("TCPRoute", "lists", "lists, sectionName: t", "first")
        + route("TLSRoute", "lists", "lists, sectionName: s", "first", "a.example.com")
        + route("UDPRoute", "lists", "lists, sectionName: u", "u-one")
        + policy("lists-t", spec, of="TCPRoute", target="lists")
        + policy("lists-s", spec, of="TLSRoute", target="lists")
        + policy("lists-u", spec, of="UDPRoute", target="lists")
    )
    port, secure, datagrams = lab.ports["lists", 25], lab.ports["lists", 443], lab.udp_ports["lists", 7]
    assert {each: await said(port, each) for each in wanted} == {
        each: "220 hello" if taken else "" for each, taken in wanted.items()
    }
    assert {each: await said(secure, each, world.gate, "a.example.com") == "220 hello" for each in wanted} == wanted
    assert {each: await echoed(datagrams, each) for each in wanted} == wanted
    before = world.greeter.clients
    for each in (each for each, taken in wanted.items() if not taken):
        await said(port, each)
        await said(secure, each, world.gate, "a.example.com")
    # Nor does the backend hear of them.
    assert world.greeter.clients == before
    assert affected(lab, "TCPRoute", "lists")[0] == "PolicyAffected"


async def test_another_policy_touches_no_connection_that_exists(world: World) -> None:
    lab = world.lab
    await lab.apply(
        gateway("calm", listener("t", 7, "TCP"), listener("s", 443, "TLS", extra=TERMINATE))
        + route("TCPRoute", "calm", "calm, sectionName: t", "one")
        + route("TLSRoute", "calm", "calm, sectionName: s", "one", "a.example.com")
    )
    port, secure = lab.ports["calm", 7], lab.ports["calm", 443]
    async with (
        connected(port) as plain,
        connected(secure, name="a.example.com", tls=world.gate) as private,
    ):
        for at, spec in enumerate(("clientCIDRs: {allow: []}", "clientCIDRs: {deny: [127.0.0.1/32]}", "exempt: [jwt]")):
            await lab.apply(route("TLSRoute", f"calm-{at}", "calm, sectionName: s", "one", "leaves.example.com"))
            async with connected(secure, name="leaves.example.com", tls=world.gate) as (reader, writer):
                assert await exchange(reader, writer) == "one"
                for kind in ("TCPRoute", "TLSRoute"):
                    await lab.apply(policy(f"calm-{kind.lower()}", spec, of=kind, target="calm"))
                assert await ask(port) == (REFUSED if at < 2 else "one")
                # A chain that goes is drained: once its connection is closed, so is all that is drained with it.
                await lab.delete("TLSRoute", f"calm-{at}")
                assert await asyncio.wait_for(reader.read(), 20) == b""
            assert [await exchange(*each) for each in (plain, private)] == ["one", "one"]


async def test_names_of_one_listener_have_policies_of_their_own(world: World) -> None:
    lab = world.lab
    await lab.apply(
        gateway("names", listener("s", 443, "TLS", extra=TERMINATE))
        + route("TLSRoute", "names-a", "names", "first", "a.example.com, '*.example.com'")
        + route("TLSRoute", "names-b", "names", "first", "b.example.com")
        + policy("names", "clientCIDRs: {deny: [127.0.0.2/32]}", of="TLSRoute", target="names-a")
    )
    port = lab.ports["names", 443]
    found = {
        (name, source): await said(port, source, world.gate, f"{name}.example.com") == "220 hello"
        for name in ("a", "b", "c")
        for source in (V4, OTHER)
    }
    assert [key for key, taken in found.items() if not taken] == [("a", OTHER), ("c", OTHER)]


ABOUT_REQUESTS = {
    "tokens": ("jwt: {providers: [{name: a, issuer: i, localJWKS: {inline: '{}'}}]}", "spec.jwt"),
    "users that nobody knows": ("basicAuth: {users: {name: nobody}}", "spec.basicAuth"),
    "rules about headers": (
        "authorization: {defaultAction: Allow, rules: [{action: Deny, principal: {headers: [{name: x, values: [y]}]}}]}",
        "spec.authorization",
    ),
    "rules about methods": (
        "clientCIDRs: {}\n  authorization: {defaultAction: Allow, rules: [{action: Deny, operation: {methods: [PUT]}}]}",
        "spec.authorization",
    ),
}


@pytest.mark.parametrize("case", ABOUT_REQUESTS, ids=str)
async def test_what_asks_about_requests_closes_what_has_none(world: World, case: str) -> None:
    spec, field = ABOUT_REQUESTS[case]
    lab = world.lab
    await lab.apply(
        gateway("none", listener("t", 25, "TCP"), listener("u", 7, "UDP"), listener("free", 26, "TCP"))
        + route("TCPRoute", "none", "none, sectionName: t", "first")
        + route("UDPRoute", "none", "none, sectionName: u", "u-one")
        + route("TCPRoute", "free", "none, sectionName: free", "first")
        + policy("none-t", spec, of="TCPRoute", target="none")
        + f"""
---
kind: SecurityPolicy
metadata: {{name: none-u}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: none, sectionName: u}}], {spec.replace(chr(10) + "  ", ", ")}}}
"""
    )
    assert await said(lab.ports["none", 25], V4) == ""
    assert not await echoed(lab.udp_ports["none", 7], V4)
    assert await said(lab.ports["none", 26], V4) == "220 hello"
    for kind, name in (("TCPRoute", "none-t"), ("UDPRoute", "none-u")):
        accepted = told(lab, name)[0]
        assert accepted[:3] == ("Accepted", False, "Invalid")
        assert field in accepted[3] or "localJWKS" in accepted[3]
        reason, message = affected(lab, kind, "none")
        assert (reason, message.startswith("nobody gets through: ")) == ("PolicyInvalid", True)


async def test_a_gateways_policy_says_which_listeners_it_does_not_govern(world: World) -> None:
    lab = world.lab
    await lab.apply(
        gateway("both", listener("web", 80, "HTTP"), listener("db", 25, "TCP"), listener("dns", 7, "UDP"))
        + route("TCPRoute", "both", "both, sectionName: db", "first")
        + route("UDPRoute", "both", "both, sectionName: dns", "u-one")
        + """
kind: HTTPRoute
metadata: {name: both}
spec: {parentRefs: [{name: both, sectionName: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}
"""
        + policy(
            "both",
            "clientCIDRs: {deny: [127.0.0.2/32]}\n  authorization: {rules: [{action: Allow, operation: {methods: [GET]}}]}",
            of="Gateway",
        )
        + policy("both-limits", "maxRequestBytes: 10", of="Gateway", target="both", kind="TrafficPolicy")
    )
    assert [await said(lab.ports["both", 25], each) for each in (V4, OTHER)] == ["220 hello", ""]
    assert [await echoed(lab.udp_ports["both", 7], each) for each in (V4, OTHER)] == [True, False]
    found = [(await lab.ask("http://a.example/", each, gateway="both")).status for each in ("GET", "PUT")]
    assert found == [200, 403]
    words = (
        "spec.authorization: nothing for the connections of listener db; "
        "spec.authorization: nothing for the datagrams of listener dns"
    )
    assert told(lab, "both") == [
        ("Accepted", True, "Accepted", ""),
        ("ResolvedRefs", True, "ResolvedRefs", ""),
        ("fairlead.dev/Partial", True, "NotForRequests", words),
    ]
    assert told(lab, "both-limits", "TrafficPolicy")[-1][3].count("spec.maxRequestBytes: nothing for the ") == 2
    assert lab.complaints("SecurityPolicy/default/both") == [words]
    assert affected(lab, "TCPRoute", "both") == ("PolicyAffected", "clientCIDRs: SecurityPolicy/default/both")


async def test_a_policy_that_is_not_valid_closes_connections_too(world: World) -> None:
    lab = world.lab
    await lab.apply(
        gateway("wrong", listener("t", 25, "TCP"))
        + route("TCPRoute", "wrong", "wrong", "first")
        + policy("wrong", "clientCIDRs: {allow: [nonsense]}", of="Gateway")
    )
    assert await said(lab.ports["wrong", 25], V4) == ""
    await lab.apply(policy("wrong", "clientCIDRs: {allow: [127.0.0.0/8]}", of="Gateway"))
    assert await said(lab.ports["wrong", 25], V4) == "220 hello"
    await lab.apply(policy("wrong-limits", "maxRequestBytes: 10", of="TCPRoute", target="wrong", kind="TrafficPolicy"))
    assert await said(lab.ports["wrong", 25], V4) == ""
    assert "TCPRoute is no target of a TrafficPolicy" in told(lab, "wrong-limits", "TrafficPolicy")[0][3]


async def test_more_prefixes_than_a_listener_can_have_close_the_route(world: World) -> None:
    lab = world.lab
    # What lies between two of these takes about a hundred prefixes.
    allowed = ", ".join(f"'2001:db8:{at:x}::{at:x}/128'" for at in range(1, 251))
    await lab.apply(
        gateway("many", listener("t", 25, "TCP"))
        + route("TCPRoute", "many", "many", "first")
        + policy("many", f"clientCIDRs: {{allow: [127.0.0.0/8, {allowed}]}}", of="TCPRoute")
    )
    assert await said(lab.ports["many", 25], V4) == ""
    reason, message = affected(lab, "TCPRoute", "many")
    assert (reason, "allow fewer" in message) == ("PolicyInvalid", True)


async def test_names_close_whose_policies_are_more_than_a_listener_can_have(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MOST_REFUSALS", 20)
    lab = world.lab
    spec = "clientCIDRs: {deny: [192.0.2.1/32, 192.0.2.3/32, 192.0.2.5/32, 192.0.2.7/32, 192.0.2.9/32, 127.0.0.2/32]}"

    async def open_names() -> list[str]:
        port = lab.ports["crowd", 443]
        names = ("a", "b", "c", "free")
        return [each for each in names if await said(port, V4, world.gate, f"{each}.example.com") == "220 hello"]

    def names(*found: str) -> str:
        return "".join(
            route("TLSRoute", f"crowd-{each}", "crowd", "first", f"{each}.example.com") + "\n" for each in found
        )

    policies = "".join(policy(f"crowd-{each}", spec, of="TLSRoute", target=f"crowd-{each}") for each in ("a", "b", "c"))
    await lab.apply(
        gateway("crowd", listener("s", 443, "TLS", extra=TERMINATE)) + names("a", "b", "c", "free") + policies
    )
    assert await open_names() == ["a", "b", "c", "free"]
    await lab.apply(
        route("TLSRoute", "crowd-d", "crowd", "first", "d.example.com")
        + policy("crowd-d", spec, of="TLSRoute", target="crowd-d")
    )
    assert await open_names() == ["free"]
    assert affected(lab, "TLSRoute", "crowd-a")[0] == "PolicyInvalid"
    assert any("more than 20" in each for each in lab.complaints("Gateway/default/crowd"))
    assert render(lab.plan) == render(Compiler().compile(lab.snapshot).plan)
    await lab.delete("TLSRoute", "crowd-d")
    assert await open_names() == ["a", "b", "c", "free"]
    assert affected(lab, "TLSRoute", "crowd-a")[0] == "PolicyAffected"
    assert render(lab.plan) == render(Compiler().compile(lab.snapshot).plan)


async def test_the_address_is_the_one_that_a_load_balancer_tells(world: World) -> None:
    lab = world.lab
    await lab.apply(
        gateway("told", listener("t", 25, "TCP"))
        + route("TCPRoute", "told", "told", "first")
        + policy("told", "clientCIDRs: {deny: [192.0.2.0/24, '2001:db8::/32']}", of="TCPRoute")
        + """
---
kind: ClientTrafficPolicy
metadata: {name: told}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: told}]
  proxyProtocol: {mode: Required}
"""
    )
    cases = {
        "TCP4 192.0.2.9 192.0.2.1": b"",
        "TCP4 198.51.100.9 192.0.2.1": b"220 hello",
        "TCP6 2001:db8::9 2001:db8::1": b"",
        "TCP6 2001:db9::9 2001:db8::1": b"220 hello",
    }
    for header, wanted in cases.items():
        async with connected(lab.ports["told", 25]) as (reader, writer):
            writer.write(f"PROXY {header} 5555 25\r\n".encode())
            try:
                found = await asyncio.wait_for(reader.read(100), 5)
            except ConnectionError:
                found = b""
            assert found == wanted, header


async def test_a_policy_for_what_is_sent_to_a_service_says_nothing_about_datagrams(world: World) -> None:
    lab = world.lab
    await lab.apply(
        gateway("sent", listener("u", 7, "UDP"), listener("t", 25, "TCP"))
        + route("UDPRoute", "sent", "sent, sectionName: u", "u-two")
        + route("TCPRoute", "sent", "sent, sectionName: t", "two")
        + """
kind: BackendTrafficPolicy
metadata: {name: sent}
spec:
  targetRefs: [{group: '', kind: Service, name: u-two}, {group: '', kind: Service, name: two}]
  loadBalancing: {type: RoundRobin}
  retryConstraint: {budget: {percent: 5}}
"""
    )
    *_, (kind, _, _, message) = told(lab, "sent", "BackendTrafficPolicy")
    assert (kind, message) == (
        "fairlead.dev/Partial",
        "spec.loadBalancing, spec.retryConstraint: nothing for the datagrams of UDPRoute default/sent; "
        "spec.retryConstraint: nothing for the connections of TCPRoute default/sent",
    )


async def test_a_policy_of_datagrams_holds_for_clients_that_were_there_before(world: World) -> None:
    lab = world.lab
    await lab.apply(gateway("stay", listener("u", 7, "UDP")) + route("UDPRoute", "stay", "stay", "u-one"))
    port = lab.udp_ports["stay", 7]
    clients = {each: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for each in (V4, OTHER)}
    try:
        for source, each in clients.items():
            each.bind((source, 0))
        assert [await ask_udp(port, sock=each) for each in clients.values()] == ["u-one"] * 2
        await lab.apply(policy("stay", "clientCIDRs: {deny: [127.0.0.2/32]}", of="UDPRoute"))
        assert [await ask_udp(port, sock=each, wait_s=0.3) for each in clients.values()] == ["u-one", REFUSED]
        await lab.delete("SecurityPolicy", "stay")
        assert [await ask_udp(port, sock=each) for each in clients.values()] == ["u-one"] * 2
    finally:
        for each in clients.values():
            each.close()


async def test_another_agent_refuses_the_same(world: World) -> None:
    lab = world.lab
    await lab.apply(
        gateway("again", listener("t", 25, "TCP"), listener("u", 7, "UDP"))
        + route("TCPRoute", "again", "again, sectionName: t", "first")
        + route("UDPRoute", "again", "again, sectionName: u", "u-one")
        + policy("again", "clientCIDRs: {deny: [127.0.0.2/32]}", of="Gateway")
    )
    await lab.driver.close()
    lab.driver = lab.new_driver()
    lab.compiler = Compiler()
    assert not (await lab.settle()).failed
    assert [await said(lab.ports["again", 25], each) for each in (V4, OTHER)] == ["220 hello", ""]
    assert [await echoed(lab.udp_ports["again", 7], each) for each in (V4, OTHER)] == [True, False]
