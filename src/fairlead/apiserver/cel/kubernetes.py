"""The functions that Kubernetes adds to CEL: addresses, quantities, URLs, named formats, semantic versions.

Source: k8s.io/apiserver, pkg/cel/library (libraries as of 1.33).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from fairlead.apiserver.cel.values import (
    NONE,
    Budget,
    CelError,
    CelType,
    Format,
    Optional,
    Quantity,
    Semver,
    checked_int,
    no_overload,
)
from fairlead.apiserver.kinds import formats, string_formats
from fairlead.base import quantity as quantities

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface


def text(value: Any) -> str:
    """Return what string() makes of a value of these types; raises CelError for others."""
    if isinstance(value, IPv4Interface | IPv6Interface):
        return value.with_prefixlen
    if isinstance(value, IPv4Address | IPv6Address):
        return str(value)
    if isinstance(value, CelType):
        return value.name
    raise no_overload()


def _text(value: Any) -> str:
    if type(value) is not str:
        raise no_overload()
    return value


def _is(function: Callable[..., Any], budget: Budget, *args: Any) -> bool:
    """Return whether a conversion works."""
    _text(args[0])
    try:
        function(budget, *args)
    except CelError:
        return False
    return True


# Addresses.


def _ip(budget: Budget, value: Any) -> Address:
    if isinstance(value, IPv4Interface | IPv6Interface):
        return value.ip
    raw = _text(value)
    try:
        found = ipaddress.ip_address(raw)
    except ValueError:
        raise CelError(
            f'IP Address "{raw}" parse error during conversion from string: ParseAddr("{raw}"): unable to parse IP'
        ) from None
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            raise CelError(f'IP address "{raw}" with zone value is not allowed')
        if found.ipv4_mapped is not None:
            raise CelError(f'IPv4-mapped IPv6 address "{raw}" is not allowed')
    return found


def _address(value: Any) -> Address:
    if type(value) not in (IPv4Address, IPv6Address):
        raise no_overload()
    found: Address = value
    return found


def _is_canonical(budget: Budget, value: Any) -> bool:
    raw = _text(value)
    return str(_ip(budget, raw)) == raw


def _global_unicast(value: Address) -> bool:
    special = value.is_unspecified or value.is_loopback or value.is_multicast or value.is_link_local
    return not special and value != IPv4Address("255.255.255.255")


_LINK_LOCAL_GROUPS = ipaddress.ip_network("224.0.0.0/24")


def _link_local_multicast(value: Address) -> bool:
    if isinstance(value, IPv4Address):
        return value in _LINK_LOCAL_GROUPS
    return value.packed[0] == 0xFF and value.packed[1] & 0x0F == 2


def _cidr(budget: Budget, value: Any) -> Interface:
    raw = _text(value)
    if formats.parse_cidr(raw) is None:
        raise CelError(
            f'network address parse error during conversion from string: netip.ParsePrefix("{raw}"): unable to parse'
        )
    found = ipaddress.ip_interface(raw)
    if isinstance(found, IPv6Interface) and found.ip.ipv4_mapped is not None:
        raise CelError(f'IPv4-mapped IPv6 address "{raw}" is not allowed')
    return found


def _interface(value: Any) -> Interface:
    if type(value) not in (IPv4Interface, IPv6Interface):
        raise no_overload()
    found: Interface = value
    return found


def _contains_ip(budget: Budget, value: Any, other: Any) -> bool:
    address = _ip(budget, other) if isinstance(other, str) else _address(other)
    return address in _interface(value).network


def _contains_cidr(budget: Budget, value: Any, other: Any) -> bool:
    outer = _interface(value).network
    inner = (_cidr(budget, other) if isinstance(other, str) else _interface(other)).network
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer


# Quantities.


def _quantity(budget: Budget, value: Any) -> Quantity:
    try:
        return Quantity(quantities.parse(_text(value)))
    except quantities.QuantityError as error:
        raise CelError(str(error)) from None


def _amount(value: Any) -> Quantity:
    if type(value) is not Quantity:
        raise no_overload()
    return value


def _as_integer(budget: Budget, value: Any) -> int:
    amount = _amount(value).amount
    if amount.denominator != 1:
        raise CelError("cannot convert value to integer")
    return checked_int(amount.numerator)


def _is_integer(budget: Budget, value: Any) -> bool:
    amount = _amount(value).amount
    return amount.denominator == 1 and -(2**63) <= amount.numerator < 2**63


def _quantity_sum(sign: int, budget: Budget, value: Any, other: Any) -> Quantity:
    amount = _amount(value).amount
    if type(other) is int:
        return Quantity(amount + sign * other)
    return Quantity(amount + sign * _amount(other).amount)


def _sign(budget: Budget, value: Any) -> int:
    amount = _amount(value).amount
    return (amount > 0) - (amount < 0)


# Semantic versions.

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)


def _semver(budget: Budget, value: Any, normalize: Any = False) -> Semver:
    raw = _text(value)
    if type(normalize) is not bool:
        raise no_overload()
    match = _SEMVER.fullmatch(_normalized(raw) if normalize else raw)
    if match is None or any(len(part) > 20 for part in match.groups()[:3]):
        raise CelError(f'No Major.Minor.Patch elements found in "{raw}"')
    major, minor, patch, prerelease = match.groups()
    parts = tuple(int(part) if part.isdigit() else part for part in (prerelease or "").split(".") if part)
    return Semver(int(major), int(minor), int(patch), parts)


def _normalized(raw: str) -> str:
    head, mark, tail = raw.removeprefix("v"), "", ""
    if (found := re.search(r"[-+]", head)) is not None:
        mark, head, tail = found.group(), head[: found.start()], head[found.end() :]
    numbers = [part.lstrip("0") or "0" if part.isdigit() else part for part in head.split(".")]
    return ".".join([*numbers, *["0"] * (3 - len(numbers))]) + mark + tail


def _semver_key(value: Any) -> tuple[Any, ...]:
    if type(value) is not Semver:
        raise no_overload()
    # A version with a prerelease comes before the one without; numbers come before words.
    marks = tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in value.prerelease)
    return (value.major, value.minor, value.patch, not value.prerelease, marks)


def _part(name: str, budget: Budget, value: Any) -> int:
    if type(value) is not Semver:
        raise no_overload()
    return int(getattr(value, name))


# Order, which quantities and versions share.


def _compare(budget: Budget, value: Any, other: Any) -> int:
    if type(value) is Quantity:
        left, right = value.amount, _amount(other).amount
        return (left > right) - (left < right)
    mine, theirs = _semver_key(value), _semver_key(other)
    return (mine > theirs) - (mine < theirs)


# URLs.


def _url(budget: Budget, value: Any) -> SplitResult:
    raw = _text(value)
    if not string_formats.is_uri(raw):
        raise CelError(f'URL parse error during conversion from string: parse "{raw}": invalid URI for request')
    return urlsplit(raw)


def _split(value: Any) -> SplitResult:
    if type(value) is not SplitResult:
        raise no_overload()
    return value


def _host(budget: Budget, value: Any) -> str:
    return _split(value).netloc.rpartition("@")[2]


def _hostname(budget: Budget, value: Any) -> str:
    host = _host(budget, value)
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _port(budget: Budget, value: Any) -> str:
    port = _split(value).port
    return "" if port is None else str(port)


# Formats.


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Return the check of a name's beginning: it may end in a hyphen."""
    return lambda value: check(value[:-1] + "a" if value.endswith("-") else value)


