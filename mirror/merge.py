"""The merge: a list that was proven whole becomes rows, versions and quarantine.

The list is staged in a temporary table, compared with the mirror by set-based SQL, and applied. All
of it happens in the caller's transaction, so that it counts as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror import database
from mirror.errors import GuardRefused
from mirror.models import (
    Identifier,
    past_versions,
    quarantined_records,
    release_requests,
    to_text,
)
from mirror.payload import Record, Reject

_FEW_MISSING, _SHARE_MISSING = 5, 0.1
"""So many requests, or that share of all, may go missing at once."""

_BATCH = 10_000
_current = release_requests.c
_kept = quarantined_records.c
_WIRE_FIELDS = [
    "phone_number_id",
    "phone_number",
    "reason",
    "status",
    "rejection_reason",
    "requested_at",
    "resolved_at",
]
_STAGED_FIELDS = ["id", *_WIRE_FIELDS, "extra"]

_temporary = sa.MetaData()


def _temporary_table(name: str, *columns: sa.Column[str]) -> sa.Table:
    return sa.Table(name, _temporary, *columns, prefixes=["TEMPORARY"])


_staged = _temporary_table(
    "staged", *(sa.Column(name, _current[name].type) for name in _STAGED_FIELDS)
)
_rejected = _temporary_table(
    "rejected",
    sa.Column("request_id", Identifier),
    sa.Column("raw", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("fingerprint", Identifier),
)
_differing = _temporary_table(
    "differing", sa.Column("id", Identifier, primary_key=True), sa.Column("why", sa.Text)
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a merge did, or found done already.

    Every entry of the list is inserted, updated, returned, unchanged, quarantined or a duplicate.

    Attributes:
        fetched: entries of the list.
        inserted: requests seen for the first time.
        updated: requests that got a new version because a known field changed.
        unchanged: requests whose known fields were the same.
        missing: requests found missing for the first time.
        returned: missing requests that were in the list again.
        quarantined: entries that could not be understood.
        newly_quarantined: those of them that were not in quarantine before.
        duplicates: entries equal to another one with the same id.
    """

    fetched: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    missing: int = 0
    returned: int = 0
    quarantined: int = 0
    newly_quarantined: int = 0
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Pull:
    """On whose behalf a merge runs.

    Attributes:
        environment: label of the token whose list it is.
        run_id: the run on record.
        observed_at: UTC time that stands for the pull in `valid_from`.
    """

    environment: str
    run_id: int
    observed_at: datetime


def merge(
    connection: Connection,
    pull: Pull,
    entries: Iterable[Record | Reject],
    fetched: int,
    *,
    accept_missing: bool = False,
) -> Counts:
    """Make the mirror equal to a list.

    Args:
        connection: in a transaction that holds the writer's lock of the environment.
        pull: on whose behalf.
        entries: the whole list, decoded, each id at most once among the records.
        fetched: number of entries of the list as it came.
        accept_missing: apply the list however many requests it lacks.

    Raises:
        GuardRefused: the list belongs to another environment, or lacks too many requests. The
            caller rolls back.
    """
    _temporary.create_all(connection, checkfirst=False)
    staged, rejected = _stage(connection, entries)
    with database.comparing_whole_tables(connection):
        _refuse_strangers(connection, pull)
        _find_missing(connection, pull)
        if not accept_missing:
            _guard(connection, pull, fetched)
        _find_changed(connection)
    database.analyze(connection, _differing.name)
    differing = _count_differing(connection)
    _keep_past_versions(connection, pull)
    _mark_missing(connection, pull)
    _update(connection, pull)
    _update_extra(connection)
    with database.comparing_whole_tables(connection):
        inserted = _insert(connection, pull)
        newly_quarantined = _quarantine(connection, pull)
    _temporary.drop_all(connection, checkfirst=False)
    updated, returned = differing.get("updated", 0), differing.get("returned", 0)
    written = sum(differing.values())
    kept = written - differing.get("extra", 0)
    database.analyze_what_grew(
        connection, {release_requests.name: inserted + written, past_versions.name: kept}
    )
    return Counts(
        fetched=fetched,
        inserted=inserted,
        updated=updated,
        unchanged=staged - inserted - updated - returned,
        missing=differing.get("missing", 0),
        returned=returned,
        quarantined=rejected,
        newly_quarantined=newly_quarantined,
        duplicates=fetched - staged - rejected,
    )


