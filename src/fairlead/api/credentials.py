"""core/v1 Secrets with the label fairlead.dev/credentials, without their secrets: what may be known of them everywhere.

The label is its owner's consent: whoever serves requests reads these Secrets and, beside certificates, no others. Their bytes never enter a
snapshot, a plan or a record; whoever needs them finds them by the digest that stands here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.api.meta import ObjectMeta

LABEL = "fairlead.dev/credentials"
_HTPASSWD = (".htpasswd", "auth", "users")
"""Names under which users are looked for, the first first."""
_MOST_BYTES = 1 << 18
_MOST_ENTRIES = 4096
_SALT = os.urandom(32)
# Passwords can be guessed, so a digest that everybody can compute would tell whether a guess is right.
_HASH = re.compile(r"\{SHA\}[A-Za-z0-9+/]{27}=")
_USER = re.compile(r"[^\x00-\x1f\x7f:]{1,256}")
_VISIBLE = re.compile(r"[!-~]{1,1024}")


class Credentials(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Credentials of clients, known by a digest that means nothing outside of this process."""

    metadata: ObjectMeta
    digest: str = ""
    users_problem: str = ""
    """Why it holds no users and passwords."""
    keys_problem: str = ""
    """Why it holds no keys of clients."""


class CredentialData(msgspec.Struct, frozen=True, gc=False):
    """The bytes behind `Credentials`. Never to be logged, rendered or kept with anything that is."""

    entries: tuple[tuple[str, bytes], ...]
    """Sorted by name."""

    def __repr__(self) -> str:
        """Return nothing of the bytes."""
        return f"<CredentialData {self.digest[:12]}>"

    @property
    def digest(self) -> str:
        """Return what `Credentials` call these bytes."""
        found = hashlib.blake2b(key=_SALT, digest_size=16)
        for name, value in self.entries:
            for part in (name.encode(), value):
                found.update(len(part).to_bytes(4, "big") + part)
        return found.hexdigest()

    def users(self) -> str:
        """Return lines of htpasswd; raises ValueError in words that tell no secret."""
        entries = dict(self.entries)
        name = next((each for each in _HTPASSWD if each in entries), None)
        if name is None:
            raise ValueError(f"data[{_HTPASSWD[0]}] is missing")
        lines: dict[str, str] = {}
        for at, line in enumerate(_text(entries[name], name).splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            user, colon, password = line.strip().partition(":")
            if not colon or not _USER.fullmatch(user):
                raise ValueError(f"data[{name}], line {at}: not of the form user:hash")
            if not _HASH.fullmatch(password):
                raise ValueError(f"data[{name}], line {at}: only SHA-1 hashes are supported ({{SHA}}…, htpasswd -s)")
            if user in lines:
                raise ValueError(f"data[{name}], line {at}: the user stands there twice")
            lines[user] = password
        if not lines:
            raise ValueError(f"data[{name}] holds no user")
        return "\n".join(f"{user}:{password}" for user, password in lines.items())

    def clients(self) -> tuple[tuple[str, str], ...]:
        """Return (client, key); raises ValueError in words that tell no secret."""
        found: dict[str, str] = {}
        for client, value in self.entries:
            key = _text(value, client).strip()
            if not _VISIBLE.fullmatch(client):
                raise ValueError("data has a client whose name is not of 1 to 1024 visible characters")
            if not _VISIBLE.fullmatch(key):
                raise ValueError(f"data[{client}] is no key of 1 to 1024 visible characters")
            if key in found:
                raise ValueError(f"data[{client}] is also the key of {found[key]}")
            found[key] = client
        if not found:
            raise ValueError("data holds no key")
        return tuple((client, key) for key, client in found.items())


def is_credentials(secret: Mapping[str, Any]) -> bool:
    """Tell whether a Secret on the wire has the label."""
    return LABEL in (secret["metadata"].get("labels") or {})


def data_of(secret: Mapping[str, Any]) -> CredentialData:
    """Return the bytes of a Secret on the wire; raises ValueError when they are none or too many."""
    found: dict[str, bytes] = {}
    data, plain = (each if isinstance(each, Mapping) else {} for each in (secret.get("data"), secret.get("stringData")))
    for name, value in data.items():
        try:
            found[str(name)] = base64.b64decode(str(value), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"data[{name}] is not base64") from None
    found |= {str(name): str(value).encode() for name, value in plain.items()}
    if len(found) > _MOST_ENTRIES or sum(map(len, found.values())) > _MOST_BYTES:
        raise ValueError(f"data has more than {_MOST_ENTRIES} entries or {_MOST_BYTES} bytes")
    return CredentialData(tuple(sorted(found.items())))


def reduced(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wire form of the `Credentials` of a Secret."""
    metadata = secret["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion") if name in metadata}
    try:
        data = data_of(secret)
    except ValueError as error:
        return {"metadata": kept, "users_problem": str(error), "keys_problem": str(error)}
    return {
        "metadata": kept,
        "digest": data.digest,
        "users_problem": _problem(data.users),
        "keys_problem": _problem(data.clients),
    }


def _problem(read: Any) -> str:
    try:
        read()
    except ValueError as error:
        return str(error)
    return ""


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"data[{name}] is no text") from None
