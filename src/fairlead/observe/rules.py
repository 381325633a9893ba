"""Which rules of a node's plan decide about a connection: read from the policy rows as the kernel reads them.

For connections that passed, of which the kernel logs that they did and not why. It must do no I/O.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections.abc import Mapping
from typing import TypeAlias

from fairlead.plan.plan import Plan
from fairlead.plan.policy import ALLOW, DENY, PolicyChain, PolicyGroup, PolicyPod
from fairlead.plan.tables import Key, PodSource, Row

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class RuleFinder:
    """Finds rules in one plan after the other; keeps what it parsed of groups that stay."""

    def __init__(self) -> None:
        self._prefixes: dict[str, tuple[PolicyGroup, tuple[Network, ...]]] = {}
        self._sources: Mapping[Key, Row] = {}
        self._interfaces: dict[str, str] = {}
        """Address → interface of the pod of this node that has it."""

    def __repr__(self) -> str:
        return f"<RuleFinder groups={len(self._prefixes)}>"

    def deciding(
        self, plan: Plan, client: str, server: str, protocol: str, port: int, *, to_own_node: bool
    ) -> tuple[str, ...]:
        """Return the names of the rules that decide: of the client's pod, then of the server's; none where no policy governs.

        `server` and `port` are those after translation. Cost: grows with the rules of both pods.
        """
        found: list[str] = []
        sender, receiver = self._pod(plan, client), self._pod(plan, server)
        if sender is not None:
            chain = sender.node_egress if to_own_node else sender.egress
            found += self._decides(plan, chain, server, server, protocol, port)
        if receiver is not None and not to_own_node:
            found += self._decides(plan, receiver.ingress, client, server, protocol, port)
        return tuple(found)

    def _pod(self, plan: Plan, address: str) -> PolicyPod | None:
        sources = plan.table("pod_sources")
        if sources is not self._sources:
            self._sources = sources
            self._interfaces = {row.address: row.host_ifname for row in sources.values() if isinstance(row, PodSource)}
        row = plan.table("policy_pods").get((self._interfaces.get(address, ""),))
        return row if isinstance(row, PolicyPod) else None

    def _decides(self, plan: Plan, name: str, peer: str, server: str, protocol: str, port: int) -> list[str]:
        chain = plan.table("policy_chains").get((name,))
        if not isinstance(chain, PolicyChain):
            return []
        for rule in chain.rules:
            if rule.protocol and rule.protocol != protocol:
                continue
            if rule.last and not rule.first <= port <= rule.last:
                continue
            if rule.peers and not self._holds(plan, rule.peers, peer, f"{server} {protocol} {port}"):
                continue
            if rule.verdict in (ALLOW, DENY):
                return [rule.counter] if rule.counter else []
            passed = [rule.counter] if rule.counter else []
            return [*passed, *self._decides(plan, rule.verdict, peer, server, protocol, port)]
        return []

    def _holds(self, plan: Plan, name: str, peer: str, port: str) -> bool:
        group = plan.table("policy_groups").get((name,))
        if not isinstance(group, PolicyGroup):
            return False
        if group.kind != "prefixes":
            wanted = port if group.kind == "ports" else peer
            place = bisect_left(group.members, wanted)
            return group.members[place : place + 1] == (wanted,)
        known = self._prefixes.get(name)
        if known is None or known[0] is not group:
            known = self._prefixes[name] = (group, tuple(map(ipaddress.ip_network, group.members)))
            self._forget(plan)
        address = ipaddress.ip_address(peer)
        return any(address in network for network in known[1])

    def _forget(self, plan: Plan) -> None:
        for name in self._prefixes.keys() - {str(key[0]) for key in plan.table("policy_groups")}:
            del self._prefixes[name]
