"""Who asks, and whether they may.

Identities come from client certificates only: the common name is the user, the organizations are its groups (RFC 5280, Kubernetes'
x509 authenticator). `authorize` is the one place where a decision is made; today every authenticated identity may do everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairlead.apiserver.http.info import RequestInfo


@dataclass(frozen=True, slots=True)
class Identity:
    """A user with its groups."""

    user: str
    groups: tuple[str, ...] = ()


ANONYMOUS = Identity("system:anonymous", ("system:unauthenticated",))
PUBLIC_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})
"""What is answered without a certificate; checks below the health paths too."""


def from_certificate(certificate: dict[str, Any] | None) -> Identity:
    """Return the identity of a verified peer certificate (as `getpeercert` returns it); anonymous without one."""
    if not certificate:
        return ANONYMOUS
    user = ""
    groups: list[str] = []
    for name in certificate.get("subject", ()):
        for key, value in name:
            if key == "commonName":
                user = value
            elif key == "organizationName":
                groups.append(value)
    if not user:
        return ANONYMOUS
    return Identity(user, (*sorted(set(groups)), "system:authenticated"))


def is_public(path: str) -> bool:
    """Tell whether `path` is answered to anyone."""
    return path.rstrip("/") in PUBLIC_PATHS or path.startswith(("/healthz/", "/livez/", "/readyz/"))


def authorize(identity: Identity, info: RequestInfo | None, path: str) -> str | None:
    """Return why the request is refused, or None when it is allowed. `info` is None for paths that name no resource."""
    return None


def user_info(identity: Identity) -> dict[str, Any]:
    """Return the authentication.k8s.io UserInfo of an identity."""
    found: dict[str, Any] = {"username": identity.user}
    if identity.groups:
        found["groups"] = list(identity.groups)
    return found
