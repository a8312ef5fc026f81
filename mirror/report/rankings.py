"""The first of many: rejections repeated, changes, and numbers requested more than once."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.models import is_resolved, past_versions, release_requests
from mirror.db.types import Identifier
from mirror.db.views import changes as changes_view
from mirror.db.views import history as history_view
from mirror.db.views import numbers as numbers_view
from mirror.db.views import turnaround as turnaround_view
from mirror.queries.helpers import CHANGES_ORDER, HISTORY_ORDER
from mirror.queries.results import Change, HistoryEvent, Limited, PhoneNumber
from mirror.queries.select import between, fetch, fetch_limited, in_environment, select_as
from mirror.report.model import RepeatedRejection, SyncChanges
from mirror.report.period import Period

_requests = release_requests.c

_SURPRISES = ("reopened", "corrected", "vanished", "returned")
"""Kinds of changes that a review does not end with."""

_FIELDS = (
    *("phone_number_id", "phone_number", "reason", "status", "rejection_reason"),
    *("requested_at", "resolved_at"),
)
"""Fields of a version whose change is one of content."""

_MAX_CANDIDATES = 1000
"""Phone numbers: if there are more, reading all is as fast as looking each of them up."""


@dataclass(frozen=True, slots=True)
class Rankings:
    """Queries for the first rows of rankings.

    Attributes:
        connection: to the mirror's database.
        environment: only this environment; None for all.
    """

    connection: Connection
    environment: str | None = None

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
            sa.cast(columns.rejection_reason, Identifier),
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
        syncs = self._syncs(period)
        total, since = 0, None
        for sync in syncs:
            if total < max_surprises:
                since = sync.changed_at
            total += sync.surprises
        surprises: list[Change] = []
        if total:
            query = select_as(Change, changes_view).order_by(*CHANGES_ORDER)
            last = [*in_period, view.kind.in_(_SURPRISES), *between(view.changed_at, since)]
            surprises = fetch(self.connection, Change, query.limit(max_surprises), last)
        return Limited(syncs[:max_syncs], len(syncs)), Limited(surprises, total)

    def _syncs(self, period: Period) -> list[SyncChanges]:
        """Return the syncs that saw changes in a period, last first.

        Counted in the tables: the view joins them twice, and names the fields of each change.
        """
        earlier = past_versions
        in_period = between(earlier.c.valid_to, period.start, period.end)
        changes = []
        for later in (release_requests, past_versions.alias("later")):
            was_listed, is_listed = (v.c.missing_since.is_(None) for v in (earlier, later))
            differs = sa.or_(*(earlier.c[f].is_distinct_from(later.c[f]) for f in _FIELDS))
            presence = sa.case(
                (sa.and_(was_listed, ~is_listed), "vanished"),
                (sa.and_(~was_listed, is_listed), "returned"),
            )
            content = sa.case(
                (~sa.and_(is_listed, sa.or_(was_listed, differs)), None),
                (sa.and_(later.c.status == "pending", earlier.c.status != "pending"), "reopened"),
                (sa.and_(is_resolved(later), ~is_resolved(earlier)), "resolved"),
                else_="corrected",
            )
            changes.append(
                sa.select(
                    earlier.c.valid_to.label("changed_at"),
                    later.c.environment,
                    later.c.sync_run_id,
                    presence.label("presence"),
                    content.label("content"),
                ).where(
                    later.c.id == earlier.c.id,
                    # coalesce() keeps SQLite from looking past versions up by valid_to.
                    later.c.valid_from == sa.func.coalesce(earlier.c.valid_to, sa.null()),
                    *in_period,
                    *in_environment(later.c, self.environment),
                )
            )
        change = sa.union_all(*changes).subquery().c
        kinds = (
            sa.func.count(sa.case((sa.or_(change.presence == kind, change.content == kind), 1)))
            for kind in ("resolved", *_SURPRISES)
        )
        by = (change.changed_at, change.environment, change.sync_run_id)
        query = (
            sa.select(*by, *kinds)
            .where(sa.func.coalesce(change.presence, change.content).is_not(None))
            .group_by(*by)
            .order_by(change.changed_at.desc(), change.environment, change.sync_run_id)
        )
        return fetch(self.connection, SyncChanges, query, [])

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


@dataclass(frozen=True, slots=True)
class _Number:
    environment: str
    phone_number: str
