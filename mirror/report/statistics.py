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

from mirror.db.models import Identifier, past_versions, quarantined_records, release_requests
from mirror.db.view_sql import is_resolved_sql
from mirror.db.views import changes as changes_view
from mirror.db.views import history as history_view
from mirror.db.views import numbers as numbers_view
from mirror.db.views import turnaround as turnaround_view
from mirror.db.views import versions as versions_view
from mirror.queries.helpers import HISTORY_ORDER
from mirror.queries.results import Change, Day, HistoryEvent, Limited, PhoneNumber, ReleaseRequest
from mirror.queries.select import (
    Conditions,
    between,
    fetch,
    fetch_limited,
    in_environment,
    select_as,
)
from mirror.report.model import Counts, Hours, Reason
from mirror.report.period import Period

_requests = release_requests.c
_unresolved = sa.not_(sa.literal_column(is_resolved_sql(release_requests.name), sa.Boolean))


def counts(days: Iterable[Day], period: Period) -> Counts:
    """Sum up the days of a period, over all environments."""
    included = [day for day in days if day.day in period]
    return Counts(
        requested=sum(day.requested for day in included),
        approved=sum(day.approved for day in included),
        rejected=sum(day.rejected for day in included),
        cancelled=sum(day.cancelled for day in included),
    )


def hours_by_day(
    connection: Connection, period: Period, *, environment: str | None = None
) -> dict[date, list[float]]:
    """Return the hours to resolve of each review that ended in a period, by the day it ended.

    Args:
        connection: to the mirror's database.
        period: the period.
        environment: only requests of this environment; None for all.

    Returns:
        Only reviews whose end upstream reported.
    """
    view = turnaround_view.c
    query = sa.select(view.resolved_at, view.hours_to_resolve).where(
        view.time_source == "reported",
        *between(view.resolved_at, period.start, period.end),
        *in_environment(view, environment),
    )
    by_day: defaultdict[date, list[float]] = defaultdict(list)
    for resolved_at, hours in connection.execute(query):
        by_day[resolved_at.date()].append(hours)
    return dict(by_day)


