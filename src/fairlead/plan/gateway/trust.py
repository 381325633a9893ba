"""Whom the node's proxy believes: CA certificates by which clients and backends are known."""

from __future__ import annotations

import hashlib

import msgspec


class Bundle(msgspec.Struct, frozen=True):
    """CA certificates, or lists of revoked ones, in PEM form. They are public, and long: text shows their digest."""

    pem: str

    def __str__(self) -> str:
        """Return the start of their SHA-256."""
        return hashlib.sha256(self.pem.encode()).hexdigest()[:16]


class GatewayTrust(msgspec.Struct, frozen=True, kw_only=True):
    """CA certificates under a name that stays while they are replaced. Key: `name`."""

    name: str
    """`ca/` and the ConfigMaps, `NAMESPACE/NAME` each, by commas; then `;crl/` or `;leaf-crl/` and those of lists, where there are some."""
    bundle: Bundle
    revoked: Bundle | None = None
    """Lists of revoked certificates (RFC 5280); then an authority without a list, or with one that is out of date, vouches for nobody."""
    leaf_only: bool = False
    """Whether the certificate alone is looked for in lists, not those of the authorities between."""
