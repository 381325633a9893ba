"""Whom the node's proxy believes: CA certificates by which clients and backends are known."""

from __future__ import annotations

import hashlib

import msgspec


class Bundle(msgspec.Struct, frozen=True):
    """CA certificates in PEM form. They are public, and long: text shows their digest."""

    pem: str

    def __str__(self) -> str:
        """Return the start of their SHA-256."""
        return hashlib.sha256(self.pem.encode()).hexdigest()[:16]


class GatewayTrust(msgspec.Struct, frozen=True, kw_only=True):
    """CA certificates under a name that stays while they are replaced. Key: `name`."""

    name: str
    """`ca/` and the ConfigMaps, `NAMESPACE/NAME` each, by commas."""
    bundle: Bundle
