"""A watchdog for each connection to Postgres, which closes it if the server stops responding."""

from __future__ import annotations

import socket
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

RESPONSE_TIMEOUT = 600
"""Seconds that Postgres may take to answer before the connection is closed."""

_KEY = "mirror_watchdog"


class Watchdog:
    """Closes a connection if Postgres does not answer within RESPONSE_TIMEOUT.

    A frozen server still answers at the TCP level, so no time-out of libpq would end the wait.

    Args:
        descriptor: of the connection's socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM)
        self._busy_since: float | None = time.monotonic()
        self._statement_began = time.monotonic()
        self._closed = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def mark_busy(self) -> None:
        """Start the clock: a statement is being sent."""
        self._busy_since = self._statement_began = time.monotonic()

    def mark_progress(self) -> None:
        """Start the clock anew: the server has answered, and the statement goes on."""
        self._busy_since = time.monotonic()

    def statement_seconds(self) -> float:
        """Return the seconds since the last statement began."""
        return time.monotonic() - self._statement_began

    def busy_seconds(self) -> float | None:
        """Return the seconds that Postgres has not answered a statement; None if there is none."""
        busy_since = self._busy_since
        return None if busy_since is None else time.monotonic() - busy_since

    def mark_idle(self) -> None:
        """Stop the clock: the server has answered."""
        self._busy_since = None

    def close(self) -> None:
        """End the watchdog: the connection is closed."""
        self._closed.set()

    def _run(self) -> None:
        with self._socket:
            remaining: float = RESPONSE_TIMEOUT
            while remaining > 0:
                if self._closed.wait(remaining):
                    return
                now = time.monotonic()
                remaining = RESPONSE_TIMEOUT - (now - (self._busy_since or now))
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def install(engine: Engine) -> None:
    """Start a watchdog with each connection of a Postgres engine, before its first statement."""

    def start(connection: Any, record: Any) -> None:
        record.info[_KEY] = watchdog = Watchdog(connection.pgconn.socket)
        # SQLAlchemy sends no close event if its own first statements fail, as behind a pooler that
        # accepts connections while it cannot reach the server.
        weakref.finalize(connection, watchdog.close)

    def close(_connection: Any, record: Any) -> None:
        if watchdog := record.info.pop(_KEY, None):
            watchdog.close()

    def mark_idle(connection: Connection, *_: object) -> None:
        connection.info[_KEY].mark_idle()

    event.listen(engine, "connect", start, insert=True)
    event.listen(engine, "close", close)
    event.listen(engine, "before_cursor_execute", mark_busy)
    event.listen(engine, "after_cursor_execute", mark_idle)


def watchdog_of(connection: Connection) -> Watchdog:
    """Return the watchdog of a connection to Postgres."""
    watchdog: Watchdog = connection.info[_KEY]
    return watchdog


def mark_busy(connection: Connection, *_: object) -> None:
    """Start the clock of a connection's watchdog, if it has one.

    Statements do so by themselves; a commit and calls of the driver itself do not.
    """
    if watchdog := connection.info.get(_KEY):
        watchdog.mark_busy()


def mark_progress(connection: Connection) -> None:
    """Start the clock of a connection's watchdog anew, within a statement."""
    if watchdog := connection.info.get(_KEY):
        watchdog.mark_progress()
