"""fairlead.dev/v1alpha1 ClientTrafficPolicy: how proxies treat connections and requests of clients. Durations are those of GEP-2257."""

from __future__ import annotations

import msgspec

from fairlead.api.gateway import ConfigMapRef, RouteMeta
from fairlead.api.policytarget import PolicyTargetRef


class ProxyProtocol(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A load balancer before the proxy says in a header of its own who the client is (PROXY protocol, versions 1 and 2)."""

    mode: str = "Required"
    """`Required` or `Optional`."""


class ForwardedFor(msgspec.Struct, frozen=True, kw_only=True, rename={"trusted_hops": "trustedHops", "trusted_cidrs": "trustedCIDRs"}, gc=False):  # fmt: skip
    """Whose X-Forwarded-For is believed: that of so many proxies before this one, or of those in these ranges."""

    trusted_hops: int | None = None
    trusted_cidrs: tuple[str, ...] | None = None


class RevocationLists(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Lists of certificates that are not good any more (RFC 5280, 5)."""

    refs: tuple[ConfigMapRef, ...] = ()
    """ConfigMaps of the policy's namespace, with lists under `ca.crl`: one of each authority of the clients' certificates."""
    only_verify_leaf_certificate: bool = False
    """Whether certificates of authorities between are not looked for."""


class ClientValidation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What certificates of clients have to be, beside issued by those that the Gateway names."""

    crl: RevocationLists | None = None


class ClientTls(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What is spoken with clients."""

    min_version: str | None = None
    max_version: str | None = None
    cipher_suites: tuple[str, ...] | None = None
    alpn_protocols: tuple[str, ...] | None = None
    client_validation: ClientValidation | None = None


class HttpsRedirect(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Requests without TLS are sent to the same place with it, but for those that prove that a host is ours (RFC 8555, 8.3)."""

    status_code: int = 301
    port: int = 443


class ClientHeaders(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Bounds of headers, and what becomes of names with underscores."""

    max_kib: int | None = msgspec.field(default=None, name="maxKiB")
    max_count: int | None = msgspec.field(default=None, name="maxCount")
    underscores: str = "Drop"
    """`Drop`, `Allow` or `Reject`."""


class ClientTimeouts(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How long clients may take; 0s: as long as they like."""

    request_headers: str | None = None
    request: str | None = None
    idle: str | None = None
    stream_idle: str | None = None
    connection: str | None = None


class TcpKeepAlive(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Probes of silent connections."""

    probes: int = 3
    idle: str = "60s"
    interval: str = "10s"


class ClientConnections(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How many connections there may be at each node, how many requests each may carry, and how the dead ones are found."""

    max: int | None = None
    max_requests: int | None = None
    keep_alive: TcpKeepAlive | None = None


class ClientPaths(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What becomes of paths before they are matched."""

    merge_slashes: bool = True
    escaped_slashes: str = "Redirect"
    """`Redirect`, `Decode`, `Keep` or `Reject`."""


class Http3(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Clients may use HTTP/3 as well. That it is said is all that it says."""


class ClientTrafficPolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a ClientTrafficPolicy."""

    target_refs: tuple[PolicyTargetRef, ...] = ()
    proxy_protocol: ProxyProtocol | None = None
    forwarded_for: ForwardedFor | None = None
    tls: ClientTls | None = None
    https_redirect: HttpsRedirect | None = None
    headers: ClientHeaders | None = None
    timeouts: ClientTimeouts | None = None
    connections: ClientConnections | None = None
    paths: ClientPaths | None = None
    http3: Http3 | None = None
    """None: over TCP alone."""
    external_traffic_policy: str | None = None
    """`Local` or `Cluster`, of the Gateway's Service."""

    @property
    def revocation(self) -> RevocationLists | None:
        """Return which lists of revoked certificates are wanted, None where nothing is said of that."""
        return (
            self.tls.client_validation.crl if self.tls is not None and self.tls.client_validation is not None else None
        )


class ClientTrafficPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What holds for clients of a Gateway, a ListenerSet, or a listener of one."""

    metadata: RouteMeta
    spec: ClientTrafficPolicySpec
