"""Compare a list with the mirror: insert what is new, find what differs.

Only entries without a known digest are looked at. Requests that are new go straight into their
table. The others become rows of the temporary table `staged`, each with the kind of its difference:

    updated     a known field changed
    returned    it was missing, and is listed again
    equal       its entry is written otherwise, or only fields that `mirror` does not know changed
    missing     in the mirror, but no longer in the list
    foreign     in the mirror, but of another environment
    contested   its entries contradict each other

Invalid entries with a usable id are staged too. A field that cannot be read is the last known one
there. The kind is null if the mirror does not know the request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET
from sqlalchemy.engine import Connection

from mirror.api.entries import EntryScan
from mirror.api.records import InvalidRecord, Record
from mirror.db import bulk, erasures
from mirror.db.models import release_requests
from mirror.db.runs import Run
from mirror.db.types import to_text, to_texts
from mirror.errors import DatabaseUnavailable
from mirror.numbers.reading import other_notations
from mirror.progress import Progress
from mirror.sync.erased import hide_entry

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

_TIMES = {"requested_at", "resolved_at"}
_OF_A_STATUS = {"resolved_at", "rejection_reason"}

_UNREAD = {name: 1 << place for place, name in enumerate([*KNOWN_FIELDS, "extra"])}
"""The bit of each field in `staged.unread`."""

_CONTESTED = -1
"""`staged.unread` of an id whose entries contradict each other: every bit is set."""

_Row = tuple[Any, ...]


staged = bulk.temporary_table(
    "staged",
    *(sa.Column(name, _current[name].type) for name in LIST_FIELDS),
    sa.Column("unread", sa.Integer),  # bits of the fields of an invalid entry that are not read
    sa.Column("kind", sa.Text),
    sa.Column("stored_digest", _current.digest.type),
)


@dataclass(slots=True)
class Differences:
    """What a list has that the mirror has not, and the other way round.

    Attributes:
        kinds: number of requests, by kind; new ones as `new`.
        invalid_kinds: those of them whose entry is invalid.
        valid: number of records decoded.
        invalid: the invalid entries.
        missing: ids of the requests that are newly missing.
        notations: the phone numbers that are not in E.164 form, with this form of each.
        erased: the mark of each erased request, by its id, or the fingerprint of its record.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    invalid_kinds: Counter[str] = field(default_factory=Counter)
    valid: int = 0
    invalid: list[InvalidRecord] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    notations: dict[str, str] = field(default_factory=dict)
    erased: dict[str, str] = field(default_factory=dict)


def compare(
    connection: Connection,
    run: Run,
    scan: EntryScan,
    progress: Progress,
) -> Differences:
    """Insert the new requests, and fill `staged` with the others that differ.

    Args:
        connection: in the transaction of the merge; `staged` exists.
        run: the run that fetched the list.
        scan: the list.
        progress: counts the entries.

    Raises:
        DatabaseUnavailable: the stored digests are no longer those that the scan knows.
    """
    found = Differences(erased=erasures.marks(connection))
    staged_rows = _load(connection, run, scan, found, progress)
    found.kinds["new"] = found.valid - staged_rows
    invalid_rows = _stage_invalid(connection, found)
    if staged_rows or invalid_rows:
        bulk.analyze(connection, staged)
        if invalid_rows:
            _keep_last_known(connection)
        _set_kinds(connection, run)
        _count_kinds(connection, found)
        query = f"SELECT id, stored_digest FROM {bulk.sql_name(connection, staged)}"  # noqa: S608
        with bulk.stream(connection, query) as rows:
            scan.match(rows)
    if scan.unmatched:
        with stored_digests(connection, run.environment) as known:
            found.missing = scan.unmatched_ids(known)
        if len(found.missing) != scan.unmatched:
            raise DatabaseUnavailable(
                f"another program changed the digests of {run.environment!r} while the list was "
                "read. Nothing was applied",
                hint="run again",
            )
        rows = ((request_id,) for request_id in found.missing)
        bulk.copy_rows(connection, staged, ["id"], rows, kind="missing")
        found.kinds["missing"] = len(found.missing)
    return found


def _load(
    connection: Connection, run: Run, scan: EntryScan, found: Differences, progress: Progress
) -> int:
    """Insert the new requests, stage the others; return the number of those.

    Other environments may insert at the same time, and a list may hold a request of theirs by
    mistake. All insert in the order of ids, so that no two of them wait for each other.
    """
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
            missing_since=None,
            phone_number_e164=None,
        )

    with bulk.deferred_indexes(connection, release_requests) as was_empty:
        in_order = bulk.has_parallel_writers(connection) and not was_empty
        batches = _batches(scan, found, progress, in_order=in_order)
        if was_empty:
            insert(chain.from_iterable(batches))  # all of them: none is left for the loop
        for rows in batches:
            ids = bulk.existing_ids(connection, [row[0] for row in rows])
            while new := [row for row in rows if row[0] not in ids]:
                with bulk.unless_duplicate(connection) as attempt:
                    insert(new)
                if attempt.error is None:
                    break
                taken = bulk.existing_ids(connection, [row[0] for row in new])
                if not taken:  # the key is of a unique index that is not the mirror's
                    raise attempt.error
                ids |= taken
            if ids:
                others = [row for row in rows if row[0] in ids]
                bulk.copy_rows(connection, staged, LIST_FIELDS, others)
                staged_rows += len(others)
    return staged_rows


