"""Reads texts that are made of a request: where clients sign in, and where they come back to. Pure.

What is not on the list of variables is refused, and nothing of a request gets to where a URL names its host but the request's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fairlead.plan.gateway.composed import Composed, OfRequest, Text, Variable

VARIABLES: Mapping[str, Variable] = {
    "scheme": "scheme",
    "pass_access_scheme": "scheme",
    "host": "host",
    "http_host": "http_host",
    "best_http_host": "http_host",
    "request_method": "request_method",
    "request_uri": "request_uri",
    "uri": "uri",
    "escaped_request_uri": "escaped_request_uri",
}
"""Name → what it means."""
_LONGEST = 1024
_PRINTABLE = re.compile(r"[!#-;=?-\[\]-~]{1,1024}")
"""What may stand in a URL, and a little more: no blanks, quotes, backslashes or angle brackets."""
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL}){{0,126}}|\$host|\$(?:best_)?http_host)"
_ORIGIN = rf"(?:(?i:https?)|\$scheme|\$pass_access_scheme)://{_HOST}(?::[0-9]{{1,5}})?(?=[/?#$]|\Z)"
_LOCATION = re.compile(rf"(?:{_ORIGIN}(?:/[^$?#]*)?|/(?!/)[^$?#]*)(?:[?#].*)?")
_OWN_PATH = r"\$(?:(?:escaped_)?request_uri|uri)"
_ANYWHERE = re.compile(rf"{_ORIGIN}(?:(?:/|{_OWN_PATH}).*)?|/(?![/$]).*|{_OWN_PATH}.*")
_PARTS = re.compile(r"\$([A-Za-z_]*)|[^$]+")


def location(text: str, param: str = "") -> Composed:
    """Return where clients are sent: a URL or an absolute path, with variables in its scheme, host and query alone.

    A parameter, if there is one, gets the whole URL that was asked for, unless the text names it itself. Raises ValueError.
    """
    _check(text, _LOCATION, "with variables in its scheme, host and query alone")
    found = tuple(_parts(text))
    if not param or re.search(rf"[?&]{re.escape(param)}=", text):
        return found
    return (*found, Text(f"{'&' if '?' in text else '?'}{param}="), OfRequest("escaped_url"))


def url(text: str) -> Composed:
    """Return a URL or an absolute path, with variables anywhere but within its host. Raises ValueError."""
    _check(text, _ANYWHERE, "such as https://$host$request_uri")
    return tuple(_parts(text))


def _check(text: str, shape: re.Pattern[str], words: str) -> None:
    if len(text) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} characters")
    if not _PRINTABLE.fullmatch(text) or not shape.fullmatch(text):
        raise ValueError(f"{text[:64]!r} is no URL or absolute path {words}")


def _parts(text: str) -> Iterator[Text | OfRequest]:
    for each in _PARTS.finditer(text):
        if each[1] is None:
            yield Text(each[0])
        elif each[1] in VARIABLES:
            yield OfRequest(VARIABLES[each[1]])
        else:
            raise ValueError(f"{each[0][:64]} is none of {', '.join(f'${name}' for name in VARIABLES)}")
