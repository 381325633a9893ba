"""Command lines and durations as Go programs read them. Pure, and cheap to import: `connect` runs once per probe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")


class UsageError(Exception):
    """The command line is wrong; the message is for the user."""


def parse(args: Sequence[str], defaults: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Flags by name and the other arguments. A flag whose default is true or false needs no value. Raises UsageError."""
    flags, words = dict(defaults), list(args)
    rest: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            return flags, rest + words
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name not in defaults:
            raise UsageError(f"unknown flag: {word.partition('=')[0]}")
        if not equals and defaults[name] in ("true", "false"):
            value = "true"
        elif not equals:
            if not words:
                raise UsageError(f"flag needs an argument: {word}")
            value = words.pop(0)
        flags[name] = value
    return flags, rest


def number(flags: Mapping[str, str], name: str) -> int:
    """An integer flag. Raises UsageError."""
    try:
        return int(flags[name])
    except ValueError:
        raise UsageError(f'invalid argument "{flags[name]}" for "--{name}" flag: not a number') from None


def duration_s(text: str) -> float:
    """Seconds of a Go duration such as `3s`, `1m30s`, `0`. Raises UsageError."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(parts) != text:
        raise UsageError(f'time: invalid duration "{text}"')
    total = 0.0
    for part in parts:
        unit = part.lstrip("0123456789.")
        total += float(part[: -len(unit)]) * _UNITS[unit]
    return total
