"""Read everything that the report shows, in one snapshot of the mirror."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.engine import Connection

from mirror.db.second_thread import second_thread
from mirror.queries import helpers, status
from mirror.queries.results import Limited, ReleaseRequest
from mirror.queries.status import EnvironmentStatus
from mirror.report.daily import (
    NO_DAYS,
    Daily,
    buckets_of,
    merged,
    open_over_time,
    parts_of,
    read_daily,
)
from mirror.report.model import (
    AgeBin,
    Attention,
    Counts,
    EnvironmentRow,
    FirstPull,
    Hours,
    KeyFigures,
    Overdue,
    Report,
    Timeline,
    Undated,
)
from mirror.report.period import Period
from mirror.report.rankings import Rankings
from mirror.report.snapshot import OpenRequests, Snapshot
from mirror.report.statistics import (
    Resolutions,
    Statistics,
    counts,
    hours,
    rejection_reasons,
    undated,
)

_SQLITE_CACHE_KIB = 64 * 1024

_MAX_REASONS = 10
_MAX_OPEN = 30
_MAX_SYNCS = 20
_MAX_SURPRISES = 30
_MAX_NUMBERS = 20
_MAX_EVENTS = 8
_MAX_SPARKLINE = 100
_MAX_ATTENTION = 10
"""Rows of each kind that needs somebody, except open requests."""

_MIN_REVIEWS = 10
"""Fewer do not tell what is usual."""

_STALE_AFTER = timedelta(days=1)
"""If the configuration file has no `max_age`."""

_AGES = tuple(timedelta(days=days) for days in (1, 3, 7, 14, 28))
"""Where one bin of open requests ends, and the next begins."""


@dataclass(frozen=True, slots=True)
class _State:
    """The mirror at a time, by environment.

    Attributes:
        at: the time (UTC).
        open: the open requests.
        missing, quarantined: number of missing requests, and of entries in quarantine.
    """

    at: datetime
    open: Mapping[str, OpenRequests]
    missing: Counter[str]
    quarantined: Counter[str]


def collect(
    database_url: str,
    period: Period,
    *,
    environment: str | None = None,
    now: datetime,
    max_age: Callable[[str], timedelta | None] | None = None,
) -> Report:
    """Read everything that the report shows.

    Args:
        database_url: of the mirror.
        period: the period of the report.
        environment: only this environment; None for all.
        now: the present time (UTC).
        max_age: returns the age at which an environment is stale, by name, or None for a day.

    Raises:
        DatabaseError: there is no mirror, or its schema is not that of this version.
    """
    is_current = period.end > now
    at = None if is_current else period.end
    before = period.before
    both = Period(before.since, period.until)
    with helpers.connect(database_url) as connection, second_thread(connection) as start:
        _enlarge_cache(connection)
        statistics = Statistics(connection, environment)
        rankings = Rankings(connection, environment)
        snapshot = Snapshot(connection, environment, at)
        statuses = status.status(
            connection,
            now=now,
            environments=None if environment is None else [environment],
            max_age=lambda name: (max_age and max_age(name)) or _STALE_AFTER,
        )
        names = [row.environment for row in statuses]
        pulls = statistics.first_pulls(names)
        first_pull = _first_pull(pulls)
        is_known_before = first_pull is not None and first_pull.at <= before.end

        def read_by_day(other: Connection) -> tuple[dict[str, Daily], Limited[Timeline]]:
            _enlarge_cache(other)
            daily = read_daily(
                Statistics(other, environment), both, both if is_known_before else period
            )
            return daily, _timelines(Rankings(other, environment), period)

        by_day = start(read_by_day)
        resolutions = statistics.resolutions([period, before] if is_known_before else [period])
        usual = statistics.usual_hours(at or now)
        state = _state(snapshot, now, usual)
        state_before = None
        if is_known_before:
            state_before = _state(Snapshot(connection, environment, before.end), now)
        open_requests = snapshot.open_requests(limit=_MAX_OPEN)
        syncs, surprises = rankings.changes(
            period, max_syncs=_MAX_SYNCS, max_surprises=_MAX_SURPRISES
        )
        rejected_again = rankings.rejected_again(period, limit=_MAX_ATTENTION)
        daily, numbers = by_day()
        total = merged(daily.values(), period.until)
        figures = _figures(statistics, period, daily, resolutions[0], state, names=names)
        figures_before = None
        if state_before is not None:
            rows = _figures(statistics, before, daily, resolutions[1], state_before)
            figures_before = _sum(rows.values(), hours(total.hours, before), before.end)
        unit, parts = parts_of(period, total)
        environments = _environment_rows(statuses, figures, daily, parts, first_pulls=pulls)
        buckets = buckets_of(parts, total, now)
        return Report(
            made_at=now,
            environment=environment,
            period=period,
            is_current=is_current,
            first_pull=first_pull,
            attention=Attention(
                overdue=_overdue(usual, open_requests, state),
                rejected_again=rejected_again,
                environments=[row for row in environments if row.needs_attention],
                missing=snapshot.missing_requests(limit=_MAX_ATTENTION, since=period.start),
                quarantined=snapshot.quarantined_records(limit=_MAX_ATTENTION),
            ),
            figures=_sum(figures.values(), hours(total.hours, period), state.at),
            figures_before=figures_before,
            environments=environments,
            unit=unit,
            buckets=buckets,
            open_over_time=open_over_time(parts, total),
            reasons=rejection_reasons(resolutions[0], limit=_MAX_REASONS),
            open=open_requests,
            ages=_ages(state),
            syncs=syncs,
            surprises=surprises,
            numbers=numbers,
        )


def _enlarge_cache(connection: Connection) -> None:
    """Let SQLite keep what the report reads many times, and sort without a file."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA cache_size = -{_SQLITE_CACHE_KIB}")


