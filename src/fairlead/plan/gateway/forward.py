"""Where connections go that the node's proxy hands on without reading them."""

from __future__ import annotations

import msgspec


class ForwardShare(msgspec.Struct, frozen=True, kw_only=True):
    """One backend's part of the connections."""

    cluster: str
    weight: int
    """At least 1."""

    def __str__(self) -> str:
        """Return it as text, for plans."""
        return f"{self.cluster}*{self.weight}"


class GatewayForward(msgspec.Struct, frozen=True, kw_only=True):
    """The backends of some connections; it changes without the listener, and connections that exist stay where they are. Key: `name`."""

    name: str
    """`NAMESPACE/GATEWAY/PORT` for TCP; for TLS the chain's name of a listener and the host."""
    shares: tuple[ForwardShare, ...] = ()
    refused: int = 0
    """Weight of backends that do not exist: that part of the connections is closed. Without shares all are."""
