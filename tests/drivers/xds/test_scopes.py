"""Which table a host of a port with many hosts is in, and what of them changes with a plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.xds import scopes
from fairlead.drivers.xds.memory import Memory
from fairlead.drivers.xds.protocol import Cache
from fairlead.drivers.xds.resources import APART, FOLLOWERS, ROUTES, SCOPES, TYPES
from fairlead.drivers.xds.tables import Tables
from fairlead.plan.gateway.listener import GatewayChain, GatewayListener, ToHosts
from fairlead.plan.gateway.route import GatewayHost, GatewayRoute, WeightedCluster
from fairlead.plan.plan import Plan, index

T = "default/web/80"
MANY = 3
DOMAINS = ("a.example", "b.example", "c.example", "d.example", "*.example", "*")


def plan(*, listens: bool = True, **hosts: str) -> Plan:
    """A port whose hosts, by number in `DOMAINS`, send requests to a cluster."""
    chain = GatewayChain(name="c", action=ToHosts(table=T))
    rows = [
        GatewayHost(
            table=T,
            domain=DOMAINS[int(name[1:])],
            routes=(
                GatewayRoute(origin="r", path_kind="prefix", path="/", clusters=(WeightedCluster(cluster=cluster),)),
            ),
        )
        for name, cluster in hosts.items()
    ]
    listener = GatewayListener(name="l", port=1, public_port=80, addresses=("127.0.0.1",), chains=(chain,))
    return Plan(
        node="n",
        revision="",
        tables={"gateway_listeners": index([listener] if listens else []), "gateway_hosts": index(rows)},
    )


@given(st.text(st.characters(codec="ascii", exclude_characters="|#"), min_size=1))
def test_every_host_has_one_table(domain: str) -> None:
    name = scopes.place(T, domain)
    assert scopes.place(T, domain) == name
    assert scopes.is_part(name)
    assert not scopes.is_part(T)
    assert scopes.port_of(name) == T == scopes.port_of(T)
    assert scopes.split(scopes.key(T, domain)) == (T, "*" if domain.startswith("*") else domain)
    assert (name == scopes.place(T, "*")) == domain.startswith("*")


def test_hosts_are_spread_evenly() -> None:
    count = Counter(scopes.place(T, f"h{number}.example.com") for number in range(5000))
    assert max(count.values()) < 45


def test_a_host_keeps_its_table_in_every_version() -> None:
    """Another one would move all hosts of all nodes at an update."""
    assert scopes.place(T, "www.example.com") == f"{T}#187"


STEPS = st.lists(
    st.tuples(
        st.booleans(),
        st.dictionaries(st.sampled_from([f"h{at}" for at in range(len(DOMAINS))]), st.sampled_from(["x/1", "y/1"])),
    ),
    max_size=8,
)


@given(STEPS)
def test_what_changes_step_by_step_is_what_is_made_at_once(steps: list[tuple[bool, dict[str, str]]]) -> None:
    cache = Cache(TYPES, FOLLOWERS, APART)
    tables, former = Tables(cache, lambda _: None, many=MANY), plan(listens=False)
    for listens, hosts in steps:
        new = plan(listens=listens, **hosts)
        taken = tables.take(former, new, tables.choose(former, new), adopted=False)
        for url, names, has in ((ROUTES, taken.routes, tables.has), (SCOPES, taken.scopes, tables.has_scope)):
            for name in names:
                if not has(name):
                    cache.remove(url, name)
        former = new
        whole = Cache(TYPES, FOLLOWERS, APART)
        fresh = Tables(whole, lambda _: None, many=MANY, scoped=tables.scoped)
        fresh.take(plan(listens=False), new, fresh.choose(plan(listens=False), new), adopted=False)
        assert cache.of(ROUTES) == whole.of(ROUTES)
        if not listens:
            continue
        assert cache.of(SCOPES) == whole.of(SCOPES)
        led = {scopes.split(name)[1] for name in cache.of(SCOPES)}
        by_name = {DOMAINS[int(name[1:])] for name in hosts if not DOMAINS[int(name[1:])].startswith("*")}
        if T in tables.scoped:
            assert led - {"*"} == by_name
            assert ("*" in led) == (len(hosts) > len(by_name))
        else:
            assert not led
        assert T in tables.scoped or len(by_name) < MANY


def test_one_host_more_or_other_changes_its_table_alone() -> None:
    cache = Cache(TYPES, FOLLOWERS, APART)
    tables, first = Tables(cache, lambda _: None, many=MANY), plan(h0="x/1", h1="x/1", h2="x/1")
    assert tables.choose(plan(listens=False), first) == {T}
    tables.take(plan(listens=False), first, {T}, adopted=False)
    second = plan(h0="x/1", h1="y/1", h2="x/1", h3="x/1", h4="x/1")
    assert tables.choose(first, second) == set()
    taken = tables.take(first, second, (), adopted=False)
    assert taken.routes == {scopes.place(T, DOMAINS[at]) for at in (1, 3, 4)}
    assert taken.scopes == {scopes.key(T, DOMAINS[at]) for at in (3, 4)}


def test_what_was_remembered_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "scoped"
    assert Memory(path).read() == frozenset()
    Memory(path).write({T, "b/c/443"})
    assert Memory(path).read() == {T, "b/c/443"}
    Memory(path).write({T})
    assert Memory(path).read() == {T}
    path.write_bytes(b"\xff")
    assert Memory(path).read() == frozenset()
    Memory(path).forget()
    assert not path.exists()
    Memory(path).forget()
