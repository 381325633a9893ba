"""Who asks: a user with its groups, as every part of the server knows it. Who may do what is decided in `authz`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
NODES = "system:nodes"
NODE_USERS = "system:node:"
AGENTS = "fairlead:agents"
AGENT_USERS = "fairlead:agent:"
ACCOUNT_USERS = "system:serviceaccount:"
ACCOUNTS = "system:serviceaccounts"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user with its groups. `extra` is what else its credential says, sorted by key."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def node(self) -> str | None:
        """The name of the node that asks; None for anybody else."""
        if NODES in self.groups and self.user.startswith(NODE_USERS):
            return self.user.removeprefix(NODE_USERS)
        return None

    @property
    def agent_of(self) -> str | None:
        """The node whose network agent asks; None for anybody else."""
        if AGENTS in self.groups and self.user.startswith(AGENT_USERS):
            return self.user.removeprefix(AGENT_USERS)
        return None


ANONYMOUS = Identity("system:anonymous", (UNAUTHENTICATED,))
SERVER = Identity("system:apiserver", (MASTERS, AUTHENTICATED))
"""The server itself, when it writes what a cluster cannot be without."""


def from_certificate(certificate: dict[str, Any] | None) -> Identity:
    """Return the identity of a verified peer certificate (as `getpeercert` returns it); anonymous without one.

    The common name is the user, the organizations are its groups (RFC 5280, Kubernetes' x509 authenticator).
    """
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
    return Identity(user, (*sorted(set(groups)), AUTHENTICATED))


def account_user(namespace: str, name: str) -> str:
    """Return the user name of a ServiceAccount."""
    return f"{ACCOUNT_USERS}{namespace}:{name}"


def account_groups(namespace: str) -> tuple[str, ...]:
    """Return the groups of every ServiceAccount of a namespace."""
    return (ACCOUNTS, f"{ACCOUNTS}:{namespace}", AUTHENTICATED)


def account_of(user: str) -> tuple[str, str] | None:
    """Return namespace and name of the ServiceAccount that `user` is; None for another user."""
    namespace, colon, name = user.removeprefix(ACCOUNT_USERS).partition(":")
    return (namespace, name) if user.startswith(ACCOUNT_USERS) and colon and namespace and name else None


def user_info(identity: Identity) -> dict[str, Any]:
    """Return the authentication.k8s.io UserInfo of an identity."""
    found: dict[str, Any] = {"username": identity.user}
    if identity.uid:
        found["uid"] = identity.uid
    if identity.groups:
        found["groups"] = list(identity.groups)
    if identity.extra:
        found["extra"] = {key: list(values) for key, values in identity.extra}
    return found
