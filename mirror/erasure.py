"""Erases a phone number from the mirror: a right of persons (GDPR, article 17).

A request is erased as a whole, with all its versions, if one of them has the number. Its texts
become a mark; its id, status and times stay, and so do all counts. What a sync reads of it later is
hidden by `sync.erased`. No table keeps the number, nor a digest that could be compared with it, but
for the fingerprint of a record in quarantine that is known by no id: whoever knows all its other
fields could try each number.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.db import bulk, environments, erasures, prune, revisions, runs
from mirror.db.engine import read_transaction, write_transaction
from mirror.db.models import (
    erased_requests,
    quarantined_records,
    release_requests,
    sync_runs,
)
from mirror.db.models import erasures as erasures_table
from mirror.db.vacuum import overwrite_freed, vacuum
from mirror.errors import UsageError
from mirror.queries.traces import VERSIONS, Found, Traces, batches, find_traces

_ERASED = (*VERSIONS, quarantined_records, sync_runs)
_quarantine = quarantined_records.c
_runs = sync_runs.c
_erasures = erasures_table.c


def find(
    engine: Engine, number: str, region: str | None = None, environment: str | None = None
) -> Found:
    """Return what the mirror holds of a number.

    Args:
        engine: the mirror's database.
        number: in any usual notation.
        region: ISO 3166 country code, for numbers without a calling code.
        environment: look only there; None for everywhere.

    Raises:
        UsageError: this is no phone number, may be several, or is a mark; or the region or the
            environment does not exist.
        SchemaError: the schema is not the one that this version works with.
    """
    with read_transaction(engine, time_limits=False) as connection:
        revisions.require_current(connection)
        return find_traces(connection, number, region, environment)[0]


def erase(
    engine: Engine,
    number: str,
    region: str | None = None,
    environment: str | None = None,
    *,
    now: datetime,
) -> tuple[str, Found]:
    """Replace a number, and all that is stored with it, by a mark; `clean` has to follow.

    Everything happens in one transaction, which no sync overlaps.

    Args:
        engine: the mirror's database.
        number: as for `find`.
        region: likewise.
        environment: likewise.
        now: the present time (UTC).

    Returns:
        The mark, and what was erased.

    Raises:
        UsageError: as for `find`.
        SchemaError: the schema is not the one that this version works with.
        DatabaseError: the database refused, is a logical subscriber, or was busy for too long; or a
            trigger of somebody else keeps rows from changing.
    """
    names = _names(engine, environment)
    with environments.changing(engine, *names, alone=True) as connection:
        found, search = find_traces(connection, number, region, environment)
        overwrite_freed(connection)
        erasure = erasures.next_number(connection)
        connection.execute(
            sa.insert(erasures_table).values(
                id=erasure,
                erased_at=now,
                requests=found.requests,
                past_versions=found.past_versions,
                quarantined=found.quarantined,
                runs=found.runs,
            )
        )
        _erase(connection, erasure, search)
    return erasures.mark(erasure), found


def undo(engine: Engine, mark: str, *, now: datetime) -> tuple[int, list[str]]:
    """Take an erasure back: the next sync stores again what the list still has.

    Args:
        engine: the mirror's database.
        mark: of the erasure, such as `erased-1`.
        now: the present time (UTC).

    Returns:
        The number of requests, and of records without an id, that are no longer erased; and the
        marks of the other erasures, whose numbers may be among what comes back: a request that had
        both is erased once.

    Raises:
        UsageError: there is no such erasure, or it was taken back before.
        SchemaError: the schema is not the one that this version works with.
        DatabaseError: the database refused, is a logical subscriber, or was busy for too long.
    """
    names = _names(engine, None)
    with environments.changing(engine, *names, alone=True) as connection:
        erasure = erasures.erasure_of(mark)
        undone = connection.execute(
            sa.update(erasures_table)
            .where(_erasures.id == erasure, _erasures.undone_at.is_(None))
            .values(undone_at=now)
        )
        others = sa.select(_erasures.id).where(_erasures.undone_at.is_(None)).order_by(_erasures.id)
        marks = [erasures.mark(number) for number in connection.scalars(others)]
        if not undone.rowcount:
            raise UsageError(
                f"there is no erasure {mark!r} that could be taken back",
                hint=f"there is {', '.join(marks)}" if marks else "nothing was erased",
            )
        for name in environments.on_record(connection):
            runs.forget_list(connection, name)
        deleted = connection.execute(
            sa.delete(erased_requests).where(erased_requests.c.erasure_id == erasure)
        )
        return deleted.rowcount, marks


def is_clean(engine: Engine) -> bool:
    """Return whether the freed space was cleaned after each erasure."""
    with read_transaction(engine) as connection:
        unclean = sa.select(_erasures.id).where(_erasures.cleaned_at.is_(None)).limit(1)
        return connection.scalar(unclean) is None


def clean(engine: Engine, *, now: datetime) -> None:
    """Remove from the freed space of the database what was erased.

    Raises:
        DatabaseError: the database is busy or full, or Postgres reserves this to another role.
    """
    vacuum(engine, _ERASED)
    with write_transaction(engine, prune.LOCK) as connection:
        connection.execute(
            sa.update(erasures_table).where(_erasures.cleaned_at.is_(None)).values(cleaned_at=now)
        )


def _names(engine: Engine, environment: str | None) -> list[str]:
    """Return the names of the environments to lock."""
    with read_transaction(engine) as connection:
        revisions.require_current(connection)
        if environment is not None:
            environments.require_on_record(connection, environment)
            return [environment]
        if names := environments.on_record(connection):
            return names
        raise UsageError("nothing was ever synced, so there is nothing to erase")


def _erase(connection: Connection, erasure: int, search: Traces) -> None:
    """Put the mark in the place of all texts; record which requests stay erased."""
    mark = erasures.mark(erasure)
    keys = {*search.request_ids, *(record.key for record in search.records)}
    for batch in batches(keys):
        # An entry may have been erased in another environment before.
        connection.execute(
            sa.delete(erased_requests).where(erased_requests.c.request_id.in_(batch))
        )
        rows = [{"request_id": key, "erasure_id": erasure} for key in batch]
        connection.execute(sa.insert(erased_requests), rows)
    is_erased = erased_requests.c.erasure_id == erasure
    bulk.require_rows(erased_requests, len(keys), _count(connection, erased_requests, is_erased))
    erased = sa.select(erased_requests.c.request_id).where(is_erased)
    for table in VERSIONS:
        values: dict[str, Any] = {
            name: sa.case((table.c[name] != "", mark), else_=table.c[name])
            for name in erasures.TEXTS
        }
        extra = sa.literal(erasures.marked_object(mark), table.c.extra.type)
        values |= {
            "phone_number": mark,
            "phone_number_e164": None,
            "extra": sa.case((table.c.extra.is_not(None), extra)),
        }
        if table is release_requests:
            values["digest"] = None
        rows_of_them = _count(connection, table, table.c.id.in_(erased))
        statement = sa.update(table).where(table.c.id.in_(erased)).values(values)
        bulk.write_rows(connection, statement, rows_of_them)
    counted: Counter[str] = Counter()
    for record in search.records:
        values = {"raw": erasures.marked_raw(mark), "error": record.error}
        if record.request_id is not None and record.key == record.request_id:
            counted[record.key] += 1
            values["fingerprint"] = erasures.fingerprint(mark, record.key, counted[record.key])
        statement = sa.update(quarantined_records).where(_quarantine.id == record.id)
        bulk.write_rows(connection, statement.values(values), 1)
    for batch in batches(search.run_ids):
        statement = sa.update(sync_runs).where(_runs.id.in_(batch)).values(error=mark)
        bulk.write_rows(connection, statement, len(batch))


def _count(connection: Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table).where(condition)) or 0
