"""Delete old runs that nothing refers to.

Each sync records a run, so `sync_runs` is what grows where nothing else happens. Requests and their
versions are never pruned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mirror.db import replication, revisions
from mirror.db.engine import read_transaction, write_transaction
from mirror.db.models import past_versions, quarantined_records, release_requests, sync_runs

LOCK = "prune"
"""Name of the writer's lock in Postgres: one pruning at a time."""

_runs = sync_runs.c


@dataclass(frozen=True, slots=True)
class Pruned:
    """The result of pruning, or in a dry run what it would be.

    Attributes:
        removed: runs that were removed.
        kept: runs that began before the time as well, but are needed.
        remaining: all runs that are left, those included.
    """

    removed: int
    kept: int
    remaining: int


def prune(engine: Engine, *, before: datetime, dry_run: bool = False) -> Pruned:
    """Delete the runs that began before a time and are not needed.

    Needed are the runs that a request, a past version or a record in quarantine refers to, the last
    run of each environment, its last completed one, and those still `running`. A SQLite file does
    not shrink, but reuses the space.

    Args:
        engine: the mirror's database.
        before: the time (UTC).
        dry_run: count only.

    Raises:
        SchemaError: the schema is not the one that this version works with.
        DatabaseError: the database refused, is a logical subscriber, or was busy for too long.
    """
    count = sa.func.count()
    with read_transaction(engine) if dry_run else write_transaction(engine, LOCK) as connection:
        check_schema = revisions.require_current if dry_run else revisions.hold_current
        check_schema(connection)
        replication.refuse_subscriber(connection)
        prunable = _prunable(before)
        if dry_run:
            removed = connection.scalar(sa.select(count).select_from(prunable.subquery())) or 0
        else:
            removed = connection.execute(
                sa.delete(sync_runs).where(_runs.id.in_(prunable))
            ).rowcount
        total, old = connection.execute(
            sa.select(count, count.filter(_runs.started_at < before)).select_from(sync_runs)
        ).one()
    still_counted = removed if dry_run else 0
    return Pruned(removed, kept=old - still_counted, remaining=total - still_counted)


def _prunable(before: datetime) -> sa.CompoundSelect[int]:
    """Select the ids of the runs that are not needed, as a set difference.

    A subquery for each run would take hours: no index leads from a run to its references.
    """
    # In Postgres a concurrent sync holds another lock, that of its environment. It needs none of
    # the deleted runs, because the statement sees one snapshot (READ COMMITTED):
    # - The sync's own run is not in the snapshot, or is `running`: it is kept.
    # - The sync adds references to its own run only. It moves references from a request to its
    #   past version in one transaction: the snapshot has them in one of the two tables.
    # - It compares the last completion with the one at its beginning. The last one of the snapshot
    #   is kept; if there is a later one by then, that differs from any that is deleted.
    # - It updates only runs that are `running`, which are kept: neither waits for the other.
    # Only a run that was marked abandoned and is still running may find its row deleted, and then
    # fails. It is superseded, so it had nothing to apply.
    last = sa.select(_runs.environment, sa.func.max(_runs.completion)).group_by(_runs.environment)
    quarantined = quarantined_records.c
    return sa.except_(
        sa.select(_runs.id).where(_runs.started_at < before, _runs.outcome != "running"),
        sa.select(sa.func.max(_runs.id)).group_by(_runs.environment),
        sa.select(_runs.id).where(sa.tuple_(_runs.environment, _runs.completion).in_(last)),
        sa.select(release_requests.c.sync_run_id),
        sa.select(past_versions.c.sync_run_id),
        sa.select(quarantined.first_run_id),
        sa.select(quarantined.last_run_id),
    )
