"""Cluster addresses and node ports: given once, kept, taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import Http, Json
from hypothesis import given
from hypothesis import strategies as st

from conftest import settings as server_settings
from fairlead.apiserver.server import Server
from fairlead.apiserver.services.pools import AddressPool, Full, Pool, PoolError, PortPool

SERVICES = "/api/v1/namespaces/default/services"
MERGE = "application/merge-patch+json"


def service(name: str, **spec: Any) -> Json:
    return {"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]} | spec}


def test_pools_keep_their_lower_band_for_those_who_ask():
    pool = AddressPool("10.96.0.0/24")
    chosen = [int(pool.choose().split(".")[-1]) for _ in range(254)]
    assert len(set(chosen)) == 254
    assert min(chosen[:238]) > 16, "the upper band first"
    assert sorted(chosen[238:]) == list(range(1, 17))
    with pytest.raises(Full):
        pool.choose()
    pool.free("10.96.0.77")
    assert pool.choose() == "10.96.0.77"


@pytest.mark.parametrize(
    ("cidr", "address", "why"),
    [
        ("10.96.0.0/24", "10.96.0.0", "not in the valid range"),
        ("10.96.0.0/24", "10.96.0.255", "not in the valid range"),
        ("10.96.0.0/24", "10.97.0.1", "not in the valid range. The range of valid IPs is 10.96.0.0/24"),
        ("fd10:96::/108", "fd10:96::", "not in the valid range"),
        ("fd10:96::/108", "10.96.0.1", "not in the valid range"),
    ],
)
def test_pools_refuse(cidr: str, address: str, why: str):
    with pytest.raises(PoolError, match=why.replace(".", r"\.")):
        AddressPool(cidr).take(address)


def test_ports_have_their_range():
    ports = PortPool(30000, 30010)
    ports.take(30000)
    with pytest.raises(PoolError, match="provided port is already allocated"):
        ports.take(30000)
    with pytest.raises(PoolError, match="The range of valid ports is 30000-30010"):
        ports.take(80)


@given(st.lists(st.tuples(st.sampled_from(("choose", "take", "free")), st.integers(0, 19))))
def test_a_number_is_never_given_twice(steps: list[tuple[str, int]]):
    pool, held = Pool(20, 4), set()
    for action, number in steps:
        if action == "free":
            pool.free(number)
            held.discard(number)
        elif action == "take":
            assert pool.take(number) is (number not in held)
            held.add(number)
        elif len(held) < 20:
            chosen = pool.choose()
            assert chosen not in held
            held.add(chosen)


async def test_a_plain_service(http: Http):
    spec = (await http.ok("POST", SERVICES, service("a")))["spec"]
    assert spec["clusterIP"] == spec["clusterIPs"][0]
    assert spec["clusterIP"].startswith("10.96.")
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


@pytest.mark.parametrize(
    ("wanted", "families", "policy"),
    [
        ({"ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"], "PreferDualStack"),
        ({"ipFamilyPolicy": "RequireDualStack"}, ["IPv4", "IPv6"], "RequireDualStack"),
        ({"ipFamilies": ["IPv6"]}, ["IPv6"], "SingleStack"),
        ({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "PreferDualStack"}, ["IPv6", "IPv4"], "PreferDualStack"),
        ({"clusterIP": "fd10:96::99"}, ["IPv6"], "SingleStack"),
    ],
)
async def test_families(http: Http, wanted: Json, families: list[str], policy: str):
    spec = (await http.ok("POST", SERVICES, service("a", **wanted)))["spec"]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (families, policy)
    assert [("IPv6" if ":" in ip else "IPv4") for ip in spec["clusterIPs"]] == families


async def test_headless_and_external_names(http: Http):
    headless = (await http.ok("POST", SERVICES, service("a", clusterIP="None")))["spec"]
    assert (headless["clusterIP"], headless["clusterIPs"]) == ("None", ["None"])
    external = (await http.ok("POST", SERVICES, service("b", type="ExternalName", externalName="x.io")))["spec"]
    assert "clusterIP" not in external or not external["clusterIP"]


async def test_asked_addresses(http: Http):
    await http.ok("POST", SERVICES, service("a", clusterIP="10.96.0.10"))
    taken = await http("POST", SERVICES, service("b", clusterIP="10.96.0.10"))
    assert (taken.code, taken.message) == (
        422,
        'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: '
        "failed to allocate IP 10.96.0.10: provided IP is already allocated",
    )
    outside = await http("POST", SERVICES, service("b", clusterIP="10.99.0.10"))
    assert (
        "the provided IP (10.99.0.10) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
        in outside.message
    )
    await http.ok("DELETE", f"{SERVICES}/a")
    await http.ok("POST", SERVICES, service("b", clusterIP="10.96.0.10"))


async def test_two_at_once_never_share(http: Http):
    answers = await asyncio.gather(
        *(http("POST", SERVICES, service(f"s{n}", clusterIP="10.96.0.50")) for n in range(8))
    )
    assert sorted(answer.code for answer in answers) == [201] + [422] * 7
    answers = await asyncio.gather(*(http("POST", SERVICES, service(f"t{n}", type="NodePort")) for n in range(20)))
    assert len({answer.body["spec"]["ports"][0]["nodePort"] for answer in answers}) == 20


async def test_failed_writes_hold_nothing(http: Http):
    await http.ok("POST", SERVICES, service("a"))
    assert (await http("POST", SERVICES, service("a", clusterIP="10.96.0.77"))).code == 409
    await http.ok("POST", f"{SERVICES}?dryRun=All", service("b", clusterIP="10.96.0.77"))
    await http.ok("POST", SERVICES, service("b", clusterIP="10.96.0.77"))


async def test_node_ports_come_and_go_with_the_type(http: Http):
    made = await http.ok("POST", SERVICES, service("a", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    taken = await http("POST", SERVICES, service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    assert taken.message == (
        'Service "b" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated'
    )
    plain = await http.ok("PUT", f"{SERVICES}/a", made | {"spec": made["spec"] | {"type": "ClusterIP"}})
    assert "nodePort" not in plain["spec"]["ports"][0]
    assert plain["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    await http.ok("POST", SERVICES, service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))


async def test_load_balancers_may_go_without_node_ports(http: Http):
    plain = service("a", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert "nodePort" not in (await http.ok("POST", SERVICES, plain))["spec"]["ports"][0]
    asked = service(
        "b", type="LoadBalancer", allocateLoadBalancerNodePorts=False, ports=[{"port": 80, "nodePort": 30081}]
    )
    assert (await http.ok("POST", SERVICES, asked))["spec"]["ports"][0]["nodePort"] == 30081
    usual = (await http.ok("POST", SERVICES, service("c", type="LoadBalancer")))["spec"]
    assert usual["allocateLoadBalancerNodePorts"] is True
    assert usual["ports"][0]["nodePort"] not in (0, 30081)


async def test_one_number_for_two_protocols(http: Http):
    ports = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
    spec = (await http.ok("POST", SERVICES, service("dns", type="NodePort", ports=ports)))["spec"]
    assert len({port["nodePort"] for port in spec["ports"]}) == 1


async def test_growing_to_two_families_and_back(http: Http):
    made = await http.ok("POST", SERVICES, service("a"))
    grown = await http.ok("PATCH", f"{SERVICES}/a", {"spec": {"ipFamilyPolicy": "PreferDualStack"}}, type=MERGE)
    assert len(grown["spec"]["clusterIPs"]) == 2
    assert grown["spec"]["clusterIPs"][0] == made["spec"]["clusterIP"]
    back = await http.ok("PATCH", f"{SERVICES}/a", {"spec": {"ipFamilyPolicy": "SingleStack"}}, type=MERGE)
    assert back["spec"]["clusterIPs"] == made["spec"]["clusterIPs"]
    assert back["spec"]["ipFamilies"] == ["IPv4"]
    second = grown["spec"]["clusterIPs"][1]
    await http.ok("POST", SERVICES, service("b", clusterIP=second))


async def test_load_balancers_that_keep_sources_get_a_health_port(http: Http):
    spec = (await http.ok("POST", SERVICES, service("a", type="LoadBalancer", externalTrafficPolicy="Local")))["spec"]
    assert 30000 <= spec["healthCheckNodePort"] <= 32767
    assert spec["healthCheckNodePort"] != spec["ports"][0]["nodePort"]


async def test_a_restarted_server_knows_what_is_held(tmp_path: Path, certificates: Path):
    for expected in (201, 409):
        async with Server(server_settings(tmp_path / "state", certificates)) as server:
            http = Http(certificates, server.ports[0])
            assert (await http("POST", SERVICES, service("a", clusterIP="10.96.0.10"))).code == expected
            if expected == 409:
                assert (await http("POST", SERVICES, service("b", clusterIP="10.96.0.10"))).code == 422
            await http.close()
