"""What runs of `mirror sync` saw: changes, and requests that were new."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.models import sync_runs
from mirror.db.views import changes, versions
from mirror.queries.helpers import CHANGES_ORDER
from mirror.queries.results import Change, Limited, ReleaseRequest
from mirror.queries.select import fetch_limited, select_as


def changes_of_runs(
    connection: Connection, run_ids: Collection[int], limit: int
) -> Limited[Change]:
    """Return the changes that runs saw, newest first.

    Args:
        connection: to the mirror's database.
        run_ids: numbers of applied runs.
        limit: return at most this many.
    """
    view = changes.c
    query = select_as(Change, changes).order_by(*CHANGES_ORDER)
    conditions = [view.sync_run_id.in_(run_ids), view.changed_at.in_(_times(run_ids))]
    return fetch_limited(connection, Change, query, conditions, limit)


def new_requests_of_runs(
    connection: Connection, run_ids: Collection[int], limit: int
) -> Limited[ReleaseRequest]:
    """Return the requests that runs saw for the first time, as they were then, newest first.

    Args:
        connection: to the mirror's database.
        run_ids: numbers of applied runs.
        limit: return at most this many.
    """
    view = versions.c
    query = select_as(ReleaseRequest, versions).order_by(view.requested_at.desc(), view.id)
    conditions = [
        view.sync_run_id.in_(run_ids),
        view.valid_from.in_(_times(run_ids)),
        view.valid_from == view.first_seen_at,
    ]
    return fetch_limited(connection, ReleaseRequest, query, conditions, limit)


def _times(run_ids: Collection[int]) -> sa.Select[tuple[object]]:
    """Select the times that the changes of runs carry: the run's number has no index."""
    return sa.select(sync_runs.c.observed_at).where(sync_runs.c.id.in_(run_ids))
