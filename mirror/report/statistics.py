"""Counts and rankings over a period, computed by the database from tables and views.

`mirror.queries.helpers` returns the rows themselves; this returns sums over many of them, and the
first of many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
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
from mirror.db.views import changes as changes_view
from mirror.db.views import history as history_view
from mirror.db.views import numbers as numbers_view
from mirror.db.views import turnaround as turnaround_view
from mirror.queries.helpers import HISTORY_ORDER, known_requests
from mirror.queries.results import (
    Change,
    Day,
    HistoryEvent,
    Limited,
    PhoneNumber,
    QuarantinedRecord,
    ReleaseRequest,
)
from mirror.queries.select import between, fetch, fetch_limited, in_environment, select_as
from mirror.report.model import (
    Counts,
    FirstPull,
    Hours,
    Reason,
    RepeatedRejection,
    SyncChanges,
    Undated,
)
from mirror.report.period import Period

_requests = release_requests.c
_unresolved = sa.not_(is_resolved(release_requests))

_SURPRISES = ("reopened", "corrected", "vanished", "returned")
"""Kinds of changes that a review does not end with."""

_MILLISECOND = timedelta(milliseconds=1)
_MILLISECONDS_AN_HOUR = 3_600_000

_MAX_CANDIDATES = 1000
"""Phone numbers: if there are more, reading all is as fast as looking each of them up."""


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
class OpenRequests:
    """The open requests of an environment, counted.

    Attributes:
        count: how many.
        oldest: when the oldest one was submitted (UTC), or None if there is none.
        older: how many of them are at least as old as each of some ages.
    """

    count: int = 0
    oldest: datetime | None = None
    older: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """Queries for statistics.

    Attributes:
        connection: to the mirror's database.
        environment: only requests of this environment; None for all.
    """

    connection: Connection
    environment: str | None = None

    def hours_by_day(self, period: Period) -> dict[str, dict[date, list[float]]]:
        """Return the hours to resolve of the reviews that ended in a period.

        Reviews whose end upstream did not report are excluded; see `resolutions`.

        Returns:
            The hours by environment and day.
        """
        view = turnaround_view.c
        query = sa.select(view.environment, view.resolved_at, view.hours_to_resolve).where(
            view.time_source == "reported",
            *between(view.resolved_at, period.start, period.end),
            *in_environment(view, self.environment),
        )
        hours_of: dict[str, dict[date, list[float]]] = {}
        for environment, resolved_at, hours in self.connection.execute(query):
            by_day = hours_of.setdefault(environment, defaultdict(list))
            by_day[resolved_at.date()].append(hours)
        return hours_of

    def usual_hours(self, until: datetime) -> Hours:
        """Compute the 90th percentile of the hours of all reviews that ended before a time (UTC).

        As for `hours_by_day`, but from the table: the view computes the hours of every review.
        """
        began, ended = _requests.requested_at, _requests.resolved_at
        reported = [_requests.status != "pending", ended < until]
        reported += in_environment(_requests, self.environment)
        count = self._count(release_requests, *reported)
        duration: sa.ColumnElement[Any] = ended - began
        if self.connection.dialect.name == "sqlite":  # exact to a twentieth of a millisecond
            duration = sa.func.julianday(ended) - sa.func.julianday(began)
        longest_first = sa.select(began, ended).where(*reported).order_by(duration.desc())
        above = count - 1 - _rank(count, 90)
        row = self.connection.execute(longest_first.limit(1).offset(above)).first()
        hours = None if row is None else (row[1] - row[0]) // _MILLISECOND / _MILLISECONDS_AN_HOUR
        return Hours(count, None, hours)

    def resolutions(self, periods: Sequence[Period]) -> list[list[Resolutions]]:
        """Count the resolutions that belong, or may belong, to each of some periods.

        One of unknown time happened between `not_before` and `observed_at`. If these are in the
        other order, a clock was wrong, and only `not_before` bounds it.
        """
        view = history_view.c
        belongs = [
            sa.or_(
                sa.and_(*between(view.occurred_at, period.start, period.end)),
                sa.and_(
                    view.time_source == "unknown",
                    view.not_before < period.end,
                    sa.or_(view.observed_at >= period.start, view.observed_at < view.not_before),
                ),
            )
            for period in periods
        ]
        reason = sa.case((view.occurred_at.is_not(None), view.rejection_reason)).label("reason")
        query = (
            sa.select(
                view.environment,
                view.event,
                view.time_source,
                reason,
                *(sa.func.count(sa.case((condition, 1))) for condition in belongs),
            )
            .where(
                view.event.in_(CLOSED_STATUSES),
                sa.or_(*belongs),
                *in_environment(view, self.environment),
            )
            .group_by(view.environment, view.event, view.time_source, reason)
        )
        counted: list[list[Resolutions]] = [[] for _ in periods]
        for environment, event, source, text, *counts in self.connection.execute(query):
            for groups, count in zip(counted, counts, strict=True):
                if count:
                    groups.append(Resolutions(environment, event, source, text, count))
        return counted

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
        return self._counter(query)

    def missing(self, at: datetime | None = None) -> Counter[str]:
        """Count the requests missing from the list at a time (UTC), or now, by environment."""
        source, conditions = self._missing(at)
        return self._counter(
            sa.select(source.c.environment, sa.func.count())
            .where(*conditions)
            .group_by(source.c.environment)
        )

    def missing_requests(
        self, at: datetime | None = None, *, limit: int
    ) -> Limited[ReleaseRequest]:
        """Return the requests missing at a time (UTC), or now; the last to go missing first."""
        source, conditions = self._missing(at)
        query = select_as(ReleaseRequest, source).order_by(
            source.c.missing_since.desc(), source.c.id
        )
        return fetch_limited(self.connection, ReleaseRequest, query, conditions, limit)

    def _missing(self, at: datetime | None) -> tuple[sa.Table, list[sa.ColumnElement[bool]]]:
        source, conditions = known_requests(self.environment, at)
        return source, [*conditions, source.c.missing_since.is_not(None)]

    def quarantined(self, at: datetime | None = None) -> Counter[str]:
        """Count the entries of the list in quarantine at a time (UTC), or now, by environment."""
        columns = quarantined_records.c
        return self._counter(
            sa.select(columns.environment, sa.func.count())
            .where(*self._in_quarantine(at))
            .group_by(columns.environment)
        )

    def quarantined_records(
        self, at: datetime | None = None, *, limit: int
    ) -> Limited[QuarantinedRecord]:
        """Return the entries in quarantine at a time (UTC), or now; first seen last first."""
        columns = quarantined_records.c
        query = select_as(QuarantinedRecord, quarantined_records).order_by(
            columns.first_seen_at.desc(), columns.id
        )
        conditions = self._in_quarantine(at)
        return fetch_limited(self.connection, QuarantinedRecord, query, conditions, limit)

    def _in_quarantine(self, at: datetime | None) -> list[sa.ColumnElement[bool]]:
        columns = quarantined_records.c
        scope = in_environment(columns, self.environment)
        if at is None:
            return [*scope, columns.resolved_at.is_(None)]
        is_open = sa.or_(columns.resolved_at.is_(None), columns.resolved_at > at)
        return [*scope, columns.first_seen_at <= at, is_open]

    def open_requests(self, at: datetime | None = None, *, limit: int) -> Limited[ReleaseRequest]:
        """Return the open requests, neither resolved nor missing, oldest first.

        Args:
            at: open at this time (UTC), by what is known now: for a request that was reopened, its
                last resolution counts. None for now.
            limit: maximum number of requests.
        """
        conditions = self._is_open(at)
        query = select_as(ReleaseRequest, release_requests).order_by(
            _requests.requested_at, _requests.id
        )
        open_now = fetch_limited(self.connection, ReleaseRequest, query, conditions, limit)
        if at is None:
            return open_now
        resolved_later = self._resolved_later(at, limit)
        in_rows = _requests.id.in_([row.id for row in resolved_later.rows])
        rows = open_now.rows + fetch(self.connection, ReleaseRequest, query, [in_rows])
        rows.sort(key=lambda request: (request.requested_at, request.id))
        return Limited(rows[:limit], open_now.total + resolved_later.total)

    def count_open(
        self, at: datetime | None, since: Sequence[datetime | None]
    ) -> dict[str, OpenRequests]:
        """Count the requests that `open_requests` returns, by environment.

        Args:
            at: as for `open_requests`.
            since: times (UTC): also count those submitted at or before each of them. None, for a
                time before the calendar, counts none.
        """
        sources: list[tuple[sa.Table, list[sa.ColumnElement[bool]]]] = [
            (release_requests, self._is_open(at))
        ]
        if at is not None:
            sources.append((turnaround_view, self._is_resolved_later(at)))
        found: dict[str, OpenRequests] = {}
        for source, conditions in sources:
            requested_at = source.c.requested_at
            older = (sa.func.count(sa.case((requested_at <= time, 1))) for time in since if time)
            query = (
                sa.select(source.c.environment, sa.func.count(), sa.func.min(requested_at), *older)
                .where(*conditions)
                .group_by(source.c.environment)
            )
            for environment, count, oldest, *counts in self.connection.execute(query):
                left = iter(counts)
                older_than = [next(left) if time else 0 for time in since]
                other = found.get(environment, OpenRequests(0, oldest, [0] * len(since)))
                found[environment] = OpenRequests(
                    other.count + count,
                    min(other.oldest or oldest, oldest),
                    [sum(pair) for pair in zip(other.older, older_than, strict=True)],
                )
        return found

    def _is_open(self, at: datetime | None) -> list[sa.ColumnElement[bool]]:
        conditions = [_unresolved, *in_environment(_requests, self.environment)]
        if at is None:
            return [*conditions, _requests.missing_since.is_(None)]
        return [
            *conditions,
            _requests.requested_at < at,
            sa.or_(_requests.missing_since.is_(None), _requests.missing_since >= at),
        ]

    def _is_resolved_later(self, at: datetime) -> list[sa.ColumnElement[bool]]:
        view = turnaround_view.c
        was_missing = sa.exists().where(_requests.id == view.id, _requests.missing_since < at)
        return [
            view.requested_at < at,
            view.resolved_at >= at,
            ~was_missing,
            *in_environment(view, self.environment),
        ]

    def _resolved_later(self, at: datetime, limit: int) -> Limited[_RequestId]:
        """Return the first requests that were open at a time and are resolved now."""
        view = turnaround_view.c
        query = select_as(_RequestId, turnaround_view).order_by(view.requested_at, view.id)
        conditions = self._is_resolved_later(at)
        return fetch_limited(self.connection, _RequestId, query, conditions, limit)

    def rejected_again(self, period: Period, *, limit: int) -> Limited[RepeatedRejection]:
        """Return the numbers that were rejected again for the same reason, last rejection first.

        Counted are rejections that certainly were before the end of a period, of which the last one
        is in it. Rejections without a reason do not count, nor numbers approved since, up to the
        end of the period.
        """
        view, reviews = history_view.c, turnaround_view.c
        candidates = self._rejected_twice()
        if not candidates:
            return Limited([], 0)
        in_candidates = [view.phone_number.in_(candidates)]
        key = (view.environment, view.phone_number, view.rejection_reason)
        last = sa.func.max(view.occurred_at)
        rejected = (
            sa.select(*key, sa.func.count().label("rejections"), last.label("last_rejected_at"))
            .where(
                view.event == "rejected",
                view.rejection_reason.is_not(None),
                sa.func.coalesce(view.occurred_at, view.observed_at) < period.end,
                *in_environment(view, self.environment),
                *(in_candidates if len(candidates) <= _MAX_CANDIDATES else []),
            )
            .group_by(*key)
            .having(sa.and_(sa.func.count() > 1, last >= period.start))
            .subquery()
        )
        columns = rejected.c
        approved_since = sa.exists().where(
            reviews.environment == columns.environment,
            reviews.phone_number == columns.phone_number,
            reviews.status == "approved",
            reviews.resolved_at >= columns.last_rejected_at,
            reviews.resolved_at < period.end,
        )
        query = sa.select(*columns).order_by(
            columns.last_rejected_at.desc(),
            columns.environment,
            columns.phone_number,
            columns.rejection_reason,
        )
        return fetch_limited(self.connection, RepeatedRejection, query, [~approved_since], limit)

    def _rejected_twice(self) -> list[str]:
        """Return the numbers of which two versions were rejected for the same reason.

        No others can have been rejected again; at most one more than `_MAX_CANDIDATES`.
        """
        past = past_versions.c
        current = sa.select(
            _requests.environment, _requests.phone_number, _requests.rejection_reason
        ).where(_requests.status == "rejected", *in_environment(_requests, self.environment))
        superseded = (
            sa.select(_requests.environment, _requests.phone_number, past.rejection_reason)
            .where(past.id == _requests.id, past.status == "rejected")
            .where(*in_environment(_requests, self.environment))
        )
        versions = sa.union_all(current, superseded).subquery()
        query = (
            sa.select(versions.c.phone_number)
            .where(versions.c.rejection_reason.is_not(None))
            .group_by(*versions.c)
            .having(sa.func.count() > 1)
            .limit(_MAX_CANDIDATES + 1)
        )
        return list(self.connection.execute(query).scalars())

    def changes(
        self, period: Period, *, max_syncs: int, max_surprises: int
    ) -> tuple[Limited[SyncChanges], Limited[Change]]:
        """Return the changes that syncs saw in a period, last first.

        Returns:
            The last syncs that saw changes, with their numbers of changes by kind; and the last
            changes other than resolutions.
        """
        view = changes_view.c
        in_period = [
            *between(view.changed_at, period.start, period.end),
            *in_environment(view, self.environment),
        ]
        kinds = (
            sa.func.count(sa.case((view.kind == kind, 1))) for kind in ("resolved", *_SURPRISES)
        )
        query = (
            sa.select(view.changed_at, view.environment, view.sync_run_id, *kinds)
            .group_by(view.changed_at, view.environment, view.sync_run_id)
            .order_by(view.changed_at.desc(), view.environment, view.sync_run_id)
        )
        syncs = fetch(self.connection, SyncChanges, query, in_period)
        total, since = 0, None
        for sync in syncs:
            if total < max_surprises:
                since = sync.changed_at
            total += sync.surprises
        surprises: list[Change] = []
        if total:
            query = select_as(Change, changes_view).order_by(
                view.changed_at.desc(), view.request_id, view.kind
            )
            last = [*in_period, view.kind.in_(_SURPRISES), *between(view.changed_at, since)]
            surprises = fetch(self.connection, Change, query.limit(max_surprises), last)
        return Limited(syncs[:max_syncs], len(syncs)), Limited(surprises, total)

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

    def _counter(self, query: sa.Select[Any]) -> Counter[str]:
        return Counter(dict(self.connection.execute(query).all()))

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