def _first_pull(pulls: Sequence[FirstPull]) -> FirstPull | None:
    """Return the pull from which on all environments are known.

    It is the last one that saw earlier requests: an environment without earlier requests adds
    nothing to the time before.
    """
    first = min(pulls, key=lambda pull: pull.at, default=None)
    saw_requests = [pull for pull in pulls if pull.saw_requests]
    return max(saw_requests, key=lambda pull: pull.at, default=first)


def _state(snapshot: Snapshot, now: datetime, usual: Hours | None = None) -> _State:
    """Read the state at the time of a snapshot.

    Open requests are counted by the ages of `_AGES`, and by the one from which on they are overdue.
    """
    at = snapshot.at or now
    ages = list(_AGES)
    if usual is not None and usual.percentile_90 is not None:
        ages.append(timedelta(hours=usual.percentile_90))
    return _State(
        at,
        snapshot.count_open([_before(at, age) for age in ages]),
        snapshot.missing(),
        snapshot.quarantined(),
    )


def _before(time: datetime, age: timedelta) -> datetime | None:
    """Return the time as long before, or None if that is before the calendar."""
    return time - age if age <= time - datetime.min.replace(tzinfo=UTC) else None


def _figures(
    statistics: Statistics,
    period: Period,
    daily: Mapping[str, Daily],
    resolutions: Iterable[Resolutions],
    state: _State,
    *,
    names: Iterable[str] = (),
) -> dict[str, KeyFigures]:
    """Compute the key figures of some environments, and of each other one that has any."""
    released = statistics.released(period)
    resolutions_of: defaultdict[str, list[Resolutions]] = defaultdict(list)
    for group in resolutions:
        resolutions_of[group.environment].append(group)
    names = {*names, *daily, *resolutions_of, *released}
    names |= {*state.open, *state.missing, *state.quarantined}

    def of(name: str) -> KeyFigures:
        days = daily.get(name, NO_DAYS)
        return KeyFigures(
            at=state.at,
            open=state.open[name].count if name in state.open else 0,
            oldest_open=state.open[name].oldest if name in state.open else None,
            counts=counts(days.days, period),
            undated=undated(resolutions_of[name]),
            hours=hours(days.hours, period),
            released=released[name],
            missing=state.missing[name],
            quarantined=state.quarantined[name],
        )

    return {name: of(name) for name in sorted(names)}


def _sum(figures: Iterable[KeyFigures], hours: Hours, at: datetime) -> KeyFigures:
    """Add up the key figures of environments, but for the hours, which do not add up."""
    rows = list(figures)
    nothing = Counts(0, 0, 0, 0)
    return KeyFigures(
        at=at,
        open=sum(row.open for row in rows),
        oldest_open=min((row.oldest_open for row in rows if row.oldest_open), default=None),
        counts=sum((row.counts for row in rows), nothing),
        undated=Undated(
            sum(row.undated.observed for row in rows),
            sum((row.undated.unknown for row in rows), nothing),
        ),
        hours=hours,
        released=sum(row.released for row in rows),
        missing=sum(row.missing for row in rows),
        quarantined=sum(row.quarantined for row in rows),
    )


def _environment_rows(
    statuses: Iterable[EnvironmentStatus],
    figures: Mapping[str, KeyFigures],
    daily: Mapping[str, Daily],
    parts: Sequence[Period],
    *,
    first_pulls: Iterable[FirstPull],
) -> list[EnvironmentRow]:
    """Return a row for each environment, most open requests first."""
    pulls = {pull.environment: pull for pull in first_pulls}
    rows = [
        EnvironmentRow(
            environment=row.environment,
            figures=figures[row.environment],
            open_over_time=open_over_time(
                parts, daily.get(row.environment, NO_DAYS), _MAX_SPARKLINE
            ),
            first_pull=pulls.get(row.environment),
            complete_at=row.complete_at,
            age=row.age,
            is_stale=bool(row.stale),
            outcome=row.outcome,
            failures=row.failures,
            error=row.error,
            other=row.other,
        )
        for row in statuses
    ]
    return sorted(rows, key=lambda row: -row.figures.open)


def _overdue(usual: Hours, open_requests: Limited[ReleaseRequest], state: _State) -> Overdue | None:
    """Return the open requests that are at least as old as the threshold, if there are any."""
    if usual.requests < _MIN_REVIEWS or usual.percentile_90 is None:
        return None
    total = sum(requests.older[-1] for requests in state.open.values())
    rows = open_requests.rows[:total]
    return Overdue(usual.percentile_90, usual.requests, Limited(rows, total)) if total else None


def _ages(state: _State) -> list[AgeBin]:
    """Return the open requests in bins of age."""
    limits = (timedelta(), *_AGES)
    total = sum(requests.count for requests in state.open.values())
    older = [
        sum(requests.older[place] for requests in state.open.values())
        for place, _ in enumerate(_AGES)
    ]
    at_least = [total, *older, 0]
    untils = (*_AGES, None)
    return [
        AgeBin(since, until, at_least[place] - at_least[place + 1])
        for place, (since, until) in enumerate(zip(limits, untils, strict=True))
    ]


def _timelines(rankings: Rankings, period: Period) -> Limited[Timeline]:
    numbers = rankings.repeat_numbers(period, limit=_MAX_NUMBERS)
    timelines = [
        Timeline(number, rankings.last_events(number, limit=_MAX_EVENTS)) for number in numbers.rows
    ]
    return Limited(timelines, numbers.total)
