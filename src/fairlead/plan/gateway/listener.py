"""What the node's proxy listens on. Certificates are named by digest; their bytes never stand in a plan."""

from __future__ import annotations

import msgspec


class GatewayChain(msgspec.Struct, frozen=True, kw_only=True):
    """What one listener does with connections for some server names."""

    name: str
    """Table of hosts that requests are looked up in (`GatewayHost.table`); unique among all chains."""
    server_names: tuple[str, ...] = ()
    """SNI of the connections, exact or `*.suffix`; empty: all others, and all without TLS."""
    certificates: tuple[str, ...] = ()
    """Names of `GatewayCertificate` rows; none: no TLS."""

    def __str__(self) -> str:
        """Return the chain as text without blanks, for plans."""
        names = "|".join(self.server_names) or "*"
        tls = f"[{'|'.join(self.certificates)}]" if self.certificates else ""
        return f"{names}{tls}->{self.name}"


class GatewayListener(msgspec.Struct, frozen=True, kw_only=True):
    """A port of this node's proxy. Key: `name`."""

    name: str
    """`NAMESPACE/GATEWAY/PORT`, the port being that which clients use."""
    port: int
    """The port on this node."""
    public_port: int
    addresses: tuple[str, ...]
    """The node's addresses to listen on."""
    chains: tuple[GatewayChain, ...]
    generation: int = 0
    """Of the Gateway, for receipts."""


class GatewayCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and its key. Key: `name`."""

    name: str
    """`NAMESPACE/SECRET`."""
    digest: str
