"""Apply a verified list to the mirror: its rows, their versions and the quarantine.

The differences that `compare` finds are applied by set-based SQL; an empty mirror is loaded without
a comparison. Everything happens in the caller's transaction, so that all of it counts or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.api.records import InvalidRecord, Record
from mirror.db import bulk
from mirror.db.models import past_versions, quarantined_records, release_requests
from mirror.db.runs import Counts, Run
from mirror.db.types import Identifier, to_text
from mirror.progress import Progress
from mirror.sync.compare import (
    KNOWN_FIELDS,
    LIST_FIELDS,
    StagingRows,
    compare,
    differences,
    insert_counted,
    staged,
    temporary_table,
)

_current = release_requests.c
_quarantined = quarantined_records.c
_rejected = temporary_table(
    "rejected",
    sa.Column("request_id", Identifier),
    sa.Column("raw", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("fingerprint", Identifier),
)


def merge(
    connection: Connection,
    run: Run,
    entries: Iterable[Record | InvalidRecord],
    fetched: int,
    *,
    accept_missing: bool = False,
    progress: Progress | None = None,
) -> Counts:
    """Make the mirror of an environment equal to a list.

    Args:
        connection: in a transaction that holds the writer's lock of the environment.
        run: the run that fetched the list; its `observed_at` is the `valid_from` of new versions.
        entries: the complete list, decoded; no id occurs in two records.
        fetched: number of entries of the list, duplicates included.
        accept_missing: apply the list however many requests it lacks.
        progress: counts the entries as they are loaded.

    Raises:
        GuardRefused: the list belongs to another environment, or lacks too many requests. The
            caller rolls back.
    """
    progress = progress or Progress()
    progress.begin_loading(fetched)
    rows = StagingRows(entries, progress)
    with bulk.deferred_indexes(connection, release_requests) as is_empty:
        if is_empty:
            _load(connection, run, rows)
    if is_empty:
        differing = Counter(new=rows.count)
    else:
        with bulk.temporary(connection, staged, differences):
            differing = compare(connection, run, rows, fetched, accept_missing=accept_missing)
            _keep_past_versions(connection, run)
            _mark_missing(connection, run)
            _update(connection, run)
            _update_extra(connection)
            _insert_new(connection, run)
    newly_quarantined = _quarantine(connection, run, rows.invalid)
    new, updated, returned = (differing[kind] for kind in ("new", "updated", "returned"))
    superseded = updated + returned + differing["missing"]
    bulk.analyze_what_grew(
        connection, {release_requests: differing.total(), past_versions: superseded}
    )
    return Counts(
        fetched=fetched,
        inserted=new,
        updated=updated,
        unchanged=rows.count - new - updated - returned,
        missing=differing["missing"],
        returned=returned,
        quarantined=len(rows.invalid),
        newly_quarantined=newly_quarantined,
        duplicates=fetched - rows.count - len(rows.invalid),
    )


def _load(connection: Connection, run: Run, rows: StagingRows) -> None:
    """Write the list into an empty mirror."""
    observed_at = to_text(run.observed_at)
    bulk.copy_rows(
        connection,
        release_requests,
        LIST_FIELDS,
        rows,
        environment=run.environment,
        first_seen_at=observed_at,
        valid_from=observed_at,
        sync_run_id=run.id,
    )


def _keep_past_versions(connection: Connection, run: Run) -> None:
    """Copy the versions that are about to be superseded."""
    names = list(_current.keys())
    connection.execute(
        sa.insert(past_versions).from_select(
            [*names, "valid_to"],
            sa.select(
                *(_current[name] for name in names),
                sa.literal(run.observed_at, past_versions.c.valid_to.type),
            )
            .join(differences, differences.c.id == _current.id)
            .where(differences.c.kind.in_(("missing", "updated", "returned"))),
        )
    )


def _mark_missing(connection: Connection, run: Run) -> None:
    """Give the missing requests a version that says since when they are missing."""
    connection.execute(
        _update_where("missing").values(
            missing_since=run.observed_at, valid_from=run.observed_at, sync_run_id=run.id
        )
    )


def _update(connection: Connection, run: Run) -> None:
    """Give the updated and returned requests their new version."""
    connection.execute(
        _update_where("updated", "returned").values(
            {name: differences.c[name] for name in [*KNOWN_FIELDS, "extra"]}
            | {"missing_since": None, "valid_from": run.observed_at, "sync_run_id": run.id}
        )
    )


def _update_extra(connection: Connection) -> None:
    """Update unknown fields in place: their change alone makes no version."""
    connection.execute(_update_where("extra").values(extra=differences.c.extra))


def _update_where(*kinds: str) -> sa.Update:
    return sa.update(release_requests).where(
        _current.id == differences.c.id, differences.c.kind.in_(kinds)
    )


def _insert_new(connection: Connection, run: Run) -> None:
    observed_at = sa.literal(run.observed_at, _current.valid_from.type)
    connection.execute(
        sa.insert(release_requests).from_select(
            [*LIST_FIELDS, "environment", "first_seen_at", "valid_from", "sync_run_id"],
            sa.select(
                *(differences.c[name] for name in LIST_FIELDS),
                sa.literal(run.environment),
                observed_at,
                observed_at,
                sa.literal(run.id),
            ).where(differences.c.kind == "new"),
        )
    )


def _quarantine(connection: Connection, run: Run, invalid: list[InvalidRecord]) -> int:
    """Keep the invalid entries, close those that no longer occur; return how many are new."""
    new = 0
    if invalid:
        with bulk.temporary(connection, _rejected), bulk.comparing_whole_tables(connection):
            new = _keep_invalid(connection, run, invalid)
    connection.execute(
        sa.update(quarantined_records)
        .where(
            _quarantined.environment == run.environment,
            _quarantined.resolved_at.is_(None),
            _quarantined.last_run_id != run.id,
        )
        .values(resolved_at=run.observed_at)
    )
    return new


def _keep_invalid(connection: Connection, run: Run, invalid: list[InvalidRecord]) -> int:
    """Keep the invalid entries, one for each fingerprint; return how many are new."""
    by_fingerprint = {entry.fingerprint: entry for entry in invalid}
    columns = list(_rejected.columns.keys())
    bulk.copy_rows(
        connection,
        _rejected,
        columns,
        (tuple(getattr(entry, name) for name in columns) for entry in by_fingerprint.values()),
    )
    bulk.index_temporary(connection, _rejected, "fingerprint")
    is_same = sa.and_(
        _quarantined.environment == run.environment,
        _quarantined.fingerprint == _rejected.c.fingerprint,
    )
    reopened = connection.execute(
        sa.update(quarantined_records)
        .where(is_same, _quarantined.resolved_at.is_not(None))
        .values(resolved_at=None)
    )
    connection.execute(
        sa.update(quarantined_records)
        .where(is_same)
        .values(
            raw=_rejected.c.raw,
            error=_rejected.c.error,
            last_run_id=run.id,
            last_seen_at=run.observed_at,
        )
    )
    run_id, observed_at = (
        sa.literal(run.id),
        sa.literal(run.observed_at, _quarantined.first_seen_at.type),
    )
    values = {
        "environment": sa.literal(run.environment),
        "first_run_id": run_id,
        "last_run_id": run_id,
        "first_seen_at": observed_at,
        "last_seen_at": observed_at,
    }
    inserted = insert_counted(
        connection,
        sa.insert(quarantined_records).from_select(
            [*columns, *values],
            sa.select(*_rejected.columns, *values.values()).where(~sa.exists().where(is_same)),
        ),
    )
    return reopened.rowcount + inserted
