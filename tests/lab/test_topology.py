"""Labs of every size have distinct addresses in the right ranges, and impossible ones are refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.base.errors import UserError
from fairlead.lab.topology import CLUSTER_CIDRS, VPC_CIDRS, Topology, design


def make(nodes: int = 3, zones: int = 3) -> Topology:
    return design(name="t", nodes=nodes, zones=zones, api_port=6443, strict_commands=False, tunnel="auto")


def test_the_default_lab_is_the_documented_one() -> None:
    topology = make()
    assert [(node.name, node.zone, *node.addresses, *node.pod_cidrs) for node in topology.nodes] == [
        ("node-1", "zone-a", "10.10.0.11", "fd10:10::b", "10.244.1.0/24", "fd10:244:0:1::/64"),
        ("node-2", "zone-b", "10.10.16.12", "fd10:10:0:1::c", "10.244.2.0/24", "fd10:244:0:2::/64"),
        ("node-3", "zone-c", "10.10.32.13", "fd10:10:0:2::d", "10.244.3.0/24", "fd10:244:0:3::/64"),
    ]
    assert topology.control == ("10.10.0.10", "fd10:10::a")


@given(st.integers(1, 200), st.integers(1, 8))
def test_addresses_are_distinct_and_inside_their_ranges(nodes: int, zones: int) -> None:
    topology = make(nodes, zones)
    addresses = [a for node in topology.nodes for a in node.addresses]
    addresses += [a for zone in topology.zones for a in zone.gateways] + list(topology.control)
    assert len(set(addresses)) == len(addresses)
    for node in topology.nodes:
        zone = topology.zone_of(node)
        for family in (0, 1):
            subnet = ipaddress.ip_network(zone.subnets[family])
            assert ipaddress.ip_address(node.addresses[family]) in subnet
            assert subnet.subnet_of(ipaddress.ip_network(VPC_CIDRS[family]))  # type: ignore[arg-type]
            pods = ipaddress.ip_network(node.pod_cidrs[family])
            assert pods.subnet_of(ipaddress.ip_network(CLUSTER_CIDRS[family]))  # type: ignore[arg-type]


@pytest.mark.parametrize(("nodes", "zones"), [(0, 1), (201, 3), (3, 0), (3, 9), (-1, 3)])
def test_impossible_sizes_name_the_option(nodes: int, zones: int) -> None:
    with pytest.raises(UserError, match="--nodes|--zones"):
        make(nodes, zones)
