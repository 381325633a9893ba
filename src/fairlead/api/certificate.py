"""core/v1 Secret of type kubernetes.io/tls without its secret: what may be known of a certificate everywhere.

The bytes of keys never enter a snapshot, a plan or a record; whoever needs them finds them by the digest that stands here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fairlead.api.meta import ObjectMeta

TYPE = "kubernetes.io/tls"
_CHAIN, _KEY = "tls.crt", "tls.key"
_MOST_BYTES = 1 << 20
_LEAST_RSA_BITS = 2048
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


class Certificate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A certificate and its key, known by their digest."""

    metadata: ObjectMeta
    digest: str = ""
    """SHA-256 of chain and key, in hexadecimal digits; empty when they cannot be used."""
    problem: str = ""
    """Why they cannot be used."""
    expires: str = ""
    """`notAfter` of the first certificate, ISO 8601 in UTC."""
    starts: str = ""
    """`notBefore` of the same."""


class KeyPair(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The bytes behind a `Certificate`, PEM. Never to be logged, rendered or kept with anything that is."""

    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        """Return nothing of the key."""
        return f"<KeyPair {self.digest[:12]}>"

    @property
    def digest(self) -> str:
        """Return what a `Certificate` calls these bytes."""
        return hashlib.sha256(len(self.chain).to_bytes(4, "big") + self.chain + self.key).hexdigest()


def key_pair(secret: Mapping[str, Any]) -> KeyPair:
    """Return the chain and key of a Secret on the wire; raises ValueError in words for its author when nobody could use them."""
    if secret.get("type", TYPE) != TYPE:
        raise ValueError(f"type is {secret.get('type')}, not {TYPE}")
    parts = [each if isinstance(each, Mapping) else {} for each in (secret.get("data"), secret.get("stringData"))]
    chain, key = (_field(parts[0], parts[1], name) for name in (_CHAIN, _KEY))
    try:
        found = x509.load_pem_x509_certificates(chain)
        first = found[0]
    except (ValueError, IndexError) as error:
        raise ValueError(f"data[{_CHAIN}] holds no certificate in PEM form") from error
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"data[{_KEY}] holds no unencrypted private key in PEM form") from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != first.public_key().public_bytes(*form):
        raise ValueError(f"the key in data[{_KEY}] is not that of the certificate in data[{_CHAIN}]")
    _require_usable(private)
    # What stands between certificates, or is lacking there, is read differently by different libraries.
    return KeyPair(chain=b"".join(each.public_bytes(serialization.Encoding.PEM) for each in found), key=key)


def _require_usable(key: Any) -> None:
    """Raise ValueError for a kind of key that proxies refuse. Source: Envoy's ServerContextImpl, BoringSSL."""
    match key:
        case rsa.RSAPrivateKey() if key.key_size < _LEAST_RSA_BITS:
            raise ValueError(
                f"the key in data[{_KEY}] is RSA with {key.key_size} bits; {_LEAST_RSA_BITS} are the least"
            )
        case ec.EllipticCurvePrivateKey() if key.curve.name not in _CURVES:
            raise ValueError(f"the key in data[{_KEY}] is of the curve {key.curve.name}; use {', '.join(_CURVES)}")
        case rsa.RSAPrivateKey() | ec.EllipticCurvePrivateKey() | ed25519.Ed25519PrivateKey():
            return
    raise ValueError(f"the key in data[{_KEY}] is neither RSA nor ECDSA nor Ed25519")


def reduced(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wire form of the `Certificate` of a Secret: its metadata and what may be known of its bytes."""
    found: dict[str, Any] = {"kind": "Secret", "metadata": _without_copies(secret["metadata"])}
    try:
        pair = key_pair(secret)
    except ValueError as error:
        return found | {"problem": str(error)}
    first = x509.load_pem_x509_certificates(pair.chain)[0]
    times = {"expires": first.not_valid_after_utc.isoformat(), "starts": first.not_valid_before_utc.isoformat()}
    return found | {"digest": pair.digest, **times}


def _without_copies(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata without what may hold a copy of the data: kubectl writes it into an annotation."""
    return {name: value for name, value in metadata.items() if name not in ("annotations", "managedFields")}


def _field(data: Mapping[str, Any], plain: Mapping[str, Any], name: str) -> bytes:
    if name in plain:
        return str(plain[name]).encode()
    if name not in data:
        raise ValueError(f"data[{name}] is missing")
    try:
        value = base64.b64decode(str(data[name]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"data[{name}] is not base64") from error
    if b"\0" in value:
        # Libraries differ in what they make of a text that ends within.
        raise ValueError(f"data[{name}] is no text")
    if len(value) > _MOST_BYTES:
        raise ValueError(f"data[{name}] is larger than {_MOST_BYTES} bytes")
    return value
