"""Where the node's proxy sends requests: clusters, and who serves them."""

from __future__ import annotations

import msgspec

from fairlead.plan.endpoint import Endpoint
from fairlead.plan.gateway.traffic import Traffic


class BackendTls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS to a backend: from 1.2, and never without knowing who it is."""

    server_name: str
    names: tuple[str, ...]
    """`DNS:HOST`, `DNS:*.SUFFIX` or `URI:URI`: the certificate must be for one of them."""
    trust: str = ""
    """Name of a `GatewayTrust`; empty: the CA certificates of the node's system."""
    certificate: str = ""
    """Name of a `GatewayCertificate` by which the proxy is known to the backend; empty: it shows none."""


class GatewayCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a Service as a backend. Key: `name`."""

    name: str
    """`NAMESPACE/SERVICE/PORT`; the name of a UDP listener for what serves that."""
    protocol: str = "http1"
    """`http1`, `h2c` for HTTP/2 with or without TLS, or what is handed on as it is: `tcp`, `udp`."""
    tls: BackendTls | None = None
    """None: plain text."""
    traffic: Traffic = Traffic()
    decides: bool = False
    """Whether it is asked about requests: what it answers is read, not handed on."""


class EndpointGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints that get a part together, however many they are."""

    name: str
    weight: int
    endpoints: tuple[Endpoint, ...]

    def __str__(self) -> str:
        """Return it as text without blanks, for plans."""
        return f"{self.name}*{self.weight}=" + "|".join(map(str, self.endpoints))


class GatewayEndpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Who serves a cluster. Key: `cluster`."""

    cluster: str
    endpoints: tuple[Endpoint, ...] = ()
    """Sorted, without duplicates."""
    groups: tuple[EndpointGroup, ...] = ()
    """Those of a cluster that stands for several Services; it has no others."""
