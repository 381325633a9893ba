"""Where the cloud sends load balancers' packets, and with which commands."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.api.node import EXCLUDED
from fairlead.lab.cloud import flows
from fairlead.lab.cloud.decide import checks, gateways, holders, hops, keepers, targets
from fairlead.lab.cloud.routes import group_id, hop_id, script


def node(name: str, *addresses: str, **labels: str) -> dict[str, Any]:
    listed = [{"type": "InternalIP", "address": each} for each in addresses]
    return {"metadata": {"name": name, "labels": labels}, "status": {"addresses": listed}}


def changed(metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    plain = node("n1", "10.0.0.1")
    return plain | {"metadata": plain["metadata"] | metadata, "spec": spec}


def service(*addresses: str, kind: str = "LoadBalancer", mode: str = "VIP", **spec: Any) -> dict[str, Any]:
    ingress = [{"ip": each, "ipMode": mode} for each in addresses]
    return {"metadata": {"name": "s"}, "spec": {"type": kind, **spec}, "status": {"loadBalancer": {"ingress": ingress}}}


NODES = [node("n1", "10.0.0.1", "fd00::1"), node("n2", "10.0.0.2"), node("n3", "10.0.0.3", **{EXCLUDED: ""})]
LOCAL: dict[str, Any] = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 31000}


@pytest.mark.parametrize(
    ("subject", "healthy", "expected"),
    [
        (service("203.0.113.5"), {("10.0.0.1", 10256), ("10.0.0.2", 10256)}, {"203.0.113.5": ("10.0.0.1", "10.0.0.2")}),
        (service("203.0.113.5"), {("10.0.0.2", 10256), ("10.0.0.3", 10256)}, {"203.0.113.5": ("10.0.0.2",)}),
        (service("203.0.113.5"), set(), {"203.0.113.5": ()}),
        (service("203.0.113.5", **LOCAL), {("10.0.0.1", 10256), ("10.0.0.2", 31000)}, {"203.0.113.5": ("10.0.0.2",)}),
        (service("fd10:203::5"), {("10.0.0.1", 10256), ("10.0.0.2", 10256)}, {"fd10:203::5": ("fd00::1",)}),
        (service("203.0.113.5", kind="NodePort"), {("10.0.0.1", 10256)}, {}),
        (service("203.0.113.5", mode="Proxy"), {("10.0.0.1", 10256)}, {}),
    ],
    ids=[
        "all healthy",
        "one excluded, one sick",
        "nobody knows yet",
        "local",
        "ipv6",
        "no load balancer",
        "another's way",
    ],
)
def test_nodes_for_an_address(
    subject: dict[str, Any], healthy: set[tuple[str, int]], expected: dict[str, tuple[str, ...]]
) -> None:
    wanted = targets([subject], NODES)
    assert hops(wanted, healthy, (), ()) == expected
    assert all(port in (10256, 31000) for _, port in checks(wanted))


ONE, TWO = ("10.0.0.1", 10256), ("10.0.0.2", 10256)


@pytest.mark.parametrize(
    ("failing", "living", "expected"),
    [
        ({ONE, TWO}, ("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "10.0.0.2")),
        ({ONE, TWO}, ("10.0.0.2",), ("10.0.0.2",)),
        ({ONE, TWO}, (), ()),
        ({ONE}, ("10.0.0.1", "10.0.0.2"), ()),
    ],
    ids=["all kernels live", "one does", "none does", "one has not answered yet"],
)
def test_where_all_nodes_fail_those_that_live_are_tried(
    failing: set[tuple[str, int]], living: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert hops(targets([service("203.0.113.5")], NODES), (), failing, living) == {"203.0.113.5": expected}


@pytest.mark.parametrize(
    ("metadata", "spec", "takes"),
    [
        ({"labels": {EXCLUDED: ""}}, {}, False),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, {}, False),
        ({}, {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}, False),
        ({}, {"unschedulable": True}, True),
        ({}, {"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}, True),
        ({}, {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}, True),
    ],
    ids=["excluded", "deleted", "about to be deleted", "cordoned", "drained", "unreachable"],
)
def test_which_nodes_take_new_connections(metadata: dict[str, Any], spec: dict[str, Any], takes: bool) -> None:
    wanted = targets([service("203.0.113.5")], [changed(metadata, spec)])
    assert [target.node for target in wanted["203.0.113.5"]] == ["n1"] * takes
    assert keepers([changed(metadata, spec)], ()).keys() == {"10.0.0.1"}


def test_nodes_that_were_deleted_keep_their_connections_while_they_answer() -> None:
    assert keepers([NODES[1]], {"fd00::1"}) == {"10.0.0.2": TWO, "fd00::1": ("fd00::1", 10256)}


def test_packets_of_a_connection_follow_its_node_s_mark() -> None:
    text = flows.rules(["203.0.113.5", "fd10:203::5"], ["10.0.0.2", "10.0.0.1", "fd00::1"])
    assert "set vips4 { type ipv4_addr; elements = { 203.0.113.5 }; }" in text
    marks = f"10.0.0.1 : {hop_id('10.0.0.1'):#x}, 10.0.0.2 : {hop_id('10.0.0.2'):#x}"
    assert f"map nodes4 {{ type ipv4_addr : mark; elements = {{ {marks} }}; }}" in text
    assert "elements" not in flows.rules((), ())
    one, table = hop_id("10.0.0.1"), 0x100000 + hop_id("10.0.0.1")
    on = [
        f"route replace default via 10.0.0.1 dev br-a table {table}",
        f"rule add fwmark {one:#x} lookup {table} pref 100",
    ]
    off = [f"rule del fwmark {one:#x} lookup {table} pref 100", f"route del default table {table}"]
    assert flows.script((), {"10.0.0.1"}, {"10.0.0.1": "br-a"}) == on
    assert flows.script({"10.0.0.1"}, (), {}) == off
    assert flows.script({"10.0.0.1"}, {"10.0.0.1"}, {}) == []


def test_commands_make_hops_before_groups_and_remove_groups_before_hops() -> None:
    devices = {"10.0.0.1": "br-a", "10.0.0.2": "br-b"}
    one, two, group = hop_id("10.0.0.1"), hop_id("10.0.0.2"), group_id("203.0.113.5")
    both = {"203.0.113.5": ("10.0.0.1", "10.0.0.2")}
    timers = "type resilient buckets 128 idle_timer 60 unbalanced_timer 60"
    assert script({}, both, devices) == [
        f"nexthop replace id {one} via 10.0.0.1 dev br-a",
        f"nexthop replace id {two} via 10.0.0.2 dev br-b",
        f"nexthop replace id {group} group {one}/{two} {timers}",
        f"route replace 203.0.113.5 nhid {group}",
    ]
    assert script(both, {"203.0.113.5": ("10.0.0.2",)}, devices) == [
        f"nexthop replace id {group} group {two} {timers}",
        f"nexthop del id {one}",
    ]
    assert script(both, {"203.0.113.5": ()}, devices) == [
        f"nexthop del id {group}",
        f"nexthop del id {one}",
        f"nexthop del id {two}",
    ]
    assert script(both, both, devices) == []


def test_numbers_of_hops_and_groups_differ() -> None:
    nodes = [f"10.10.{zone * 16}.{host}" for zone in range(8) for host in range(11, 250)]
    nodes += [f"fd10:10:0:{zone:x}::{host:x}" for zone in range(8) for host in range(11, 250)]
    groups = [f"203.0.113.{n}" for n in range(256)] + [f"fd10:203::{n:x}" for n in range(1000)]
    numbers = [*map(hop_id, nodes), *map(group_id, groups)]
    assert len(set(numbers)) == len(numbers)


def test_an_egress_gateway_s_address_leads_to_the_first_node_that_lives() -> None:
    nodes = [
        node("n1", "10.0.0.1", "fd00::1", gate="yes"),
        node("n2", "10.0.0.2", "fd00::2", gate="yes"),
        node("n3", "10.0.0.3"),
    ]
    spec = {"subject": {"namespaces": {}}, "nodeSelector": {"matchLabels": {"gate": "yes"}}}
    way = {"metadata": {"name": "way"}, "spec": spec | {"addresses": ["203.0.113.9", "fd10:203::9"]}}
    wrong = {"metadata": {"name": "wrong"}, "spec": spec | {"addresses": ["here"]}}
    wanted = gateways([wrong, way], nodes)
    assert wanted.keys() == {"203.0.113.9", "fd10:203::9"}
    first, second = (target.node for target in wanted["203.0.113.9"])
    assert {first, second} == {"n1", "n2"}
    four = {"n1": "10.0.0.1", "n2": "10.0.0.2"}
    six = {"n1": "fd00::1", "n2": "fd00::2"}
    assert holders(wanted, ()) == {"203.0.113.9": (four[first],), "fd10:203::9": (six[first],)}
    dead = {(four[first], 10256)}
    assert holders(wanted, dead) == {"203.0.113.9": (four[second],), "fd10:203::9": (six[second],)}
    assert set(holders(wanted, checks(wanted)).values()) == {()}