def _stage(connection: Connection, entries: Iterable[Record | Reject]) -> tuple[int, int]:
    """Write the list into the temporary tables; return how many records and rejects there were."""
    rejects: list[Reject] = []

    def rows() -> Iterator[tuple[str | None, ...]]:
        for entry in entries:
            if isinstance(entry, Reject):
                rejects.append(entry)
            else:
                yield _row(entry)

    staged = _load(connection, _staged, rows(), "id")
    once = {reject.fingerprint: reject for reject in rejects}
    _load(
        connection,
        _rejected,
        ((one.request_id, one.raw, one.error, one.fingerprint) for one in once.values()),
        "request_id",
        "fingerprint",
    )
    return staged, len(rejects)


def _row(record: Record) -> tuple[str | None, ...]:
    """Make a row of the staging table, in the text form that both databases read."""
    return (
        record.id,
        record.phone_number_id,
        record.phone_number,
        record.reason,
        record.status,
        record.rejection_reason,
        to_text(record.requested_at),
        None if record.resolved_at is None else to_text(record.resolved_at),
        record.extra or None,
    )


def _load(
    connection: Connection, table: sa.Table, rows: Iterator[tuple[str | None, ...]], *keys: str
) -> int:
    """Load rows by the fastest way of the driver; return how many there were.

    Args:
        connection: in the transaction of the merge.
        table: a temporary table.
        rows: in the order of its columns.
        keys: the columns by which its rows will be looked up.
    """
    names = ", ".join(table.columns.keys())
    count = 0
    if connection.dialect.name == "postgresql":
        with (
            database.driver_connection(connection).cursor() as cursor,
            cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)
                count += 1
        database.analyze(connection, table.name)
        return count
    marks = ", ".join("?" * len(table.columns))
    while batch := list(islice(rows, _BATCH)):
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608 (our own)
        connection.exec_driver_sql(statement, batch)
        count += len(batch)
    for key in keys:
        connection.exec_driver_sql(f"CREATE INDEX {table.name}_{key} ON {table.name} ({key})")
    return count


def _refuse_strangers(connection: Connection, pull: Pull) -> None:
    """Stop if the list holds a request of another environment: the tokens are mixed up."""
    found = connection.execute(
        sa.select(_current.id, _current.environment)
        .join(_staged, _staged.c.id == _current.id)
        .where(_current.environment != pull.environment)
        .limit(1)
    ).one_or_none()
    if found is not None:
        raise GuardRefused(
            f"the list holds request {found.id}, which belongs to the environment "
            f"{found.environment!r}: the tokens seem to be mixed up. Nothing was applied; check "
            f"which token belongs to {pull.environment!r}"
        )


def _find_missing(connection: Connection, pull: Pull) -> None:
    """Note the requests that the list lacks, except those whose entry could not be understood."""
    connection.execute(
        sa.insert(_differing).from_select(
            ["id", "why"],
            sa.select(_current.id, sa.literal("missing")).where(
                _current.environment == pull.environment,
                _current.missing_since.is_(None),
                ~sa.exists().where(_staged.c.id == _current.id),
                ~sa.exists().where(_rejected.c.request_id == _current.id),
            ),
        )
    )


def _guard(connection: Connection, pull: Pull, fetched: int) -> None:
    """Refuse a list from which too much is gone to believe it."""
    missing = connection.scalar(sa.select(sa.func.count()).select_from(_differing)) or 0
    if not missing:
        return
    known = connection.scalar(
        sa.select(sa.func.count()).where(
            _current.environment == pull.environment, _current.missing_since.is_(None)
        )
    )
    assert known is not None
    if not fetched or (missing > _FEW_MISSING and missing > known * _SHARE_MISSING):
        raise GuardRefused(
            f"{missing:,} of the {known:,} requests known in {pull.environment!r} are no longer in "
            "the list. Nothing was applied; if that is right, run again with --accept-missing"
        )


def _find_changed(connection: Connection) -> None:
    """Note the requests of the list that differ from their current version, or were missing."""
    known = sa.or_(*(_current[name].is_distinct_from(_staged.c[name]) for name in _WIRE_FIELDS))
    # Postgres cannot compare values of type json.
    extra = sa.cast(_current.extra, sa.Text).is_distinct_from(sa.cast(_staged.c.extra, sa.Text))
    was_missing = _current.missing_since.is_not(None)
    connection.execute(
        sa.insert(_differing).from_select(
            ["id", "why"],
            sa.select(
                _current.id,
                sa.case((was_missing, "returned"), (known, "updated"), else_="extra"),
            )
            .join(_staged, _staged.c.id == _current.id)
            .where(sa.or_(was_missing, known, extra)),
        )
    )


