"""Counts over a period, computed by the database from tables and views.

`mirror.queries.helpers` returns the rows themselves; this returns sums over many of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.models import (
    CLOSED_STATUSES,
    past_versions,
    release_requests,
    sync_runs,
)
from mirror.db.views import history as history_view
from mirror.db.views import turnaround as turnaround_view
from mirror.queries.results import (
    Day,
    Limited,
)
from mirror.queries.select import between, fetch, in_environment
from mirror.queries.select import count as count_rows
from mirror.report.model import (
    Counts,
    FirstPull,
    Hours,
    Reason,
    Undated,
)
from mirror.report.period import Period

_requests = release_requests.c

_MAX_CLOSED_BEFORE = 30_000
"""Requests that are looked up one by one: SQLite takes 32,766 values in a statement."""

_MILLISECONDS_AN_HOUR = 3_600_000


def counts(days: Iterable[Day], period: Period) -> Counts:
    """Sum up the days of a period, over all environments."""
    included = [day for day in days if day.day in period]
    return Counts(
        requested=sum(day.requested for day in included),
        approved=sum(day.approved for day in included),
        rejected=sum(day.rejected for day in included),
        cancelled=sum(day.cancelled for day in included),
    )


def hours(by_day: Mapping[date, Sequence[float]], period: Period) -> Hours:
    """Compute the percentiles of the hours to resolve, by nearest rank as in the cookbook.

    Args:
        by_day: hours of each review, by the day it ended; see `Statistics.hours_by_day`.
        period: only these days.
    """
    values = sorted(chain.from_iterable(by_day[day] for day in by_day if day in period))
    return Hours(len(values), _percentile(values, 50), _percentile(values, 90))


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    return ordered[_rank(len(ordered), percent)] if ordered else None


def _rank(count: int, percent: int) -> int:
    """Return the place, from 0 on, of a percentile among ordered values."""
    return -(count * percent // -100) - 1


@dataclass(frozen=True, slots=True)
class Resolutions:
    """Resolutions that belong, or may belong, to a period, counted.

    Attributes:
        environment: the environment.
        event: "approved", "rejected" or "cancelled".
        time_source: "reported", "observed" or "unknown"; the latter may belong to the period.
        rejection_reason: of the rejections with a known time; else None.
        count: how many.
    """

    environment: str
    event: str
    time_source: str
    rejection_reason: str | None
    count: int


def undated(resolutions: Iterable[Resolutions]) -> Undated:
    """Count the resolutions without a reported time."""
    observed, unknown = 0, Counter[str]()
    for group in resolutions:
        if group.time_source == "observed":
            observed += group.count
        elif group.time_source == "unknown":
            unknown[group.event] += group.count
    return Undated(observed, Counts(0, *(unknown[event] for event in CLOSED_STATUSES)))


def rejection_reasons(resolutions: Iterable[Resolutions], *, limit: int) -> Limited[Reason]:
    """Return the reasons of the rejections with a known time, most frequent first.

    Ties are in code point order, after those without a reason.
    """
    counted = Counter[str | None]()
    for group in resolutions:
        if group.event == "rejected" and group.time_source != "unknown":
            counted[group.rejection_reason] += group.count
    total = counted.total()
    ranked = sorted(counted.items(), key=lambda row: (-row[1], row[0] is not None, row[0] or ""))
    rows = [Reason(reason, count, 100 * count / total) for reason, count in ranked[:limit]]
    return Limited(rows, len(ranked))


@dataclass(frozen=True, slots=True)
class Statistics:
    """Queries for what happened in a period.

    Attributes:
        connection: to the mirror's database.
        environment: only requests of this environment; None for all.
    """

    connection: Connection
    environment: str | None = None

    def hours_by_day(self, period: Period) -> dict[str, dict[date, list[float]]]:
        """Return the hours to resolve of the reviews that ended in a period.

        Excluded are reviews whose end upstream did not report (see `resolutions`), and those that
        ended with an undocumented status, which `counts` leaves out too. Read from the table: the
        view, which has no functions of dates, takes seven times as long.

        Returns:
            The hours by environment and day.
        """
        ended = _requests.resolved_at
        day = sa.type_coerce(sa.func.date(ended), sa.Date)
        query = sa.select(_requests.environment, day, self._milliseconds()).where(
            _requests.status.in_(CLOSED_STATUSES),
            *between(ended, period.start, period.end),
            *in_environment(_requests, self.environment),
        )
        hours_of: dict[str, dict[date, list[float]]] = {}
        for environment, day_of, milliseconds in self.connection.execute(query):
            by_day = hours_of.setdefault(environment, defaultdict(list))
            by_day[day_of].append(milliseconds / _MILLISECONDS_AN_HOUR)
        return hours_of

    def usual_hours(self, until: datetime) -> Hours:
        """Compute the 90th percentile of the hours of all reviews that ended before a time (UTC).

        As for `hours_by_day`.
        """
        reported = [_requests.status.in_(CLOSED_STATUSES), _requests.resolved_at < until]
        reported += in_environment(_requests, self.environment)
        count = count_rows(self.connection, release_requests, reported)
        milliseconds = self._milliseconds()
        longest_first = sa.select(milliseconds).where(*reported).order_by(milliseconds.desc())
        above = count - 1 - _rank(count, 90)
        longest = self.connection.scalar(longest_first.limit(1).offset(above))
        hours = None if longest is None else longest / _MILLISECONDS_AN_HOUR
        return Hours(count, None, hours)

    def _milliseconds(self) -> sa.ColumnElement[Any]:
        """Return the milliseconds from request to resolution, a whole number."""
        began, ended = _requests.requested_at, _requests.resolved_at
        if self.connection.dialect.name == "sqlite":  # exact to a tenth of a millisecond
            seconds = (sa.func.julianday(ended) - sa.func.julianday(began)) * 86_400
        else:
            seconds = sa.cast(sa.extract("epoch", ended - began), sa.Double)
        return sa.func.round(seconds * 1000).label("milliseconds")

    def resolutions(self, periods: Sequence[Period]) -> list[list[Resolutions]]:
        """Count the resolutions that belong, or may belong, to each of some periods.

        One of unknown time happened between `not_before` and `observed_at`. If these are in the
        other order, a clock was wrong, and only `not_before` bounds it.
        """
        events = self._closings().subquery().c
        belongs = [
            sa.or_(
                sa.and_(*between(events.occurred_at, period.start, period.end)),
                sa.and_(
                    events.time_source == "unknown",
                    events.not_before < period.end,
                    sa.or_(
                        events.observed_at >= period.start, events.observed_at < events.not_before
                    ),
                ),
            )
            for period in periods
        ]
        reason = sa.case((events.occurred_at.is_not(None), events.rejection_reason)).label("reason")
        query = (
            sa.select(
                events.environment,
                events.event,
                events.time_source,
                reason,
                *(sa.func.count(sa.case((condition, 1))) for condition in belongs),
            )
            .where(sa.or_(*belongs))
            .group_by(events.environment, events.event, events.time_source, reason)
        )
        counted: list[list[Resolutions]] = [[] for _ in periods]
        for environment, event, source, text, *counts in self.connection.execute(query):
            for groups, count in zip(counted, counts, strict=True):
                if count:
                    groups.append(Resolutions(environment, event, source, text, count))
        return counted

    def _closings(self) -> sa.SelectBase:
        """Select the events "approved", "rejected" and "cancelled".

        The view of the history looks the past versions of each request up. But a request that was
        not closed before got its status when its current version began: reading only the others
        from the view takes a quarter of the time, unless they are many.
        """
        view = history_view.c
        events = sa.select(
            view.environment,
            view.event,
            view.time_source,
            view.occurred_at,
            view.observed_at,
            view.not_before,
            view.rejection_reason,
        ).where(view.event.in_(CLOSED_STATUSES), *in_environment(view, self.environment))
        closed_before = sa.select(past_versions.c.id).where(
            past_versions.c.status.in_(CLOSED_STATUSES)
        )
        some = closed_before.distinct().limit(_MAX_CLOSED_BEFORE + 1)
        ids = list(self.connection.execute(some).scalars())
        if len(ids) > _MAX_CLOSED_BEFORE:
            return events
        was_seen_open = _requests.valid_from > _requests.first_seen_at
        entered_at = sa.case((was_seen_open, _requests.valid_from))
        source = sa.case(
            (_requests.resolved_at.is_not(None), "reported"),
            (was_seen_open, "observed"),
            else_="unknown",
        )
        simple = sa.select(
            _requests.environment,
            _requests.status.label("event"),
            source.label("time_source"),
            sa.func.coalesce(_requests.resolved_at, entered_at).label("occurred_at"),
            _requests.valid_from.label("observed_at"),
            _requests.requested_at.label("not_before"),  # if the time is unknown
            _requests.rejection_reason,
        ).where(
            _requests.status.in_(CLOSED_STATUSES),
            _requests.id.not_in(closed_before),
            *in_environment(_requests, self.environment),
        )
        return sa.union_all(events.where(view.request_id.in_(ids)), simple) if ids else simple

    def first_pulls(self, environments: Iterable[str]) -> list[FirstPull]:
        """Return the first complete pull of each environment that has one.

        Runs that a request goes back to are never pruned, so no request was seen before it.
        """
        runs = sync_runs.c
        earlier = sa.exists().where(
            _requests.environment == runs.environment, _requests.requested_at < runs.observed_at
        )
        query = (
            sa.select(runs.environment, runs.observed_at, earlier)
            .where(runs.completion.is_not(None))
            .order_by(runs.completion)
            .limit(1)
        )
        pulls = []
        for environment in environments:  # one by one: an index leads to each first completion
            of_environment = [runs.environment == environment]
            pulls += fetch(self.connection, FirstPull, query, of_environment)
        return pulls

    def released(self, period: Period) -> Counter[str]:
        """Count the phone numbers released in a period, by environment.

        A number is released when a request for it is approved, unless upstream revoked that.
        """
        view = turnaround_view.c
        query = (
            sa.select(view.environment, sa.func.count(view.phone_number.distinct()))
            .where(
                view.status == "approved",
                *between(view.resolved_at, period.start, period.end),
                *in_environment(view, self.environment),
            )
            .group_by(view.environment)
        )
        return Counter(dict(self.connection.execute(query).all()))
