"""What there is to count and to rank in a period, asked of the views as a whole.

These are sums over many rows, and the first of many rows; `mirror.queries.helpers` has the rows
themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.models import is_resolved, past_versions, quarantined_records, release_requests
from mirror.db.types import Identifier, utc_day
from mirror.db.views import changes as changes_view
from mirror.db.views import history as history_view
from mirror.db.views import numbers as numbers_view
from mirror.db.views import turnaround as turnaround_view
from mirror.db.views import versions as versions_view
from mirror.queries.helpers import EVENTS_IN_ORDER
from mirror.queries.results import Change, Day, HistoryEvent, Limited, PhoneNumber, ReleaseRequest
from mirror.queries.select import (
    Conditions,
    between,
    fetch,
    fetch_limited,
    in_environment,
    select_as,
)
from mirror.report.period import Period

_current = release_requests.c
_unresolved = sa.not_(is_resolved(release_requests))


@dataclass(frozen=True, slots=True)
class Hours:
    """How long the reviews took that ended in a period.

    Attributes:
        requests: how many of them have a time that upstream reported; of the others only an upper
            bound is known, and they are left out.
        median: hours within which half of these ended, or None if there are none.
        percentile_90: hours within which nine in ten of them ended.
    """

    requests: int
    median: float | None
    percentile_90: float | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened in a period: the events of the phone numbers, counted.

    Attributes:
        requested, approved, rejected, cancelled: how many requests were.
    """

    requested: int
    approved: int
    rejected: int
    cancelled: int

    @property
    def resolved(self) -> int:
        """How many were approved, rejected or cancelled."""
        return self.approved + self.rejected + self.cancelled

    @property
    def approval_rate(self) -> float | None:
        """Percentage of the decisions that were approvals; None if there was none."""
        decided = self.approved + self.rejected
        return 100 * self.approved / decided if decided else None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why requests were rejected.

    Attributes:
        reason: as upstream gave it, or None.
        requests: how many were rejected for it.
    """

    reason: str | None
    requests: int


def counts(days: Iterable[Day], period: Period) -> Counts:
    """Sum up the days of a period, over all environments."""
    within_it = [one for one in days if one.day in period]
    return Counts(
        requested=sum(one.requested for one in within_it),
        approved=sum(one.approved for one in within_it),
        rejected=sum(one.rejected for one in within_it),
        cancelled=sum(one.cancelled for one in within_it),
    )


def hours_by_day(
    connection: Connection, period: Period, *, environment: str | None = None
) -> dict[date, list[float]]:
    """Return how many hours each review took that ended in a period, by the day on which it did.

    Args:
        connection: to the mirror's database.
        period: which one.
        environment: only requests of this environment; None for all.

    Returns:
        The reviews whose time was reported by upstream.
    """
    view = turnaround_view.c
    query = sa.select(utc_day(view.resolved_at), view.hours_to_resolve).where(
        view.time_source == "reported",
        *between(view.resolved_at, period.start, period.end),
        *in_environment(view, environment),
    )
    found: defaultdict[object, list[float]] = defaultdict(list)
    for ended_on, hours in connection.execute(query):
        found[ended_on].append(hours)
    return {date.fromisoformat(str(ended_on)): hours for ended_on, hours in found.items()}


def hours(by_day: Mapping[date, Sequence[float]], period: Period) -> Hours:
    """Return how long the reviews took that ended in a period.

    A percentile is the least of the times within which so many reviews ended, as in the cookbook.

    Args:
        by_day: hours of each review, by the day on which it ended.
        period: which of the days.
    """
    ordered = sorted(chain.from_iterable(some for day, some in by_day.items() if day in period))
    return Hours(len(ordered), _percentile(ordered, 50), _percentile(ordered, 90))


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    return ordered[-(len(ordered) * percent // -100) - 1] if ordered else None


def released(connection: Connection, period: Period, *, environment: str | None = None) -> int:
    """Return how many phone numbers were released in a period.

    A number was released when a request for it was approved, unless upstream took that back.

    Args:
        connection: to the mirror's database.
        period: which one.
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
    """Return why requests were rejected in a period, the most frequent reason first.

    Those that are as frequent come in the order of their characters, in both databases alike.

    Args:
        connection: to the mirror's database.
        period: in which they were.
        environment: only requests of this environment; None for all.
        limit: at most so many reasons.
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


def open_requests(
    connection: Connection,
    *,
    at: datetime | None = None,
    environment: str | None = None,
    limit: int,
) -> Limited[ReleaseRequest]:
    """Return the requests that are open: neither resolved nor missing; the oldest first.

    Args:
        connection: to the mirror's database.
        at: those that were so at this time (UTC), as well as is known now; of a request that was
            reopened, its last resolution counts. None for now.
        environment: only those of this environment; None for all.
        limit: at most so many.
    """
    conditions = in_environment(_current, environment)
    query = select_as(ReleaseRequest, release_requests).order_by(_current.requested_at, _current.id)
    if at is None:
        conditions += [_unresolved, _current.missing_since.is_(None)]
        return fetch_limited(connection, ReleaseRequest, query, conditions, limit)
    conditions += [
        _unresolved,
        _current.requested_at < at,
        sa.or_(_current.missing_since.is_(None), _current.missing_since >= at),
    ]
    still = fetch_limited(connection, ReleaseRequest, query, conditions, limit)
    later = _resolved_later(connection, at, environment, limit)
    found = _current.id.in_([one.id for one in later.rows])
    both = still.rows + fetch(connection, ReleaseRequest, query, [found])
    both.sort(key=lambda one: (one.requested_at, one.id))
    return Limited(both[:limit], still.total + later.total)


@dataclass(frozen=True, slots=True)
class _Id:
    """Of which request."""

    id: str


def _resolved_later(
    connection: Connection, at: datetime, environment: str | None, limit: int
) -> Limited[_Id]:
    """Return the first of the requests that were submitted before a time and resolved after it."""
    view = turnaround_view.c
    gone = sa.exists().where(_current.id == view.id, _current.missing_since < at)
    return fetch_limited(
        connection,
        _Id,
        select_as(_Id, turnaround_view).order_by(view.requested_at, view.id),
        [view.requested_at < at, view.resolved_at >= at, ~gone, *in_environment(view, environment)],
        limit,
    )


def count_missing(
    connection: Connection, at: datetime | None = None, *, environment: str | None = None
) -> int:
    """Return how many requests were missing from the list, as far as was seen.

    Args:
        connection: to the mirror's database.
        at: when (UTC); None for now.
        environment: only those of this environment; None for all.
    """
    source = release_requests if at is None else versions_view
    conditions = [source.c.missing_since.is_not(None), *in_environment(source.c, environment)]
    if at is not None:
        valid_to = versions_view.c.valid_to
        conditions += [source.c.valid_from <= at, sa.or_(valid_to.is_(None), valid_to > at)]
    return _count(connection, source, conditions)


def count_quarantined(
    connection: Connection, at: datetime | None = None, *, environment: str | None = None
) -> int:
    """Return how many entries of the list could not be understood.

    Args:
        connection: to the mirror's database.
        at: when (UTC); None for now.
        environment: only those of this environment; None for all.
    """
    columns = quarantined_records.c
    conditions = in_environment(columns, environment)
    if at is None:
        conditions.append(columns.resolved_at.is_(None))
    else:
        resolved_at = columns.resolved_at
        conditions += [
            columns.first_seen_at <= at,
            sa.or_(resolved_at.is_(None), resolved_at > at),
        ]
    return _count(connection, quarantined_records, conditions)


def recent_changes(
    connection: Connection, period: Period, *, environment: str | None = None, limit: int
) -> Limited[Change]:
    """Return the changes that syncs saw in a period, the last one first.

    The view is asked for the time in which the last versions ended, not for all of the period: it
    compares versions field by field. Of all, the versions that ended are counted; the change of a
    request that returned with other fields, which is two rows of the view, is one of them.

    Args:
        connection: to the mirror's database.
        period: in which they saw them.
        environment: only changes in this environment; None for all.
        limit: at most so many.
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
    found = fetch(
        connection,
        Change,
        query.limit(limit + 1),
        [*between(view.changed_at, since, period.end), *in_environment(view, environment)],
    )
    total = _count(connection, past_versions, in_period)
    return Limited(found[:limit], max(total, len(found)))


