"""Durations of the Gateway API (GEP-2257): one to four terms of up to five digits and h, m, s or ms."""

from __future__ import annotations

import re

_FORM = re.compile(r"(?:\d{1,5}(?:h|m|s|ms)){1,4}")
_TERM = re.compile(r"(\d+)(ms|h|m|s)")
_MS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def milliseconds(text: str) -> int:
    """Return a duration in milliseconds; raises ValueError for what is none."""
    if not _FORM.fullmatch(text):
        raise ValueError(f"{text!r} is no duration such as 1m30s or 500ms")
    return sum(int(number) * _MS[unit] for number, unit in _TERM.findall(text))
