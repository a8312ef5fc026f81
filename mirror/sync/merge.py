"""Apply a verified list to the mirror: its rows, their versions and the quarantine.

The differences that `compare` finds are applied by set-based SQL. Everything happens in the
caller's transaction, so that all of it counts or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.api.entries import EntryScan
from mirror.api.records import InvalidRecord
from mirror.db import bulk
from mirror.db.models import past_versions, quarantined_records, release_requests
from mirror.db.runs import Counts, Run
from mirror.db.types import Identifier
from mirror.progress import Progress
from mirror.sync import guard
from mirror.sync.compare import LIST_FIELDS, compare, differs, staged
from mirror.sync.erased import hide_raw

_current = release_requests.c
_quarantined = quarantined_records.c
_rejected = bulk.temporary_table(
    "rejected",
    sa.Column("request_id", Identifier),
    sa.Column("raw", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("fingerprint", Identifier),
)
_normalized = bulk.temporary_table(
    "normalized",
    sa.Column("phone_number", Identifier),
    sa.Column("phone_number_e164", Identifier),
)


def merge(
    connection: Connection,
    run: Run,
    scan: EntryScan,
    *,
    accept_missing: bool = False,
    progress: Progress | None = None,
    options: Sequence[str] = (),
) -> Counts:
    """Make the mirror of an environment equal to a list.

    Args:
        connection: in a transaction that holds the writer's lock of the environment.
        run: the run that fetched the list; its `observed_at` is the `valid_from` of new versions.
        scan: the complete list, compared with the digests of the environment's requests.
        accept_missing: apply the list whatever is missing or unreadable.
        progress: counts the entries as they are loaded.
        options: those that name the mirror, for the command in an error.

    Raises:
        GuardRefused: the list is implausible. The caller rolls back.
    """
    progress = progress or Progress()
    progress.begin_loading(scan.count)
    with bulk.temporary(connection, staged):
        found = compare(connection, run, scan, progress)
        guard.check(connection, run, scan, found, accept_missing=accept_missing, options=options)
        kinds, invalid = found.kinds, found.invalid
        if kinds["updated"] or kinds["returned"] or kinds["missing"]:
            changed = kinds["updated"] + kinds["returned"]
            _keep_past_versions(connection, run, changed + kinds["missing"])
            _mark_missing(connection, run, kinds["missing"])
            _update(connection, run, changed)
        if kinds["equal"]:
            _update_equal(connection)
    if found.notations:
        _normalize_numbers(connection, run, found.notations)
    newly_quarantined = _quarantine(connection, run, list(hide_raw(invalid, found.erased)))
    new, updated, returned, missing = (
        kinds[kind] for kind in ("new", "updated", "returned", "missing")
    )
    bulk.analyze_what_grew(
        connection,
        {release_requests: kinds.total(), past_versions: updated + returned + missing},
    )
    of_invalid = found.invalid_kinds
    valid_changes = updated + returned - of_invalid["updated"] - of_invalid["returned"]
    valid = scan.distinct_ids - len({entry.id for entry in invalid} - {None})
    return Counts(
        fetched=scan.count,
        inserted=new,
        updated=updated,
        unchanged=valid - new - valid_changes,
        missing=missing,
        returned=returned,
        quarantined=len(invalid),
        newly_quarantined=newly_quarantined,
        duplicates=scan.count - valid - len(invalid),
    )


def _keep_past_versions(connection: Connection, run: Run, rows: int) -> None:
    """Copy the versions that are about to be superseded."""
    names = [name for name in _current.keys() if name != "digest"]  # noqa: SIM118
    bulk.write_rows(
        connection,
        sa.insert(past_versions).from_select(
            [*names, "valid_to"],
            sa.select(
                *(_current[name] for name in names),
                sa.literal(run.observed_at, past_versions.c.valid_to.type),
            )
            .join(staged, staged.c.id == _current.id)
            .where(staged.c.kind.in_(("missing", "updated", "returned"))),
        ),
        rows,
    )


def _mark_missing(connection: Connection, run: Run, rows: int) -> None:
    """Give the missing requests a version that says since when they are missing."""
    values = {"missing_since": run.observed_at, "valid_from": run.observed_at}
    statement = _update_where("missing").values(values | {"sync_run_id": run.id})
    bulk.write_rows(connection, statement, rows)


def _update(connection: Connection, run: Run, rows: int) -> None:
    """Give the updated and returned requests their new version.

    Columns in which none of them differs are left out: SQLite writes each index of a column that is
    set, whether its value changes or not.
    """
    names = LIST_FIELDS[1:]
    if connection.dialect.name == "sqlite":
        differences = connection.execute(
            sa.select(*(sa.func.max(differs(name)) for name in names))
            .join_from(staged, release_requests, _current.id == staged.c.id)
            .where(staged.c.kind.in_(("updated", "returned")))
        ).one()
        names = [name for name, differ in zip(names, differences, strict=True) if differ]
    values: dict[str, Any] = {name: staged.c[name] for name in names}
    if "phone_number" in names:
        same_number = _current.phone_number == staged.c.phone_number
        values["phone_number_e164"] = sa.case((same_number, _current.phone_number_e164))
    values |= {"missing_since": None, "valid_from": run.observed_at, "sync_run_id": run.id}
    bulk.write_rows(connection, _update_where("updated", "returned").values(values), rows)


def _update_equal(connection: Connection) -> None:
    """Update digest and unknown fields in place: their change alone makes no version."""
    connection.execute(
        _update_where("equal")
        .where(sa.or_(differs("digest"), differs("extra")))
        .values(extra=staged.c.extra, digest=staged.c.digest)
    )


def _normalize_numbers(connection: Connection, run: Run, notations: dict[str, str]) -> None:
    """Store the E.164 form beside the phone numbers that are written otherwise."""
    with bulk.temporary(connection, _normalized):
        columns = _normalized.columns.keys()
        bulk.copy_rows(connection, _normalized, list(columns), notations.items())
        connection.execute(
            sa.update(release_requests)
            .where(
                _current.environment == run.environment,
                _current.phone_number == _normalized.c.phone_number,
                _current.phone_number_e164.is_distinct_from(_normalized.c.phone_number_e164),
            )
            .values(phone_number_e164=_normalized.c.phone_number_e164)
        )


def _update_where(*kinds: str) -> sa.Update:
    return sa.update(release_requests).where(_current.id == staged.c.id, staged.c.kind.in_(kinds))


def _quarantine(connection: Connection, run: Run, invalid: list[InvalidRecord]) -> int:
    """Keep the invalid entries, close those that no longer occur; return how many are new."""
    new = 0
    if invalid:
        with bulk.temporary(connection, _rejected):
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
        (
            (entry.id, entry.raw, entry.error, entry.fingerprint)
            for entry in by_fingerprint.values()
        ),
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
    known = connection.execute(
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
    values: dict[str, sa.ColumnElement[Any]] = {
        "environment": sa.literal(run.environment),
        "first_run_id": run_id,
        "last_run_id": run_id,
        "first_seen_at": observed_at,
        "last_seen_at": observed_at,
        "resolved_at": sa.null(),
    }
    if not run.is_on_record:  # a rollback does not reset the sequence
        values["id"] = run_id - sa.func.row_number().over()
    inserted = connection.execute(
        sa.insert(quarantined_records).from_select(
            [*columns, *values],
            sa.select(*_rejected.columns, *values.values()).where(~sa.exists().where(is_same)),
        ),
        execution_options={"preserve_rowcount": True},  # dropped by default
    )
    bulk.require_rows(quarantined_records, len(by_fingerprint), known.rowcount + inserted.rowcount)
    return reopened.rowcount + inserted.rowcount
