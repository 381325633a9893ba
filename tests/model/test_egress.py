"""Egress gateways as rows: who is the gateway, which way, and that what was remembered never matters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api.clusterpolicy import Subject
from fairlead.api.egressgateway import EgressGateway, EgressGatewaySpec, candidates
from fairlead.api.meta import ObjectMeta
from fairlead.api.node import Node, NodeAddress, NodeSpec, NodeStatus
from fairlead.api.pod import Namespace, Pod, PodIP, PodSpec, PodStatus
from fairlead.api.selector import Selector
from fairlead.base.interfaces import Interface
from fairlead.model.egress import EgressStage, asked
from fairlead.model.rows import Rows
from fairlead.plan.egress import HOLD
from fairlead.plan.plan import Plan
from fairlead.plan.render import render
from fairlead.world.attachment import Attachment
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

OUT: dict[str, Any] = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"way": "out"}}}}


def node(name: str, zone: str = "a", **labels: str) -> Node:
    number = name[1:]
    third, six = (0, "0") if zone == "a" else (16, "1")
    return Node(
        metadata=ObjectMeta(name=name, labels=labels or None),
        spec=NodeSpec(pod_cidrs=(f"10.244.{number}.0/24", f"fd10:244:0:{number}::/64")),
        status=NodeStatus(
            addresses=(
                NodeAddress("InternalIP", f"10.10.{third}.{number}"),
                NodeAddress("InternalIP", f"fd10:10:0:{six}::{number}"),
            )
        ),
    )


def gateway(name: str = "way", subject: dict[str, Any] = OUT, **spec: Any) -> EgressGateway:
    given: dict[str, Any] = {"node_selector": Selector(match_labels={"gate": "yes"}), "addresses": ("203.0.113.50",)}
    return EgressGateway(
        metadata=ObjectMeta(name=name),
        spec=EgressGatewaySpec(subject=msgspec.convert(subject, Subject), **given | spec),
    )


def pod(name: str, host: str, number: int, namespace: str = "default", **labels: str) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, namespace=namespace, labels=labels or None),
        spec=PodSpec(node_name=host),
        status=PodStatus(pod_ips=(PodIP(f"10.244.{host[1:]}.{number}"), PodIP(f"fd10:244:0:{host[1:]}::{number:x}"))),
    )


def attached(name: str, host: str, number: int, namespace: str = "default") -> Attachment:
    return Attachment(
        container_id=name, ifname="eth0", netns="/n", host_ifname=f"fl{number:012x}", mac="02:00:00:00:00:01",
        addresses=(f"10.244.{host[1:]}.{number}", f"fd10:244:0:{host[1:]}::{number:x}"), pod_namespace=namespace, pod_name=name,
    )  # fmt: skip


INTERFACES = (Interface(name="eth0", mtu=1500, addresses=("10.10.0.1/20", "fd10:10::1/64")),)


def world(own: str = "n1", **changes: Any) -> Snapshot:
    nodes = [node("n1"), node("n2", gate="yes"), node("n3", "b", gate="yes")]
    pods = [pod("a", "n1", 5, way="out"), pod("b", "n1", 6), pod("c", "n2", 5, way="out"), pod("d", "n3", 5, way="out")]
    given: dict[str, Any] = {
        "settings": Settings(node=own),
        "interfaces": INTERFACES,
        "nodes": {each.metadata.name: each for each in nodes},
        "namespaces": {("", "default"): Namespace(metadata=ObjectMeta(name="default"))},
        "pods": {("default", each.metadata.name): each for each in pods},
        "egress_gateways": {("", "way"): gateway()},
        "attachments": {(each.container_id, "eth0"): each for each in (attached("a", "n1", 5), attached("b", "n1", 6))},
    }
    return Snapshot(**given | changes)


def order() -> list[str]:
    return [each.metadata.name for each in candidates(gateway(), world().nodes.values())]


def text(rows: Rows) -> str:
    tables = ["egress_routes", "egress_addresses", "egress_holders", "egress_sources"]
    return render(Plan(node="n", revision="", tables=rows.tables), tables)


def ip(name: str) -> str:
    return world().nodes[name].internal_ips[0]


def routes(snapshot: Snapshot) -> dict[bool, tuple[str | None, str | None, str]]:
    """Return family → (device, via, kind) of the gateway's mark."""
    rows: Any = EgressStage().update(snapshot).tables.get("egress_routes", {}).values()
    return {row.ipv6: (row.device, row.via, row.kind) for row in rows if row.mark != HOLD}


def test_pods_of_the_node_and_on_a_gateway_all_pods_get_the_mark() -> None:
    here: Any = EgressStage().update(world()).tables["egress_sources"]
    assert {key[0] for key in here} == {"10.244.1.5", "fd10:244:0:1::5"}
    there: Any = EgressStage().update(world("n2", attachments={})).tables["egress_sources"]
    assert {key[0] for key in there if "." in key[0]} == {"10.244.1.5", "10.244.2.5", "10.244.3.5"}


@pytest.mark.parametrize(
    ("dead", "tunnel", "expected"),
    [
        ((), "auto", None),
        (("n2",), "auto", ("fl-vxlan", "10.244.3.0", "unicast")),
        (("n3",), "auto", ("eth0", "10.10.0.2", "unicast")),
        (("n3",), "vxlan", ("fl-vxlan", "10.244.2.0", "unicast")),
        (("n2",), "direct", (None, None, "blackhole")),
        (("n2", "n3"), "auto", (None, None, "blackhole")),
    ],
    ids=["the first choice", "through the tunnel", "on the link", "always the tunnel", "no way", "none lives"],
)
def test_the_way_to_the_gateway(
    dead: tuple[str, ...], tunnel: Any, expected: tuple[str | None, str | None, str] | None
) -> None:
    settings = Settings(node="n1", tunnel=tunnel)
    found = routes(world(settings=settings, unreachable=frozenset(map(ip, dead))))[False]
    if expected is None:
        expected = ("eth0", "10.10.0.2", "unicast") if order()[0] == "n2" else ("fl-vxlan", "10.244.3.0", "unicast")
    assert found == expected


