"""Periods of whole days (UTC), and their split into days, weeks or longer units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from mirror.errors import UsageError

_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)
_DEFAULT_WEEKS = 12
_MAX_PARTS = 60
"""More bars than that are too narrow to tell apart in a chart."""


@dataclass(frozen=True, slots=True)
class Period:
    """Consecutive days (UTC).

    Attributes:
        since: the first day.
        until: the day after the last one.
    """

    since: date
    until: date

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.until - self.since).days

    @property
    def last(self) -> date:
        """The last day."""
        return self.until - _DAY

    @property
    def start(self) -> datetime:
        """Start of the first day (UTC)."""
        return _midnight(self.since)

    @property
    def end(self) -> datetime:
        """End of the last day (UTC), exclusive."""
        return _midnight(self.until)

    @property
    def before(self) -> Period:
        """The same number of days just before it; fewer at the start of the calendar."""
        days = min(self.days, (self.since - date.min).days)
        return Period(self.since - timedelta(days=days), self.since)

    def __contains__(self, day: date) -> bool:
        """Return whether a day is in it."""
        return self.since <= day < self.until


def period(since: datetime | None, until: datetime | None, now: datetime) -> Period:
    """Return the days from that of `since` to that of `until`, exclusive.

    Args:
        since: start; None for the Monday twelve weeks before the week of the last day.
        until: end; None, or a later time, for the end of today.
        now: the present time (UTC).

    Raises:
        UsageError: the period is empty.
    """
    tomorrow = now.date() + _DAY
    end = tomorrow if until is None else min(until.date(), tomorrow)
    if since is not None:
        start = since.date()
    else:  # date.min is a Monday
        start = _monday(end - min(_DEFAULT_WEEKS * _WEEK + _DAY, end - date.min))
    if start >= end:
        raise UsageError(
            f"no day lies between {start} and {end}",
            hint="choose an earlier --since or a later --until "
            "(the day of --until is left out, and days to come do not count)",
        )
    return Period(start, end)


def split(period: Period) -> tuple[str, list[Period]]:
    """Split a period by the calendar; the first and the last part may be shorter than the others.

    Returns:
        The unit: "day" below five weeks, "week" below a year, then "month", "year", "decade" or
        "century", as short as about 60 parts allow; and the parts, in order.
    """
    unit = next(unit for unit in _UNITS if period.days <= unit.max_days)
    return unit.name, list(_parts(period, unit.next_start))


def _parts(period: Period, next_start: Callable[[date], date]) -> Iterator[Period]:
    start = period.since
    while start < period.until:
        try:
            end = min(next_start(start), period.until)
        except (ValueError, OverflowError):  # after date.max
            end = period.until
        yield Period(start, end)
        start = end


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _next_years(count: int) -> Callable[[date], date]:
    return lambda day: date(day.year - day.year % count + count, 1, 1)


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit of the calendar.

    Attributes:
        name: its name.
        max_days: the longest period that is split into such units.
        next_start: returns the start of the unit after that of a day.
    """

    name: str
    max_days: float
    next_start: Callable[[date], date]


_UNITS = (
    _Unit("day", 34, lambda day: day + _DAY),
    _Unit("week", 364, lambda day: _monday(day) + _WEEK),
    _Unit("month", _MAX_PARTS * 30.4, _next_month),
    _Unit("year", _MAX_PARTS * 365.25, _next_years(1)),
    _Unit("decade", _MAX_PARTS * 3_652.5, _next_years(10)),
    _Unit("century", math.inf, _next_years(100)),
)
