"""The `format` of strings in schemas of custom resources: which texts each allows.

Sources: apiextensions.k8s.io (the formats that a definition may name), go-openapi's strfmt (what they mean), RFC 3339, RFC 1123.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date
from email.utils import parseaddr
from urllib.parse import urlsplit

from fairlead.apiserver.kinds import formats

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?([0-9a-f])[0-9a-f]{3}-?([0-9a-f])[0-9a-f]{3}-?[0-9a-f]{12}", re.I)
_HOST_LABEL = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)
_MAC = re.compile(
    r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?:(?:\1[0-9a-f]{2}){2}|(?:\1[0-9a-f]{2}){14})?|"
    r"[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}(?:\.[0-9a-f]{4}|(?:\.[0-9a-f]{4}){7})?",
    re.I,
)
_DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
_SCALA_DURATION = re.compile(
    r"\d+\s*(?:ns|nanos?|nanoseconds?|us|µs|micros?|microseconds?|ms|millis?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|"
    r"h|hrs?|hours?|d|days?|w|wks?|weeks?)",
    re.I,
)
_CREDIT_CARD = re.compile(
    r"4\d{12}(?:\d{3})?|5[1-5]\d{14}|6(?:011|5\d\d)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|(?:2131|1800|35\d{3})\d{11}"
)
_RGB = re.compile(r"rgb\(\s*(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\s*(?:,\s*(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\s*){2}\)")


def _uuid(version: str = "", variant: str = "") -> Callable[[str], bool]:
    def check(text: str) -> bool:
        match = _UUID.fullmatch(text)
        return (
            match is not None and (not version or match[1] == version) and (not variant or match[2].lower() in variant)
        )

    return check


def is_uri(text: str) -> bool:
    """Tell whether `text` is an absolute URI or path as Go's url.ParseRequestURI takes it."""
    if not text or any(ord(one) < 32 or ord(one) == 127 for one in text) or re.search("%(?![0-9a-fA-F]{2})", text):
        return False
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - asked for its ValueError
        if " " in parts.netloc:
            return False
    except ValueError:
        return False
    return text.startswith("/") or (bool(parts.scheme) and text.partition(":")[2] != "")


def _email(text: str) -> bool:
    _, address = parseaddr(text)
    local, _, domain = address.rpartition("@")
    return bool(local and domain) and "\n" not in text


def _hostname(text: str) -> bool:
    return 0 < len(text) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in text.split("."))


def _address(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        found = formats.parse_ip(text)
        return found is not None and found.version == version

    return check


def _cidr(text: str) -> bool:
    return formats.parse_cidr(text) is not None


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(r"\d{9}[\dX]", digits):
        return False
    return sum((10 - place) * (10 if one == "X" else int(one)) for place, one in enumerate(digits)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(r"\d{13}", digits):
        return False
    return sum((3 if place % 2 else 1) * int(one) for place, one in enumerate(digits)) % 10 == 0


def _luhn(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    if not _CREDIT_CARD.fullmatch(digits):
        return False
    doubled = (int(one) * (2 if place % 2 else 1) for place, one in enumerate(reversed(digits)))
    return sum(one // 10 + one % 10 for one in doubled) % 10 == 0


def is_base64(text: str) -> bool:
    """Tell whether `text` is standard base64 with padding."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(text) % 4 == 0


def is_date(text: str) -> bool:
    """Tell whether `text` is a full-date of RFC 3339."""
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text)) and bool(date.fromisoformat(text))
    except ValueError:
        return False


def is_date_time(text: str) -> bool:
    """Tell whether `text` is a date-time of RFC 3339."""
    match = _DATE_TIME.fullmatch(text)
    return match is not None and is_date(match[1])


def is_duration(text: str) -> bool:
    """Tell whether `text` is a duration of Go (`1h30m`) or with a word (`2 days`)."""
    return bool(_DURATION.fullmatch(text) or _SCALA_DURATION.fullmatch(text))


FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": lambda text: bool(re.fullmatch("[0-9a-fA-F]{24}", text)),
    "uri": is_uri,
    "email": _email,
    "hostname": _hostname,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _cidr,
    "mac": lambda text: bool(_MAC.fullmatch(text)),
    "uuid": _uuid(),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4", "89ab"),
    "uuid5": _uuid("5", "89ab"),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _luhn,
    "ssn": lambda text: bool(re.fullmatch(r"\d{3}[- ]?\d{2}[- ]?\d{4}", text)),
    "hexcolor": lambda text: bool(re.fullmatch("#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text)),
    "rgbcolor": lambda text: bool(_RGB.fullmatch(text)),
    "byte": is_base64,
    "password": lambda text: True,
    "date": is_date,
    "duration": is_duration,
    "datetime": is_date_time,
    "k8sshortname": lambda text: not formats.dns_label(text),
    "k8slongname": lambda text: not formats.dns_subdomain(text),
}
"""Format without hyphens → its check. Formats that are not here are not checked."""


def check_of(name: str) -> Callable[[str], bool] | None:
    """Return the check of a `format`, None for one that is unknown."""
    return FORMATS.get(name.replace("-", ""))
