"""What a field's text or number must be before the proxy hears of it: objects of files have passed no schema. Pure.

One value that Envoy refuses makes it refuse everything beside it, so that none may get there; and no text may end a header's line. The bounds
are those of the definitions' schemas, wider where Ingresses allow more.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from fairlead.model.gateway.durations import milliseconds

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]{0,4096}")
_PATH = re.compile(r"/[^\x00-\x20?#\x7f]{0,1023}")
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_ORIGIN = re.compile(r"\*|[A-Za-z][A-Za-z0-9+.-]{0,15}://[A-Za-z0-9.*-]{1,253}(:[0-9]{1,5})?")
_MOST_ENTRIES = 256
_LONGEST_MS = 99_999 * 4 * 3_600_000
"""What four terms of five digits can say (GEP-2257)."""
MOST_WEIGHT = 1_000_000
_HOP = frozenset(("host",))


class RuleError(ValueError):
    """An object asks for what it cannot have; the message names the field."""


def token(text: str, field: str) -> str:
    """Return a name of a header, parameter or method (RFC 9110, token); raises RuleError."""
    if not _TOKEN.fullmatch(text):
        raise RuleError(f"{field}: {_shown(text)} is no name of 1 to 256 letters, digits or !#$%&'*+-.^_`|~")
    return text


def changed_header(text: str, field: str) -> str:
    """Return the name of a header that may be changed, in lower case; raises RuleError."""
    name = token(text, field).lower()
    if name in _HOP:
        raise RuleError(f"{field}: {name} is changed by urlRewrite.hostname alone")
    return name


def header_value(text: str, field: str) -> str:
    """Return a header's value; raises RuleError."""
    if not _VALUE.fullmatch(text):
        raise RuleError(f"{field}: a value has at most 4096 characters, and no control characters")
    return text


def path(text: str, field: str) -> str:
    """Return a path; raises RuleError."""
    if not _PATH.fullmatch(text):
        raise RuleError(
            f"{field}: {_shown(text)} is no path: it begins with /, has no blanks, ? or #, and at most 1024 characters"
        )
    return text


def host(text: str, field: str) -> str:
    """Return an exact host name or IPv4 address; raises RuleError."""
    if not is_host(text):
        raise RuleError(f"{field}: {_shown(text)} is no host name")
    return text


def origin(text: str, field: str) -> str:
    """Return an origin of the CORS protocol; raises RuleError."""
    if not _ORIGIN.fullmatch(text):
        raise RuleError(f"{field}: {_shown(text)} is neither * nor SCHEME://HOST[:PORT]")
    return text


def bounded(found: tuple[Any, ...] | None, field: str) -> tuple[Any, ...]:
    """Return a list that is not too long, empty for None; raises RuleError."""
    if len(found or ()) > _MOST_ENTRIES:
        raise RuleError(f"{field}: at most {_MOST_ENTRIES} entries")
    return found or ()


def prefixes(found: tuple[str, ...] | None, field: str) -> tuple[str, ...]:
    """Return prefixes; raises RuleError. One with a zone (RFC 4007) means something on one machine alone, and nothing to the proxy."""
    for at, each in enumerate(bounded(found, field)):
        try:
            good = "%" not in str(ipaddress.ip_network(each))
        except ValueError:
            good = False
        if not good:
            raise RuleError(f"{field}[{at}]: {each[:64]!r} is no prefix such as 192.0.2.0/24 or 2001:db8::/32")
    return found or ()


def number(value: int, low: int, high: int, field: str) -> int:
    """Return a number within bounds; raises RuleError."""
    if not low <= value <= high:
        raise RuleError(f"{field}: {value} is not between {low} and {high}")
    return value


def duration(text: str, field: str, *, least_ms: int = 0, most_ms: int = _LONGEST_MS) -> int:
    """Return a duration in milliseconds, within bounds; raises RuleError."""
    try:
        found = milliseconds(text)
    except ValueError as error:
        raise RuleError(f"{field}: {error}") from error
    if found < least_ms:
        raise RuleError(f"{field}: must be at least {_shown_ms(least_ms)}")
    if found > most_ms:
        raise RuleError(f"{field}: must be at most {_shown_ms(most_ms)}")
    return found


def is_host(text: str) -> bool:
    """Tell whether a text is an exact host name or an IPv4 address."""
    return _HOST.fullmatch(text) is not None


def is_hostname(text: str) -> bool:
    """Tell whether a text is a host name, exact or `*.suffix`."""
    return is_host(text.removeprefix("*."))


def _shown_ms(found: int) -> str:
    return f"{found // 1000}s" if found >= 1000 and not found % 1000 else f"{found}ms"


def _shown(text: str) -> str:
    return repr(text[:64]) if text else "an empty text"
