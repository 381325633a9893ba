"""Schedules as crontab(5) writes them: five fields, names, lists, ranges, steps, and the words @hourly and so on.

Pure. A day matches if day of month and day of week both match, or, where both are restricted, one of them does. Times are those of the
schedule's zone; an hour that a change of clocks leaves out is left out, one that comes twice counts once.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {name: number for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_DAYS = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())}
_HORIZON_DAYS = 366 * 8


class ScheduleError(ValueError):
    """A schedule that cannot be understood; the message names the part."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes at which something is due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool
    zone: datetime.tzinfo

    def matches_day(self, day: datetime.date) -> bool:
        """Tell whether anything is due on `day`."""
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month and by_week if self.any_day or self.any_weekday else by_month or by_week

    def after(self, at: float) -> Iterator[float]:
        """Yield the due times (Unix seconds) after `at`, ascending; ends after eight years without one."""
        local = datetime.datetime.fromtimestamp(at, self.zone)
        day = local.date()
        last = at
        empty = 0
        while empty < _HORIZON_DAYS:
            empty += 1
            if self.matches_day(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        moment = datetime.datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                        found = moment.timestamp()
                        back = datetime.datetime.fromtimestamp(found, self.zone)
                        if found > last and (back.hour, back.minute) == (hour, minute):
                            last = found
                            empty = 0
                            yield found
            day += datetime.timedelta(days=1)


def parse(text: str, zone: str | None = None) -> Schedule:
    """Return the schedule that `text` says, in the time zone `zone` (default UTC); raises ScheduleError."""
    try:
        where: datetime.tzinfo = ZoneInfo(zone) if zone else datetime.UTC
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleError(f"unknown time zone {zone!r}") from error
    fields = _WORDS.get(text.strip(), text).split()
    if len(fields) != 5:
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: {text!r}")
    minutes, hours, days, months, weekdays = fields
    return Schedule(
        minutes=_field(minutes, 0, 59),
        hours=_field(hours, 0, 23),
        days=_field(days, 1, 31),
        months=_field(months, 1, 12, _MONTHS),
        weekdays=frozenset(day % 7 for day in _field(weekdays, 0, 7, _DAYS)),
        any_day=days[0] in "*?",
        any_weekday=weekdays[0] in "*?",
        zone=where,
    )


def _field(text: str, least: int, most: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, {}) if slash else 1
        if step < 1:
            raise ScheduleError(f"step of {part!r} must be positive")
        if span in ("*", "?"):
            first, last = least, most
        else:
            low, dash, high = span.partition("-")
            first = _number(low, names or {})
            last = _number(high, names or {}) if dash else (most if slash else first)
        if not least <= first <= last <= most:
            raise ScheduleError(f"{part!r} is not within {least}-{most}")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, names: dict[str, int]) -> int:
    named = names.get(text.lower())
    if named is not None:
        return named
    if not text.isdecimal():
        raise ScheduleError(f"{text!r} is no number")
    return int(text)
