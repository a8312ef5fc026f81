"""The watch over connections to Postgres: no question is waited for without an end."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

RESPONSE_TIMEOUT = 600
"""Seconds that Postgres may take to answer before the connection is given up."""

_KEY = "mirror_watch"


class _Watch:
    """Hangs up if Postgres leaves a question unanswered for too long.

    A server that is frozen still answers on the level of TCP, so that no time-out of libpq would
    end the wait.

    Args:
        descriptor: of the connection's socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._line = socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM)
        self._asked_at: float | None = time.monotonic()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def ask(self) -> None:
        """Note that a question is being asked."""
        self._asked_at = time.monotonic()

    def rest(self) -> None:
        """Note that it is answered."""
        self._asked_at = None

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()

    def _watch(self) -> None:
        with self._line:
            left: float = RESPONSE_TIMEOUT
            while left > 0:
                if self._closed.wait(left):
                    return
                now = time.monotonic()
                left = RESPONSE_TIMEOUT - (now - (self._asked_at or now))
            with suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)


def install_watchdog(engine: Engine) -> None:
    """Watch each connection of an engine to Postgres, from its first question on."""

    def open_(connection: Any, record: Any) -> None:
        record.info[_KEY] = _Watch(connection.pgconn.socket)

    def close(_connection: Any, record: Any) -> None:
        if watch := record.info.pop(_KEY, None):
            watch.close()

    def rest(connection: Connection, *_: object) -> None:
        connection.info[_KEY].rest()

    event.listen(engine, "connect", open_, insert=True)
    event.listen(engine, "close", close)
    event.listen(engine, "before_cursor_execute", mark_busy)
    event.listen(engine, "after_cursor_execute", rest)


def mark_busy(connection: Connection, *_: object) -> None:
    """Tell the watch of a connection, if it has one, that an answer is awaited.

    Statements do so by themselves; a commit, or what the driver itself is asked, does not.
    """
    if watch := connection.info.get(_KEY):
        watch.ask()
