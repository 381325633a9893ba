"""Strict readers of annotations' values. Each returns the value or raises ValueError with what it should have been."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from fairlead.api.httproute import PathModifier, RedirectFilter
from fairlead.model.gateway.patterns import compiled
from fairlead.model.gateway.values import is_host

_HOST = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_URL = re.compile(rf"(?:(https?)://({_HOST})(?::([0-9]{{1,5}}))?)?(/[^\s$\\%?#]*)?", re.IGNORECASE)
_ORIGIN = re.compile(rf"\*|https?://(?:\*\.)?{_HOST}(?::[0-9]{{1,5}})?", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9!#$&'*+.^_`|~-]{1,128}")
_PATH = re.compile(r"/(?:(?![?#\\%])[\x21-\x7e]){0,1023}")
_TRUE, _FALSE = ("true", "1", "on", "yes"), ("false", "0", "off", "no")
_MOST_ITEMS = 64
_LONGEST_PATTERN = 512
_MOST_S = 86_400
_MOST_PREFIXES = 256
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MOST_BYTES = (1 << 32) - 1


def truth(text: str) -> bool:
    """Return true or false."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def is_off(text: str) -> bool:
    """Tell whether a value says no, or nothing."""
    return text.strip().lower() in ("", *_FALSE)


def number(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
            raise ValueError(f"{text!r} is no number from {least} to {most}")
        return int(text)

    return read


def status(text: str) -> int:
    """Return the status of a redirect."""
    return int(one_of("301", "302", "303", "307", "308")(text))


def protocol(choices: Mapping[str, tuple[str, bool]]) -> Callable[[str], tuple[str, bool]]:
    """Return a reader of how backends are spoken to, in any case: protocol, and whether by TLS."""

    def read(text: str) -> tuple[str, bool]:
        return choices[one_of(*choices)(text)]

    return read


def seconds(text: str) -> str:
    """Return a number of seconds, with or without its unit, as a duration of the Gateway API."""
    found = number(0, _MOST_S)(text.removesuffix("s"))
    return f"{found}s"


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a reader of one of some words, in any case."""

    def read(text: str) -> str:
        found = next((each for each in choices if each.lower() == text.lower()), None)
        if found is None:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return found

    return read


def items(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Return a reader of lists with commas."""

    def read(text: str) -> tuple[str, ...]:
        parts = [each.strip() for each in text.split(",") if each.strip()]
        if not parts or len(parts) > _MOST_ITEMS:
            raise ValueError(f"must have 1 to {_MOST_ITEMS} parts, separated by commas")
        return tuple(dict.fromkeys(parse(each) for each in parts))

    return read


def prefixes(text: str) -> tuple[str, ...]:
    """Return prefixes of addresses; an address is one of its own."""
    parts = [each.strip() for each in text.split(",") if each.strip()]
    if not 1 <= len(parts) <= _MOST_PREFIXES:
        raise ValueError(f"must have 1 to {_MOST_PREFIXES} prefixes, separated by commas")
    try:
        return tuple(str(ipaddress.ip_network(each, strict=False)) for each in parts)
    except ValueError as error:
        raise ValueError(f"{text[:64]!r} is no list of prefixes such as 192.0.2.0/24, 2001:db8::/32") from error


def size(text: str) -> int:
    """Return a number of bytes, which may have a unit (k, m, g)."""
    found = re.fullmatch(r"([0-9]{1,10})([kmg]?)", text.lower())
    if found is None or int(found[1]) * _UNITS[found[2]] > _MOST_BYTES:
        raise ValueError(f"{text!r} is no size such as 8m, less than 4g")
    return int(found[1]) * _UNITS[found[2]]


def reference(text: str) -> tuple[str, str]:
    """Return namespace, empty for the object's own, and name of `NAME` or `NAMESPACE/NAME`."""
    namespace, slash, name = text.rpartition("/")
    if not is_host(name) or (slash and not is_host(namespace)):
        raise ValueError(f"{text[:64]!r} is neither NAME nor NAMESPACE/NAME")
    return namespace, name


def service_url(text: str) -> tuple[str, str, int, str]:
    """Return namespace, name, port and path of a URL of a Service of the cluster."""
    found = re.fullmatch(
        r"http://([a-z0-9-]{1,63})\.([a-z0-9-]{1,63})(?:\.svc(?:\.[a-z0-9.-]{1,200})?)?(?::([0-9]{1,5}))?(/[!-\"%-~]*|\$request_uri)?",
        text,
    )
    if found is None or not 1 <= int(found[3] or 80) <= 65535:
        raise ValueError(
            f"{text[:64]!r} is no http://SERVICE.NAMESPACE.svc[:PORT][/PATH], of a Service of this cluster"
        )
    return found[2], found[1], int(found[3] or 80), found[4] or ""


def token(text: str) -> str:
    """Return a name of a header, a cookie or a method (RFC 9110, token)."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a header, cookie or method")
    return text


def parameter(text: str) -> str:
    """Return a name of a parameter of a query that needs no encoding."""
    if not re.fullmatch(r"[A-Za-z0-9._~-]{1,64}", text):
        raise ValueError(f"{text[:64]!r} is no name of a parameter: letters, digits and ._~-")
    return text


def header_value(text: str) -> str:
    """Return a header's value, which holds no variable of another proxy."""
    if not re.fullmatch(r"[\x20-\x7e]{0,1024}", text) or "$" in text:
        raise ValueError("must be up to 1024 printable ASCII characters without variables ($)")
    return text


def hostname(text: str) -> str:
    """Return a host name without a port or a star."""
    if not is_host(text):
        raise ValueError(f"{text!r} is no host name")
    return text.lower()


def origin(text: str) -> str:
    """Return an origin of the CORS protocol, `*`, or one with a star for the first label."""
    if not _ORIGIN.fullmatch(text):
        raise ValueError(f"{text!r} is no origin such as https://a.example or https://*.a.example")
    return text


def path(text: str) -> str:
    """Return an absolute path."""
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is no absolute path of ASCII characters without a query, % or \\")
    return text


def target(text: str) -> str:
    """Return a path that may hold `$1` to `$9`, and no other variable."""
    path(text)
    if re.search(r"\$(?![1-9])", text):
        raise ValueError("may hold $1 to $9, and no other variable")
    return text


def pattern(text: str) -> str:
    """Return a pattern of RE2's, bounded."""
    if not text or len(text) > _LONGEST_PATTERN:
        raise ValueError(f"a pattern has 1 to {_LONGEST_PATTERN} characters")
    groups(text)
    return text


def groups(text: str) -> int:
    """Return how many groups a pattern of RE2's has."""
    return int(compiled(text).groups)


def redirect(text: str) -> RedirectFilter:
    """Return where a URL or an absolute path leads to, as a redirect (302). The path `$request_uri` at its end is the request's own."""
    own = text.endswith("$request_uri")
    found = _URL.fullmatch(text.removesuffix("$request_uri"))
    if found is None or not text or (own and found[4]):
        raise ValueError(f"{text!r} is no URL or absolute path without variables, with $request_uri at most at its end")
    scheme, host, port, where = found.groups()
    if port is not None and not 1 <= int(port) <= 65535:
        raise ValueError(f"{port} is no port")
    return RedirectFilter(
        scheme=scheme.lower() if scheme else None,
        hostname=host.lower() if host else None,
        port=int(port) if port else None,
        path=None if own else PathModifier(type="ReplaceFullPath", replace_full_path=where or "/"),
    )
