"""What a request is about, read from its method, path and query alone.

Source: k8s.io/apiserver's RequestInfo. Nothing here knows which resources exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """A request below /api or /apis. `name` empty means the collection; `rest` is the path behind a proxy subresource."""

    verb: str
    group: str
    version: str
    plural: str
    namespace: str | None
    name: str
    subresource: str
    rest: str = ""


def parse(method: str, raw_path: str, query: Mapping[str, str]) -> RequestInfo | None:
    """Return what the request is about; None when its path names no resource (discovery, health, …)."""
    parts = [unquote(part) for part in raw_path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace: str | None = None
    watching = flag(query, "watch")
    if rest[0] == "watch" and len(rest) > 1:
        watching, rest = True, rest[1:]
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    verb = _VERBS.get(method, method.lower())
    if not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    if watching and verb == "list":
        verb = "watch"
    return RequestInfo(
        verb=verb,
        group=group,
        version=version,
        plural=plural,
        namespace=namespace,
        name=name,
        subresource=subresource,
        rest="/".join(rest[3:]) + ("/" if len(rest) > 3 and raw_path.endswith("/") else ""),
    )


def flag(query: Mapping[str, str], key: str) -> bool:
    """Return a boolean parameter: as Go's ParseBool reads it, and `True` as Python clients write it."""
    return query.get(key, "").lower() in ("1", "t", "true")


def number(query: Mapping[str, str], key: str) -> int | None:
    """Return an integer parameter, or None when it is absent or no integer."""
    text = query.get(key, "")
    return int(text) if text.lstrip("-").isdigit() else None
