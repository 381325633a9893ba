"""fairlead.dev/v1alpha1 EgressGateway: which pods leave the cluster through which nodes, and with which source address."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import msgspec

from fairlead.api.clusterpolicy import Subject
from fairlead.api.meta import ObjectMeta
from fairlead.api.node import Node
from fairlead.api.selector import Selector

EVERYWHERE = ("0.0.0.0/0", "::/0")


class EgressGatewaySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of an EgressGateway."""

    subject: Subject
    """The pods."""
    node_selector: Selector
    """Labels of the nodes that may be the gateway: one at a time is."""
    addresses: tuple[str, ...] = ()
    """Source addresses, at most one of each family; none: the InternalIPs of the node that is the gateway."""
    destinations: tuple[str, ...] = EVERYWHERE
    exceptions: tuple[str, ...] = ()
    """Parts of `destinations` that pods reach as if there were no gateway."""


class EgressGateway(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A way out of the cluster."""

    metadata: ObjectMeta
    spec: EgressGatewaySpec


def candidates(gateway: EgressGateway, nodes: Iterable[Node]) -> list[Node]:
    """Return the nodes that may be the gateway, the first choice first; raises SelectorError.

    Everyone who knows the nodes finds the same order, and a node that goes moves only what went through it (rendezvous hashing).
    """
    wanted = gateway.spec.node_selector.parsed()
    name = gateway.metadata.name
    found = [node for node in nodes if wanted.matches(node.metadata.labels)]
    return sorted(found, key=lambda node: (crc32(f"{name} {node.metadata.name}".encode()), node.metadata.name))
