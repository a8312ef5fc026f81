"""Pruning: old runs go, except those that something still rests on.

A run is on record for each sync, so they are what grows where nothing else happens. What the mirror
knows of requests is never pruned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mirror.db import migrate
from mirror.db.engine import read_transaction, write_transaction
from mirror.db.models import past_versions, quarantined_records, release_requests, sync_runs

LOCK = "prune"
"""Name of the writer's lock in Postgres, so that one pruning goes on at a time."""

_runs = sync_runs.c


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning did, or would do.

    Attributes:
        removed: runs that were removed.
        kept: runs that began before the time as well, but are needed.
        remaining: runs that are on record afterwards, those included.
    """

    removed: int
    kept: int
    remaining: int


def prune(engine: Engine, *, before: datetime, dry_run: bool = False) -> Pruned:
    """Remove the runs that began before a time and that nothing rests on, and nothing else.

    Kept are the runs that a request, a past version or a record in quarantine refers to, the last
    run of each environment, its last complete one, and those that say `running`. A file of SQLite
    does not shrink by it, but uses the room again.

    Args:
        engine: the mirror's database.
        before: the time (UTC).
        dry_run: count alone, and remove nothing.

    Raises:
        SchemaError: the schema is not the one that this version works with.
        DatabaseError: the database refused, or was busy for too long.
    """
    count = sa.func.count()
    with read_transaction(engine) if dry_run else write_transaction(engine, LOCK) as connection:
        migrate.require_current(connection)
        needless = _needless(before)
        if dry_run:
            removed = connection.scalar(sa.select(count).select_from(needless.subquery())) or 0
        else:
            removed = connection.execute(
                sa.delete(sync_runs).where(_runs.id.in_(needless))
            ).rowcount
        total, old = connection.execute(
            sa.select(count, count.filter(_runs.started_at < before)).select_from(sync_runs)
        ).one()
    still_there = removed if dry_run else 0
    return Pruned(removed, kept=old - still_there, remaining=total - still_there)


def _needless(before: datetime) -> sa.CompoundSelect[int]:
    """Select the numbers of the runs that may go, as a difference of sets.

    A search for each run would take hours: no index leads from a run to what refers to it.
    """
    # A sync that goes on meanwhile holds another lock in Postgres, that of its environment. It
    # needs nothing of what goes, wherever it is, as all goes by the one snapshot that READ
    # COMMITTED gives to a statement:
    # - Its own run is not in the snapshot, or says `running`: it is kept.
    # - It refers to no run anew but its own. What it moves, from a request to its past version, is
    #   in one transaction: the snapshot has it in one of the two places.
    # - It compares the last complete run with the one that was it when it began. That of the
    #   snapshot is kept; if there is a later one by then, it differs from any that is gone.
    # - It updates no run but those that say `running`, which are kept: nobody waits for anybody.
    # Only a run that was given up for dead and wakes up after all may find its row gone, and then
    # says so. It was overtaken, so there is nothing that it would have applied.
    ends = sa.select(_runs.environment, sa.func.max(_runs.completion)).group_by(_runs.environment)
    kept = quarantined_records.c
    return sa.except_(
        sa.select(_runs.id).where(_runs.started_at < before, _runs.outcome != "running"),
        sa.select(sa.func.max(_runs.id)).group_by(_runs.environment),
        sa.select(_runs.id).where(sa.tuple_(_runs.environment, _runs.completion).in_(ends)),
        sa.select(release_requests.c.sync_run_id),
        sa.select(past_versions.c.sync_run_id),
        sa.select(kept.first_run_id),
        sa.select(kept.last_run_id),
    )