def hours(by_day: Mapping[date, Sequence[float]], period: Period) -> Hours:
    """Compute the percentiles of the hours to resolve, by nearest rank as in the cookbook.

    Args:
        by_day: hours of each review, by the day it ended.
        period: only these days.
    """
    values = sorted(chain.from_iterable(by_day[day] for day in by_day if day in period))
    return Hours(len(values), _percentile(values, 50), _percentile(values, 90))


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    return ordered[-(len(ordered) * percent // -100) - 1] if ordered else None


def released(connection: Connection, period: Period, *, environment: str | None = None) -> int:
    """Count the phone numbers released in a period.

    A number is released when a request for it is approved, unless upstream revoked the approval.

    Args:
        connection: to the mirror's database.
        period: the period.
        environment: only numbers of this environment; None for all.
    """
    view = turnaround_view.c
    numbers = (
        sa.select(view.environment, view.phone_number)
        .where(
            view.status == "approved",
            *between(view.resolved_at, period.start, period.end),
            *in_environment(view, environment),
        )
        .distinct()
    )
    return _count(connection, numbers.subquery(), [])


def _count(connection: Connection, source: sa.FromClause, conditions: Conditions) -> int:
    query = sa.select(sa.func.count()).select_from(source).where(*conditions)
    return int(connection.execute(query).scalar_one())


def rejection_reasons(
    connection: Connection, period: Period, *, environment: str | None = None, limit: int
) -> Limited[Reason]:
    """Return the reasons of the rejections in a period, most frequent first.

    Ties are in code point order, which both databases share.

    Args:
        connection: to the mirror's database.
        period: the period.
        environment: only requests of this environment; None for all.
        limit: maximum number of reasons.
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
        *in_environment(view, environment),
    ]
    return fetch_limited(connection, Reason, query, conditions, limit)


@dataclass(frozen=True, slots=True)
class _RequestId:
    id: str


def open_requests(
    connection: Connection,
    *,
    at: datetime | None = None,
    environment: str | None = None,
    limit: int,
) -> Limited[ReleaseRequest]:
    """Return the open requests, neither resolved nor missing, oldest first.

    Args:
        connection: to the mirror's database.
        at: open at this time (UTC), by what is known now: for a request that was reopened, its
            last resolution counts. None for now.
        environment: only requests of this environment; None for all.
        limit: maximum number of requests.
    """
    conditions = [_unresolved, *in_environment(_requests, environment)]
    query = select_as(ReleaseRequest, release_requests).order_by(
        _requests.requested_at, _requests.id
    )
    if at is None:
        conditions.append(_requests.missing_since.is_(None))
        return fetch_limited(connection, ReleaseRequest, query, conditions, limit)
    conditions += [
        _requests.requested_at < at,
        sa.or_(_requests.missing_since.is_(None), _requests.missing_since >= at),
    ]
    open_now = fetch_limited(connection, ReleaseRequest, query, conditions, limit)
    resolved_later = _resolved_later(connection, at, environment, limit)
    in_rows = _requests.id.in_([row.id for row in resolved_later.rows])
    rows = open_now.rows + fetch(connection, ReleaseRequest, query, [in_rows])
    rows.sort(key=lambda request: (request.requested_at, request.id))
    return Limited(rows[:limit], open_now.total + resolved_later.total)


def _resolved_later(
    connection: Connection, at: datetime, environment: str | None, limit: int
) -> Limited[_RequestId]:
    """Return the first requests that were open at a time and are resolved now."""
    view = turnaround_view.c
    was_missing = sa.exists().where(_requests.id == view.id, _requests.missing_since < at)
    return fetch_limited(
        connection,
        _RequestId,
        select_as(_RequestId, turnaround_view).order_by(view.requested_at, view.id),
        [
            view.requested_at < at,
            view.resolved_at >= at,
            ~was_missing,
            *in_environment(view, environment),
        ],
        limit,
    )


def count_missing(
    connection: Connection, at: datetime | None = None, *, environment: str | None = None
) -> int:
    """Count the requests that were missing from the list, as of a time.

    Args:
        connection: to the mirror's database.
        at: the time (UTC); None for now.
        environment: only requests of this environment; None for all.
    """
    source = release_requests if at is None else versions_view
    conditions = [source.c.missing_since.is_not(None), *in_environment(source.c, environment)]
    if at is not None:
        conditions += _in_effect(source.c.valid_from, source.c.valid_to, at)
    return _count(connection, source, conditions)


def count_quarantined(
    connection: Connection, at: datetime | None = None, *, environment: str | None = None
) -> int:
    """Count the entries of the list that could not be understood, as of a time.

    Args:
        connection: to the mirror's database.
        at: the time (UTC); None for now.
        environment: only entries of this environment; None for all.
    """
    columns = quarantined_records.c
    conditions = in_environment(columns, environment)
    if at is None:
        conditions.append(columns.resolved_at.is_(None))
    else:
        conditions += _in_effect(columns.first_seen_at, columns.resolved_at, at)
    return _count(connection, quarantined_records, conditions)


def _in_effect(
    start: sa.ColumnElement[Any], end: sa.ColumnElement[Any], at: datetime
) -> list[sa.ColumnElement[bool]]:
    return [start <= at, sa.or_(end.is_(None), end > at)]


def recent_changes(
    connection: Connection, period: Period, *, environment: str | None = None, limit: int
) -> Limited[Change]:
    """Return the changes that syncs saw in a period, last first.

    The view compares versions field by field, so it is queried only from the time on at which the
    last `limit` versions ended. The total counts the versions that ended: a request that returned
    with other fields has two rows in the view, and counts once.

    Args:
        connection: to the mirror's database.
        period: the period.
        environment: only changes in this environment; None for all.
        limit: maximum number of changes.
    """
    view, ended = changes_view.c, past_versions.c.valid_to
    in_period = [
        *between(ended, period.start, period.end),
        *in_environment(past_versions.c, environment),
    ]
    query = select_as(Change, changes_view).order_by(
        view.changed_at.desc(), view.request_id, view.kind
    )
    last = sa.select(ended).where(*in_period).order_by(ended.desc()).offset(limit).limit(1)
    since = connection.execute(last).scalar() or period.start
    changes = fetch(
        connection,
        Change,
        query.limit(limit + 1),
        [*between(view.changed_at, since, period.end), *in_environment(view, environment)],
    )
    total = _count(connection, past_versions, in_period)
    return Limited(changes[:limit], max(total, len(changes)))


@dataclass(frozen=True, slots=True)
class _Number:
    environment: str
    phone_number: str


def repeat_numbers(
    connection: Connection, period: Period, *, environment: str | None = None, limit: int
) -> Limited[PhoneNumber]:
    """Return the numbers with more than one request, most requests first.

    Included are numbers whose first request was submitted before the end of a period, and the last
    one not before its start. They are ranked by the table of requests and only the first ones read
    from the view: ranking by the view takes seven times as long.

    Args:
        connection: to the mirror's database.
        period: the period.
        environment: only numbers of this environment; None for all.
        limit: maximum number of numbers.
    """
    count = sa.func.count()
    last = sa.func.max(_requests.requested_at)
    ranking = (
        sa.select(_requests.environment, _requests.phone_number)
        .group_by(_requests.phone_number, _requests.environment)
        .having(
            sa.and_(
                count > 1,
                last >= period.start,
                sa.func.min(_requests.requested_at) < period.end,
            )
        )
        .order_by(count.desc(), last.desc(), _requests.phone_number, _requests.environment)
    )
    ranked = fetch_limited(
        connection, _Number, ranking, in_environment(_requests, environment), limit
    )
    in_rows = numbers_view.c.phone_number.in_({row.phone_number for row in ranked.rows})
    numbers = {
        (number.environment, number.phone_number): number
        for number in fetch(
            connection, PhoneNumber, select_as(PhoneNumber, numbers_view), [in_rows]
        )
    }
    return Limited(
        [numbers[row.environment, row.phone_number] for row in ranked.rows], ranked.total
    )


def last_events(
    connection: Connection, number: PhoneNumber, *, limit: int
) -> Limited[HistoryEvent]:
    """Return the last events of a phone number in its environment, oldest first.

    Args:
        connection: to the mirror's database.
        number: the phone number.
        limit: maximum number of events.
    """
    view = history_view.c
    query = select_as(HistoryEvent, history_view).order_by(
        *(column.desc() for column in HISTORY_ORDER)
    )
    conditions = [
        view.phone_number == number.phone_number,
        view.environment == number.environment,
    ]
    events = fetch_limited(connection, HistoryEvent, query, conditions, limit)
    return Limited(events.rows[::-1], events.total)
