"""core/v1 Node, as far as the network reads it."""

from __future__ import annotations

import msgspec

from fairlead.api.meta import ObjectMeta


class Taint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of `spec.taints`."""

    key: str
    effect: str = ""


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`spec` of a Node."""

    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")
    taints: tuple[Taint, ...] | None = None


class NodeAddress(msgspec.Struct, frozen=True, gc=False):
    """One of `status.addresses`."""

    type: str
    address: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`status` of a Node."""

    addresses: tuple[NodeAddress, ...] | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A node: its ranges of pod addresses and its own addresses."""

    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """Return `spec.podCIDRs`, or the single older field."""
        return self.spec.pod_cidrs or ((self.spec.pod_cidr,) if self.spec.pod_cidr else ())

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """Return the addresses of type InternalIP in their order."""
        return tuple(each.address for each in self.status.addresses or () if each.type == "InternalIP")
