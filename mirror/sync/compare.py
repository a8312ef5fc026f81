"""Compare a list with the mirror: insert what is new, find what differs, or refuse the list.

Only entries without a known digest are looked at. Requests that are new go straight into their
table. The others become rows of the temporary table `staged`, each with the kind of its difference:

    updated     a known field changed
    returned    it was missing, and is listed again
    equal       its entry is written otherwise, or only fields that `mirror` does not know changed
    missing     in the mirror, but no longer in the list
    foreign     in the mirror, but of another environment
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.api.entries import EntryScan
from mirror.api.records import InvalidRecord, Record
from mirror.db import bulk
from mirror.db.environments import rename_command
from mirror.db.models import release_requests
from mirror.db.runs import Run
from mirror.db.types import to_text, to_texts
from mirror.errors import DatabaseUnavailable, GuardRefused
from mirror.numbers import other_notations
from mirror.progress import Progress

_TOLERATED_MISSING, _TOLERATED_MISSING_SHARE = 5, 0.1
"""The guard accepts a list that lacks this many requests, or this share of the known ones."""

_current = release_requests.c

KNOWN_FIELDS = [
    "phone_number_id",
    "phone_number",
    "reason",
    "status",
    "rejection_reason",
    "requested_at",
    "resolved_at",
]
"""The columns whose change makes a new version."""

LIST_FIELDS = ["id", *KNOWN_FIELDS, "extra", "digest"]
"""The columns whose values come from the list, in the order of the rows that are loaded."""

_Row = tuple[Any, ...]


def temporary_table(name: str, *columns: sa.Column[str]) -> sa.Table:
    """Define a temporary table; `bulk.temporary` creates it."""
    return sa.Table(name, sa.MetaData(), *columns, prefixes=["TEMPORARY"])


staged = temporary_table(
    "staged",
    *(sa.Column(name, _current[name].type) for name in LIST_FIELDS),
    sa.Column("kind", sa.Text),
    sa.Column("stored_digest", _current.digest.type),
)


@dataclass(slots=True)
class Differences:
    """What a list has that the mirror has not, and the other way round.

    Attributes:
        kinds: number of requests, by kind; new ones as `new`.
        valid: number of records decoded.
        invalid: the invalid entries.
        notations: the phone numbers that are not in E.164 form, with this form of each.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    valid: int = 0
    invalid: list[InvalidRecord] = field(default_factory=list)
    notations: dict[str, str] = field(default_factory=dict)


def compare(
    connection: Connection,
    run: Run,
    scan: EntryScan,
    progress: Progress,
    *,
    accept_missing: bool,
) -> Differences:
    """Insert the new requests, and fill `staged` with the others that differ.

    Args:
        connection: in the transaction of the merge; `staged` exists.
        run: the run that fetched the list.
        scan: the list.
        progress: counts the entries.
        accept_missing: skip the check for too many missing requests.

    Raises:
        GuardRefused: the list belongs to another environment, or lacks too many requests.
        DatabaseUnavailable: the stored digests are no longer those that the scan knows.
    """
    found = Differences()
    staged_rows = _load(connection, run, _batches(scan, found, progress))
    if staged_rows:
        bulk.analyze(connection, staged)
        _set_kinds(connection, run)
        found.kinds += _count_by_kind(connection)
        if found.kinds["foreign"]:
            raise _wrong_environment(connection, run)
        with bulk.stream(connection, "SELECT id, stored_digest FROM staged") as rows:
            scan.match(rows)
    found.kinds["new"] = found.valid - staged_rows
    if scan.unmatched:
        with stored_digests(connection, run.environment) as known:
            ids = scan.unmatched_ids(known)
        if len(ids) != scan.unmatched:
            raise DatabaseUnavailable(
                f"another program changed the digests of {run.environment!r} while the list was "
                "read. Nothing was applied",
                hint="run again",
            )
        # An invalid entry without a usable id protects no request from being missing.
        missing = ids.difference(entry.id for entry in found.invalid)
        bulk.copy_rows(connection, staged, ["id"], ((one,) for one in missing), kind="missing")
        found.kinds["missing"] = len(missing)
    if found.kinds["missing"] and not accept_missing:
        _check_missing_threshold(run, found.kinds["missing"], scan)
    return found