def _count_differing(connection: Connection) -> dict[str, int]:
    counted = connection.execute(
        sa.select(_differing.c.why, sa.func.count()).group_by(_differing.c.why)
    )
    return dict(counted.all())


def _keep_past_versions(connection: Connection, pull: Pull) -> None:
    """Keep the versions that are about to be superseded."""
    names = list(_current.keys())
    connection.execute(
        sa.insert(past_versions).from_select(
            [*names, "valid_to"],
            sa.select(
                *(_current[name] for name in names),
                sa.literal(pull.observed_at, past_versions.c.valid_to.type),
            )
            .join(_differing, _differing.c.id == _current.id)
            .where(_differing.c.why != "extra"),
        )
    )


def _mark_missing(connection: Connection, pull: Pull) -> None:
    """Give the missing requests a version that says since when."""
    connection.execute(
        sa.update(release_requests)
        .where(_current.id.in_(_ids("missing")))
        .values(
            missing_since=pull.observed_at,
            valid_from=pull.observed_at,
            sync_run_id=pull.run_id,
        )
    )


def _update(connection: Connection, pull: Pull) -> None:
    """Give the changed and returned requests their new version."""
    connection.execute(
        sa.update(release_requests)
        .where(
            _current.id == _staged.c.id,
            _current.id.in_(_ids("updated", "returned")),
        )
        .values(
            {name: _staged.c[name] for name in [*_WIRE_FIELDS, "extra"]}
            | {
                "missing_since": None,
                "valid_from": pull.observed_at,
                "sync_run_id": pull.run_id,
            }
        )
    )


def _update_extra(connection: Connection) -> None:
    """Follow a change in unknown fields alone in place: it must not forge history."""
    connection.execute(
        sa.update(release_requests)
        .where(_current.id == _staged.c.id, _current.id.in_(_ids("extra")))
        .values(extra=_staged.c.extra)
    )


def _ids(*why: str) -> sa.Select[tuple[str]]:
    return sa.select(_differing.c.id).where(_differing.c.why.in_(why))


def _insert(connection: Connection, pull: Pull) -> int:
    """Insert the requests that were not known; return how many there were."""
    observed_at = sa.literal(pull.observed_at, _current.valid_from.type)
    return _inserted(
        connection,
        sa.insert(release_requests).from_select(
            [*_STAGED_FIELDS, "environment", "first_seen_at", "valid_from", "sync_run_id"],
            sa.select(
                _staged,
                sa.literal(pull.environment),
                observed_at,
                observed_at,
                sa.literal(pull.run_id),
            ).where(~sa.exists().where(_current.id == _staged.c.id)),
        ),
    )


def _inserted(connection: Connection, statement: sa.Insert) -> int:
    """Run an INSERT … SELECT; return how many rows it inserted, which SQLAlchemy does not keep."""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount


def _quarantine(connection: Connection, pull: Pull) -> int:
    """Keep the rejects, each once; close those that no longer occur; return how many are new."""
    same = sa.and_(
        _kept.environment == pull.environment, _kept.fingerprint == _rejected.c.fingerprint
    )
    reopened = connection.execute(
        sa.update(quarantined_records)
        .where(same, _kept.resolved_at.is_not(None))
        .values(resolved_at=None)
    )
    connection.execute(
        sa.update(quarantined_records)
        .where(same)
        .values(
            raw=_rejected.c.raw,
            error=_rejected.c.error,
            last_run_id=pull.run_id,
            last_seen_at=pull.observed_at,
        )
    )
    connection.execute(
        sa.update(quarantined_records)
        .where(
            _kept.environment == pull.environment,
            _kept.resolved_at.is_(None),
            ~sa.exists().where(_kept.fingerprint == _rejected.c.fingerprint),
        )
        .values(resolved_at=pull.observed_at)
    )
    return reopened.rowcount + _insert_rejected(connection, pull, ~sa.exists().where(same))


def _insert_rejected(connection: Connection, pull: Pull, is_new: sa.ColumnElement[bool]) -> int:
    """Insert the rejects that were never seen before; return how many there were."""
    run_id, observed_at = (
        sa.literal(pull.run_id),
        sa.literal(pull.observed_at, _kept.first_seen_at.type),
    )
    values = {
        "environment": sa.literal(pull.environment),
        "first_run_id": run_id,
        "last_run_id": run_id,
        "first_seen_at": observed_at,
        "last_seen_at": observed_at,
    }
    return _inserted(
        connection,
        sa.insert(quarantined_records).from_select(
            [*_rejected.columns.keys(), *values],
            sa.select(*_rejected.columns, *values.values()).where(is_new),
        ),
    )
