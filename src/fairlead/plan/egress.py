"""Rows of egress gateways: which pods' packets leave the cluster by another way than the default, and with which source.

A mark stands for a gateway on one node: packets of its pods carry it from their arrival on the node until they leave it.
"""

from __future__ import annotations

import msgspec

MARKS = 0x0FA10000
"""The marks of gateways are this and a number of 16 bits."""
HOLD = MARKS
"""Mark of pods that are attached and of which the API server has not told yet: they do not leave the cluster at all."""


class EgressSource(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pod's address whose packets get a mark. Key: `address`."""

    address: str
    mark: int


class EgressRange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Destinations for which a mark counts. Key: both; the ranges of a mark do not overlap."""

    mark: int
    prefix: str


class EgressAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The source that connections of a mark leave this node with. Key: `mark`, `ipv6`."""

    mark: int
    ipv6: bool
    address: str
    """Empty: the pod's own, because another node is the gateway."""


class EgressHolder(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A source address that is no node's own: what comes to it without a connection is dropped here. Key: `address`."""

    address: str


class EgressRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A rule from a mark to the routing table of the same number, and the default route in it. Key: `mark`, `ipv6`."""

    mark: int
    ipv6: bool
    device: str | None = None
    via: str | None = None
    onlink: bool = False
    kind: str = "unicast"
    """`unicast`, or `blackhole` while there is no gateway."""
