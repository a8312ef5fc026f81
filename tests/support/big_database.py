"""A large mirror with a past, made by the merge itself, without the network."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from mirror.api.records import Record
from mirror.db import migrate, runs
from mirror.db.engine import create_engine, write_transaction
from mirror.db.models import sync_runs
from mirror.sync.merge import merge

LAST_PULL = datetime(2024, 7, 1, 12, tzinfo=UTC)
"""When the last of the pulls began that filled it."""

_BEFORE = timedelta(days=60), timedelta(days=30), timedelta(0)
_SUBMITTED_OVER = timedelta(days=365)
_VERDICTS = ("approved", "approved", "rejected", "cancelled")


def number_of(place: int) -> str:
    """The phone number of a request; each fourth one is asked for twice."""
    return f"+1555{place - place % 4 if place % 4 == 1 else place:07d}"


def fill(url: str, count: int) -> None:
    """Make a mirror of `count` requests, and let it see three pulls.

    The first sees nine tenths of them, half of those still pending; the second sees these resolved,
    and the last the others for the first time, half of them pending, and one in 100 corrected.
    """
    engine = create_engine(url, create=True)
    migrate.upgrade(engine)
    for pull, before in enumerate(_BEFORE):
        with write_transaction(engine, "large") as connection:
            run = runs.begin(connection, "prod", "https://example.com/api/v1", LAST_PULL - before)
            _mirror(connection, pull, run, count)


def _mirror(connection: sa.Connection, pull: int, run: runs.Run, count: int) -> None:
    listed = count * 9 // 10 if pull < 2 else count
    counts = merge(
        connection,
        run,
        _records(pull, listed, count),
        listed,
    )
    runs.complete(
        connection,
        run,
        outcome="applied",
        finished_at=run.started_at + timedelta(seconds=1),
        counts=counts,
    )
    assert connection.scalar(sa.select(sa.func.count()).select_from(sync_runs)) == pull + 1


def _records(pull: int, listed: int, count: int) -> Iterator[Record]:
    """What upstream says in a pull."""
    first = LAST_PULL - _SUBMITTED_OVER
    for place in range(listed):
        requested_at = first + _SUBMITTED_OVER * place / count
        recent = place >= count * 9 // 10
        pending = (recent or pull == 0) and place % 2 == 1
        verdict = _VERDICTS[place % 4]
        resolved_at = requested_at + timedelta(hours=1 + place % 100, milliseconds=place % 1000)
        corrected = pull == 2 and place % 100 == 0
        yield Record(
            id=f"{place:08d}-4ed6-4178-b081-944c87712db8",
            phone_number=number_of(place),
            phone_number_id=f"{place:08d}-a39c-49ed-a432-28c88fae2ae1",
            reason="The number is not needed any more" + (", corrected" if corrected else ""),
            status="pending" if pending else verdict,
            requested_at=requested_at,
            # Upstream never says when a request was cancelled.
            resolved_at=None if pending or verdict == "cancelled" else resolved_at,
            rejection_reason="There are open invoices" if verdict == "rejected" else None,
        )
