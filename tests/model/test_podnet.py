from __future__ import annotations

import pytest
from tests.model.worlds import ETH0, N1, N2, N3, NODES, attachment, node

from fairlead.base.interfaces import Interface
from fairlead.model.podnet import attachment_rows, node_rows, pod_mtu, tunnel_mac
from fairlead.plan.plan import Plan
from fairlead.plan.render import render
from fairlead.world.settings import Settings, TunnelMode


def text(tables: object, *names: str) -> str:
    return render(Plan(node="n1", revision="", tables=tables), names)  # type: ignore[arg-type]


AUTO = """\
routes: 6 rows
  destination        device    via             onlink  source          kind
  10.244.1.0/24      -         -               -       -               blackhole
  10.244.2.0/24      -         10.10.0.12      -       10.10.0.11      unicast
  10.244.3.0/24      fl-vxlan  10.244.3.0      yes     10.244.1.0      unicast
  fd10:244:0:1::/64  -         -               -       -               blackhole
  fd10:244:0:2::/64  -         fd10:10::c      -       fd10:10::b      unicast
  fd10:244:0:3::/64  fl-vxlan  fd10:244:0:3::  yes     fd10:244:0:1::  unicast

forwarding: 1 row
  device    mac                remote
  fl-vxlan  66:6c:0a:0a:10:0d  10.10.16.13

tunnels: 1 row
  name      vni   port  local       mac                mtu   addresses
  fl-vxlan  7937  4789  10.10.0.11  66:6c:0a:0a:00:0b  1450  10.244.1.0,fd10:244:0:1::
"""

DIRECT = """\
routes: 4 rows
  destination        via         source      kind
  10.244.1.0/24      -           -           blackhole
  10.244.2.0/24      10.10.0.12  10.10.0.11  unicast
  fd10:244:0:1::/64  -           -           blackhole
  fd10:244:0:2::/64  fd10:10::c  fd10:10::b  unicast
"""


@pytest.mark.parametrize(("tunnel", "expected"), [("auto", AUTO), ("direct", DIRECT)])
def test_routes_are_direct_on_a_link_of_ours_and_tunneled_elsewhere(tunnel: TunnelMode, expected: str) -> None:
    rows = node_rows(Settings(node="n1", tunnel=tunnel), NODES, (ETH0,))
    assert text(rows.tables, "routes", "forwarding", "tunnels") == expected
    assert rows.diagnostics == ()


def test_vxlan_mode_tunnels_to_nodes_of_the_same_subnet_too() -> None:
    rows = node_rows(Settings(node="n1", tunnel="vxlan"), NODES, (ETH0,))
    assert {row.device for row in rows.tables["routes"].values()} == {None, "fl-vxlan"}  # type: ignore[union-attr]
    assert len(rows.tables["forwarding"]) == 2


def test_exemptions_never_overlap() -> None:
    rows = node_rows(Settings(node="n1", cluster_cidrs=("10.244.0.0/16",)), NODES, (ETH0,))
    prefixes = {row.prefix for row in rows.tables["nat_exemptions"].values()}  # type: ignore[union-attr]
    assert "10.244.0.0/16" in prefixes
    assert "10.244.1.0/24" not in prefixes
    assert {"fd10:244:0:1::/64", "10.10.16.13/32", "fd10:10:0:1::d/128"} <= prefixes


POD = """\
pod_links: 1 row
  host_ifname     netns             ifname  mac                addresses                   mtu
  fl000000000005  /run/netns/pod-5  eth0    02:00:00:00:00:05  10.244.1.5,fd10:244:0:1::5  1450

neighbors: 2 rows
  device          address         mac
  fl000000000005  10.244.1.5      02:00:00:00:00:05
  fl000000000005  fd10:244:0:1::5  02:00:00:00:00:05

routes: 2 rows
  destination          device          source      kind
  10.244.1.5/32        fl000000000005  10.10.0.11  unicast
  fd10:244:0:1::5/128  fl000000000005  fd10:10::b  unicast

pod_sources: 2 rows
  host_ifname     address
  fl000000000005  10.244.1.5
  fl000000000005  fd10:244:0:1::5
""".replace("10.244.1.5      02", "10.244.1.5       02").replace("address         mac", "address          mac")


def test_an_attachment_becomes_a_link_routes_and_the_addresses_it_may_send_from() -> None:
    one = attachment(5)
    rows = attachment_rows({one.key: one}, N1, (ETH0,))
    assert text(rows.tables, "pod_links", "neighbors", "routes", "pod_sources") == POD
    assert set(rows.origins.values()) == {("Pod/default/pod-5",)}


@pytest.mark.parametrize(
    ("tunnel", "mtu", "expected"),
    [("auto", 1500, 1450), ("vxlan", 9000, 8950), ("direct", 1500, 1500), ("auto", 1400, 1350)],
)
def test_pod_mtu_leaves_room_for_the_tunnel(tunnel: TunnelMode, mtu: int, expected: int) -> None:
    interface = Interface(name="eth0", mtu=mtu, addresses=ETH0.addresses)
    other = Interface(name="eth1", mtu=576, addresses=("192.0.2.1/24",))
    assert pod_mtu(Settings(node="n1", tunnel=tunnel), NODES, (other, interface)) == expected


def test_hardware_addresses_of_tunnel_ends_are_local_unicast_and_follow_from_the_node() -> None:
    assert tunnel_mac("10.10.16.13") == "66:6c:0a:0a:10:0d"
    assert int("66", 16) & 0b11 == 0b10


PROBLEMS = {
    "not registered": ({"n2": N2}, "Node//n1: this node is not registered"),
    "bad range": ({"n1": N1, "n9": node("n9", "10.10.0.9", pod_cidrs=("10.244.300.0/24",))}, "spec.podCIDRs[0]"),
    "bad address": ({"n1": N1, "n9": node("n9", "10.10.0.999")}, "status.addresses[0]"),
    "stolen range": (
        {"n1": N1, "n2": N2, "n4": node("n4", "10.10.0.14", pod_cidrs=("10.244.2.0/24",))},
        "Node//n4: 10.244.2.0/24 is claimed by Node//n2 already",
    ),
    "own range stolen": (
        {"n1": N1, "a1": node("a1", "10.10.0.14")},
        "Node//a1: 10.244.1.0/24 is claimed by Node//n1 already",
    ),
    "no way": ({"n1": N1, "n9": node("n9", "fd10:10:0:9::1")}, "Node//n9 status.addresses: no IPv4 InternalIP"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_wrong_is_reported_and_the_rest_is_planned(case: str) -> None:
    nodes, expected = PROBLEMS[case]
    rows = node_rows(Settings(node="n1"), nodes, (ETH0,))
    assert any(expected in str(each) for each in rows.diagnostics), rows.diagnostics
    assert rows.tables["nat_exemptions"]


def test_an_address_that_no_interface_holds_is_never_a_source() -> None:
    elsewhere = Interface(name="eth0", mtu=1500, addresses=("10.10.0.99/20",))
    rows = node_rows(Settings(node="n1"), {"n1": N1, "n2": N2, "n3": N3}, (elsewhere,))
    assert rows.tables["routes"][("10.244.2.0/24",)].source is None  # type: ignore[union-attr]
