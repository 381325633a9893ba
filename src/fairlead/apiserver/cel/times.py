"""Timestamps (RFC 3339) and durations (Go's syntax), read and written as the API server does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from fairlead.apiserver.cel.values import CelError, Duration, checked_int, no_overload

_TIMESTAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)|\.(\d+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_PART = 100
_ZONE = re.compile(r"([+-]?)(\d\d):(\d\d)")


def timestamp(text: str) -> datetime:
    """Return the moment that `text` writes; raises CelError. Fractions finer than microseconds are cut."""
    match = _TIMESTAMP.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        *parts, fraction, zone = match.groups()
        microsecond = int((fraction or "0").ljust(6, "0")[:6])
        year, month, day, hour, minute, second = map(int, parts)
        offset = UTC if zone in "Zz" else _offset(zone)
        found = datetime(year, month, day, hour, minute, second, microsecond, offset)
        found.astimezone(UTC)
        return found
    except (ValueError, OverflowError):
        raise CelError(
            f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"'
        ) from None


def _offset(zone: str) -> timezone:
    match = _ZONE.fullmatch(zone)
    if match is None:
        raise ValueError(zone)
    sign, hours, minutes = match.groups()
    return timezone((-1 if sign == "-" else 1) * timedelta(hours=int(hours), minutes=int(minutes)))


def timestamp_text(at: datetime) -> str:
    """Return `at` in RFC 3339, with the offset that it was given in and as many digits as it needs."""
    text = at.replace(tzinfo=None, microsecond=0).isoformat()
    offset = at.isoformat()[-6:]
    return (
        text
        + (f".{at.microsecond:06d}".rstrip("0") if at.microsecond else "")
        + ("Z" if offset == "+00:00" else offset)
    )


def duration(text: str) -> Duration:
    """Return the duration that `text` writes in Go's syntax (`1h30m`, `-1.5s`); raises CelError."""
    body = text[1:] if text[:1] in ("+", "-") else text
    total, position = 0, 0
    if body != "0":
        while position < len(body) or not body:
            match = _PART.match(body, position)
            if match is None or match.end() - position > _LONGEST_PART:
                raise CelError(f'time: invalid duration "{text}"')
            whole, fraction, unit, bare, bare_unit = match.groups()
            scale = _UNITS[unit or bare_unit]
            digits = (fraction if unit else bare) or ""
            total += int(whole or 0) * scale + (int(digits) * scale // 10 ** len(digits) if digits else 0)
            position = match.end()
    return Duration(checked_int(-total if text[:1] == "-" else total))


def duration_text(value: Duration) -> str:
    """Return a duration as CEL's string() writes it: seconds."""
    seconds, rest = divmod(abs(value.nanoseconds), 10**9)
    text = f"{seconds}" + (f".{rest:09d}".rstrip("0") if rest else "")
    return ("-" if value.nanoseconds < 0 else "") + text + "s"


def _local(at: Any, zone: str | None) -> datetime:
    if type(at) is not datetime:
        raise no_overload()
    if not zone:
        return at.astimezone(UTC)
    try:
        return at.astimezone(_offset(zone) if _ZONE.fullmatch(zone) else ZoneInfo(zone))
    except (ValueError, OSError, KeyError, OverflowError):
        raise CelError(f"unknown time zone {zone}") from None


def field(name: str, value: Any, zone: str | None = None) -> int:
    """Return what value.getNAME(zone) does: a part of a timestamp or the length of a duration in a unit."""
    if type(value) is Duration:
        unit = {"getHours": 3600 * 10**9, "getMinutes": 60 * 10**9, "getSeconds": 10**9, "getMilliseconds": 10**6}.get(
            name
        )
        if unit is None or zone is not None:
            raise no_overload()
        whole = abs(value.nanoseconds) // unit
        return -whole if value.nanoseconds < 0 else whole
    at = _local(value, zone)
    match name:
        case "getFullYear":
            return at.year
        case "getMonth":
            return at.month - 1
        case "getDate":
            return at.day
        case "getDayOfMonth":
            return at.day - 1
        case "getDayOfWeek":
            return at.isoweekday() % 7
        case "getDayOfYear":
            return at.timetuple().tm_yday - 1
        case "getHours":
            return at.hour
        case "getMinutes":
            return at.minute
        case "getSeconds":
            return at.second
        case _:
            return at.microsecond // 1000
