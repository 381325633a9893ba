"""What load balancers and clients are told about the node's proxy as a whole: that it serves, and that it is about to go."""

from __future__ import annotations

import msgspec


class GatewayHealthPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port at which the proxy answers load balancers that this node serves a Gateway; none: nobody answers there. Key: `name`."""

    name: str
    """`NAMESPACE/GATEWAY/health`; no listener has the same name."""
    port: int
    """`healthCheckNodePort` of the Gateway's Service."""
    addresses: tuple[str, ...]
    """The node's addresses to listen on."""
    namespace: str
    service: str
    proxy: str = ""
    """As that of the Gateway's listeners."""


class GatewayDrain(msgspec.Struct, frozen=True, kw_only=True):
    """The proxy asks its clients to connect again elsewhere, and serves those that stay. Key: `reason`."""

    reason: str
    """For people."""
