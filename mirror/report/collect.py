"""Read everything that the report shows, over one connection in one snapshot of the mirror."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from mirror.db.urls import shown_url_of
from mirror.queries import helpers, status
from mirror.queries.results import Day, Limited, ReleaseRequest
from mirror.report.model import Bucket, FirstPull, KeyFigures, OpenCount, Report, Timeline
from mirror.report.period import Period, split
from mirror.report.statistics import Statistics, counts, hours

_MAX_REASONS = 10
_MAX_OPEN = 30
_MAX_CHANGES = 30
_MAX_NUMBERS = 10
_MAX_EVENTS = 8
_MAX_POINTS = 400
"""More days than that do not fit into the width of a chart."""


@dataclass(frozen=True, slots=True)
class _Daily:
    """The days of the period and of the one before it.

    Attributes:
        days: the counts of each day and environment, ordered by day.
        open: number of open requests at the end of each day, over all environments.
        hours: hours to resolve of the reviews that ended on each day.
    """

    days: Sequence[Day]
    open: Mapping[date, int]
    hours: Mapping[date, Sequence[float]]


def collect(
    database_url: str, period: Period, *, environment: str | None = None, now: datetime
) -> Report:
    """Read everything that the report shows.

    Args:
        database_url: of the mirror.
        period: the period of the report.
        environment: only this environment; None for all.
        now: the present time (UTC).

    Raises:
        DatabaseError: there is no mirror, or its schema is not that of this version.
    """
    is_current = period.end > now
    at = None if is_current else period.end
    before = period.before
    with helpers.connect(database_url) as connection:
        statistics = Statistics(connection, environment)
        daily = _daily(statistics, Period(before.since, period.until))
        open_requests = statistics.open_requests(at, limit=_MAX_OPEN)
        unit, buckets = _buckets(period, daily)
        environments = status.status(
            connection, now=now, environments=None if environment is None else [environment]
        )
        first_pulls = statistics.first_pulls(row.environment for row in environments)
        first_pull = _first_pull(first_pulls)
        figures_before = None
        if first_pull is not None and first_pull.at <= before.end:
            open_before = statistics.open_requests(before.end, limit=1)
            figures_before = _key_figures(
                statistics, before, daily, open_before, at=before.end, now=now
            )
        return Report(
            made_at=now,
            database=shown_url_of(connection),
            environment=environment,
            environments=environments,
            first_pulls=first_pulls,
            first_pull=first_pull,
            period=period,
            is_current=is_current,
            figures=_key_figures(statistics, period, daily, open_requests, at=at, now=now),
            figures_before=figures_before,
            unit=unit,
            buckets=buckets,
            open_over_time=_open_over_time(buckets, daily),
            reasons=statistics.rejection_reasons(period, limit=_MAX_REASONS),
            open=open_requests,
            changes=statistics.recent_changes(period, limit=_MAX_CHANGES),
            numbers=_timelines(statistics, period),
        )


def _first_pull(pulls: Sequence[FirstPull]) -> FirstPull | None:
    """Return the pull from which on all environments are known.

    It is the last one that saw earlier requests: an environment without earlier requests adds
    nothing to the time before.
    """
    first = min(pulls, key=lambda pull: pull.at, default=None)
    saw_requests = [pull for pull in pulls if pull.saw_requests]
    return max(saw_requests, key=lambda pull: pull.at, default=first)


def _daily(statistics: Statistics, period: Period) -> _Daily:
    days = helpers.days(
        statistics.connection,
        since=period.since,
        until=period.until,
        environment=statistics.environment,
    )
    days.sort(key=lambda day: day.day)
    return _Daily(days, _open_by_day(days, period.until), statistics.hours_by_day(period))


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


def _key_figures(
    statistics: Statistics,
    period: Period,
    daily: _Daily,
    open_requests: Limited[ReleaseRequest],
    *,
    at: datetime | None,
    now: datetime,
) -> KeyFigures:
    """Compute the key figures of a period; `at` is its end, or None if it has not ended yet."""
    return KeyFigures(
        at=at or now,
        open=daily.open[period.last] if period.days else 0,  # before 0001-01-01 there is no day
        oldest_open=open_requests.rows[0].requested_at if open_requests.rows else None,
        counts=counts(daily.days, period),
        undated=statistics.undated(period),
        hours=hours(daily.hours, period),
        released=statistics.released(period),
        missing=statistics.missing(at),
        quarantined=statistics.quarantined(at),
    )


def _buckets(period: Period, daily: _Daily) -> tuple[str, list[Bucket]]:
    """Split the period, from the first day of the mirror on, into buckets; return their unit."""
    first = min((day.day for day in daily.days if day.day in period), default=None)
    if first is None:
        return "week", []
    unit, parts = split(Period(first, period.until))

    def bucket(part: Period) -> Bucket:
        start, end = (
            bisect_left(daily.days, limit, key=lambda day: day.day)
            for limit in (part.since, part.until)
        )
        return Bucket(
            part,
            daily.open[part.last],
            counts(daily.days[start:end], part),
            hours(daily.hours, part),
        )

    return unit, [bucket(part) for part in parts]


def _open_over_time(buckets: Sequence[Bucket], daily: _Daily) -> list[OpenCount]:
    if not buckets:
        return []
    charted = Period(buckets[0].period.since, buckets[-1].period.until)
    if charted.days > _MAX_POINTS:
        return [OpenCount(bucket.period.last, bucket.open) for bucket in buckets]
    days = (charted.since + timedelta(days=offset) for offset in range(charted.days))
    return [OpenCount(day, daily.open[day]) for day in days]


def _timelines(statistics: Statistics, period: Period) -> Limited[Timeline]:
    numbers = statistics.repeat_numbers(period, limit=_MAX_NUMBERS)
    timelines = [
        Timeline(number, statistics.last_events(number, limit=_MAX_EVENTS))
        for number in numbers.rows
    ]
    return Limited(timelines, numbers.total)
