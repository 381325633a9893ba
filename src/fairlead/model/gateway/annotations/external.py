"""Services that decide about requests, by a URL of their own."""

from __future__ import annotations

from fairlead.api.gateway import BackendRef
from fairlead.api.securitypolicy import ExtAuth, HttpAuth

_COOKIE = "set-cookie"
"""Without it no session begins."""


def decider(
    backend: BackendRef,
    path: str,
    *,
    asked: tuple[str, ...] = (),
    passed: tuple[str, ...] = (),
    refused: tuple[str, ...] = (),
) -> ExtAuth:
    """Return who decides, asked by one path for all requests; headers that it is told, that backends get, and clients whom it refuses."""
    http = HttpAuth(
        backend_ref=backend,
        replace_full_path=path or "/",
        headers_to_backend=passed or None,
        headers_to_client=(*refused, _COOKIE),
        headers_to_client_on_success=(_COOKIE,),
    )
    return ExtAuth(http=http, headers_to_ext_auth=asked or None)
