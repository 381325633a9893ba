"""core/v1 Secret with the label of credentials as CA certificates by which clients are known: `ca.crt`, and lists of revoked certificates, `ca.crl`.

Both are public; whatever else the Secret holds, a private key above all, is left behind here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from fairlead.api import trust_material
from fairlead.api.credentials import is_credentials
from fairlead.api.trust_material import KEY, REVOKED

KIND = "ClientAuthority"


def is_authority(secret: Mapping[str, Any]) -> bool:
    """Tell whether a Secret on the wire holds CA certificates that agents may read."""
    return is_credentials(secret) and any(KEY in (secret.get(part) or {}) for part in ("data", "stringData"))


def reduced(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wire form of the `TrustMaterial` of a Secret."""
    data = {name: text for name in (KEY, REVOKED) if (text := _text(secret, name)) is not None}
    return {**trust_material.reduced({"metadata": secret["metadata"], "data": data}), "kind": KIND}


def _text(secret: Mapping[str, Any], name: str) -> str | None:
    plain, data = secret.get("stringData") or {}, secret.get("data") or {}
    if name in plain:
        return str(plain[name])
    if name not in data:
        return None
    try:
        return base64.b64decode(str(data[name]), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
