"""Tells people that a transaction waits for a lock, for how long, and who holds it.

A wait is told in the log and on the progress bar. While nothing waits, that costs nothing in
SQLite, and in Postgres a thread that sleeps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.db.watchdog import Watchdog, watchdog_of
from mirror.progress import current as current_progress

TOLD_AFTER = (2.0, 10.0, 30.0)
"""Seconds of a wait after which it is logged."""

_POLL_INTERVAL = 0.25
"""Seconds, while a statement takes long: a wait that is over is shown no longer than that."""

_HOLDER = sa.text("""
    SELECT blocking.pid, a.usename, a.application_name,
        date_part('epoch', clock_timestamp() - a.xact_start) AS seconds
    FROM unnest(pg_catalog.pg_blocking_pids(:pid)) AS blocking (pid)
    LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = blocking.pid
    ORDER BY a.xact_start LIMIT 1
""")

_KEY = "lock"

logger = logging.getLogger("mirror.notices")


class _Holder(NamedTuple):
    """The session of Postgres that holds a lock.

    Attributes:
        pid: its process; 0 for a prepared transaction, which has none.
        user: its user, or None.
        program: its application name, or None; may be empty.
        seconds: since its transaction began; None if the user may not know.
    """

    pid: int
    user: str | None
    program: str | None
    seconds: float | None

    def __str__(self) -> str:
        if not self.pid:
            return "a prepared transaction"
        user = [f"user {self.user}"] if self.user else []
        program = [self.program] if self.program else []
        return ", ".join([*program, *user, f"process {self.pid} of Postgres"])


def tell(seconds: float, holder: _Holder | None = None) -> None:
    """Log that a transaction waits, and show it on the progress bar, until `resume`.

    Args:
        seconds: of the wait so far.
        holder: who holds the lock, if that is known.
    """
    if holder is not None:
        seconds = max(seconds, holder.seconds or 0)
    logger.info(
        "waiting for the database: another program has been writing for %.0f s%s",
        seconds,
        "" if holder is None else f" ({holder})",
    )
    if progress := current_progress.get():
        since = time.monotonic() - seconds
        progress.wait(_KEY, "another program has been writing", since=since)


def resume() -> None:
    """Show no wait any more."""
    if progress := current_progress.get():
        progress.resume(_KEY)


@contextmanager
def told(engine: Engine, connection: Connection, pid: int) -> Iterator[None]:
    """Tell of each wait for a lock in a transaction of Postgres, within the context.

    Args:
        engine: the database; asked over another connection, once a statement takes long.
        connection: of the transaction.
        pid: its process in the server.
    """
    finished, lock = threading.Event(), threading.Lock()
    # Daemon: the other connection may hang.
    threading.Thread(
        target=copy_context().run,
        args=(_watch, engine, watchdog_of(connection), pid, finished, lock),
        name="mirror-lock-waits",
        daemon=True,
    ).start()
    try:
        yield
    finally:
        with lock:
            finished.set()
            resume()


def _watch(
    engine: Engine, watchdog: Watchdog, pid: int, finished: threading.Event, lock: threading.Lock
) -> None:
    """Tell of each wait, until the transaction has ended; `lock` keeps the end from between."""
    due, pause = list(TOLD_AFTER), TOLD_AFTER[0]
    while not finished.wait(pause):
        waited = watchdog.busy_seconds() or 0.0
        if waited < TOLD_AFTER[0]:
            resume()
            due, pause = list(TOLD_AFTER), TOLD_AFTER[0] - waited
            continue
        pause = _POLL_INTERVAL
        if due and waited >= due[0]:
            holder = _find_holder(engine, pid)
            if holder is None:  # the statement takes long by itself, so far
                due[0] = 2 * waited
                continue
            del due[0]
            with lock:
                still_waits = (watchdog.busy_seconds() or 0.0) >= waited
                if still_waits and not finished.is_set():
                    tell(waited, holder)


def _find_holder(engine: Engine, pid: int) -> _Holder | None:
    """Return who holds the lock that a process of Postgres waits for; None if it waits for none."""
    # Whatever prevents it, such as a limit of connections, is no failure of the transaction.
    with suppress(Exception), engine.connect() as connection:
        if row := connection.execute(_HOLDER, {"pid": pid}).first():
            return _Holder(*row)
    return None
