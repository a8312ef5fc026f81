"""Compare a list with the mirror: stage it, find the differences, refuse an implausible list.

The list is staged in a temporary table and compared by set-based SQL. Each request that differs
becomes a row of `differences`, with the kind of its difference:

    new         not in the mirror yet
    updated     a known field changed
    returned    it was missing, and is listed again
    extra       only fields that `mirror` does not know changed
    missing     in the mirror, but no longer in the list
    foreign     in the mirror, but of another environment
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.api.records import InvalidRecord, Record, batches
from mirror.db import bulk
from mirror.db.models import release_requests
from mirror.db.runs import Run
from mirror.db.types import to_texts
from mirror.errors import GuardRefused
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

LIST_FIELDS = ["id", *KNOWN_FIELDS, "extra"]
"""The columns whose values come from the list, in the order of the rows of `StagingRows`."""


def temporary_table(name: str, *columns: sa.Column[str]) -> sa.Table:
    """Define a temporary table; `bulk.temporary` creates it."""
    return sa.Table(name, sa.MetaData(), *columns, prefixes=["TEMPORARY"])


def _list_columns() -> list[sa.Column[str]]:
    return [sa.Column(name, _current[name].type) for name in LIST_FIELDS]


staged = temporary_table("staged", *_list_columns())
differences = temporary_table("differences", sa.Column("kind", sa.Text), *_list_columns())


class StagingRows:
    """The records of a list as rows of its columns, made while they are loaded.

    Attributes:
        count: number of records so far.
        invalid: the other entries so far.
    """

    def __init__(self, entries: Iterable[Record | InvalidRecord], progress: Progress) -> None:
        self.count = 0
        self.invalid: list[InvalidRecord] = []
        self._entries = entries
        self._progress = progress

    def __iter__(self) -> Iterator[tuple[str | None, ...]]:
        """Yield the rows, in the text form that both databases read."""
        for batch in batches(self._entries):
            records = [entry for entry in batch if isinstance(entry, Record)]
            self.count += len(records)
            if len(records) < len(batch):
                self.invalid += [entry for entry in batch if isinstance(entry, InvalidRecord)]
            requested_at = to_texts([record.requested_at for record in records])
            resolved_at = to_texts([record.resolved_at for record in records])
            for record, requested, resolved in zip(records, requested_at, resolved_at, strict=True):
                yield (  # in the order of LIST_FIELDS
                    record.id,
                    record.phone_number_id,
                    record.phone_number,
                    record.reason,
                    record.status,
                    record.rejection_reason,
                    requested,
                    resolved,
                    record.extra or None,
                )
            self._progress.entries += len(batch)


def compare(
    connection: Connection, run: Run, rows: StagingRows, fetched: int, *, accept_missing: bool
) -> Counter[str]:
    """Fill `differences`, and count them by kind.

    Args:
        connection: in the transaction of the merge; the two temporary tables exist.
        run: the run that fetched the list.
        rows: the list.
        fetched: number of entries of the list, invalid ones and duplicates included.
        accept_missing: skip the check for too many missing requests.

    Raises:
        GuardRefused: the list belongs to another environment, or lacks too many requests.
    """
    bulk.copy_rows(connection, staged, LIST_FIELDS, rows)
    with bulk.comparing_whole_tables(connection):
        _insert_listed_differences(connection, run)
        counts = _count_by_kind(connection)
        if counts["foreign"]:
            raise _wrong_environment(connection, run)
        known = _count_known(connection, run)
        if known > rows.count - counts["new"] - counts["returned"]:
            counts["missing"] = _insert_missing(connection, run, rows.invalid)
    if counts["missing"] and not accept_missing:
        _check_missing_threshold(run, counts["missing"], known, fetched)
    bulk.analyze(connection, differences)
    return counts


def _insert_listed_differences(connection: Connection, run: Run) -> None:
    """Find the requests of the list that differ from the mirror."""
    is_new = _current.id.is_(None)
    is_foreign = _current.environment != run.environment
    was_missing = _current.missing_since.is_not(None)
    is_updated = sa.or_(*(_current[name].is_distinct_from(staged.c[name]) for name in KNOWN_FIELDS))
    # Postgres cannot compare values of type json.
    has_other_extra = sa.cast(_current.extra, sa.Text).is_distinct_from(
        sa.cast(staged.c.extra, sa.Text)
    )
    kind = sa.case(
        (is_new, "new"),
        (is_foreign, "foreign"),
        (was_missing, "returned"),
        (is_updated, "updated"),
        else_="extra",
    )
    connection.execute(
        sa.insert(differences).from_select(
            [*LIST_FIELDS, "kind"],
            sa.select(staged, kind)
            .join_from(staged, release_requests, _current.id == staged.c.id, isouter=True)
            .where(sa.or_(is_new, is_foreign, was_missing, is_updated, has_other_extra)),
        )
    )


def _count_by_kind(connection: Connection) -> Counter[str]:
    kind = differences.c.kind
    rows = connection.execute(sa.select(kind, sa.func.count()).group_by(kind))
    return Counter(dict(rows.all()))


def _wrong_environment(connection: Connection, run: Run) -> GuardRefused:
    """Describe a list that holds requests of another environment."""
    request = connection.execute(
        sa.select(_current.id, _current.environment)
        .join(differences, differences.c.id == _current.id)
        .where(differences.c.kind == "foreign")
        .limit(1)
    ).one()
    return GuardRefused(
        f"the list holds request {request.id}, which belongs to the environment "
        f"{request.environment!r}. Nothing was applied",
        hint=f"check the token of {run.environment!r}, or use the old name if the environment was "
        "renamed",
    )


def _count_known(connection: Connection, run: Run) -> int:
    """Count the requests of the environment that were in the list applied last."""
    known = connection.scalar(
        sa.select(sa.func.count()).where(
            _current.environment == run.environment, _current.missing_since.is_(None)
        )
    )
    assert known is not None
    return known


def _insert_missing(connection: Connection, run: Run, invalid: list[InvalidRecord]) -> int:
    """Find the requests that the list lacks; return their number.

    A request is not missing if its entry is invalid and has a usable id. An invalid entry without
    one protects no request: the request that it stands for, if known, counts as missing.
    """
    ids = {(entry.request_id,) for entry in invalid if entry.request_id is not None}
    bulk.copy_rows(connection, staged, ["id"], ids)
    bulk.index_temporary(connection, staged, "id")
    return insert_counted(
        connection,
        sa.insert(differences).from_select(
            ["id", "kind"],
            sa.select(_current.id, sa.literal("missing")).where(
                _current.environment == run.environment,
                _current.missing_since.is_(None),
                ~sa.exists().where(staged.c.id == _current.id),
            ),
        ),
    )


def _check_missing_threshold(run: Run, missing: int, known: int, fetched: int) -> None:
    """Refuse an empty list, and one that lacks more requests than the guard tolerates."""
    too_many = missing > _TOLERATED_MISSING and missing > known * _TOLERATED_MISSING_SHARE
    if not fetched or too_many:
        raise GuardRefused(
            f"{missing:,} of the {known:,} requests known in {run.environment!r} are no longer in "
            "the list. Nothing was applied",
            hint="if they are really gone, run again with "
            f"--environment {shlex.quote(run.environment)} --accept-missing",
        )


def insert_counted(connection: Connection, statement: sa.Insert) -> int:
    """Run an INSERT … SELECT; return its number of rows, which SQLAlchemy drops by default."""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount
