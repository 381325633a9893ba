"""Connections to load balancers stay on the node that took them, whatever becomes of the groups: the router's connection tracking knows it.

What a node's health says is for new connections alone. So do pass-through load balancers of clouds: GCP's connection persistence on unhealthy
backends, Azure's, AWS's deregistration delay. A node whose kernel is silent keeps nothing: its connections go where new ones go, are
reset there, and clients connect again. Datagrams have no connection that could break: they follow the groups.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Iterable, Mapping

from fairlead.lab.cloud.routes import hop_id
from fairlead.lab.cloud.tools import device_to, ip, nft

_PREFERENCE = 100
_FIRST_TABLE = 0x100000
"""Routing tables of nodes; far from those that the kernel has itself."""
_FAMILIES = {4: "ip", 6: "ip6"}


def rules(addresses: Iterable[str], nodes: Iterable[str]) -> str:
    """Return the nftables rules by which connections to load balancers' `addresses` remember their node, and packets follow that."""
    vips, hops = _by_family(addresses), _by_family(nodes)
    lines = ["table inet balancer", "delete table inet balancer", "table inet balancer {"]
    for version in _FAMILIES:
        lines.append(_elements(f"set vips{version}", f"ipv{version}_addr", sorted(vips[version])))
        marks = [f"{each} : {hop_id(each):#x}" for each in sorted(hops[version])]
        lines.append(_elements(f"map nodes{version}", f"ipv{version}_addr : mark", marks))
    lines += [
        "chain follow {",
        "type filter hook prerouting priority mangle; policy accept;",
        "ct direction original ct mark != 0 meta mark set ct mark",
        "}",
        "chain remember {",
        "type filter hook postrouting priority mangle; policy accept;",
        *(
            f"ct state new meta l4proto {{ tcp, sctp }} {family} daddr @vips{version} "
            f"ct mark set rt {family} nexthop map @nodes{version}"
            for version, family in _FAMILIES.items()
        ),
        "}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def script(before: Collection[str], after: Collection[str], devices: Mapping[str, str]) -> list[str]:
    """Return the arguments of `ip` by which packets with a node's mark go there: for those in `after`, no longer for the others.

    All nodes are addresses of one family; `devices` says which interfaces lead to them.
    """
    commands = []
    for node in sorted(set(after) - set(before)):
        commands.append(f"route replace default via {node} dev {devices[node]} table {_table(node)}")
        commands.append(f"rule add {_selector(node)}")
    for node in sorted(set(before) - set(after)):
        commands.append(f"rule del {_selector(node)}")
        commands.append(f"route del default table {_table(node)}")
    return commands


class Flows:
    """What the network namespace of this process remembers of connections."""

    def __init__(self) -> None:
        self.nodes: frozenset[str] = frozenset()
        """Addresses of the nodes that keep their connections."""
        self._rules = ""

    def __repr__(self) -> str:
        return f"<Flows {sorted(self.nodes)}>"

    async def start(self) -> None:
        """Adopt what is there; raises OSError."""
        found: set[str] = set()
        for version in _FAMILIES:
            listed = json.loads(await ip("-j", f"-{version}", "rule") or "[]")
            tables = {each["table"] for each in listed if each["priority"] == _PREFERENCE}
            routes = json.loads(await ip("-j", f"-{version}", "route", "show", "table", "all") or "[]")
            found |= {each["gateway"] for each in routes if each.get("table") in tables and "gateway" in each}
        self.nodes = frozenset(found)

    async def apply(self, addresses: Iterable[str], nodes: Iterable[str], living: Collection[str]) -> None:
        """Have connections to these addresses remember which of `nodes` they are on, and stay if that one lives; raises OSError."""
        if (text := rules(addresses, nodes)) != self._rules:
            await nft(text)
            self._rules = text
        before, after = _by_family(self.nodes), _by_family(living)
        for version in _FAMILIES:
            devices = {node: await device_to(node) for node in after[version] - before[version]}
            if lines := script(before[version], after[version], devices):
                try:
                    await ip(f"-{version}", "-batch", "-", given="\n".join(lines) + "\n")
                except OSError:
                    await self.start()
                    raise
        self.nodes = frozenset(living)


def _by_family(addresses: Iterable[str]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {version: set() for version in _FAMILIES}
    for each in addresses:
        found[ipaddress.ip_address(each).version].add(each)
    return found


def _elements(name: str, kind: str, elements: Collection[str]) -> str:
    inner = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    return f"{name} {{ type {kind};{inner} }}"


def _table(node: str) -> int:
    return _FIRST_TABLE + hop_id(node)


def _selector(node: str) -> str:
    return f"fwmark {hop_id(node):#x} lookup {_table(node)} pref {_PREFERENCE}"
