"""The requests that were open at a time, as the view `release_requests_daily` counts them.

What a sync saw before the time counts as it was then. What a later sync saw counts if upstream
reported that it happened before: that a request was submitted, or resolved.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from mirror.db.models import CLOSED_STATUSES, is_resolved, past_versions, release_requests
from mirror.queries.select import Columns, in_environment

_requests = release_requests.c


def open_then(at: datetime, environment: str | None) -> sa.Subquery:
    """Select id, environment and time of submission of the requests that were open at a time.

    Args:
        at: the time (UTC).
        environment: only this environment; None for all.
    """
    then = past_versions.alias("then").c
    columns = (_requests.id, _requests.environment, _requests.requested_at)
    scope = in_environment(_requests, environment)
    unchanged_since = sa.select(*columns).where(
        _requests.valid_from < at,
        _requests.missing_since.is_(None),
        ~is_resolved(release_requests),
        *scope,
    )
    changed_since = sa.select(*columns).where(
        _requests.id == then.id,
        then.valid_from < at,
        then.valid_to >= at,
        then.missing_since.is_(None),
        ~_period_is_closed(then),
        ~_closed_before(at),
        *scope,
    )
    seen_since = sa.select(*columns).where(
        _requests.requested_at < at,
        _requests.first_seen_at >= at,
        ~_closed_before(at),
        ~_was_closed_when_first_seen(),
        *scope,
    )
    return sa.union_all(unchanged_since, changed_since, seen_since).subquery()


def _period_is_closed(then: Columns) -> sa.ColumnElement[bool]:
    """Return whether a past version is one of a status that closed the request.

    One that is not documented did so if the last of its successive versions has a time.
    """
    others, last = past_versions.alias("other"), past_versions.alias("last").c
    other = others.c
    left_at = sa.func.coalesce(
        sa.select(sa.func.min(other.valid_from))
        .where(other.id == then.id, other.valid_from > then.valid_from)
        .where(other.status != then.status)
        .correlate_except(others)
        .scalar_subquery(),
        sa.case((_requests.status != then.status, _requests.valid_from)),
    )
    last_time = sa.case(
        (left_at.is_(None), _requests.resolved_at),
        else_=sa.select(last.resolved_at)
        .where(last.id == then.id, last.valid_to == left_at)
        .scalar_subquery(),
    )
    undocumented = then.status.not_in(("pending", *CLOSED_STATUSES))
    return sa.or_(then.status.in_(CLOSED_STATUSES), sa.and_(undocumented, last_time.is_not(None)))


def _closed_before(at: datetime) -> sa.ColumnElement[bool]:
    """Return whether a sync after a time saw that the request had been resolved before it.

    A time of resolution that upstream had reported before the request was reopened does not count.
    """
    past = past_versions.alias("past").c

    def reported(version: Columns) -> list[sa.ColumnElement[bool]]:
        earlier = past_versions.alias("earlier").c
        again = sa.exists().where(
            earlier.id == version.id,
            earlier.valid_to <= at,
            earlier.status == version.status,
            earlier.resolved_at == version.resolved_at,
        )
        return [
            version.valid_from >= at,
            version.status != "pending",
            version.resolved_at.is_not(None),
            version.resolved_at < at,
            ~again,
        ]

    return sa.or_(
        sa.and_(*reported(_requests)),
        sa.exists().where(past.id == _requests.id, *reported(past), _is_last_of_its_status(past)),
    )


def _was_closed_when_first_seen() -> sa.ColumnElement[bool]:
    """Return whether the request was resolved at an unknown time before it was first seen."""
    past = past_versions.alias("past").c

    def undated(version: Columns) -> list[sa.ColumnElement[bool]]:
        earlier = past_versions.alias("earlier").c
        had_another = sa.exists().where(
            earlier.id == version.id,
            earlier.valid_from < version.valid_from,
            earlier.status != version.status,
        )
        return [version.status.in_(CLOSED_STATUSES), version.resolved_at.is_(None), ~had_another]

    return sa.or_(
        sa.and_(*undated(_requests)),
        sa.exists().where(past.id == _requests.id, *undated(past), _is_last_of_its_status(past)),
    )


def _is_last_of_its_status(past: Columns) -> sa.ColumnElement[bool]:
    """Return whether the version that follows a past one has another status."""
    following = past_versions.alias("following").c
    status = (
        sa.select(following.status)
        .where(following.id == past.id, following.valid_from == past.valid_to)
        .scalar_subquery()
    )
    return sa.func.coalesce(status, _requests.status) != past.status
