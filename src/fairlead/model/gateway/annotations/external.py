"""Services that decide about requests, by a URL of their own."""

from __future__ import annotations

from fairlead.api.gateway import BackendRef
from fairlead.api.securitypolicy import ExtAuth, HttpAuth, SignIn
from fairlead.model.gateway import composed

_COOKIE = "set-cookie"
"""Without it no session begins."""
ALL = ("*",)
"""Every header of a request, as far as it says nothing about its connection."""


def decider(
    backend: BackendRef,
    path: str,
    *,
    asked: tuple[str, ...] = (),
    passed: tuple[str, ...] = (),
    refused: tuple[str, ...] = (),
    method: str = "",
    redirect: str = "",
    sign_in: SignIn | None = None,
) -> ExtAuth:
    """Return who decides, asked by one path for all requests; headers that it is told, that backends get, and clients whom it refuses.

    And by which method, without it by the request's own; what it hears of where clients come back to; where they sign in.
    """
    http = HttpAuth(
        backend_ref=backend,
        replace_full_path=path or "/",
        method=method,
        request_redirect=redirect,
        sign_in=sign_in,
        headers_to_backend=passed or None,
        headers_to_client=(*refused, _COOKIE),
        headers_to_client_on_success=(_COOKIE,),
    )
    return ExtAuth(http=http, headers_to_ext_auth=asked or None)


def location(text: str) -> str:
    """Return where clients sign in, as it was written."""
    composed.location(text)
    return text


def url(text: str) -> str:
    """Return a URL with variables, as it was written."""
    composed.url(text)
    return text