def _complain(check: Callable[[str], bool], complaint: str) -> Callable[[str], list[str]]:
    return lambda value: [] if check(value) else [complaint]


_FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": formats.dns_label,
    "dns1123Subdomain": formats.dns_subdomain,
    "dns1035Label": formats.dns_1035_label,
    "qualifiedName": formats.qualified_name,
    "dns1123LabelPrefix": _prefix(formats.dns_label),
    "dns1123SubdomainPrefix": _prefix(formats.dns_subdomain),
    "dns1035LabelPrefix": _prefix(formats.dns_1035_label),
    "labelValue": formats.label_value,
    "uri": _complain(string_formats.is_uri, "invalid URI for request"),
    "uuid": _complain(string_formats.FORMATS["uuid"], "does not match the UUID format"),
    "byte": _complain(string_formats.is_base64, "invalid base64"),
    "date": _complain(string_formats.is_date, "invalid date"),
    "datetime": _complain(string_formats.is_date_time, "invalid datetime"),
}


def _validate(budget: Budget, value: Any, checked: Any) -> Optional:
    if type(value) is not Format:
        raise no_overload()
    complaints = _FORMATS[value.name](_text(checked))
    return Optional(complaints, True) if complaints else NONE


def _named(budget: Budget, name: Any) -> Optional:
    return Optional(Format(name), True) if _text(name) in _FORMATS else NONE


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ip": lambda budget, value: _ip(budget, _text(value)),
    "isIP": partial(_is, _ip),
    "cidr": _cidr,
    "isCIDR": partial(_is, _cidr),
    "quantity": _quantity,
    "isQuantity": partial(_is, _quantity),
    "semver": _semver,
    "isSemver": partial(_is, _semver),
    "url": _url,
    "isURL": partial(_is, _url),
}
"""Global functions."""

METHODS: dict[str, Callable[..., Any]] = {
    "family": lambda budget, value: _address(value).version,
    "isUnspecified": lambda budget, value: _address(value).is_unspecified,
    "isLoopback": lambda budget, value: _address(value).is_loopback,
    "isLinkLocalMulticast": lambda budget, value: _link_local_multicast(_address(value)),
    "isLinkLocalUnicast": lambda budget, value: _address(value).is_link_local,
    "isGlobalUnicast": lambda budget, value: _global_unicast(_address(value)),
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "ip": lambda budget, value: _interface(value).ip,
    "prefixLength": lambda budget, value: _interface(value).network.prefixlen,
    "masked": lambda budget, value: ipaddress.ip_interface(_interface(value).network.with_prefixlen),
    "sign": _sign,
    "asInteger": _as_integer,
    "isInteger": _is_integer,
    "asApproximateFloat": lambda budget, value: float(_amount(value).amount),
    "add": partial(_quantity_sum, 1),
    "sub": partial(_quantity_sum, -1),
    "compareTo": _compare,
    "isGreaterThan": lambda budget, value, other: _compare(budget, value, other) > 0,
    "isLessThan": lambda budget, value, other: _compare(budget, value, other) < 0,
    "major": partial(_part, "major"),
    "minor": partial(_part, "minor"),
    "patch": partial(_part, "patch"),
    "getScheme": lambda budget, value: _split(value).scheme,
    "getHost": _host,
    "getHostname": _hostname,
    "getPort": _port,
    "getEscapedPath": lambda budget, value: quote(_split(value).path, safe="/%:@!$&'()*+,;=~-._"),
    "getQuery": lambda budget, value: parse_qs(_split(value).query, keep_blank_values=True),
    "validate": _validate,
}
"""Functions called on a value."""

NAMESPACED: dict[str, Callable[..., Any]] = {
    "ip.isCanonical": _is_canonical,
    "format.named": _named,
    **{f"format.{name}": partial(lambda name, budget: Format(name), name) for name in _FORMATS},
}
"""Functions with a qualified name."""
