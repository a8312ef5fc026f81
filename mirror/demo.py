"""A guided tour: a simulated week in the sandbox, synced five times.

A fixed seed determines the simulation, and the syncs take their time from its clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.config.resolver import sqlite_url
from mirror.config.settings import ApiSettings, Secret
from mirror.db import migrate, revisions
from mirror.db.engine import create_engine, read_transaction
from mirror.db.models import sync_runs
from mirror.errors import MirrorError, UsageError
from mirror.queries import helpers
from mirror.queries.results import Change, HistoryEvent
from mirror.sandbox.server import Sandbox, SandboxConfig
from mirror.sandbox.simulation import Simulation
from mirror.sync.run import Result, sync, utc_now

ENVIRONMENT = "demo"
DAYS = (0.0, 1.0, 1.0, 2.0, 3.0)
"""Simulated days before each sync."""

_REQUESTS = 60
_SEED = 20
_NEW_PER_DAY = 2


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The result of the demo.

    Attributes:
        by_status: the number of requests by status.
        approval: the change of a pending request that a later sync saw approved.
        history: the events of its phone number.
    """

    by_status: list[tuple[str, int]]
    approval: Change
    history: list[HistoryEvent]


def fresh_file(path: Path) -> str:
    """Remove the database of an earlier demo, and return the URL for a new one.

    Raises:
        UsageError: the path is something other than the database of a demo.
    """
    try:
        if path.exists() and not _is_demo_database(path):
            raise UsageError(
                f"{path} holds something else than a demo",
                hint="go to another folder, or name an empty database with --database",
            )
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            name.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"{error.filename or path} cannot be replaced ({error.strerror})",
            hint="go to another folder, or name an empty database with --database",
        ) from error
    return sqlite_url(path)


def _is_demo_database(path: Path) -> bool:
    """Return whether a file is a mirror with the runs of a demo, and no others."""
    try:
        if path.is_file() and not path.stat().st_size:  # an interrupted demo
            return True
        with read_transaction(create_engine(sqlite_url(path))) as connection:
            if revisions.current(connection) is None:
                return False
            environments = connection.scalars(sa.select(sync_runs.c.environment).distinct())
            return set(environments) <= {ENVIRONMENT}
    except MirrorError:
        return False


def run(
    engine: Engine,
    on_sync: Callable[[float, Result], None],
    now: Callable[[], datetime] = utc_now,
) -> DemoResult:
    """Run the demo.

    Args:
        engine: an empty database.
        on_sync: called after each sync, with the simulated days since the start and its result.
        now: returns the simulated time of the last sync (UTC).

    Raises:
        UsageError: the database is not empty.
        MirrorError: a sync failed.
    """
    migrate.upgrade(engine)
    with read_transaction(engine) as connection:
        if helpers.last_run(connection) is not None:
            raise UsageError(
                "the database of the demo is not empty", hint="choose a new one with --database"
            )
    start = now().replace(microsecond=0) - timedelta(days=sum(DAYS))
    upstream = Simulation(_REQUESTS, _SEED, start, new_per_day=_NEW_PER_DAY)
    with Sandbox(upstream, SandboxConfig(paging="meta")).running() as sandbox:
        api = ApiSettings(sandbox.base_url, Secret(sandbox.config.token))
        days_passed = 0.0
        for number, days in enumerate(DAYS, start=1):
            if number == len(DAYS):
                _drop_one_and_malform_another(upstream)
            if days:
                sandbox.advance(days)
                days_passed += days
            result = sync(engine, api, ENVIRONMENT, now=lambda: sandbox.upstream.now)
            on_sync(days_passed, result)
            if result.failure is not None:
                raise result.failure
    with read_transaction(engine) as connection:
        approval = _approved_in_a_later_sync(connection)
        return DemoResult(
            helpers.count_by_status(connection),
            approval,
            helpers.phone_number_history(connection, approval.phone_number),
        )


def _drop_one_and_malform_another(upstream: Simulation) -> None:
    """Leave the oldest request out of the list, and list the next one with an invalid time."""
    oldest, next_oldest = sorted(
        upstream.requests.values(), key=lambda request: request.requested_at
    )[:2]
    upstream.hidden_ids.add(oldest.id)
    upstream.malformed_ids.add(next_oldest.id)


def _approved_in_a_later_sync(connection: Connection) -> Change:
    """Return the approval of the phone number with the most requests."""
    requests = {
        number.phone_number: number.requests for number in helpers.phone_numbers(connection)
    }
    approvals = [
        change
        for change in reversed(helpers.changes(connection))
        if change.kind == "resolved" and change.new_status == "approved"
    ]
    if not approvals:
        raise MirrorError("no sync of the demo saw an approval", hint="report this as a bug")
    return max(approvals, key=lambda change: requests[change.phone_number])
