"""Cursors: how far each reader of the changes has read.

A cursor has a position in each environment. Within one, later syncs have later times; but a sync
may be committed after one of another environment with a later time. So a single time for all
environments would lose changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.db import environments, prune, replication, revisions
from mirror.db.engine import write_transaction
from mirror.db.models import change_cursors, sync_runs
from mirror.db.views import changes
from mirror.errors import DatabaseError, UsageError
from mirror.queries.helpers import CHANGES_ORDER
from mirror.queries.results import Change
from mirror.queries.select import between, fetch_sorted, in_environment

DEFAULT = "default"
"""Name of the cursor that is used if none is named."""

_LOCK = prune.LOCK
"""Renaming and forgetting an environment, which move or delete positions, take it too."""

_MAX_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Position:
    """The last complete sync of an environment.

    Attributes:
        run_id: of its run; None if none was complete yet.
        time: when it observed the list (UTC), or None.
    """

    run_id: int | None
    time: datetime | None


Positions = Mapping[str, Position]
"""The last complete sync by environment."""

_cursors = change_cursors.c


@dataclass(frozen=True, slots=True)
class Unseen:
    """The changes after a cursor.

    Attributes:
        changes: newest first.
        positions: where to move the cursor when they have been shown.
    """

    changes: list[Change]
    positions: Positions


def check_name(name: str) -> str:
    """Return the name of a cursor.

    Raises:
        UsageError: it is empty, too long, or has characters that cannot be printed.
    """
    if not 0 < len(name) <= _MAX_NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise UsageError(
            f"{name!r} cannot be the name of a cursor",
            hint=f"use up to {_MAX_NAME_LENGTH} printable characters, without spaces around them",
        )
    return name


def unseen(
    connection: Connection,
    name: str,
    *,
    environment: str | None = None,
    since: datetime | None = None,
    sort: str | None = None,
) -> Unseen:
    """Return the changes after a cursor; it stays where it is.

    Args:
        connection: to the mirror's database; all is read in its snapshot.
        name: of the cursor.
        environment: only this environment; None for all.
        since: in an environment where the cursor has no position yet, only changes seen at or after
            this time; None for all.
        sort: as for `helpers.changes`.
    """
    view = changes.c
    last = _last_complete(connection, environment)
    position = _positions(connection, name)
    behind = {
        environment: position.get(environment)
        for environment, sync in last.items()
        if sync.time is not None and sync.time != position.get(environment)
    }
    if not behind:
        return Unseen([], last)
    is_after = sa.or_(
        sa.and_(_cursors.name.is_(None), *between(view.changed_at, since)),
        sa.and_(_cursors.name.is_not(None), _cursors.seen_until.is_(None)),
        view.changed_at > _cursors.seen_until,
    )
    conditions = [is_after, *in_environment(view, environment)]
    times = [time for time in behind.values() if time is not None]
    if len(times) == len(behind):  # implied, but the index needs it
        conditions.append(view.changed_at > min(times))
    is_position = sa.and_(_cursors.name == name, _cursors.environment == view.environment)
    rows = fetch_sorted(
        connection,
        Change,
        changes,
        conditions,
        sort=sort,
        limit=None,
        default=CHANGES_ORDER,
        join=changes.outerjoin(change_cursors, is_position),
    )
    return Unseen(rows, last)


def require_writable(engine: Engine) -> None:
    """Check that a cursor could be moved, before anything is shown.

    Raises:
        DatabaseError: the database cannot be written to.
    """
    try:
        with _writing(engine, commit=False) as connection:
            nothing = sa.select(change_cursors).where(sa.false())
            connection.execute(sa.delete(change_cursors).where(sa.false()))
            connection.execute(
                sa.insert(change_cursors).from_select(list(_cursors.keys()), nothing)
            )
    except DatabaseError as error:
        if type(error) is not DatabaseError:
            raise
        needed = "`mirror changes --new` records there how far it has read, and --since does not"
        hint = f"{error.hint}; {needed}" if error.hint else needed
        raise DatabaseError(error.message, hint=hint) from error


def move(engine: Engine, name: str, positions: Positions, *, now: datetime) -> None:
    """Move a cursor forward; where another reader has moved it further, it stays.

    Args:
        engine: the mirror's database.
        name: of the cursor.
        positions: of `Unseen`. An environment that was renamed or forgotten meanwhile is left out,
            also if another one has its name now.
        now: the present time (UTC).
    """
    with _writing(engine) as connection:
        former = _positions(connection, name)
        run_ids = [position.run_id for position in positions.values()]
        runs = sa.select(sync_runs.c.id, sync_runs.c.environment).where(sync_runs.c.id.in_(run_ids))
        owners = {row[0]: row[1] for row in connection.execute(runs)}
        rows = [
            {
                "name": name,
                "environment": environment,
                "seen_until": max(
                    filter(None, (position.time, former.get(environment))), default=None
                ),
                "moved_at": now,
            }
            for environment in environments.on_record(connection)
            if (position := positions.get(environment)) is not None
            and (position.run_id is None or owners.get(position.run_id) == environment)
        ]
        if rows:
            connection.execute(
                sa.delete(change_cursors).where(
                    _cursors.name == name,
                    _cursors.environment.in_([row["environment"] for row in rows]),
                )
            )
            connection.execute(sa.insert(change_cursors), rows)


@contextmanager
def _writing(engine: Engine, *, commit: bool = True) -> Iterator[Connection]:
    """Open a transaction in which no other reader moves a cursor."""
    with write_transaction(engine, _LOCK, commit=commit) as connection:
        revisions.hold_current(connection)
        replication.refuse_subscriber(connection)
        yield connection


def _positions(connection: Connection, name: str) -> dict[str, datetime | None]:
    """Return the positions of a cursor."""
    query = sa.select(_cursors.environment, _cursors.seen_until).where(_cursors.name == name)
    return {row[0]: row[1] for row in connection.execute(query)}


def _last_complete(connection: Connection, environment: str | None) -> Positions:
    """Return the last complete sync of each environment on record."""
    names = environments.names_query()
    runs = sync_runs.alias()
    last = (
        sa.select(runs.c.id)
        .where(runs.c.environment == names.c.environment, runs.c.completion.is_not(None))
        .order_by(runs.c.completion.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = sa.select(names.c.environment, sync_runs.c.id, sync_runs.c.observed_at)
    query = query.select_from(names.outerjoin(sync_runs, sync_runs.c.id == last)).where(
        names.c.environment.is_not(None)
        if environment is None
        else names.c.environment == environment
    )
    return {row[0]: Position(row[1], row[2]) for row in connection.execute(query)}
