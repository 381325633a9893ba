"""Where the API server is and who we are: the current context of a kubeconfig file."""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import yaml

from fairlead.base.errors import UserError


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach one API server: base URL, PEM texts and an optional bearer token."""

    server: str
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    token: str | None = None
    namespace: str = "default"

    def tls(self) -> ssl.SSLContext:
        """Return a client context that trusts `ca` alone and presents the client certificate."""
        context = ssl.create_default_context(cadata=self.ca)
        if self.certificate and self.key:
            # The ssl module reads certificates from files only.
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
                pem.write(self.certificate + "\n" + self.key)
                pem.flush()
                context.load_cert_chain(pem.name)
        return context


def read(path: Path) -> Connection:
    """Return the connection of the current context of the kubeconfig at `path`; raises UserError."""
    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"kubeconfig {path} does not exist", fix="start a lab with `fairlead up`") from None
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"kubeconfig {path} cannot be read: {error}") from error
    try:
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"])["user"]
        return Connection(
            server=cluster["server"].rstrip("/"),
            ca=_pem(cluster, "certificate-authority", path),
            certificate=_pem(user, "client-certificate", path),
            key=_pem(user, "client-key", path),
            token=user.get("token"),
            namespace=context.get("namespace", "default"),
        )
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise UserError(f"kubeconfig {path} is not complete: {error!r}") from error


def _named(config: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    for entry in config[section]:
        if entry["name"] == name:
            return dict(entry)
    raise KeyError(f"{section}[{name}]")


def _pem(entry: dict[str, Any], field: str, path: Path) -> str | None:
    if data := entry.get(f"{field}-data"):
        return base64.b64decode(str(data), validate=True).decode()
    if name := entry.get(field):
        return (path.parent / str(name)).read_text()
    return None
