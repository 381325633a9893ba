"""Tokens and sets of keys for tests (RFC 7515, RFC 7517)."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Somebody who signs tokens."""

    def __init__(self, issuer: str, kid: str = "1") -> None:
        self.issuer, self._kid = issuer, kid
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def jwks(self) -> str:
        point = self._key.public_key().public_numbers()
        x, y = (_text(each.to_bytes(32, "big")) for each in (point.x, point.y))
        return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self._kid, "x": x, "y": y}]})

    def token(self, **claims: Any) -> str:
        """A token that is good for an hour where `claims` do not say otherwise."""
        found = {"iss": self.issuer, "exp": int(time.time()) + 3600, **claims}
        body = {name: value for name, value in found.items() if value is not None}
        signed = ".".join(_text(json.dumps(each).encode()) for each in ({"alg": "ES256", "kid": self._kid}, body))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_text(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
