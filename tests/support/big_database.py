"""A large mirror with past versions, filled by the merge without HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import sqlalchemy as sa

from mirror.api.entries import EntryScan
from mirror.db import migrate, runs
from mirror.db.engine import create_engine, write_transaction
from mirror.db.models import sync_runs
from mirror.sync.compare import stored_digests
from mirror.sync.merge import merge

LAST_SYNC = datetime(2024, 7, 1, 12, tzinfo=UTC)
"""Start of the last sync that fills it."""

_BEFORE = timedelta(days=60), timedelta(days=30), timedelta(0)
_SUBMITTED_OVER = timedelta(days=365)
_CLOSED = ("approved", "approved", "rejected", "cancelled")


def number_of(place: int) -> str:
    """Return the phone number of a request; every fourth number has two requests."""
    return f"+1555{place - place % 4 if place % 4 == 1 else place:07d}"


def fill(url: str, count: int) -> None:
    """Create a mirror of `count` requests in three syncs.

    The first sees nine tenths of them, half of these pending; in the second these are resolved. The
    last sees the other tenth, half of it pending, and one in 100 requests corrected.
    """
    engine = create_engine(url, create=True)
    migrate.upgrade(engine)
    for number, before in enumerate(_BEFORE):
        with write_transaction(engine, "large") as connection:
            run = runs.begin(connection, "prod", "https://example.com/api/v1", LAST_SYNC - before)
            _merge(connection, number, run, count)


def add_unchanged_runs(url: str, count: int) -> None:
    """Add runs between the first two syncs that saw the same list as the first."""
    begin, end = (LAST_SYNC - before for before in _BEFORE[:2])
    times = [begin + (end - begin) * number / (count + 1) for number in range(1, count + 1)]
    rows = [
        {
            "environment": "prod",
            "outcome": "unchanged",
            "started_at": time,
            "finished_at": time,
            "observed_at": time,
            "completion": completion,
            "base_url": "https://example.com/api/v1",
            "mirror_version": "0",
        }
        for completion, time in enumerate(times, start=len(_BEFORE) + 1)
    ]
    with write_transaction(create_engine(url), "large") as connection:
        connection.execute(sa.insert(sync_runs), rows)
        connection.exec_driver_sql("ANALYZE sync_runs")


def _merge(connection: sa.Connection, number: int, run: runs.Run, count: int) -> None:
    listed = count * 9 // 10 if number < 2 else count
    with stored_digests(connection, run.environment) as known:
        scan = EntryScan(known)
    scan.add(msgspec.json.encode(list(_requests(number, listed, count))))
    counts = merge(connection, run, scan)
    runs.complete(
        connection,
        run,
        outcome="applied",
        finished_at=run.started_at + timedelta(seconds=1),
        counts=counts,
    )
    assert connection.scalar(sa.select(sa.func.count()).select_from(sync_runs)) == number + 1


def _requests(number: int, listed: int, count: int) -> Iterator[dict[str, object]]:
    """Yield the requests of the list of a sync."""
    first = LAST_SYNC - _SUBMITTED_OVER
    for place in range(listed):
        requested_at = first + _SUBMITTED_OVER * place / count
        recent = place >= count * 9 // 10
        pending = (recent or number == 0) and place % 2 == 1
        closed = _CLOSED[place % 4]
        resolved_at = requested_at + timedelta(hours=1 + place % 100, milliseconds=place % 1000)
        corrected = number == 2 and place % 100 == 0
        yield {
            "id": f"{place:08d}-4ed6-4178-b081-944c87712db8",
            "phone_number": number_of(place),
            "phone_number_id": f"{place:08d}-a39c-49ed-a432-28c88fae2ae1",
            "reason": "The number is not needed any more" + (", corrected" if corrected else ""),
            "status": "pending" if pending else closed,
            "requested_at": requested_at,
            # The API never reports the time of a cancellation.
            "resolved_at": None if pending or closed == "cancelled" else resolved_at,
            "rejection_reason": "There are open invoices" if closed == "rejected" else None,
        }
