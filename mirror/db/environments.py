"""Environments on record: which there are, and renaming and forgetting one.

Both hold the writer's lock of each environment that they change. A sync that runs meanwhile finds
its own run gone when it ends: it applies nothing, and fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.db import bulk, prune, replication, revisions, runs
from mirror.db.commands import forget_command, rename_command
from mirror.db.engine import advisory_lock, read_transaction, write_transaction
from mirror.db.models import (
    change_cursors,
    past_versions,
    quarantined_records,
    release_requests,
    sync_runs,
)
from mirror.errors import UsageError
from mirror.text import plural, there_are

_CHILDREN_FIRST = (quarantined_records, past_versions, release_requests, sync_runs)
"""The tables with a column `environment`; records in quarantine refer to runs."""

_runs = sync_runs.c


@dataclass(frozen=True, slots=True)
class Contents:
    """What an environment has on record.

    Attributes:
        requests: its requests, missing ones included.
        past_versions: superseded versions of them.
        quarantined: records in quarantine, resolved ones included.
        runs: its runs.
        complete_runs: those of them that are complete.
    """

    requests: int
    past_versions: int
    quarantined: int
    runs: int
    complete_runs: int

    def __str__(self) -> str:
        records = plural(self.quarantined, "record")
        return (
            f"{plural(self.requests, 'request')}, {plural(self.past_versions, 'past version')}, "
            f"{records} in quarantine and {plural(self.runs, 'run')}"
        )


def unknown_to_file(
    name: str, file: Path, new_names: Sequence[str], options: Sequence[str] = ()
) -> tuple[str, str]:
    """Describe an environment on record that the configuration file does not have.

    Args:
        name: its name.
        file: the configuration file.
        new_names: the environments of the file that never had a complete sync.
        options: those of `commands.mirror_options`.

    Returns:
        What is the case, and what to do.
    """
    new_name = new_names[0] if len(new_names) == 1 else "NEW"
    return f"on record, but not in {file}", (
        f"if it has a new name, run `{rename_command(name, new_name, options)}`; to delete what "
        f"is on record, run `{forget_command(name, options)}`"
    )


def names_query() -> sa.CTE:
    """Select the environments with runs on record, and a null.

    A loose index scan: the recursion steps from one name to the next. DISTINCT would read all runs.
    """
    name = sa.func.min(_runs.environment)
    names = sa.select(name.label("environment")).cte("names", recursive=True)
    next_name = sa.select(name).where(_runs.environment > names.c.environment).scalar_subquery()
    return names.union_all(sa.select(next_name).where(names.c.environment.is_not(None)))


def on_record(connection: Connection) -> list[str]:
    """Return the names of the environments that have runs on record, in order."""
    name = names_query().c.environment
    return sorted(connection.scalars(sa.select(name).where(name.is_not(None))))


def contents(engine: Engine, name: str) -> Contents:
    """Return what an environment has on record.

    Raises:
        UsageError: it is not on record.
        SchemaError: the schema is not the one that this version works with.
    """
    with read_transaction(engine) as connection:
        revisions.require_current(connection)
        return _contents(connection, name)


def rename(engine: Engine, old: str, new: str, *, now: datetime, dry_run: bool = False) -> Contents:
    """Give an environment another name: its requests, past versions, quarantine and runs.

    Cursors of `mirror changes --new` keep their position in it.

    Args:
        engine: the mirror's database.
        old: its name on record.
        new: a usable name. It may have runs on record, but none that is complete.
        now: the present time (UTC).
        dry_run: count only.

    Returns:
        What was renamed, or in a dry run would be.

    Raises:
        UsageError: the old name is not on record, the new one is that of another environment, or
            they are the same.
        SchemaError: the schema is not the one that this version works with.
        DatabaseError: the database refused, is a logical subscriber, or was busy for too long.
    """
    if old == new:
        raise UsageError(f"{new!r} is both the old name and the new one")
    with changing(engine, old, new, dry_run=dry_run) as connection:
        renamed = _contents(connection, old)
        if new in on_record(connection) and _holds_data(existing := _contents(connection, new)):
            raise UsageError(
                f"there is an environment {new!r} already, with {existing}",
                hint="two environments cannot become one",
            )
        if not dry_run:
            _abandon_runs(connection, old, f"{old!r} was renamed to {new!r} during the run", now)
            connection.execute(sa.delete(change_cursors).where(change_cursors.c.environment == new))
            for table in (*_CHILDREN_FIRST, change_cursors):
                connection.execute(
                    sa.update(table).where(table.c.environment == old).values(environment=new)
                )
            bulk.analyze_what_grew(
                connection,
                {release_requests: renamed.requests, past_versions: renamed.past_versions},
            )
    return renamed


def forget(
    engine: Engine, name: str, *, with_requests: bool = False, dry_run: bool = False
) -> Contents:
    """Delete what is on record of an environment.

    Args:
        engine: the mirror's database.
        name: its name.
        with_requests: delete its requests and their past versions too; otherwise it must have none.
        dry_run: count only.

    Returns:
        What was deleted, or in a dry run would be.

    Raises:
        UsageError: it is not on record, or has requests.
        SchemaError: the schema is not the one that this version works with.
        DatabaseError: the database refused, is a logical subscriber, or was busy for too long.
    """
    with changing(engine, name, dry_run=dry_run) as connection:
        forgotten = _contents(connection, name)
        if not with_requests and (forgotten.requests or forgotten.past_versions):
            raise UsageError(
                f"the environment {name!r} has {forgotten}",
                hint="--with-requests deletes all of that, and `mirror db rename-environment` "
                "gives it another name",
            )
        if not dry_run:
            for table in (*_CHILDREN_FIRST, change_cursors):
                connection.execute(sa.delete(table).where(table.c.environment == name))
    return forgotten


@contextmanager
def changing(
    engine: Engine, *names: str, dry_run: bool = False, alone: bool = False
) -> Iterator[Connection]:
    """Open a transaction that holds the locks of environments, or in a dry run only reads.

    Args:
        engine: the mirror's database.
        names: of the environments; the first one must be on record.
        dry_run: only read.
        alone: no sync overlaps the transaction, not even the first one of another environment.

    The lock of pruning comes first. So no two transactions take several locks at a time, and none
    deletes the runs that another one updates: neither can end in a deadlock. The lock of the schema
    comes last, because a sync that upgrades holds that of its environment.
    """
    transaction = read_transaction(engine) if dry_run else write_transaction(engine, prune.LOCK)
    with transaction as connection:
        revisions.require_current(connection)
        replication.refuse_subscriber(connection)
        require_on_record(connection, names[0])  # what is not cannot be the name of a lock
        if not dry_run:
            for name in sorted(names):
                advisory_lock(connection, runs.lock(name))
            if alone:
                advisory_lock(connection, revisions.LOCK)
            revisions.hold_current(connection)
        yield connection


def require_on_record(connection: Connection, name: str) -> None:
    """Check that an environment has runs on record.

    Raises:
        UsageError: it has none; the hint names those that have.
    """
    names = on_record(connection)
    if name not in names:
        raise UsageError(
            f"there is no environment {name!r} on record",
            hint=there_are(names) if names else "nothing was ever synced",
        )


def _contents(connection: Connection, name: str) -> Contents:
    require_on_record(connection, name)
    quarantined, versions, requests, all_runs = (
        connection.scalar(
            sa.select(sa.func.count()).select_from(table).where(table.c.environment == name)
        )
        or 0
        for table in _CHILDREN_FIRST
    )
    complete = connection.scalar(
        sa.select(sa.func.count(_runs.completion)).where(_runs.environment == name)
    )
    return Contents(requests, versions, quarantined, all_runs, complete or 0)


def _holds_data(existing: Contents) -> bool:
    """Return whether an environment has more than runs that failed or were refused."""
    return any(
        (existing.requests, existing.past_versions, existing.quarantined, existing.complete_runs)
    )


def _abandon_runs(connection: Connection, name: str, reason: str, now: datetime) -> None:
    """Mark the runs that have not ended as abandoned: under another name they cannot end."""
    connection.execute(
        sa.update(sync_runs)
        .where(_runs.environment == name, _runs.outcome == runs.Outcome.RUNNING)
        .values(outcome=runs.Outcome.ABANDONED, finished_at=now, error=reason)
    )