def test_a_family_without_a_chosen_address_does_not_leave() -> None:
    assert routes(world())[True] == (None, None, "blackhole")
    both = gateway(addresses=("203.0.113.50", "fd10:203::50"))
    assert routes(world(egress_gateways={("", "way"): both}))[True][2] == "unicast"


def test_a_gateway_believes_in_itself_and_those_before_it() -> None:
    first, second = order()
    rows: Any = EgressStage().update(world(second, attachments={})).tables
    assert {row.address for row in rows["egress_addresses"].values()} == {""}
    alone = world(second, attachments={}, unreachable=frozenset({ip(first)}))
    assert {row.address for row in EgressStage().update(alone).tables["egress_addresses"].values()} == {"203.0.113.50"}  # type: ignore[union-attr]


def test_a_pod_that_is_not_known_is_held_where_a_gateway_may_be_for_it() -> None:
    unknown = {("x", "eth0"): attached("x", "n1", 9)}
    rows: Any = EgressStage().update(world(attachments=unknown)).tables["egress_sources"]
    assert rows[("10.244.1.9",)].mark == HOLD
    elsewhere = gateway(subject={"namespaces": {"matchLabels": {"team": "x"}}})
    rows = EgressStage().update(world(attachments=unknown, egress_gateways={("", "way"): elsewhere})).tables
    assert "egress_sources" not in rows


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (gateway(subject={}), "no known kind"),
        (gateway(addresses=("here",)), "here"),
        (gateway(destinations=("10.0.0.0/33",)), "10.0.0.0/33"),
        (gateway(node_selector=Selector(match_labels={"no": "node"})), "no node has these labels"),
    ],
    ids=["subject", "address", "destination", "nodes"],
)
def test_what_makes_no_sense_is_said(wrong: EgressGateway, said: str) -> None:
    rows = EgressStage().update(world(egress_gateways={("", "way"): wrong, ("", "good"): gateway("good")}))
    assert said in " ".join(each.message for each in rows.diagnostics)
    assert rows.tables["egress_sources"]


def test_only_other_candidates_are_asked() -> None:
    snapshot = world()
    assert asked(snapshot.egress_gateways.values(), snapshot.nodes.values(), "n2") == {ip("n3")}


CHANGES: list[dict[str, Any]] = [
    {},
    {"egress_gateways": {}},
    {"egress_gateways": {("", "a"): gateway("a", subject={"namespaces": {}}), ("", "way"): gateway()}},
    {"unreachable": frozenset({"10.10.0.2"})},
    {"unreachable": frozenset({"10.10.0.2", "10.10.16.3"})},
    {"attachments": {}},
    {"attachments": {("x", "eth0"): attached("x", "n1", 9), ("a", "eth0"): attached("a", "n1", 5)}},
    {"pods": {}},
    {"pods": {("default", "a"): pod("a", "n1", 5), ("default", "x"): pod("x", "n1", 9, way="out")}},
    {"pods": {("default", "a"): pod("a", "n1", 7, way="out"), ("default", "e"): pod("e", "n2", 9, way="out")}},
    {"pods": {("default", "x"): pod("x", "n1", 5, way="out")}},
    {"pods": {("default", each): pod(each, "n1", 5, way="out") for each in ("a", "x")}},
    {"namespaces": {("", "default"): Namespace(metadata=ObjectMeta(name="default", labels={"team": "x"}))}},
    {"nodes": {each.metadata.name: each for each in (node("n1", gate="yes"), node("n2"))}},
]


@given(st.sampled_from(["n1", "n2"]), st.lists(st.sampled_from(range(len(CHANGES))), max_size=6))
def test_the_rows_of_a_world_do_not_depend_on_what_came_before(own: str, steps: list[int]) -> None:
    stage = EgressStage()
    snapshot = world(own)
    for step in steps:
        stage.update(snapshot)
        snapshot = msgspec.structs.replace(snapshot, **CHANGES[step])
    found, fresh = stage.update(snapshot), EgressStage().update(snapshot)
    assert text(found) == text(fresh)
    assert found.origins == fresh.origins
    assert found.diagnostics == fresh.diagnostics
    assert stage.update(snapshot) is found


@pytest.mark.parametrize("own", ["n1", "n2"], ids=["the pods' node", "a gateway"])
@pytest.mark.parametrize(("old", "new"), [("p", "q"), ("q", "p")])
@pytest.mark.parametrize("told_late", [False, True], ids=["at once", "told late"])
def test_an_address_that_goes_to_another_pod_keeps_its_mark(own: str, old: str, new: str, told_late: bool) -> None:
    base = world(own)

    def of(attached_now: str, *pods: str) -> Snapshot:
        known = {("default", each): pod(each, "n1", 77, way="out") for each in pods}
        here = {(attached_now, "eth0"): attached(attached_now, "n1", 77)}
        return msgspec.structs.replace(base, pods=known, attachments=here)

    stage = EgressStage()
    stage.update(of(old, old))
    if told_late:
        stage.update(of(new, old, new))
    last = of(new, new)
    found = stage.update(last)
    assert found.tables["egress_sources"].keys() == {("10.244.1.77",), ("fd10:244:0:1::4d",)}
    assert text(found) == text(EgressStage().update(last))
