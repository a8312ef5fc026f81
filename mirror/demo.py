"""The main job for a newcomer: a sandbox, a few syncs as its days pass, and what they left.

Everything that happens is decided by a seed, and the syncs live in the sandbox's time.
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
from mirror.db import migrate
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
"""Days that pass before each sync."""

_REQUESTS = 60
_SEED = 20
_NEW_PER_DAY = 2


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo leaves to be shown.

    Attributes:
        by_status: how many requests have each status.
        approval: the change of a request that was pending at first, and approved in a later sync.
        history: the events of its phone number.
    """

    by_status: list[tuple[str, int]]
    approval: Change
    history: list[HistoryEvent]


def fresh_file(path: Path) -> str:
    """Make way for a new demo database, and return its URL.

    Raises:
        UsageError: there is something of that name that is not the database of a demo.
    """
    try:
        if path.exists() and not _is_ours(path):
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


def _is_ours(path: Path) -> bool:
    """Tell whether a file is a mirror in which a demo ran, and nothing else."""
    try:
        if path.is_file() and not path.stat().st_size:  # a demo that was broken off at once
            return True
        with read_transaction(create_engine(sqlite_url(path))) as connection:
            if migrate.current(connection) is None:
                return False
            found = connection.execute(sa.select(sync_runs.c.environment).distinct())
            return {environment for (environment,) in found} <= {ENVIRONMENT}
    except MirrorError:
        return False


def run(
    engine: Engine,
    told: Callable[[float, Result], None],
    now: Callable[[], datetime] = utc_now,
) -> Story:
    """Run the demo.

    Args:
        engine: an empty database.
        told: called after each sync, with the days since the first one and its result.
        now: tells the time at which the last sync is to happen (UTC).

    Raises:
        UsageError: there is something in the database already.
        MirrorError: a sync did not succeed.
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
        passed = 0.0
        for number, days in enumerate(DAYS, start=1):
            if number == len(DAYS):
                _let_two_go_wrong(upstream)
            if days:
                sandbox.advance(days)
                passed += days
            result = sync(engine, api, ENVIRONMENT, now=lambda: sandbox.upstream.now)
            told(passed, result)
            if result.failure is not None:
                raise result.failure
    with read_transaction(engine) as connection:
        approval = _approved_in_a_later_sync(connection)
        return Story(
            helpers.count_by_status(connection),
            approval,
            helpers.phone_number_history(connection, approval.phone_number),
        )


def _let_two_go_wrong(upstream: Simulation) -> None:
    """Let the list lack the oldest request, and give the next one in a way that none can read."""
    first, second = sorted(upstream.requests.values(), key=lambda one: one.requested_at)[:2]
    upstream.hidden_ids.add(first.id)
    upstream.malformed_ids.add(second.id)


def _approved_in_a_later_sync(connection: Connection) -> Change:
    """Find the approval of a number with a story: the one with most requests."""
    requests = {one.phone_number: one.requests for one in helpers.phone_numbers(connection)}
    approvals = [
        change
        for change in helpers.changes(connection)
        if change.kind == "resolved" and change.new_status == "approved"
    ]
    if not approvals:
        raise MirrorError("the demo came to nothing", hint="report this as a bug")
    return max(approvals, key=lambda change: requests[change.phone_number])
