"""How the node's proxy treats connections and requests of clients, wherever they go."""

from __future__ import annotations

import msgspec


class KeepAlive(msgspec.Struct, frozen=True, kw_only=True):
    """Probes of silent connections (TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL)."""

    probes: int
    idle_s: int
    interval_s: int


class Socket(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a port as a whole, before anything of a connection is read."""

    proxy_protocol: str = ""
    """`required`, `optional`, or empty: none is spoken."""
    keep_alive: KeepAlive | None = None


class ClientTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the connections of a chain and their requests. 0 in a duration: without end."""

    trusted_hops: int = 0
    trusted_cidrs: tuple[str, ...] = ()
    tls_min: str = "1.2"
    tls_max: str = ""
    ciphers: tuple[str, ...] = ()
    """For TLS 1.2; none: the proxy's own, all with forward secrecy and authenticated."""
    alpn: tuple[str, ...] = ("h2", "http/1.1")
    headers_kib: int = 0
    """0 here and below: the proxy's own bound."""
    headers_count: int = 0
    underscores: str = "drop"
    """`drop`, `allow` or `reject`."""
    headers_ms: int = 10_000
    request_ms: int = 0
    idle_ms: int = 300_000
    stream_idle_ms: int = 300_000
    connection_ms: int = 0
    connections: int = 0
    requests: int = 0
    merge_slashes: bool = True
    escaped_slashes: str = "redirect"
    """`redirect`, `decode`, `keep` or `reject`."""
