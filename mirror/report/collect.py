"""What the report tells, gathered from the views in one state of the mirror."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy.engine import Connection

from mirror.db.engine import shown_url_of
from mirror.errors import DatabaseError
from mirror.queries import helpers, status
from mirror.queries.results import Day, Limited, ReleaseRequest
from mirror.report import statistics
from mirror.report.model import Figures, OpenThen, Report, Step, TimeLine
from mirror.report.period import Period, steps

_MOST_REASONS = 10
_MOST_OPEN = 30
_MOST_CHANGES = 30
_MOST_NUMBERS = 10
_MOST_EVENTS = 8
_MOST_DAYS = 400
"""More of them would not fit into the width of a chart."""


@dataclass(frozen=True, slots=True)
class _Daily:
    """What there is of each day of the period and of the one before it.

    Attributes:
        days: what happened on it in each environment.
        open: how many requests were open when it ended, over all environments.
        hours: how long the reviews took that ended on it.
    """

    days: Sequence[Day]
    open: Mapping[date, int]
    hours: Mapping[date, Sequence[float]]


@dataclass(frozen=True, slots=True)
class _State:
    """What has to be asked for each of the two periods; see `Figures`."""

    oldest_open: datetime | None
    released: int
    missing: int
    quarantined: int


def collect(
    database_url: str, period: Period, *, environment: str | None = None, now: datetime
) -> Report:
    """Gather what the report tells.

    Args:
        database_url: of the mirror.
        period: which one.
        environment: only what belongs to this environment; None for all.
        now: the time by this machine's clock (UTC).

    Raises:
        DatabaseError: there is no mirror, or its schema is not the one this version works with.
    """
    both = Period(period.before.since, period.until)
    is_current = period.end > now
    at = None if is_current else period.end
    labels = None if environment is None else [environment]
    with helpers.connect(database_url) as connection, ThreadPoolExecutor(1) as beside:
        seen = status.last_complete(connection)
        counting = beside.submit(_days_if_nothing_came, seen, database_url, both, environment)
        environments = status.status(connection, now=now, environments=labels)
        hours = statistics.hours_by_day(connection, both, environment=environment)
        opened = statistics.open_requests(
            connection, at=at, environment=environment, limit=_MOST_OPEN
        )
        state = _state(connection, period, at, opened, environment)
        state_before = _state_at_end(connection, period.before, environment)
        reasons = statistics.rejection_reasons(
            connection, period, environment=environment, limit=_MOST_REASONS
        )
        changes = statistics.recent_changes(
            connection, period, environment=environment, limit=_MOST_CHANGES
        )
        numbers = _time_lines(connection, period, environment)
        days = counting.result()
        if days is None:
            days = _days(connection, both, environment)
        database = shown_url_of(connection)
    daily = _Daily(days, _open_by_day(days, period.until), hours)
    unit, steps = _steps(period, daily)
    return Report(
        made_at=now,
        database=database,
        environment=environment,
        environments=environments,
        period=period,
        is_current=is_current,
        figures=_figures(period, daily, state, at or now),
        figures_before=_figures(period.before, daily, state_before, period.start),
        unit=unit,
        steps=steps,
        open_over_time=_open_over_time(steps, daily),
        reasons=reasons,
        open=opened,
        changes=changes,
        numbers=numbers,
    )


def _days(connection: Connection, period: Period, environment: str | None) -> list[Day]:
    return helpers.days(connection, since=period.since, until=period.until, environment=environment)


def _days_if_nothing_came(
    seen: Mapping[str, int | None], database_url: str, period: Period, environment: str | None
) -> list[Day] | None:
    """Return what happened on each day, or None if a sync has changed the mirror meanwhile.

    Counting days takes about as long as all the rest, and is done beside it by a connection of its
    own. That sees the same mirror as the other one if the same runs completed last.
    """
    try:
        with helpers.connect(database_url) as connection:
            if status.last_complete(connection) != seen:
                return None
            return _days(connection, period, environment)
    except DatabaseError:  # such as one connection too many
        return None


def _state(
    connection: Connection,
    period: Period,
    at: datetime | None,
    oldest: Limited[ReleaseRequest],
    environment: str | None,
) -> _State:
    return _State(
        oldest_open=oldest.rows[0].requested_at if oldest.rows else None,
        released=statistics.released(connection, period, environment=environment),
        missing=statistics.count_missing(connection, at, environment=environment),
        quarantined=statistics.count_quarantined(connection, at, environment=environment),
    )


def _state_at_end(connection: Connection, period: Period, environment: str | None) -> _State:
    at = period.end
    oldest = statistics.open_requests(connection, at=at, environment=environment, limit=1)
    return _state(connection, period, at, oldest, environment)


def _open_by_day(days: Iterable[Day], until: date) -> Mapping[date, int]:
    """Sum up what was open when each day ended.

    If the clock of the database is behind ours, its last day stands for those that follow.
    """
    totals: Counter[date] = Counter()
    last: dict[str, Day] = {}
    for one in days:
        totals[one.day] += one.open_at_end
        last[one.environment] = one
    for one in last.values():
        for later in range(1, (until - one.day).days):
            totals[one.day + timedelta(days=later)] += one.open_at_end
    return totals


def _figures(period: Period, daily: _Daily, state: _State, at: datetime) -> Figures:
    return Figures(
        at=at,
        open=daily.open[period.last] if period.days else 0,  # before 0001-01-01 there is no day
        oldest_open=state.oldest_open,
        counts=statistics.counts(daily.days, period),
        hours=statistics.hours(daily.hours, period),
        released=state.released,
        missing=state.missing,
        quarantined=state.quarantined,
    )


def _steps(period: Period, daily: _Daily) -> tuple[str, list[Step]]:
    """Cut the period, from the day on of which there is something to tell."""
    first = min((one.day for one in daily.days if one.day in period), default=None)
    if first is None:
        return "week", []
    cut = steps(Period(first, period.until))
    in_order = sorted(daily.days, key=lambda one: one.day)

    def told(step: Period) -> Step:
        start, end = (
            bisect_left(in_order, day, key=lambda one: one.day) for day in (step.since, step.until)
        )
        return Step(
            step,
            daily.open[step.last],
            statistics.counts(in_order[start:end], step),
            statistics.hours(daily.hours, step),
        )

    return cut.unit, [told(one) for one in cut.periods]


def _open_over_time(steps: Sequence[Step], daily: _Daily) -> list[OpenThen]:
    if not steps:
        return []
    whole = Period(steps[0].period.since, steps[-1].period.until)
    if whole.days > _MOST_DAYS:
        return [OpenThen(one.period.last, one.open) for one in steps]
    each = (whole.since + timedelta(days=day) for day in range(whole.days))
    return [OpenThen(day, daily.open[day]) for day in each]


def _time_lines(
    connection: Connection, period: Period, environment: str | None
) -> Limited[TimeLine]:
    numbers = statistics.repeat_numbers(
        connection, period, environment=environment, limit=_MOST_NUMBERS
    )
    lines = [
        TimeLine(one, statistics.last_events(connection, one, limit=_MOST_EVENTS))
        for one in numbers.rows
    ]
    return Limited(lines, numbers.total)
