"""Counts and rankings over a period, computed by the database from tables and views.

`mirror.queries.helpers` returns the rows themselves; this returns sums over many of them, and the
first of many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.models import (
    CLOSED_STATUSES,
    is_resolved,
    past_versions,
    quarantined_records,
    release_requests,
    sync_runs,
)
from mirror.db.types import Identifier
from mirror.db.views import changes as changes_view
from mirror.db.views import history as history_view
from mirror.db.views import numbers as numbers_view
from mirror.db.views import turnaround as turnaround_view
from mirror.db.views import versions as versions_view
from mirror.queries.helpers import HISTORY_ORDER
from mirror.queries.results import Change, Day, HistoryEvent, Limited, PhoneNumber, ReleaseRequest
from mirror.queries.select import between, fetch, fetch_limited, in_environment, select_as
from mirror.report.model import Counts, FirstPull, Hours, Reason, Undated
from mirror.report.period import Period

_requests = release_requests.c
_unresolved = sa.not_(is_resolved(release_requests))


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
    return ordered[-(len(ordered) * percent // -100) - 1] if ordered else None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Queries for statistics.

    Attributes:
        connection: to the mirror's database.
        environment: only requests of this environment; None for all.
    """

    connection: Connection
    environment: str | None = None

    def hours_by_day(self, period: Period) -> dict[date, list[float]]:
        """Return the hours to resolve of the reviews that ended in a period, by day.

        Reviews whose end upstream did not report are excluded; see `undated`.
        """
        view = turnaround_view.c
        query = sa.select(view.resolved_at, view.hours_to_resolve).where(
            view.time_source == "reported",
            *between(view.resolved_at, period.start, period.end),
            *in_environment(view, self.environment),
        )
        by_day: defaultdict[date, list[float]] = defaultdict(list)
        for resolved_at, hours in self.connection.execute(query):
            by_day[resolved_at.date()].append(hours)
        return dict(by_day)

    def undated(self, period: Period) -> Undated:
        """Count the resolutions without a reported time that belong, or may belong, to a period.

        One of unknown time happened between `not_before` and `observed_at`. If these are in the
        other order, a clock was wrong, and only `not_before` bounds it.
        """
        view = history_view.c
        may_be_in_period = [
            view.time_source == "unknown",
            view.not_before < period.end,
            sa.or_(view.observed_at >= period.start, view.observed_at < view.not_before),
        ]
        observed_in_period = [
            view.time_source == "observed",
            *between(view.occurred_at, period.start, period.end),
        ]
        query = (
            sa.select(view.event, view.time_source, sa.func.count())
            .where(
                view.event.in_(CLOSED_STATUSES),
                sa.or_(sa.and_(*may_be_in_period), sa.and_(*observed_in_period)),
                *in_environment(view, self.environment),
            )
            .group_by(view.event, view.time_source)
        )
        counted = {(event, source): n for event, source, n in self.connection.execute(query)}
        unknown = {event: counted.get((event, "unknown"), 0) for event in CLOSED_STATUSES}
        observed = sum(counted.get((event, "observed"), 0) for event in CLOSED_STATUSES)
        return Undated(observed, Counts(requested=0, **unknown))

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

    def released(self, period: Period) -> int:
        """Count the phone numbers released in a period.

        A number is released when a request for it is approved, unless upstream revoked that.
        """
        view = turnaround_view.c
        numbers = sa.select(view.environment, view.phone_number).distinct()
        conditions = [
            view.status == "approved",
            *between(view.resolved_at, period.start, period.end),
        ]
        conditions += in_environment(view, self.environment)
        return self._count(numbers.where(*conditions).subquery())

    def missing(self, at: datetime | None = None) -> int:
        """Count the requests missing from the list at a time (UTC), or now."""
        source = release_requests if at is None else versions_view
        conditions = in_environment(source.c, self.environment)
        if at is not None:
            conditions += _in_effect(source.c.valid_from, source.c.valid_to, at)
        return self._count(source, source.c.missing_since.is_not(None), *conditions)

    def quarantined(self, at: datetime | None = None) -> int:
        """Count the entries of the list in quarantine at a time (UTC), or now."""
        columns = quarantined_records.c
        conditions = (
            [columns.resolved_at.is_(None)]
            if at is None
            else _in_effect(columns.first_seen_at, columns.resolved_at, at)
        )
        conditions += in_environment(columns, self.environment)
        return self._count(quarantined_records, *conditions)

    def rejection_reasons(self, period: Period, *, limit: int) -> Limited[Reason]:
        """Return the reasons of the rejections in a period, most frequent first.

        Ties are in code point order, which both databases share.
        """
        view = history_view.c
        count = sa.func.count()
        query = (
            sa.select(view.rejection_reason, count)
            .group_by(view.rejection_reason)
            .order_by(count.desc(), sa.cast(view.rejection_reason, Identifier).nulls_first())
        )
        conditions = [
            view.event == "rejected",
            *between(view.occurred_at, period.start, period.end),
            *in_environment(view, self.environment),
        ]
        return fetch_limited(self.connection, Reason, query, conditions, limit)

    def open_requests(self, at: datetime | None = None, *, limit: int) -> Limited[ReleaseRequest]:
        """Return the open requests, neither resolved nor missing, oldest first.

        Args:
            at: open at this time (UTC), by what is known now: for a request that was reopened, its
                last resolution counts. None for now.
            limit: maximum number of requests.
        """
        conditions = [_unresolved, *in_environment(_requests, self.environment)]
        query = select_as(ReleaseRequest, release_requests).order_by(
            _requests.requested_at, _requests.id
        )
        if at is None:
            conditions.append(_requests.missing_since.is_(None))
            return fetch_limited(self.connection, ReleaseRequest, query, conditions, limit)
        conditions += [
            _requests.requested_at < at,
            sa.or_(_requests.missing_since.is_(None), _requests.missing_since >= at),
        ]
        open_now = fetch_limited(self.connection, ReleaseRequest, query, conditions, limit)
        resolved_later = self._resolved_later(at, limit)
        in_rows = _requests.id.in_([row.id for row in resolved_later.rows])
        rows = open_now.rows + fetch(self.connection, ReleaseRequest, query, [in_rows])
        rows.sort(key=lambda request: (request.requested_at, request.id))
        return Limited(rows[:limit], open_now.total + resolved_later.total)

    def _resolved_later(self, at: datetime, limit: int) -> Limited[_RequestId]:
        """Return the first requests that were open at a time and are resolved now."""
        view = turnaround_view.c
        was_missing = sa.exists().where(_requests.id == view.id, _requests.missing_since < at)
        query = select_as(_RequestId, turnaround_view).order_by(view.requested_at, view.id)
        conditions = [view.requested_at < at, view.resolved_at >= at, ~was_missing]
        conditions += in_environment(view, self.environment)
        return fetch_limited(self.connection, _RequestId, query, conditions, limit)

    def recent_changes(self, period: Period, *, limit: int) -> Limited[Change]:
        """Return the changes that syncs saw in a period, last first.

        The view compares versions field by field, so it is queried only from the time on at which
        the last `limit` versions ended. The total counts the versions that ended: a request that
        returned with other fields has two rows in the view, and counts once.
        """
        view, ended = changes_view.c, past_versions.c.valid_to
        in_period = [
            *between(ended, period.start, period.end),
            *in_environment(past_versions.c, self.environment),
        ]
        last = sa.select(ended).where(*in_period).order_by(ended.desc()).offset(limit).limit(1)
        since = self.connection.execute(last).scalar() or period.start
        query = select_as(Change, changes_view).order_by(
            view.changed_at.desc(), view.request_id, view.kind
        )
        recent = between(view.changed_at, since, period.end)
        recent += in_environment(view, self.environment)
        changes = fetch(self.connection, Change, query.limit(limit + 1), recent)
        total = self._count(past_versions, *in_period)
        return Limited(changes[:limit], max(total, len(changes)))

    def repeat_numbers(self, period: Period, *, limit: int) -> Limited[PhoneNumber]:
        """Return the numbers with more than one request, most requests first.

        Included are numbers whose first request was submitted before the end of a period, and the
        last one not before its start. They are ranked by the table of requests, and only the first
        ones read from the view: ranking by the view takes seven times as long.
        """
        count, last = sa.func.count(), sa.func.max(_requests.requested_at)
        first = sa.func.min(_requests.requested_at)
        ranking = (
            sa.select(_requests.environment, _requests.phone_number)
            .group_by(_requests.phone_number, _requests.environment)
            .having(sa.and_(count > 1, last >= period.start, first < period.end))
            .order_by(count.desc(), last.desc(), _requests.phone_number, _requests.environment)
        )
        in_scope = in_environment(_requests, self.environment)
        ranked = fetch_limited(self.connection, _Number, ranking, in_scope, limit)
        in_rows = numbers_view.c.phone_number.in_({row.phone_number for row in ranked.rows})
        query = select_as(PhoneNumber, numbers_view)
        numbers = {
            (number.environment, number.phone_number): number
            for number in fetch(self.connection, PhoneNumber, query, [in_rows])
        }
        rows = [numbers[row.environment, row.phone_number] for row in ranked.rows]
        return Limited(rows, ranked.total)

    def last_events(self, number: PhoneNumber, *, limit: int) -> Limited[HistoryEvent]:
        """Return the last events of a phone number in its environment, oldest first."""
        view = history_view.c
        query = select_as(HistoryEvent, history_view).order_by(
            *(column.desc() for column in HISTORY_ORDER)
        )
        conditions = [
            view.phone_number == number.phone_number,
            view.environment == number.environment,
        ]
        events = fetch_limited(self.connection, HistoryEvent, query, conditions, limit)
        return Limited(events.rows[::-1], events.total)

    def _count(self, source: sa.FromClause, *conditions: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(source).where(*conditions)
        return int(self.connection.execute(query).scalar_one())


@dataclass(frozen=True, slots=True)
class _RequestId:
    id: str


@dataclass(frozen=True, slots=True)
class _Number:
    environment: str
    phone_number: str


def _in_effect(
    start: sa.ColumnElement[Any], end: sa.ColumnElement[Any], at: datetime
) -> list[sa.ColumnElement[bool]]:
    return [start <= at, sa.or_(end.is_(None), end > at)]
