"""What the node's proxy listens on. Certificates are named by digest; their bytes never stand in a plan."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from fairlead.plan.gateway.client import ClientTraffic, Socket


class KnownClients(msgspec.Struct, frozen=True, kw_only=True):
    """Clients show certificates."""

    trust: str
    """Name of a `GatewayTrust` row: who must have issued them."""
    optional: bool = False
    """Whether one without a certificate is let in all the same."""
    untrusted: bool = False
    """Whether one with another's certificate is, too."""
    depth: int | None = None
    """How many authorities may stand between a certificate and one that is believed; None: as many as the proxy allows."""


class Terminated(msgspec.Struct, frozen=True, kw_only=True, tag="terminate", tag_field="mode"):
    """TLS ends at the proxy."""

    certificates: tuple[str, ...]
    """Names of `GatewayCertificate` rows, at least one."""
    clients: KnownClients | None = None


class PassedThrough(msgspec.Struct, frozen=True, kw_only=True, tag="passthrough", tag_field="mode"):
    """TLS is the backend's: of the handshake the server name alone is read."""


ChainTls: TypeAlias = Terminated | PassedThrough


class ToHosts(msgspec.Struct, frozen=True, kw_only=True, tag="http", tag_field="kind"):
    """Connections carry requests of HTTP, which are looked up in a table of hosts."""

    table: str
    """`GatewayHost.table`."""


class ToBackends(msgspec.Struct, frozen=True, kw_only=True, tag="tcp", tag_field="kind"):
    """Connections are handed on as they are."""

    forward: str
    """Name of a `GatewayForward` row."""


class ToNobody(msgspec.Struct, frozen=True, kw_only=True, tag="refuse", tag_field="kind"):
    """Connections are closed before anything is read of them or written to them."""


ChainAction: TypeAlias = ToHosts | ToBackends | ToNobody


class GatewayChain(msgspec.Struct, frozen=True, kw_only=True):
    """What one listener does with connections for some server names.

    A chain that changes drains its connections, and a listener that changes in anything else than its chains drains all of them: what changes
    often stands in the rows that `action` names.
    """

    name: str
    """Unique among all chains."""
    action: ChainAction
    server_names: tuple[str, ...] = ()
    """SNI of the connections, exact or `*.suffix`; empty: all others. Without `tls` there is none."""
    sources: tuple[str, ...] = ()
    """Prefixes of clients, of which the longest that fits decides; empty: those that no other chain for these names wants."""
    tls: ChainTls | None = None
    client: ClientTraffic = ClientTraffic()

    @property
    def certificates(self) -> tuple[str, ...]:
        """Return the certificates that it needs."""
        return self.tls.certificates if isinstance(self.tls, Terminated) else ()

    @property
    def trust(self) -> str:
        """Return the `GatewayTrust` that it needs, empty for none."""
        return self.tls.clients.trust if isinstance(self.tls, Terminated) and self.tls.clients else ""

    def __str__(self) -> str:
        """Return the chain as text without blanks, for plans."""
        names = "|".join(self.server_names) or "*"
        inner = "passthrough" if isinstance(self.tls, PassedThrough) else "|".join(self.certificates)
        tls = f"[{inner}]" if self.tls is not None else ""
        match self.action:
            case ToHosts(table=to):
                pass
            case ToBackends(forward=forward):
                to = f"tcp:{forward}"
            case ToNobody():
                to = f"nobody({len(self.sources)} prefixes)"
        return f"{names}{tls}->{to}"


class _Listener(msgspec.Struct, frozen=True, kw_only=True):
    """What every port of a node's proxy has."""

    name: str
    port: int
    """The port on this node."""
    public_port: int
    """The one that clients use."""
    addresses: tuple[str, ...]
    """The node's addresses to listen on."""
    generation: int = 0
    """Of the Gateway, for receipts."""
    sets: tuple[tuple[str, int], ...] = ()
    """(short name, generation) of the ListenerSets whose listeners it has, for receipts."""
    proxy: str = ""
    """Name of the proxy that listens; empty: the one that is shared."""

    @property
    def stat_prefix(self) -> str:
        """Return how the proxy calls what it counts of it: no part of a name has an underscore."""
        return self.name.replace("/", "_")


class GatewayListener(_Listener, frozen=True, kw_only=True):
    """A TCP port of this node's proxy. Key: `name`, `NAMESPACE/GATEWAY/PORT` with the port that clients use."""

    protocol: ClassVar[str] = "TCP"
    chains: tuple[GatewayChain, ...]
    socket: Socket = Socket()


class GatewayUdpListener(_Listener, frozen=True, kw_only=True):
    """A UDP port of this node's proxy, whose datagrams go to one cluster. Key: `name`, `NAMESPACE/GATEWAY/PORT/udp`."""

    protocol: ClassVar[str] = "UDP"
    cluster: str
    """Name of a `GatewayCluster` row."""
    refused: tuple[str, ...] = ()
    """Prefixes of clients whose datagrams are thrown away."""


class GatewayQuicListener(_Listener, frozen=True, kw_only=True):
    """A UDP port of this node's proxy, at which some chains of a TCP port of the same number take connections of HTTP/3.

    Key: `name`, `NAMESPACE/GATEWAY/PORT/quic`.
    """

    protocol: ClassVar[str] = "UDP"
    chains: tuple[GatewayChain, ...]
    """Each ends TLS, without certificates of clients, and looks requests up in the table of hosts that it has over TCP too."""


AnyListener: TypeAlias = GatewayListener | GatewayQuicListener | GatewayUdpListener


class GatewayCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and its key. Key: `name`."""

    name: str
    """`NAMESPACE/SECRET`."""
    digest: str
