"""Times as the API writes them: RFC 3339 in UTC, with seconds (metav1.Time) or microseconds (metav1.MicroTime).

Controllers get the current time as Unix seconds from their shell; nothing here reads a clock.
"""

from __future__ import annotations

import datetime
import re

_FORM = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def seconds(text: str | None) -> float | None:
    """Return the Unix time of an API timestamp, None for None or an empty one; raises ValueError for another form."""
    if not text:
        return None
    if len(text) == 20 and text[-1] == "Z":
        return datetime.datetime.fromisoformat(text[:-1] + "+00:00").timestamp()
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no RFC 3339 time")
    whole = text[: found.end(6)] + found.group(8).replace("Z", "+00:00")
    return datetime.datetime.fromisoformat(whole).timestamp() + float(found.group(7) or 0)


def text(at: float) -> str:
    """Return metav1.Time of a Unix time; fractions of a second are cut off."""
    return datetime.datetime.fromtimestamp(int(at), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_text(at: float) -> str:
    """Return metav1.MicroTime of a Unix time."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
