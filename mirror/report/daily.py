"""The days of a period, counted: by environment, summed up, and in parts of the period."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from mirror.queries import helpers
from mirror.queries.results import Day
from mirror.report.model import Bucket, OpenCount
from mirror.report.period import Period, split
from mirror.report.statistics import Statistics, counts, hours

MAX_POINTS = 400
"""More days than that do not fit into the width of a chart."""


@dataclass(frozen=True, slots=True)
class Daily:
    """The days of the period and of the one before it, of an environment or of all.

    Attributes:
        days: the counts of each day and environment, ordered by day.
        open: number of open requests at the end of each day.
        hours: hours to resolve of the reviews that ended on each day.
    """

    days: Sequence[Day]
    open: Mapping[date, int]
    hours: Mapping[date, Sequence[float]]


NO_DAYS = Daily((), {}, {})


def read_daily(statistics: Statistics, period: Period, with_hours: Period) -> dict[str, Daily]:
    """Read the days of each environment in a period, with the hours of the reviews in another."""
    days_of: defaultdict[str, list[Day]] = defaultdict(list)
    for day in helpers.days(
        statistics.connection,
        since=period.since,
        until=period.until,
        environment=statistics.environment,
    ):
        days_of[day.environment].append(day)
    hours_of = statistics.hours_by_day(with_hours)
    return {
        name: Daily(days, _open_by_day(days, period.until), hours_of.get(name, {}))
        for name, days in days_of.items()
    }


def merged(daily: Iterable[Daily], until: date) -> Daily:
    """Return the days of several environments as one."""
    days: list[Day] = []
    hours_of: defaultdict[date, list[float]] = defaultdict(list)
    for part in daily:
        days += part.days
        for day, values in part.hours.items():
            hours_of[day] += values
    days.sort(key=lambda day: day.day)
    return Daily(days, _open_by_day(days, until), hours_of)


def _open_by_day(days: Sequence[Day], until: date) -> Mapping[date, int]:
    """Sum up the open requests at the end of each day.

    The view ends with the database's today. If its clock is behind `until`, the last day of an
    environment stands for the days that follow.
    """
    totals: Counter[date] = Counter()
    last_days: dict[str, Day] = {}
    for day in days:
        totals[day.day] += day.open_at_end
        last_days[day.environment] = day
    for day in last_days.values():
        for offset in range(1, (until - day.day).days):
            totals[day.day + timedelta(days=offset)] += day.open_at_end
    return totals


def parts_of(period: Period, daily: Daily) -> tuple[str, list[Period]]:
    """Split the period, from the first day of the mirror on; return the unit and the parts."""
    first = min((day.day for day in daily.days if day.day in period), default=None)
    if first is None:
        return split(period)[0], []
    return split(Period(first, period.until))


def buckets_of(parts: Sequence[Period], daily: Daily, now: datetime) -> list[Bucket]:
    """Count the events of each part of the period."""

    def bucket(part: Period) -> Bucket:
        start, end = (
            bisect_left(daily.days, limit, key=lambda day: day.day)
            for limit in (part.since, part.until)
        )
        return Bucket(
            part,
            daily.open.get(part.last, 0),
            counts(daily.days[start:end], part),
            hours(daily.hours, part),
            is_running=part.end > now,
        )

    return [bucket(part) for part in parts]


def open_over_time(
    parts: Sequence[Period], daily: Daily, max_points: int = MAX_POINTS
) -> list[OpenCount]:
    """Return what was open at the end of each day.

    If there are more days than points: of the first one, of the last one, and of the day of each
    part on which most were open.
    """
    if not parts:
        return []
    charted = Period(parts[0].since, parts[-1].until)

    def count(day: date) -> OpenCount:
        return OpenCount(day, daily.open.get(day, 0))

    def days(period: Period) -> Iterator[date]:
        return (period.since + timedelta(days=offset) for offset in range(period.days))

    if charted.days <= max_points:
        return list(map(count, days(charted)))
    peaks = {max(days(part), key=lambda day: daily.open.get(day, 0)) for part in parts}
    return [count(day) for day in sorted({charted.since, *peaks, charted.last})]
