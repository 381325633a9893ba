"""Flow records: a connection, what became of it, and the objects that decided, under the names that people use. Pure."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Mapping

import msgspec

from fairlead.observe.nflog import DENIED, Logged, number_of
from fairlead.observe.rules import RuleFinder
from fairlead.plan.plan import Plan
from fairlead.plan.policy import PolicyChain
from fairlead.world.snapshot import Snapshot

TABLE_RULES = ("invalid", "midstream", "unknown-interface", "unknown-pod")
"""What drops a packet beside policies."""


_REREAD_S = 1.0
"""How often the pods of the whole cluster are read at most, however often they change."""


class FlowEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One end of a flow."""

    address: str
    port: int = 0
    namespace: str = ""
    pod: str = ""
    node: str = ""
    """Name of the Node when the address is a node's own."""

    def __str__(self) -> str:
        """Return the name when there is one, else the address."""
        name = f"{self.namespace}/{self.pod}" if self.pod else f"node/{self.node}" if self.node else self.address
        if not self.port:
            return name
        return f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}"


class Flow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one node saw of a connection. Keys are stable (docs/cli.md)."""

    time: str
    """RFC 3339, UTC, microseconds."""
    node: str
    verdict: str
    """`allowed` or `denied`."""
    protocol: str
    source: FlowEnd
    destination: FlowEnd
    """After translation."""
    rules: tuple[str, ...] = ()
    """What decided: `Kind/namespace/policy/direction/rule`, or one of `TABLE_RULES`; none: no policy governs."""


class FlowPage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `flows`: what came after the place that was asked for."""

    node: str
    place: int
    """To ask from the next time: how many flows there were since the agent started."""
    missed: int
    """How many were forgotten before they were asked for."""
    lost: int
    """How often the kernel dropped messages because nobody read them in time."""
    error: str
    """Why there are none; empty when all is well."""
    flows: tuple[Flow, ...]


class Namer:
    """Turns what the kernel logged into flows. Keeps indexes by address, made anew when what they are of has changed."""

    def __init__(self) -> None:
        self._finder = RuleFinder()
        self._attachments: object = None
        self._here: dict[str, tuple[str, str, str]] = {}
        """Address → namespace and name of a pod, or name of a node: of this node's pods."""
        self._read: tuple[object, object] = (None, None)
        self._read_s = float("-inf")
        self._everywhere: dict[str, tuple[str, str, str]] = {}
        """The same of the whole cluster; may be a second old."""
        self._chains: object = None
        self._rules: Mapping[int, str] = {}
        self._former: Mapping[int, str] = {}

    def __repr__(self) -> str:
        return f"<Namer addresses={len(self._everywhere)} rules={len(self._rules)}>"

    def flow(self, logged: Logged, snapshot: Snapshot, plan: Plan | None, now_s: float) -> Flow:
        """Return the flow of a message; `now_s` counts when the kernel did not stamp it."""
        self._index(snapshot, plan, now_s)
        ends = logged.ends
        source = self._end(ends.source, ends.source_port)
        destination = self._end(ends.destination, ends.destination_port)
        rules: tuple[str, ...] = ()
        if logged.verdict == DENIED:
            name = self._rules.get(logged.rule) or self._former.get(logged.rule)
            rules = (name or f"unknown-rule-{logged.rule:08x}",)
        elif plan is not None:
            rules = self._finder.deciding(
                plan,
                source.address,
                destination.address,
                ends.protocol_name,
                ends.destination_port,
                to_own_node=destination.node == snapshot.settings.node,
            )
        moment = datetime.datetime.fromtimestamp(logged.time_s or now_s, datetime.UTC)
        return Flow(
            time=moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            node=snapshot.settings.node,
            verdict=logged.verdict,
            protocol=ends.protocol_name,
            source=source,
            destination=destination,
            rules=rules,
        )

    def _end(self, packed: bytes, port: int) -> FlowEnd:
        address = str(ipaddress.ip_address(packed))
        namespace, pod, node = self._here.get(address) or self._everywhere.get(address, ("", "", ""))
        return FlowEnd(address=address, port=port, namespace=namespace, pod=pod, node=node)

    def _index(self, snapshot: Snapshot, plan: Plan | None, now_s: float) -> None:
        if snapshot.attachments is not self._attachments:
            self._attachments = snapshot.attachments
            self._here = {
                address: (each.pod_namespace, each.pod_name, "")
                for each in snapshot.attachments.values()
                for address in each.addresses
            }
        read = (snapshot.pods, snapshot.nodes)
        if any(a is not b for a, b in zip(read, self._read, strict=True)) and now_s >= self._read_s + _REREAD_S:
            self._read, self._read_s = read, now_s
            self._everywhere = {
                address: ("", "", name) for name, node in snapshot.nodes.items() for address in node.internal_ips
            }
            for (namespace, name), pod in snapshot.pods.items():
                if not pod.spec.host_network and not pod.is_finished:
                    self._everywhere |= dict.fromkeys(pod.addresses, (namespace, name, ""))
        chains = plan.table("policy_chains") if plan is not None else {}
        if chains is not self._chains:
            self._chains = chains
            names = {rule.counter for row in chains.values() if isinstance(row, PolicyChain) for rule in row.rules}
            # What was dropped a moment ago may have been so by a rule that is gone by now.
            self._former, self._rules = self._rules, {number_of(name): name for name in (*names, *TABLE_RULES) if name}
