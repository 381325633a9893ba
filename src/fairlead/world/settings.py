"""What an operator decides about the network as a whole; the same on every node but for the node's name."""

from __future__ import annotations

from typing import Literal

import msgspec

TunnelMode = Literal["auto", "direct", "vxlan"]
"""`auto`: direct to nodes on a link of ours, VXLAN to others; `direct`: the underlay routes pod ranges; `vxlan`: always."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's options as a value."""

    node: str
    tunnel: TunnelMode = "auto"
    cluster_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    vni: int = 7937
    vxlan_port: int = 4789
    dns_ttl_s: int = 5
    node_port_addresses: tuple[str, ...] = ("primary",)
    """Which of the node's addresses answer on node ports: `primary` (its InternalIPs) or prefixes."""
    load_balancer_cidrs: tuple[str, ...] = ()
    """Ranges that belong to load balancers alone: unknown ports of their addresses are rejected."""
