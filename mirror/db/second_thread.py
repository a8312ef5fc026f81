"""Read a SQLite database in two threads at once, in one snapshot.

SQLite runs the statements of a connection on one core. Postgres reads in parallel by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy.engine import Connection

from mirror.db.engine import read_transaction

_T = TypeVar("_T")

_ATTEMPTS = 3
"""To open two connections without a commit between."""

_STEPS_BETWEEN_CHECKS = 100_000
"""Steps of SQLite's virtual machine, some milliseconds."""


class Start(Protocol):
    """Starts a read in a second thread; returns a function that waits for its result."""

    def __call__(self, read: Callable[[Connection], _T]) -> Callable[[], _T]:
        """Start it."""


@contextmanager
def second_thread(connection: Connection) -> Iterator[Start]:
    """Open another connection to the snapshot of a connection, for a second thread.

    Where there is none (Postgres, or a database in which others commit all the time), a read runs
    on the connection itself when its result is asked for.

    Args:
        connection: of a `read_transaction`, which begins anew here.
    """
    with ExitStack() as stack:
        other = _same_snapshot(connection, stack) if connection.dialect.name == "sqlite" else None
        if other is None:
            yield lambda read: lambda: read(connection)
            return
        driver: Any = other.connection.driver_connection
        stopped = threading.Event()
        driver.set_progress_handler(stopped.is_set, _STEPS_BETWEEN_CHECKS)
        executor = stack.enter_context(ThreadPoolExecutor(1))
        try:
            yield lambda read: executor.submit(read, other).result
        except BaseException:
            stopped.set()  # nobody waits for the result any more
            raise


def _same_snapshot(connection: Connection, stack: ExitStack) -> Connection | None:
    """Open another read transaction in the snapshot of a connection; None if that failed."""
    for _ in range(_ATTEMPTS):
        version = _data_version(connection)
        connection.rollback()
        with ExitStack() as attempt:
            other = attempt.enter_context(read_transaction(connection.engine))
            _data_version(other)  # its snapshot begins here, before the next one of `connection`
            if _data_version(connection) == version:
                stack.push(attempt.pop_all())
                return other
    return None


def _data_version(connection: Connection) -> int:
    """Return a number that differs in two transactions if others committed between them.

    https://www.sqlite.org/pragma.html#pragma_data_version
    """
    return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())
