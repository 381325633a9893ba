"""Tokens of ServiceAccounts: signed here, believed here as long as what they are bound to exists.

A token is a JSON Web Token (RFC 7519) signed with ES256 by the cluster's key. Its signature is checked once and remembered; its times and
bounds are checked on every request. Source: KEP-1205 (bound tokens), KEP-1393 (issuer discovery), KEP-4193 (node, jti).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fairlead.apiserver.identity import Identity, account_groups, account_user
from fairlead.apiserver.store.engine import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

Json = dict[str, Any]

ISSUER = "https://kubernetes.default.svc.cluster.local"
"""Also the audience of tokens that name none."""
MOST_LIFETIME_S = 1 << 32
_ALGORITHM = "ES256"
_PRIVATE = "kubernetes.io"
_MOST_BYTES = 16_384
_MOST_REMEMBERED = 4096
_LEEWAY_S = 60
"""How long a token outlives the deletion of what it is bound to, when that is still there waiting for its end."""


class InvalidToken(Exception):
    """A token that is not believed; the text says why and may be shown to whoever asks for a review."""


class Bound(NamedTuple):
    """What a token is bound to besides its account: a kind (`pod`, `secret` or `node`), its name and uid."""

    kind: str
    name: str
    uid: str


class Believed(NamedTuple):
    """A token that stands: who it is, and the audiences that it is for."""

    identity: Identity
    audiences: tuple[str, ...]


class _Verified(NamedTuple):
    """A token whose signature and form are good."""

    claims: Json
    identity: Identity
    audiences: tuple[str, ...]
    bounds: tuple[tuple[str, str, str, str], ...]
    """Table, namespace, name and uid of each object that must exist."""


class Tokens:
    """Issues and verifies with the key in `key_file` (PEM, NIST P-256), which is read with the first token."""

    def __init__(self, store: Store, key_file: Path) -> None:
        self._store = store
        self._key_file = key_file
        self._verified: dict[str, _Verified] = {}

    def issue(
        self, account: Json, *, audiences: Sequence[str], lifetime_s: int, bound: Sequence[Bound] = ()
    ) -> tuple[str, int]:
        """Return a token of the ServiceAccount and its time of expiry, in seconds since the epoch."""
        import jwt

        metadata = account["metadata"]
        now = int(time.time())
        private: Json = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        private |= {kind: {"name": name, "uid": uid} for kind, name, uid in bound}
        claims = {
            "aud": list(audiences),
            "exp": now + lifetime_s,
            "iat": now,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            _PRIVATE: private,
            "nbf": now,
            "sub": account_user(metadata["namespace"], metadata["name"]),
        }
        token = jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id})
        return token, now + lifetime_s

    def verify(self, token: str, audiences: Sequence[str] = (ISSUER,)) -> Believed:
        """Return whom the token stands for, and those of `audiences` that it is meant for; raises InvalidToken."""
        found = self._verified.get(token)
        if found is None:
            found = self._check(token)
            if len(self._verified) >= _MOST_REMEMBERED:
                self._verified.clear()
            self._verified[token] = found
        now = time.time()
        if now > found.claims["exp"] + _LEEWAY_S:
            self._verified.pop(token, None)
            raise InvalidToken("service account token has expired")
        if now < found.claims["nbf"] - _LEEWAY_S:
            raise InvalidToken("service account token is not valid yet")
        meant = tuple(one for one in audiences if one in found.audiences)
        if not meant:
            raise InvalidToken(
                f"token audiences {_go_list(found.audiences)} is invalid for the target audiences {_go_list(audiences)}"
            )
        for table, namespace, name, uid in found.bounds:
            self._require(table, namespace, name, uid, now)
        return Believed(found.identity, meant)

    def discovery(self) -> Json:
        """Return the issuer's metadata (OpenID Connect Discovery 1.0)."""
        return {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [_ALGORITHM],
        }

    def keys(self) -> Json:
        """Return the issuer's public keys (RFC 7517)."""
        from jwt.algorithms import ECAlgorithm

        key = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{"use": "sig", "kid": self._key_id, "alg": _ALGORITHM, **key}]}

    def _check(self, token: str) -> _Verified:
        import jwt

        if len(token) > _MOST_BYTES:
            raise InvalidToken("the token is too long")
        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                # Times and audiences are asked for at each use.
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
            private = claims[_PRIVATE]
            namespace, account = private["namespace"], private["serviceaccount"]
            if claims["sub"] != account_user(namespace, account["name"]):
                raise InvalidToken("the token's subject is not its account")
            bounds = [("serviceaccounts", namespace, account["name"], account["uid"])]
            extra = {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)}
            for kind, table in (("pod", "pods"), ("secret", "secrets")):
                if kind in private:
                    bounds.append((table, namespace, private[kind]["name"], private[kind]["uid"]))
            for kind in ("pod", "node"):
                if kind in private:
                    extra[f"authentication.kubernetes.io/{kind}-name"] = (private[kind]["name"],)
                    extra[f"authentication.kubernetes.io/{kind}-uid"] = (private[kind]["uid"],)
            identity = Identity(claims["sub"], account_groups(namespace), account["uid"], tuple(sorted(extra.items())))
            if "node" in private and "pod" not in private:
                bounds.append(("nodes", "", private["node"]["name"], private["node"]["uid"]))
            return _Verified(
                claims | {"exp": int(claims["exp"]), "nbf": int(claims["nbf"])},
                identity,
                tuple(claims["aud"]),
                tuple(bounds),
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise InvalidToken(f"invalid bearer token: {error}") from None

    def _require(self, table: str, namespace: str, name: str, uid: str, now: float) -> None:
        entry = self._store.get(table, namespace, name)
        if entry is None:
            if table == "serviceaccounts":
                raise InvalidToken(f'serviceaccounts "{name}" not found')
            raise InvalidToken("service account token has been invalidated")
        metadata = entry.obj["metadata"]
        if metadata["uid"] != uid:
            title = {"serviceaccounts": "service account", "pods": "pod", "secrets": "secret"}.get(table, "node")
            claim = "claim" if table == "serviceaccounts" else f"service account {title} ref claim"
            raise InvalidToken(f"{title} UID ({metadata['uid']}) does not match {claim} ({uid})")
        if "deletionTimestamp" in metadata and _seconds(metadata["deletionTimestamp"]) < now - _LEEWAY_S:
            if table == "serviceaccounts":
                raise InvalidToken(f"service account {namespace}/{name} has been deleted")
            raise InvalidToken("service account token has been invalidated")

    @functools.cached_property
    def _key(self) -> EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(self._key_file.read_bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey), "the lab's key is of P-256"
        return key

    @functools.cached_property
    def _key_id(self) -> str:
        """The digest of the public key, as upstream names keys."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.urlsafe_b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def _seconds(timestamp: str) -> float:
    import calendar

    return calendar.timegm(time.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ"))


def _go_list(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
