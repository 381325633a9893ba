"""core/v1 ConfigMap as a bundle of CA certificates: its key `ca.crt`, in PEM form. Source: caCertificateRefs of the Gateway API v1.

Such certificates are public. Whatever else stands beside them, a key above all, is left behind here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fairlead.api.meta import ObjectMeta

KEY = "ca.crt"
_MOST_BYTES = 1 << 19
_MOST_CERTIFICATES = 256


class CaBundle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The CA certificates of a ConfigMap."""

    metadata: ObjectMeta
    pem: str = ""
    """The certificates and nothing else, in the order in which they stand there; empty when there are none to be used."""
    problem: str = ""
    """Why there are none."""


def certificates(configmap: Mapping[str, Any]) -> str:
    """Return the CA certificates of a ConfigMap on the wire; raises ValueError in words for its author when there are none."""
    data = configmap.get("data")
    text = data.get(KEY) if isinstance(data, Mapping) else None
    if not isinstance(text, str):
        raise ValueError(f"data[{KEY}] is missing")
    if len(text) > _MOST_BYTES:
        raise ValueError(f"data[{KEY}] is larger than {_MOST_BYTES} bytes")
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise ValueError(f"data[{KEY}] holds no certificate in PEM form") from error
    if len(found) > _MOST_CERTIFICATES:
        raise ValueError(f"data[{KEY}] holds more than {_MOST_CERTIFICATES} certificates")
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in found)


def reduced(configmap: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wire form of the `CaBundle` of a ConfigMap: how it is known, and its certificates."""
    metadata = {
        name: value for name, value in configmap["metadata"].items() if name not in ("annotations", "managedFields")
    }
    found: dict[str, Any] = {"kind": "ConfigMap", "metadata": metadata}
    try:
        return found | {"pem": certificates(configmap)}
    except ValueError as error:
        return found | {"problem": str(error)}