def repeat_numbers(
    connection: Connection, period: Period, *, environment: str | None = None, limit: int
) -> Limited[PhoneNumber]:
    """Return the numbers that were asked for more than once, the one asked for most first.

    Those whose first request was submitted before a period ended, and the last not before it began.
    The view knows the numbers, but ranking all of them by it takes seven times as long as counting
    the requests here; so it is asked only about the first ones.

    Args:
        connection: to the mirror's database.
        period: which one.
        environment: only numbers of this environment; None for all.
        limit: at most so many.
    """
    count = sa.func.count()
    last = sa.func.max(_current.requested_at)
    ranked = (
        sa.select(_current.environment, _current.phone_number)
        .group_by(_current.phone_number, _current.environment)
        .having(
            sa.and_(
                count > 1,
                last >= period.start,
                sa.func.min(_current.requested_at) < period.end,
            )
        )
        .order_by(count.desc(), last.desc(), _current.phone_number, _current.environment)
    )
    first = fetch_limited(connection, _Number, ranked, in_environment(_current, environment), limit)
    view = numbers_view.c
    asked = [view.phone_number.in_({one.phone_number for one in first.rows})]
    known = {
        (one.environment, one.phone_number): one
        for one in fetch(connection, PhoneNumber, select_as(PhoneNumber, numbers_view), asked)
    }
    return Limited(
        [known[one.environment, one.phone_number] for one in first.rows],
        first.total,
    )


@dataclass(frozen=True, slots=True)
class _Number:
    """Which number of which environment."""

    environment: str
    phone_number: str


def last_events(
    connection: Connection, number: PhoneNumber, *, limit: int
) -> Limited[HistoryEvent]:
    """Return the time line of a phone number in its environment, oldest event first.

    Args:
        connection: to the mirror's database.
        number: which one.
        limit: at most so many events, the last ones.
    """
    view = history_view.c
    query = select_as(HistoryEvent, history_view).order_by(*(one.desc() for one in EVENTS_IN_ORDER))
    conditions = [
        view.phone_number == number.phone_number,
        view.environment == number.environment,
    ]
    found = fetch_limited(connection, HistoryEvent, query, conditions, limit)
    return Limited(found.rows[::-1], found.total)
