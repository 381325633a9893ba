"""Where the node's proxy sends requests: clusters, and who serves them."""

from __future__ import annotations

import msgspec

from fairlead.plan.endpoint import Endpoint
from fairlead.plan.gateway.traffic import Traffic


class GatewayCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a Service as a backend. Key: `name`."""

    name: str
    """`NAMESPACE/SERVICE/PORT`."""
    protocol: str = "http1"
    """`http1` or `h2c`."""
    traffic: Traffic = Traffic()


class GatewayEndpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Who serves a cluster. Key: `cluster`."""

    cluster: str
    endpoints: tuple[Endpoint, ...]
    """Sorted, without duplicates."""
