"""Report that a transaction waits for a lock, for how long, and who holds it.

A wait is reported in the log and on the progress bar, and ends if the sync is cancelled. While
nothing waits, that costs nothing in SQLite, and in Postgres a thread that sleeps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.cancellation import current as current_cancellation
from mirror.db.watchdog import Watchdog, watchdog_of
from mirror.errors import Stopped
from mirror.progress import current as current_progress

LOCK_WAIT = 60
"""Seconds to wait for a lock that another connection holds."""

REPORTED_AFTER = (2.0, 10.0, 30.0)
"""Seconds of a wait after which it is logged."""

POLL_INTERVAL = 0.25
"""Seconds until a wait that is over, or whose sync is cancelled, is noticed."""

_HOLDER = sa.text("""
    SELECT blocking.pid, a.usename, a.application_name,
        date_part('epoch', clock_timestamp() - a.xact_start) AS seconds
    FROM unnest(pg_catalog.pg_blocking_pids(:pid)) AS blocking (pid)
    LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = blocking.pid
    ORDER BY a.xact_start LIMIT 1
""")

_QUERY_CANCELED = "57014"
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


def report(seconds: float, holder: _Holder | None = None) -> None:
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


def _is_cancelled() -> bool:
    cancellation = current_cancellation.get()
    return cancellation is not None and cancellation.is_set()


def require_not_cancelled() -> None:
    """Check that the current sync is not cancelled.

    Raises:
        Stopped: it is.
    """
    if _is_cancelled():
        raise Stopped


@contextmanager
def reported(engine: Engine, connection: Connection, pid: int) -> Iterator[None]:
    """Report each wait for a lock in a transaction of Postgres, within the context.

    Args:
        engine: the database; asked over another connection, once a statement takes long.
        connection: of the transaction.
        pid: its process in the server.

    Raises:
        Stopped: the sync was cancelled while it waited for a lock.
    """
    finished, lock = threading.Event(), threading.Lock()
    # Daemon: the other connection may hang.
    threading.Thread(
        target=copy_context().run,
        args=(_watch, engine, connection, pid, finished, lock),
        name="mirror-lock-waits",
        daemon=True,
    ).start()
    try:
        yield
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _QUERY_CANCELED:
            require_not_cancelled()
        raise
    finally:
        with lock:
            finished.set()
            resume()


def _watch(
    engine: Engine,
    connection: Connection,
    pid: int,
    finished: threading.Event,
    lock: threading.Lock,
) -> None:
    """Report each wait, until the transaction has ended; `lock` keeps the end from between."""
    watchdog: Watchdog = watchdog_of(connection)
    driver: Any = connection.connection.driver_connection
    due = list(REPORTED_AFTER)
    while not finished.wait(POLL_INTERVAL):
        waited = watchdog.busy_seconds() or 0.0
        if waited and _is_cancelled() and _find_holder(engine, pid):
            with lock, suppress(Exception):
                if not finished.is_set():
                    driver.cancel()
        if waited < REPORTED_AFTER[0]:
            resume()
            due = list(REPORTED_AFTER)
        elif due and waited >= due[0]:
            holder = _find_holder(engine, pid)
            if holder is None:  # the statement takes long by itself, so far
                due[0] = 2 * waited
                continue
            with lock:
                still_waits = (watchdog.busy_seconds() or 0.0) >= waited
                if still_waits and not finished.is_set():
                    del due[0]
                    report(waited, holder)


def _find_holder(engine: Engine, pid: int) -> _Holder | None:
    """Return who holds the lock that a process of Postgres waits for; None if it waits for none."""
    # Whatever prevents it, such as a limit of connections, is no failure of the transaction.
    with suppress(Exception), engine.connect() as connection:
        if row := connection.execute(_HOLDER, {"pid": pid}).first():
            return _Holder(*row)
    return None
