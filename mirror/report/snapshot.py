"""The mirror at a time: what is open, missing and in quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.models import is_resolved, quarantined_records, release_requests
from mirror.db.views import turnaround as turnaround_view
from mirror.queries.helpers import QUARANTINE_ORDER, known_requests
from mirror.queries.results import Limited, QuarantinedRecord, ReleaseRequest
from mirror.queries.select import (
    Conditions,
    between,
    fetch,
    fetch_limited,
    in_environment,
    select_as,
)

_requests = release_requests.c
_unresolved = sa.not_(is_resolved(release_requests))


@dataclass(frozen=True, slots=True)
class OpenRequests:
    """The open requests of an environment, counted.

    Attributes:
        count: how many.
        oldest: when the oldest one was submitted (UTC).
        older: how many of them were submitted at or before each of some times.
    """

    count: int
    oldest: datetime
    older: Sequence[int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Queries for the state at a time.

    Attributes:
        connection: to the mirror's database.
        environment: only this environment; None for all.
        at: the time (UTC), or None for now.
    """

    connection: Connection
    environment: str | None = None
    at: datetime | None = None

    def open_requests(self, *, limit: int) -> Limited[ReleaseRequest]:
        """Return the first open requests, neither resolved nor missing; oldest first.

        Those of a time that has passed are open by what is known now: for a request that was
        reopened, its last resolution counts.
        """
        query = select_as(ReleaseRequest, release_requests).order_by(
            _requests.requested_at, _requests.id
        )
        open_now = fetch_limited(self.connection, ReleaseRequest, query, self._is_open(), limit)
        if self.at is None:
            return open_now
        resolved_later = self._resolved_later(self.at, limit)
        in_rows = _requests.id.in_([row.id for row in resolved_later.rows])
        rows = open_now.rows + fetch(self.connection, ReleaseRequest, query, [in_rows])
        rows.sort(key=lambda request: (request.requested_at, request.id))
        return Limited(rows[:limit], open_now.total + resolved_later.total)

    def count_open(self, since: Sequence[datetime | None]) -> dict[str, OpenRequests]:
        """Count the requests that `open_requests` returns, by environment.

        Args:
            since: times (UTC): also count those submitted at or before each of them. None, for a
                time before the calendar, counts none.
        """
        sources: list[tuple[sa.Table, list[sa.ColumnElement[bool]]]]
        sources = [(release_requests, self._is_open())]
        if self.at is not None:
            sources.append((turnaround_view, self._is_resolved_later(self.at)))
        found: dict[str, OpenRequests] = {}
        for source, conditions in sources:
            requested_at = source.c.requested_at
            older = (
                sa.func.count(sa.null() if time is None else sa.case((requested_at <= time, 1)))
                for time in since
            )
            query = (
                sa.select(source.c.environment, sa.func.count(), sa.func.min(requested_at), *older)
                .where(*conditions)
                .group_by(source.c.environment)
            )
            for environment, count, oldest, *counts in self.connection.execute(query):
                other = found.get(environment, OpenRequests(0, oldest, [0] * len(since)))
                found[environment] = OpenRequests(
                    other.count + count,
                    min(other.oldest, oldest),
                    [sum(pair) for pair in zip(other.older, counts, strict=True)],
                )
        return found

    def _is_open(self) -> list[sa.ColumnElement[bool]]:
        conditions = [_unresolved, *in_environment(_requests, self.environment)]
        if self.at is None:
            return [*conditions, _requests.missing_since.is_(None)]
        return [
            *conditions,
            sa.or_(_requests.requested_at < self.at, _requests.first_seen_at < self.at),
            sa.or_(_requests.missing_since.is_(None), _requests.missing_since >= self.at),
        ]

    def _is_resolved_later(self, at: datetime) -> list[sa.ColumnElement[bool]]:
        view = turnaround_view.c
        was_missing = sa.exists().where(_requests.id == view.id, _requests.missing_since < at)
        was_seen = sa.exists().where(_requests.id == view.id, _requests.first_seen_at < at)
        return [
            sa.or_(view.requested_at < at, was_seen),  # the latter: by a wrong clock
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

    def missing(self) -> Counter[str]:
        """Count the requests missing from the list, by environment."""
        source, conditions = self._missing()
        return self._counter(source, conditions)

    def missing_requests(
        self, *, limit: int, since: datetime | None = None
    ) -> Limited[ReleaseRequest]:
        """Return the missing requests, or those that went missing since; the last one first."""
        source, conditions = self._missing()
        conditions += between(source.c.missing_since, since, None)
        query = select_as(ReleaseRequest, source).order_by(
            source.c.missing_since.desc(), source.c.id
        )
        return fetch_limited(self.connection, ReleaseRequest, query, conditions, limit)

    def _missing(self) -> tuple[sa.Table, list[sa.ColumnElement[bool]]]:
        source, conditions = known_requests(self.environment, self.at)
        return source, [*conditions, source.c.missing_since.is_not(None)]

    def quarantined(self) -> Counter[str]:
        """Count the entries of the list in quarantine, by environment."""
        return self._counter(quarantined_records, self._in_quarantine())

    def quarantined_records(self, *, limit: int) -> Limited[QuarantinedRecord]:
        """Return the entries in quarantine; first seen last first."""
        query = select_as(QuarantinedRecord, quarantined_records).order_by(*QUARANTINE_ORDER)
        conditions = self._in_quarantine()
        return fetch_limited(self.connection, QuarantinedRecord, query, conditions, limit)

    def _in_quarantine(self) -> list[sa.ColumnElement[bool]]:
        columns = quarantined_records.c
        scope = in_environment(columns, self.environment)
        if self.at is None:
            return [*scope, columns.resolved_at.is_(None)]
        still = sa.or_(columns.resolved_at.is_(None), columns.resolved_at > self.at)
        return [*scope, columns.first_seen_at <= self.at, still]

    def _counter(self, source: sa.Table, conditions: Conditions) -> Counter[str]:
        by = source.c.environment
        query = sa.select(by, sa.func.count()).where(*conditions).group_by(by)
        return Counter(dict(self.connection.execute(query).all()))


@dataclass(frozen=True, slots=True)
class _RequestId:
    id: str
