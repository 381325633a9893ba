"""A plan divided among proxies: each gets what its listeners need and no more, whatever came before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.drivers.xds.division import SHARED, Division
from fairlead.drivers.xds.proxies import Proxies
from fairlead.plan.gateway.cluster import BackendTls, GatewayCluster, GatewayEndpoints
from fairlead.plan.gateway.forward import ForwardShare, GatewayForward
from fairlead.plan.gateway.listener import (
    AnyListener,
    GatewayCertificate,
    GatewayChain,
    GatewayListener,
    GatewayUdpListener,
    KnownClients,
    Terminated,
    ToBackends,
    ToHosts,
)
from fairlead.plan.gateway.policy import ExternalAuth, GatewayJwt, JwtProvider, RequestPolicy
from fairlead.plan.gateway.presence import GatewayDrain, GatewayHealthPort
from fairlead.plan.gateway.route import GatewayHost, GatewayRoute, Mirror, WeightedCluster
from fairlead.plan.gateway.trust import Bundle, GatewayTrust
from fairlead.plan.plan import Plan, changes
from fairlead.plan.tables import Key, Row, key_of

TABLE_OF: Mapping[type, str] = {
    GatewayListener: "gateway_listeners",
    GatewayUdpListener: "gateway_udp_listeners",
    GatewayHost: "gateway_hosts",
    GatewayForward: "gateway_forwards",
    GatewayCluster: "gateway_clusters",
    GatewayEndpoints: "gateway_endpoints",
    GatewayCertificate: "gateway_certificates",
    GatewayTrust: "gateway_trusts",
    GatewayJwt: "gateway_jwt",
    GatewayHealthPort: "gateway_health_ports",
    GatewayDrain: "gateway_drains",
}
GATEWAYS = ("a", "b", "c")
CLUSTERS = ("one", "two", "three", "jwks", "auth")
Rows = dict[tuple[str, Key], Row]


def plan(rows: Iterable[Row]) -> Plan:
    tables: dict[str, dict[Key, Row]] = {}
    for row in rows:
        tables.setdefault(TABLE_OF[type(row)], {})[key_of(row)] = row
    return Plan(node="n1", revision="", tables=tables)


def rows_of(found: Plan) -> Rows:
    return {(table, key): row for table, rows in found.tables.items() for key, row in rows.items()}


def listener(name: str, proxy: str = "", *, table: bool = True, certificate: str = "", trust: str = "") -> AnyListener:
    action = ToHosts(table=name) if table else ToBackends(forward=name)
    tls = (
        Terminated(certificates=(certificate,), clients=KnownClients(trust=trust) if trust else None)
        if certificate
        else None
    )
    chain = GatewayChain(name=name, action=action, tls=tls)
    return GatewayListener(name=name, port=1, public_port=1, addresses=("::1",), chains=(chain,), proxy=proxy)


def host(table: str, domain: str, *clusters: str, mirror: str = "", jwt: str = "", auth: str = "") -> GatewayHost:
    policy = RequestPolicy(jwt=jwt, external=ExternalAuth(cluster=auth, host="") if auth else None)
    route = GatewayRoute(
        path_kind="prefix",
        path="/",
        clusters=tuple(WeightedCluster(cluster=each) for each in clusters),
        mirrors=(Mirror(cluster=mirror),) if mirror else (),
        policy=policy,
    )
    return GatewayHost(table=table, domain=domain, routes=(route,))


def cluster(name: str, *, trust: str = "", certificate: str = "") -> list[Row]:
    tls = BackendTls(server_name="x", names=(), trust=trust, certificate=certificate) if trust or certificate else None
    return [GatewayCluster(name=name, tls=tls), GatewayEndpoints(cluster=name)]


def health(name: str, proxy: str) -> GatewayHealthPort:
    return GatewayHealthPort(name=name, port=1, addresses=(), namespace="n", service="s", proxy=proxy)


def jwt(name: str, cluster: str) -> GatewayJwt:
    return GatewayJwt(name=name, providers=(JwtProvider(name="p", issuer="i", cluster=cluster),))


def trust(name: str) -> GatewayTrust:
    return GatewayTrust(name=name, bundle=Bundle("pem"))


def certificate(name: str) -> GatewayCertificate:
    return GatewayCertificate(name=name, digest="d")


def divide(*plans: Plan) -> Division:
    found = Division(Proxies.tables, "n1")
    for each in plans:
        found.update(each)
        found.release(found.moves)
        found.finish(found.moves)
        for name in [name for name, part in found.parts.items() if name != SHARED and not part.tables]:
            found.forget(name)
    return found


NEEDS: dict[str, list[Row]] = {
    "hosts and their backends": [
        listener("a/80", "a"), host("a/80", "*", "one", "two", mirror="three"), host("a/80", "x.example"),
        *cluster("one"), *cluster("two"), *cluster("three"),
    ],
    "backends with TLS": [
        listener("a/80", "a"), host("a/80", "*", "one"), *cluster("one", trust="ca/x", certificate="ns/client"),
        trust("ca/x"), certificate("ns/client"),
    ],
    "who verifies tokens and whom they ask": [
        listener("a/80", "a"), host("a/80", "*", jwt="j", auth="auth"), jwt("j", "jwks"),
        *cluster("jwks"), *cluster("auth"),
    ],
    "certificates and clients": [
        listener("a/443", "a", certificate="ns/server", trust="ca/clients"), certificate("ns/server"), trust("ca/clients"),
    ],
    "connections": [
        listener("a/7", "a", table=False), GatewayForward(name="a/7", shares=(ForwardShare(cluster="one", weight=1),)), *cluster("one"),
    ],
    "the port for load balancers": [health("a/health", "a")],
    "datagrams": [
        GatewayUdpListener(name="a/7/udp", port=1, public_port=7, addresses=(), cluster="a/7/udp", proxy="a"),
        *cluster("a/7/udp"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", NEEDS, ids=str)
def test_a_proxy_of_its_own_gets_what_its_listeners_need_and_no_more(case: str) -> None:
    others: list[Row] = [listener("z/80"), host("z/80", "*", "other"), *cluster("other"), host("nobody", "*", "one")]
    found = divide(plan([*NEEDS[case], *others]))
    assert rows_of(found.parts["a"]) == rows_of(plan(NEEDS[case]))
    assert rows_of(found.parts[SHARED]) == rows_of(plan(others[:-1]))


def test_without_a_proxy_of_ones_own_the_whole_plan_is_handed_on() -> None:
    rows = [listener("a/80"), host("nobody", "*", "one"), *cluster("one")]
    found = Division(Proxies.tables, "n1")
    assert found.update(plan(rows)) == {SHARED}
    assert rows_of(found.parts[SHARED]) == rows_of(plan(rows))


def test_all_are_told_that_the_node_goes() -> None:
    rows = [listener("a/80", "a"), listener("b/80"), listener("c/80", "c")]
    found = divide(plan(rows))
    assert found.update(plan([*rows, GatewayDrain(reason="goes")])) == {"a", SHARED, "c"}
    assert all(("goes",) in part.table("gateway_drains") for part in found.parts.values())
    assert found.update(plan(rows)) == {"a", SHARED, "c"}
    found.update(plan([*rows[1:], GatewayDrain(reason="goes")]))
    assert not found.parts["a"].tables


def test_an_endpoint_that_changes_concerns_the_proxies_that_use_it() -> None:
    shared = [*cluster("one"), *cluster("two")]
    own = [listener(f"{each}/80", each) for each in GATEWAYS]
    hosts = [host("a/80", "*", "one"), host("b/80", "*", "one", "two"), host("c/80", "*", "two")]
    found = divide(plan([*shared, *own, *hosts]))
    after = plan([*cluster("two", trust="ca/x"), *cluster("one"), *own, *hosts, trust("ca/x")])
    assert found.update(after) == {"b", "c"}
    assert found.parts["b"].delta is not None
    assert dict(found.parts["b"].delta.keys) == {
        "gateway_clusters": frozenset({("two",)}),
        "gateway_trusts": frozenset({("ca/x",)}),
    }
    assert found.update(after) == set()


def test_a_listener_stays_with_its_former_proxy_until_it_is_released() -> None:
    rows = [host("a/80", "*", "one"), *cluster("one"), certificate("ns/old")]
    before = listener("a/80", certificate="ns/old")
    found = divide(plan([before, *rows]))
    after = listener("a/80", "a", certificate="ns/new")
    assert "a" in found.update(plan([after, *rows, certificate("ns/new")]))
    assert found.parts[SHARED].table("gateway_listeners")["a/80",] == before
    assert ("ns/old",) in found.parts[SHARED].table("gateway_certificates")
    assert found.parts["a"].table("gateway_listeners")["a/80",] == after
    # What the routes say is said to both.
    assert found.update(plan([after, host("a/80", "*", "two"), *cluster("two"), certificate("ns/new")])) == {
        "a",
        SHARED,
    }
    assert ("two",) in found.parts[SHARED].table("gateway_endpoints")
    assert found.release(["a/80"]) == {SHARED}
    # Connections that the former proxy has taken still need their backends.
    assert not found.parts[SHARED].table("gateway_listeners")
    assert found.parts[SHARED].table("gateway_endpoints")
    assert found.finish(["a/80"]) == {SHARED}
    assert not found.parts[SHARED].tables and not found.moves


def test_a_listener_that_goes_back_before_it_was_released_was_never_away() -> None:
    rows = [host("a/80", "*", "one"), *cluster("one")]
    found = divide(plan([listener("a/80"), *rows]))
    found.update(plan([listener("a/80", "a"), *rows]))
    found.update(plan([listener("a/80"), *rows]))
    assert {name: (move.former, move.to) for name, move in found.moves.items()} == {"a/80": ("a", SHARED)}
    assert rows_of(found.parts[SHARED]) == rows_of(plan([listener("a/80"), *rows]))
    found.release(["a/80"])
    found.finish(["a/80"])
    assert not found.parts["a"].tables
    found.forget("a")
    assert rows_of(found.parts[SHARED]) == rows_of(plan([listener("a/80"), *rows]))


def needed(whole: Plan, proxy: str) -> Rows:
    """What a proxy needs of a plan, found by asking until nothing is added. Independent of `Division`."""
    every = rows_of(whole)
    found: Rows = {
        at: row
        for at, row in every.items()
        if isinstance(row, GatewayListener | GatewayUdpListener | GatewayHealthPort) and row.proxy == proxy
    }
    if found:
        found |= {at: row for at, row in every.items() if at[0] == "gateway_drains"}
    while True:
        text = [repr(row) for row in found.values()]
        new = {
            at: row
            for at, row in every.items()
            if at not in found
            and at[0] not in ("gateway_listeners", "gateway_udp_listeners", "gateway_health_ports", "gateway_drains")
            and any(mention in each for each in text for mention in mentions(at))
        }
        if not new:
            return found
        found |= new


def mentions(at: tuple[str, Key]) -> list[str]:
    """How rows write the name of another one; names of the tables differ in these tests."""
    table, (name, *_) = at
    match table:
        case "gateway_hosts":
            return [f"ToHosts(table='{name}')"]
        case "gateway_forwards":
            return [f"ToBackends(forward='{name}')"]
        case "gateway_endpoints":
            return [f"GatewayCluster(name='{name}'"]
        case "gateway_clusters":
            return [f"cluster='{name}'"]
        case "gateway_jwt":
            return [f"jwt='{name}'"]
    return [f"'{name}'"]


@st.composite
def worlds(draw: st.DrawFn) -> Plan:
    names = st.sampled_from(CLUSTERS)
    some = st.lists(names, max_size=2, unique=True)
    rows: list[Row] = []
    for gateway in draw(st.sets(st.sampled_from(GATEWAYS))):
        proxy = draw(st.sampled_from(("", gateway)))
        at = f"{gateway}/80"
        rows.append(listener(at, proxy, certificate=draw(st.sampled_from(("", "ns/x"))), trust="ca/clients"))
        for domain in draw(st.sets(st.sampled_from(("*", "x.example", "y.example")))):
            jwt_name = draw(st.sampled_from(("", "j1", "j2")))
            auth = draw(st.sampled_from(("", "auth")))
            rows.append(
                host(at, domain, *draw(some), mirror=draw(st.sampled_from(("", "two"))), jwt=jwt_name, auth=auth)
            )
        if draw(st.booleans()):
            rows.append(health(f"{gateway}/health", proxy))
        if draw(st.booleans()):
            rows.append(listener(f"{gateway}/7", proxy, table=False))
            rows.append(
                GatewayForward(
                    name=f"{gateway}/7", shares=tuple(ForwardShare(cluster=each, weight=1) for each in draw(some))
                )
            )
    for name in draw(st.sets(names)):
        rows += cluster(name, trust=draw(st.sampled_from(("", "ca/backends"))))
    if draw(st.booleans()):
        rows.append(GatewayDrain(reason="goes"))
    rows += [jwt("j1", "jwks"), jwt("j2", "one"), certificate("ns/x"), trust("ca/clients"), trust("ca/backends")]
    return plan(draw(st.permutations(rows)))


@settings(max_examples=100, deadline=None)
@given(st.lists(worlds(), min_size=1, max_size=5), st.randoms())
def test_parts_follow_from_the_plan_and_from_nothing_before_it(plans: list[Plan], dice: object) -> None:
    found = Division(Proxies.tables, "n1")
    drivers: dict[str, Rows] = {}
    seen: dict[str, Plan] = {}

    def follow(names: Iterable[str]) -> None:
        """Do what drivers do: take in what is said to have changed, sometimes after having missed something."""
        for name in names:
            if getattr(dice, "random")() < 0.3:  # noqa: B009
                continue
            known, part = drivers.setdefault(name, {}), found.parts.get(name, Plan.empty("n1"))
            for table in Proxies.tables:
                for key, _, row in changes(seen.get(name, Plan.empty("n1")), part, table):
                    known.pop((table, key), None)
                    if row is not None:
                        known[table, key] = row
            seen[name] = part

    for each in plans:
        follow(found.update(each))
        if getattr(dice, "random")() < 0.5:  # noqa: B009
            follow(found.release(found.moves))
            follow(found.finish(found.moves))
            for name in [name for name, part in found.parts.items() if name != SHARED and not part.tables]:
                found.forget(name)
                drivers.pop(name, None), seen.pop(name, None)
    follow(found.release(found.moves))
    follow(found.finish(found.moves))
    last = plans[-1]
    proxies = {row.proxy for row in rows_of(last).values() if isinstance(row, GatewayListener)}
    for name in proxies - {SHARED}:
        assert rows_of(found.parts[name]) == needed(last, name)
    assert not any(part.tables for name, part in found.parts.items() if name not in {*proxies, SHARED})
    whole = rows_of(last)
    if proxies - {SHARED}:
        assert rows_of(found.parts[SHARED]) == needed(last, SHARED)
    union = {at: row for part in found.parts.values() for at, row in rows_of(part).items()}
    assert all(whole[at] == row for at, row in union.items())
    # Whoever followed the changes has what the part holds.
    for name, part in seen.items():
        if found.parts.get(name) is part:
            assert drivers[name] == rows_of(part)
