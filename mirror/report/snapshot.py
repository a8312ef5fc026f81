"""The mirror at a time: what is open, missing and in quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.models import is_resolved, quarantined_records, release_requests
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
from mirror.report.open_then import open_then

_requests = release_requests.c


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
        """Return the first open requests, neither resolved nor missing; oldest first."""
        found = self._open()
        query = sa.select(found.c.id).order_by(found.c.requested_at, found.c.id)
        first = fetch_limited(self.connection, _RequestId, query, [], limit)
        requests = select_as(ReleaseRequest, release_requests).order_by(
            _requests.requested_at, _requests.id
        )
        in_rows = _requests.id.in_([row.id for row in first.rows])
        return Limited(fetch(self.connection, ReleaseRequest, requests, [in_rows]), first.total)

    def count_open(self, since: Sequence[datetime | None]) -> dict[str, OpenRequests]:
        """Count the requests that `open_requests` returns, by environment.

        Args:
            since: times (UTC): also count those submitted at or before each of them. None, for a
                time before the calendar, counts none.
        """
        found = self._open().c
        older = (
            sa.func.count(sa.null() if time is None else sa.case((found.requested_at <= time, 1)))
            for time in since
        )
        query = sa.select(
            found.environment, sa.func.count(), sa.func.min(found.requested_at), *older
        ).group_by(found.environment)
        return {
            environment: OpenRequests(count, oldest, counts)
            for environment, count, oldest, *counts in self.connection.execute(query)
        }

    def _open(self) -> sa.Subquery:
        """Select id, environment and time of submission of the open requests."""
        if self.at is not None:
            return open_then(self.at, self.environment)
        return (
            sa.select(_requests.id, _requests.environment, _requests.requested_at)
            .where(
                ~is_resolved(release_requests),
                _requests.missing_since.is_(None),
                *in_environment(_requests, self.environment),
            )
            .subquery()
        )

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
