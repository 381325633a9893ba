"""Numbers and durations of policies, each within its bounds. Pure; what is wrong raises ValueError, which names the field."""

from __future__ import annotations

from fairlead.model.gateway.durations import milliseconds


def duration(text: str, field: str) -> int:
    """Return a duration in milliseconds; raises ValueError."""
    try:
        return milliseconds(text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def within(value: int, least: int, most: int, field: str) -> int:
    """Return a number; raises ValueError beyond its bounds."""
    if not least <= value <= most:
        raise ValueError(f"{field}: must be from {least} to {most}")
    return value
