"""core/v1 Node, as far as the network reads it."""

from __future__ import annotations

import msgspec

from fairlead.api.meta import ObjectMeta

EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
"""Label of nodes that load balancers leave alone."""
_TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


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


class NodeCondition(msgspec.Struct, frozen=True, gc=False):
    """One of `status.conditions`, without its times: those change with every heartbeat."""

    type: str
    status: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`status` of a Node."""

    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[NodeCondition, ...] | None = None


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

    @property
    def is_leaving(self) -> bool:
        """Tell whether the node is about to go: it serves still, and nothing new is for it (KEP-3836)."""
        return self.metadata.deletion_timestamp is not None or self._has_taint(_TO_BE_DELETED)

    @property
    def is_ready(self) -> bool:
        """Tell whether its condition Ready is true."""
        return any(each.type == "Ready" and each.status == "True" for each in self.status.conditions or ())

    @property
    def is_shut_down(self) -> bool:
        """Tell whether somebody vouches for it that nothing runs there any more (KEP-2268)."""
        return self._has_taint(_OUT_OF_SERVICE)

    def _has_taint(self, key: str) -> bool:
        return any(taint.key == key for taint in self.spec.taints or ())
