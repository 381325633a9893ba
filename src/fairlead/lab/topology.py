"""What a lab consists of: zones, subnets, nodes and their addresses, as one frozen value.

Pure arithmetic from three numbers, so that a lab that is started again is the same lab.
"""

from __future__ import annotations

import ipaddress
import string

import msgspec

from fairlead.base.errors import UserError

MOST_NODES = 200
MOST_ZONES = 8

CLUSTER_CIDRS = ("10.244.0.0/16", "fd10:244::/48")
SERVICE_CIDRS = ("10.96.0.0/16", "fd10:96::/108")
CLUSTER_DNS = ("10.96.0.10", "fd10:96::a")
VPC_CIDRS = ("10.10.0.0/16", "fd10:10::/32")
PUBLIC_CIDRS = ("203.0.113.0/24", "fd10:203::/112")
PUBLIC_NAT = "203.0.113.1"
"""Source address of what leaves the VPC over IPv4."""
INTERNET_CIDRS = ("198.51.100.0/24", "fd10:198::/64")
INTERNET_ROUTER = ("198.51.100.1", "fd10:198::1")
INTERNET_HOST = ("198.51.100.10", "fd10:198::10")
CLUSTER_DOMAIN = "cluster.local"
VPC_MTU_BYTES = 1500
GATEWAY_PORTS = (8080, 8443)

_CONTROL_HOST = 10
_FIRST_NODE_HOST = 10


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """One availability zone and its subnet, IPv4 and IPv6."""

    name: str
    letter: str
    subnets: tuple[str, str]
    gateways: tuple[str, str]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node: its place, its addresses, and the ranges of its pods; IPv4 first."""

    name: str
    zone: str
    addresses: tuple[str, str]
    pod_cidrs: tuple[str, str]


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """A whole lab."""

    name: str
    zones: tuple[Zone, ...]
    nodes: tuple[Node, ...]
    control: tuple[str, str]
    """Addresses at which nodes and pods reach the API server."""
    api_port: int
    """Port of the API server on the host's 127.0.0.1 and on `control`."""
    strict_commands: bool = False
    tunnel: str = "auto"
    gateway_ports: tuple[int, int] = GATEWAY_PORTS
    """Ports on the host's 127.0.0.1 that lead to ports 80 and 443 of the lab's Gateways."""

    def zone_of(self, node: Node) -> Zone:
        """Return the zone of `node`."""
        return next(zone for zone in self.zones if zone.name == node.zone)


def design(
    *,
    name: str,
    nodes: int,
    zones: int,
    api_port: int,
    strict_commands: bool,
    tunnel: str,
    gateway_ports: tuple[int, int] = GATEWAY_PORTS,
) -> Topology:
    """Return the topology of a lab of that many nodes, dealt to the zones in turn; raises UserError."""
    if not 1 <= nodes <= MOST_NODES:
        raise UserError(f"--nodes {nodes} is out of range", fix=f"give 1 to {MOST_NODES}")
    if not 1 <= zones <= MOST_ZONES:
        raise UserError(f"--zones {zones} is out of range", fix=f"give 1 to {MOST_ZONES}")
    places = tuple(_zone(index) for index in range(zones))
    return Topology(
        name=name,
        zones=places,
        nodes=tuple(_node(number, places[(number - 1) % zones]) for number in range(1, nodes + 1)),
        control=_hosts(places[0], _CONTROL_HOST),
        api_port=api_port,
        strict_commands=strict_commands,
        tunnel=tunnel,
        gateway_ports=gateway_ports,
    )


def _zone(index: int) -> Zone:
    letter = string.ascii_lowercase[index]
    subnets = (f"10.10.{index * 16}.0/20", f"fd10:10:0:{index:x}::/64")
    gateways = tuple(str(ipaddress.ip_network(subnet)[1]) for subnet in subnets)
    return Zone(name=f"zone-{letter}", letter=letter, subnets=subnets, gateways=(gateways[0], gateways[1]))


def _node(number: int, zone: Zone) -> Node:
    return Node(
        name=f"node-{number}",
        zone=zone.name,
        addresses=_hosts(zone, _FIRST_NODE_HOST + number),
        pod_cidrs=(f"10.244.{number}.0/24", f"fd10:244:0:{number:x}::/64"),
    )


def _hosts(zone: Zone, host: int) -> tuple[str, str]:
    v4, v6 = (str(ipaddress.ip_network(subnet)[host]) for subnet in zone.subnets)
    return v4, v6
