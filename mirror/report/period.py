"""A period of whole days (UTC), the one before it, and the weeks or months in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from mirror.errors import UsageError

_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)
_USUAL_WEEKS = 12
_MOST_STEPS = 60
"""More of them would be too narrow to be told apart in a chart."""


@dataclass(frozen=True, slots=True)
class Period:
    """Days in a row (UTC).

    Attributes:
        since: the first day.
        until: the day after the last one.
    """

    since: date
    until: date

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.until - self.since).days

    @property
    def last(self) -> date:
        """The last day."""
        return self.until - _DAY

    @property
    def start(self) -> datetime:
        """When it begins (UTC)."""
        return _midnight(self.since)

    @property
    def end(self) -> datetime:
        """When it ends (UTC), which is no longer part of it."""
        return _midnight(self.until)

    @property
    def before(self) -> Period:
        """As many days just before it, or as many as the calendar has."""
        days = min(self.days, (self.since - date.min).days)
        return Period(self.since - timedelta(days=days), self.since)

    def __contains__(self, day: date) -> bool:
        """Tell whether it has a day."""
        return self.since <= day < self.until


@dataclass(frozen=True, slots=True)
class Steps:
    """A period cut by the calendar; the first and the last step may be shorter than the others.

    Attributes:
        unit: "week", "month", "year", "decade" or "century".
        periods: the steps, in order.
    """

    unit: str
    periods: list[Period]


def period(since: datetime | None, until: datetime | None, now: datetime) -> Period:
    """Return the days from one time to another, the day of the second one left out.

    Args:
        since: None for the Monday twelve weeks before the week of the last day.
        until: None for the end of today; it ends there at the latest.
        now: the time by this machine's clock (UTC).

    Raises:
        UsageError: there is no day between them.
    """
    tomorrow = now.date() + _DAY
    end = tomorrow if until is None else min(until.date(), tomorrow)
    if since is not None:
        start = since.date()
    else:  # the calendar begins with a Monday
        start = _monday(end - min(_USUAL_WEEKS * _WEEK + _DAY, end - date.min))
    if start >= end:
        raise UsageError(
            f"no day lies between {start} and {end}",
            hint="choose an earlier --since or a later --until "
            "(the day of --until is left out, and days to come do not count)",
        )
    return Period(start, end)


def steps(period: Period) -> Steps:
    """Cut a period into weeks, or into longer steps if there would be too many of them."""
    unit = next(one for one in _UNITS if period.days <= _MOST_STEPS * one.days or one is _UNITS[-1])
    return Steps(unit.name, list(_cut(period, unit.following)))


def _cut(period: Period, following: Callable[[date], date]) -> Iterator[Period]:
    start = period.since
    while start < period.until:
        try:
            end = min(following(start), period.until)
        except (ValueError, OverflowError):  # the calendar ends before this step would
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
    """A length of steps: what it is called, its days, and when the one after a day's begins."""

    name: str
    days: float
    following: Callable[[date], date]


_UNITS = (
    _Unit("week", 7, lambda day: _monday(day) + _WEEK),
    _Unit("month", 30.4, _next_month),
    _Unit("year", 365.25, _next_years(1)),
    _Unit("decade", 3_652.5, _next_years(10)),
    _Unit("century", 36_525, _next_years(100)),
)
