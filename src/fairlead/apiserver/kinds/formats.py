"""The text formats of names, labels, keys and ports, each a function from a text to the real server's complaints about it.

A function returns every complaint (empty when the text is good). Sources: RFC 1035, RFC 1123, RFC 6335 as apimachinery's
`util/validation` applies them. Nothing here knows of objects or fields.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = rf"({_NAME})?"
_ENV_NAME = r"[-._a-zA-Z][-._a-zA-Z0-9]*"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_PERCENT = r"[0-9]+%"
_HTTP_HEADER = r"[-A-Za-z0-9]+"

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
_NAME_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_ENV_NAME_TEXT = (
    "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
    "and must not start with a digit"
)
_CONFIG_KEY_TEXT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "
    "which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
_HTTP_HEADER_TEXT = "a valid HTTP header must consist of alphanumeric characters or '-'"


def _complaint(text: str, pattern: str, *examples: str) -> str:
    listed = "".join(f"'{example}', " if index == 0 else f" or '{example}', " for index, example in enumerate(examples))
    return f"{text} (e.g. {listed}regex used for validation is '{pattern}')"


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


def _check(value: str, pattern: str, limit: int | None, complaint: str) -> list[str]:
    errors = [_too_long(limit)] if limit is not None and len(value.encode(errors="replace")) > limit else []
    if not re.fullmatch(pattern, value):
        errors.append(complaint)
    return errors


@lru_cache(maxsize=4096)
def _cached(value: str, pattern: str, limit: int | None, complaint: str) -> tuple[str, ...]:
    return tuple(_check(value, pattern, limit, complaint))


def dns_label(value: str) -> list[str]:
    """Check a DNS label (RFC 1123, at most 63)."""
    return list(_cached(value, _LABEL, 63, _complaint(_LABEL_TEXT, _LABEL, "my-name", "123-abc")))


def dns_subdomain(value: str) -> list[str]:
    """Check a DNS subdomain (RFC 1123, at most 253)."""
    return list(_cached(value, _SUBDOMAIN, 253, _complaint(_SUBDOMAIN_TEXT, _SUBDOMAIN, "example.com")))


def dns_1035_label(value: str) -> list[str]:
    """Check a DNS label of RFC 1035 (starts with a letter, at most 63)."""
    return list(_cached(value, _LABEL_1035, 63, _complaint(_LABEL_1035_TEXT, _LABEL_1035, "my-name", "abc-123")))


def wildcard_subdomain(value: str) -> list[str]:
    """Check a host with a wildcard as first label."""
    return _check(value, _WILDCARD, 253, _complaint(_WILDCARD_TEXT, _WILDCARD, "*.example.com"))


def fully_qualified_name(value: str) -> list[str]:
    """Check a DNS subdomain with at least two labels."""
    if not value:
        return ["name must not be empty"]
    errors = dns_subdomain(value)
    if not errors and "." not in value:
        errors = ["should be a domain with at least two segments separated by dots"]
    return errors


def qualified_name(value: str) -> list[str]:
    """Check a label key: an optional DNS subdomain and `/`, then a name of at most 63."""
    return list(_qualified_name(value))


@lru_cache(maxsize=4096)
def _qualified_name(value: str) -> tuple[str, ...]:
    examples = ("MyName", "my.name", "123-abc")
    parts = value.split("/")
    errors: list[str] = []
    if len(parts) > 2:
        text = f"a qualified name {_complaint(_NAME_TEXT, _NAME, *examples)}"
        return (f"{text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
    if len(parts) == 2:
        if not parts[0]:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {text}" for text in dns_subdomain(parts[0])]
    name = parts[-1]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > 63:
        errors.append(f"name part {_too_long(63)}")
    if not re.fullmatch(_NAME, name):
        errors.append(f"name part {_complaint(_NAME_TEXT, _NAME, *examples)}")
    return tuple(errors)


def label_value(value: str) -> list[str]:
    """Check the value of a label (at most 63)."""
    complaint = _complaint(_LABEL_VALUE_TEXT, _LABEL_VALUE, "MyValue", "my_value", "12345")
    return list(_cached(value, _LABEL_VALUE, 63, complaint))


def env_name(value: str) -> list[str]:
    """Check the name of an environment variable."""
    complaint = _complaint(_ENV_NAME_TEXT, _ENV_NAME, "my.env-name", "MY_ENV.NAME", "MyEnvName1")
    return _check(value, _ENV_NAME, None, complaint) + _dots(value)


def config_key(value: str) -> list[str]:
    """Check a key of a ConfigMap or Secret (at most 253)."""
    complaint = _complaint(_CONFIG_KEY_TEXT, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name")
    return _check(value, _CONFIG_KEY, 253, complaint) + _dots(value)


def _dots(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def http_header(value: str) -> list[str]:
    """Check the name of an HTTP header."""
    return _check(value, _HTTP_HEADER, None, _complaint(_HTTP_HEADER_TEXT, _HTTP_HEADER, "X-Header-Name"))


def path_segment(value: str) -> list[str]:
    """Check a name that only has to fit into a URL path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{mark}'" for mark in "/%" if mark in value]


def port_name(value: str) -> list[str]:
    """Check a service name of RFC 6335 (at most 15, at least one letter)."""
    errors = [_too_long(15)] if len(value) > 15 else []
    if not re.fullmatch(r"[-a-z0-9]+", value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        errors.append("must contain at least one letter or number (a-z, 0-9)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def port_number(value: int) -> list[str]:
    """Check a port of TCP, UDP or SCTP."""
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]


def percent(value: str) -> list[str]:
    """Check a percentage such as 25%."""
    text = "a valid percent string must be a numeric string followed by an ending '%'"
    return _check(value, _PERCENT, None, _complaint(text, _PERCENT, "1%", "93%"))


def ip(value: str) -> list[str]:
    """Check an address of either family."""
    return [] if parse_ip(value) is not None else ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]


def parse_ip(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address, or None."""
    try:
        return ipaddress.ip_address(value) if "%" not in value else None
    except ValueError:
        return None


def parse_cidr(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the network of an address with prefix length (host bits may be set), or None."""
    address, slash, length = value.partition("/")
    if not slash or not length.isdecimal() or parse_ip(address) is None:
        return None
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None
