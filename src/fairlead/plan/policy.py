"""Rows of network policy: what a node's pods may do, in kernel terms.

Pods are told apart by interface, peers by membership in groups of addresses, so that a pod that comes or goes anywhere is a few members
and never a rule. Chains and groups are named after what they mean: another meaning is another name, and a row never changes its rules.
"""

from __future__ import annotations

import msgspec

ALLOW = "allow"
DENY = "deny"


class PolicyPod(msgspec.Struct, frozen=True, kw_only=True):
    """Which chains judge the connections of the pod behind `host_ifname`. Key: `host_ifname`.

    An empty name: this pod is free in that direction. A pod interface without a row sends and receives nothing.
    """

    host_ifname: str
    egress: str = ""
    """For connections to other than the node itself."""
    node_egress: str = ""
    """For connections to the node that the pod is on."""
    ingress: str = ""


class PolicyRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a chain: the first that matches decides."""

    peers: str = ""
    """Group that the other end must be in; empty: anyone."""
    spared: str = ""
    """Group that the other end must not be in; empty: none."""
    protocol: str = ""
    """`tcp`, `udp`, `sctp`; empty: every protocol."""
    first: int = 0
    last: int = 0
    """Ports at the destination, both included; `last` 0: all, also of protocols without ports."""
    verdict: str
    """`allow`, `deny`, or the chain that goes on."""
    counter: str = ""
    """What is counted: the policy and rule that cause the verdict."""

    def __str__(self) -> str:
        """Return the rule as text without blanks, for plans."""
        ports = f":{self.first}-{self.last}" if self.last else ""
        spared = f"-{self.spared}" if self.spared else ""
        return f"{self.peers or '*'}{spared}/{self.protocol or '*'}{ports}->{self.verdict}({self.counter})"


class PolicyChain(msgspec.Struct, frozen=True, kw_only=True):
    """Rules in their order; a connection that none matches is allowed. Key: `name`."""

    name: str
    direction: str
    """`ingress`: the other end is the client; `egress`: it is the server, after translation."""
    rules: tuple[PolicyRule, ...]


class PolicyGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A set of peers. Key: `name`."""

    name: str
    kind: str
    """`addresses`; `prefixes`, which do not overlap; `ports`: `ADDRESS PROTOCOL PORT` each; or `names`: `NAME` or `*.NAME` each, for
    whatever addresses the node's resolver gives for them."""
    members: tuple[str, ...]
    """Sorted, of both families."""
