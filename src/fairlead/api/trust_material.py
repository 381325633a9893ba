"""core/v1 ConfigMap as what others are known by: CA certificates, lists of revoked certificates, keys of tokens. One without these may hold
headers of answers.

Its keys are `ca.crt` (caCertificateRefs of the Gateway API v1), `ca.crl` (RFC 5280, in PEM form) and `jwks` (RFC 7517). All of it is public.
Whatever else stands beside it, a private key above all, is left behind here.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fairlead.api.answer_headers import headers
from fairlead.api.meta import ObjectMeta

KEY = "ca.crt"
REVOKED = "ca.crl"
JWKS = "jwks"
_MOST_BYTES = 1 << 19
_MOST_CERTIFICATES = 256
_MOST_LISTS = 64
MOST_JWKS_CHARACTERS = 1 << 16
_LIST = re.compile(r"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_SECRET_MEMBERS = frozenset(("d", "k", "p", "q", "dp", "dq", "qi", "oth"))
"""Of keys (RFC 7518, 6): what nobody else may know."""


class Revoked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Lists of revoked certificates."""

    pem: str
    until: str = ""
    """When the first of them is out of date, ISO 8601 in UTC; empty: never."""
    issuers: tuple[str, ...] = ()
    """Names of the authorities whose lists they are (RFC 4514)."""


class TrustMaterial(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a ConfigMap holds of it."""

    metadata: ObjectMeta
    pem: str = ""
    """The CA certificates and nothing else, in the order in which they stand there; empty when there are none to be used."""
    problem: str = ""
    """Why there are none."""
    authorities: tuple[str, ...] = ()
    """Whose certificates they are, by name (RFC 4514)."""
    revoked: Revoked | None = None
    revoked_problem: str = ""
    """Why there is no list."""
    jwks: str = ""
    """A JSON object; whether its keys can be used is for those to judge who want them."""
    jwks_problem: str = ""
    """Why there is none."""
    headers: Mapping[str, str] = {}
    """Name → value; none where it holds anything of the above."""
    headers_problem: str = ""
    """Why there are none."""


def certificates(configmap: Mapping[str, Any]) -> list[x509.Certificate]:
    """Return the CA certificates of a ConfigMap on the wire; raises ValueError in words for its author when there are none."""
    text = _text(configmap, KEY)
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise ValueError(f"data[{KEY}] holds no certificate in PEM form") from error
    if len(found) > _MOST_CERTIFICATES:
        raise ValueError(f"data[{KEY}] holds more than {_MOST_CERTIFICATES} certificates")
    return found


def revoked(configmap: Mapping[str, Any]) -> Revoked:
    """Return the lists of revoked certificates of a ConfigMap on the wire; raises ValueError when there are none."""
    blocks = _LIST.findall(_text(configmap, REVOKED))
    if len(blocks) > _MOST_LISTS:
        raise ValueError(f"data[{REVOKED}] holds more than {_MOST_LISTS} lists")
    if not blocks:
        raise ValueError(f"data[{REVOKED}] holds no list of revoked certificates in PEM form")
    try:
        found = [x509.load_pem_x509_crl(each.encode()) for each in blocks]
        times = [each.next_update_utc for each in found]
        # Entries are read only when they are asked for, and the proxy would refuse bad ones.
        for each in found:
            list(each)
    except ValueError as error:
        raise ValueError(f"data[{REVOKED}] holds what is no list of revoked certificates") from error
    until = min((each for each in times if each is not None), default=None)
    return Revoked(
        pem=_pem(found),
        until=until.astimezone(datetime.UTC).isoformat() if until is not None else "",
        issuers=tuple(dict.fromkeys(each.issuer.rfc4514_string() for each in found)),
    )


def jwks(configmap: Mapping[str, Any]) -> str:
    """Return the set of keys of a ConfigMap on the wire; raises ValueError when there is none, or one with secrets in it."""
    text = _text(configmap, JWKS)
    if any(isinstance(each, dict) and _SECRET_MEMBERS & each.keys() for each in key_set(text, f"data[{JWKS}]")):
        raise ValueError(f"data[{JWKS}] holds a private or symmetric key, which is a secret and does not belong there")
    return text


def key_set(text: str, field: str) -> list[Any]:
    """Return the members of a set of keys, whatever they are; raises ValueError that names the field. Source: RFC 7517, section 5."""
    if len(text) > MOST_JWKS_CHARACTERS:
        raise ValueError(f"{field}: at most {MOST_JWKS_CHARACTERS} characters")
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"{field}: no JSON: {error}") from error
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise ValueError(f"{field}: a JSON object with a list of keys is needed (RFC 7517)")
    return keys


def reduced(configmap: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wire form of the `TrustMaterial` of a ConfigMap: how it is known, and what it holds of it."""
    metadata = {
        name: value for name, value in configmap["metadata"].items() if name not in ("annotations", "managedFields")
    }
    found: dict[str, Any] = {"kind": "ConfigMap", "metadata": metadata}
    try:
        each = certificates(configmap)
        found["pem"] = _pem(each)
        found["authorities"] = list(dict.fromkeys(one.subject.rfc4514_string() for one in each))
    except ValueError as error:
        found["problem"] = str(error)
    try:
        found["revoked"] = msgspec.to_builtins(revoked(configmap))
    except ValueError as error:
        found["revoked_problem"] = str(error)
    try:
        found["jwks"] = jwks(configmap)
    except ValueError as error:
        found["jwks_problem"] = str(error)
    try:
        found["headers"] = _headers(configmap)
    except ValueError as error:
        found["headers_problem"] = str(error)
    return found


def _headers(configmap: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a ConfigMap that is there for them alone: what else stands beside CA certificates is nobody's business."""
    others = sorted({KEY, REVOKED, JWKS} & (configmap.get("data") or {}).keys())
    if others:
        raise ValueError(f"data[{others[0]}] is no header")
    return headers(configmap)


def _pem(found: Iterable[x509.Certificate | x509.CertificateRevocationList]) -> str:
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in found)


def _text(configmap: Mapping[str, Any], key: str) -> str:
    data = configmap.get("data")
    text = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(text, str):
        raise ValueError(f"data[{key}] is missing")
    if len(text) > _MOST_BYTES:
        raise ValueError(f"data[{key}] is larger than {_MOST_BYTES} bytes")
    return text