def _load(connection: Connection, run: Run, batches: Iterator[list[_Row]]) -> int:
    """Insert the new requests, stage the others; return the number of those."""
    staged_rows = 0

    def insert(rows: Iterable[_Row]) -> None:
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

    with bulk.deferred_indexes(connection, release_requests) as was_empty:
        if was_empty:
            insert(chain.from_iterable(batches))  # all of them: none is left for the loop
        for rows in batches:
            ids = bulk.existing_ids(connection, [row[0] for row in rows])
            insert([row for row in rows if row[0] not in ids])
            if ids:
                others = [row for row in rows if row[0] in ids]
                bulk.copy_rows(connection, staged, LIST_FIELDS, others)
                staged_rows += len(others)
    return staged_rows


def _batches(scan: EntryScan, found: Differences, progress: Progress) -> Iterator[list[_Row]]:
    """Decode the unknown entries; yield their rows, in the text form that both databases read."""
    progress.entries += scan.count - scan.unknown
    for batch in scan.decode():
        records = [(entry, digest) for entry, digest in batch if isinstance(entry, Record)]
        found.valid += len(records)
        if len(records) < len(batch):
            found.invalid += [entry for entry, _ in batch if isinstance(entry, InvalidRecord)]
        found.notations |= other_notations([record.phone_number for record, _ in records])
        requested_at = to_texts([record.requested_at for record, _ in records])
        resolved_at = to_texts([record.resolved_at for record, _ in records])
        yield [
            (  # in the order of LIST_FIELDS
                record.id,
                record.phone_number_id,
                record.phone_number,
                record.reason,
                record.status,
                record.rejection_reason,
                requested,
                resolved,
                record.extra or None,
                digest,
            )
            for (record, digest), requested, resolved in zip(
                records, requested_at, resolved_at, strict=True
            )
        ]
        progress.entries += len(batch)


def _set_kinds(connection: Connection, run: Run) -> None:
    """Set the kind and the stored digest of each staged request."""
    connection.execute(
        sa.update(staged)
        .where(staged.c.id == _current.id)
        .values(
            kind=sa.case(
                (_current.environment != run.environment, "foreign"),
                (_current.missing_since.is_not(None), "returned"),
                (sa.or_(*map(differs, KNOWN_FIELDS)), "updated"),
                else_="equal",
            ),
            stored_digest=_current.digest,
        )
    )


def _count_by_kind(connection: Connection) -> Counter[str]:
    rows = connection.execute(sa.select(staged.c.kind, sa.func.count()).group_by(staged.c.kind))
    return Counter(dict(rows.all()))


def differs(name: str) -> sa.ColumnElement[bool]:
    """Return the condition that a column of `staged` differs from that of `release_requests`."""
    stored, listed = _current[name], staged.c[name]
    if name == "extra":  # Postgres cannot compare values of type json
        return sa.cast(stored, sa.Text).is_distinct_from(sa.cast(listed, sa.Text))
    return stored.is_distinct_from(listed)


def _wrong_environment(connection: Connection, run: Run) -> GuardRefused:
    """Describe a list that holds requests of another environment."""
    request = connection.execute(
        sa.select(_current.id, _current.environment)
        .join(staged, staged.c.id == _current.id)
        .where(staged.c.kind == "foreign")
        .limit(1)
    ).one()
    hint = f"check the token of {run.environment!r}"
    if run.previous is None:  # the name is new
        command = rename_command(request.environment, run.environment)
        hint += f"; if it is a new name for {request.environment!r}, run `{command}`"
    return GuardRefused(
        f"the list holds request {request.id}, which belongs to the environment "
        f"{request.environment!r}. Nothing was applied",
        hint=hint,
    )


def stored_digests(
    connection: Connection, environment: str
) -> AbstractContextManager[Iterable[tuple[str, int | None]]]:
    """Stream id and digest of each request that the list of an environment should hold."""
    return bulk.stream(
        connection,
        "SELECT id, digest FROM release_requests WHERE environment = {} AND missing_since IS NULL",
        environment,
    )


def _check_missing_threshold(run: Run, missing: int, scan: EntryScan) -> None:
    """Refuse an empty list, and one that lacks more requests than the guard tolerates."""
    too_many = missing > _TOLERATED_MISSING and missing > scan.known * _TOLERATED_MISSING_SHARE
    if not scan.count or too_many:
        raise GuardRefused(
            f"{missing:,} of the {scan.known:,} requests known in {run.environment!r} are no "
            "longer in the list. Nothing was applied",
            hint="if they are really gone, run again with "
            f"--environment {shlex.quote(run.environment)} --accept-missing",
        )