def _batches(
    scan: EntryScan, found: Differences, progress: Progress, *, in_order: bool
) -> Iterator[list[_Row]]:
    """Decode the unknown entries; yield their rows, in the text form that both databases read."""
    progress.entries += scan.count - scan.unknown
    for decoded in scan.decode(in_order=in_order):
        batch: Sequence[tuple[Record | InvalidRecord, int | None]] = decoded
        if found.erased:
            batch = [_hide(*pair, found.erased) for pair in decoded]
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


def _hide(
    entry: Record | InvalidRecord, digest: int, marks: dict[str, str]
) -> tuple[Record | InvalidRecord, int | None]:
    """Hide what is erased of an entry; its digest would tell it to whoever tries all numbers."""
    hidden = hide_entry(entry, marks)
    return (entry, digest) if hidden is None else (hidden, None)


def _stage_invalid(connection: Connection, found: Differences) -> int:
    """Stage what can be read of the invalid entries with a usable id; return their number."""
    by_id = {entry.id: entry.readable for entry in found.invalid if entry.id is not None}
    if not by_id:
        return 0
    unread = [_CONTESTED if record is None else 0 for record in by_id.values()]
    columns = []
    for name, bit in _UNREAD.items():
        values = [getattr(record, name, UNSET) for record in by_id.values()]
        unread = [
            bits | bit if value is UNSET else bits
            for bits, value in zip(unread, values, strict=True)
        ]
        readable = [None if value is UNSET else value for value in values]
        columns.append(to_texts(readable) if name in _TIMES else readable)
        if name == "phone_number":
            found.notations |= other_notations([number for number in readable if number])
    rows = zip(by_id, *columns, unread, strict=True)
    bulk.copy_rows(connection, staged, ["id", *_UNREAD, "unread"], rows)
    return len(by_id)


def _keep_last_known(connection: Connection) -> None:
    """Give each field that was not read the value that the mirror has.

    `resolved_at` and `rejection_reason` belong to a status: with another one they are null.
    """
    is_unread = {name: staged.c.unread.bitwise_and(bit) != 0 for name, bit in _UNREAD.items()}
    same_status = sa.or_(is_unread["status"], staged.c.status == _current.status)
    values = {}
    for name in _UNREAD:
        last_known: sa.ColumnElement[Any] = _current[name]
        if name in _OF_A_STATUS:
            last_known = sa.case((same_status, last_known))
        values[name] = sa.case((is_unread[name], last_known), else_=staged.c[name])
    connection.execute(
        sa.update(staged)
        .where(staged.c.id == _current.id, staged.c.unread.is_not(None))
        .values(values)
    )


def _set_kinds(connection: Connection, run: Run) -> None:
    """Set the kind and the stored digest of each staged request."""
    connection.execute(
        sa.update(staged)
        .where(staged.c.id == _current.id)
        .values(
            kind=sa.case(
                (_current.environment != run.environment, "foreign"),
                (staged.c.unread == _CONTESTED, "contested"),
                (_current.missing_since.is_not(None), "returned"),
                (sa.or_(*map(differs, KNOWN_FIELDS)), "updated"),
                else_="equal",
            ),
            stored_digest=_current.digest,
        )
    )


def _count_kinds(connection: Connection, found: Differences) -> None:
    """Count the staged requests that the mirror knows, by kind."""
    kind, is_invalid = staged.c.kind, staged.c.unread.is_not(None)
    rows = connection.execute(
        sa.select(kind, is_invalid, sa.func.count())
        .where(kind.is_not(None))
        .group_by(kind, is_invalid)
    )
    for name, invalid, count in rows:
        found.kinds[name] += count
        if invalid:
            found.invalid_kinds[name] = count


def differs(name: str) -> sa.ColumnElement[bool]:
    """Return the condition that a column of `staged` differs from that of `release_requests`."""
    stored, listed = _current[name], staged.c[name]
    return stored.is_distinct_from(listed)


def stored_digests(
    connection: Connection, environment: str
) -> AbstractContextManager[Iterable[tuple[str, int | None]]]:
    """Stream id and digest of each request that the list of an environment should hold."""
    return bulk.stream(
        connection,
        "SELECT id, digest FROM release_requests WHERE environment = {} AND missing_since IS NULL",
        environment,
    )
