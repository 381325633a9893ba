"""How a service that decides by HTTP is asked, and where those are sent whom it does not know. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from fairlead.api.securitypolicy import HttpAuth, OwnHeader
from fairlead.model.gateway import composed, values
from fairlead.model.gateway.values import RuleError, bounded
from fairlead.plan.gateway.composed import Composed

METHODS = ("GET", "HEAD", "POST")
_PARAMETER = re.compile(r"[A-Za-z0-9._~-]{0,64}")
_MOST_HEADERS = 64
_PROXYS = frozenset(
    ("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)  # fmt: skip
"""Headers that say where a message ends, or how a connection is used."""
_OWN = "x-fairlead-"
"""How names of headers begin by which the proxy tells itself something."""


def read(http: HttpAuth, field: str) -> dict[str, Any]:
    """Return fields of an `ExternalAuth`; raises RuleError."""
    if http.method and http.method not in METHODS:
        raise RuleError(f"{field}.method: {http.method[:64]!r} is none of {', '.join(METHODS)}")
    sign_in: Composed = ()
    if (wanted := http.sign_in) is not None:
        param = wanted.redirect_param
        if not _PARAMETER.fullmatch(param):
            raise RuleError(f"{field}.signIn.redirectParam: {param[:64]!r} has more than letters, digits and ._~-")
        sign_in = _said(lambda: composed.location(wanted.url, param), f"{field}.signIn.url")
    redirect = http.request_redirect
    return {
        "method": http.method,
        "own_headers": own_headers(http.headers or (), f"{field}.headers"),
        "redirect": _said(lambda: composed.url(redirect), f"{field}.requestRedirect") if redirect else (),
        "sign_in": sign_in,
    }


def own_headers(found: Iterable[OwnHeader], field: str) -> tuple[tuple[str, str], ...]:
    """Return headers of the question by name; raises RuleError."""
    headers: dict[str, str] = {}
    for at, each in enumerate(bounded(tuple(found), field)):
        name = values.changed_header(each.name, f"{field}[{at}].name")
        if name in _PROXYS or name.startswith(_OWN):
            raise RuleError(f"{field}[{at}].name: {name} is the proxy's own matter")
        headers[name] = values.header_value(each.value, f"{field}[{at}].value")
    if len(headers) > _MOST_HEADERS:
        raise RuleError(f"{field}: at most {_MOST_HEADERS} headers")
    return tuple(headers.items())


def _said(parse: Callable[[], Composed], field: str) -> Composed:
    try:
        return parse()
    except ValueError as error:
        raise RuleError(f"{field}: {error}") from error
