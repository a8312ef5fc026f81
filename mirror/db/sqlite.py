"""SQLite: its engine, its file, how transactions begin."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.pool import NullPool

from mirror.db import lock_waits, placement
from mirror.errors import DatabaseError, DatabaseUnavailable, UsageError
from mirror.files import DISK_FULL

_PAGE_SIZE = 8 * 1024
"""Bytes, of a new file. A first load takes a seventh less time than with SQLite's 4 KiB."""

_CACHE_KIB = 64 * 1024
"""KiB, allocated as needed. With SQLite's 2 MiB a first load spends half its time on indexes."""

READ_CACHE_KIB = 4 * 1024
"""KiB, for transactions that only read: most of them read a page once."""

_MIN_VERSION = (3, 35)
BEGIN_OPTION = "mirror_begin"


def enable_wal(engine: Engine) -> None:
    """Set WAL mode in SQLite, which the file keeps: readers and the writer do not wait.

    To be called after a load: in WAL mode its pages would be written twice, which takes a first
    load of 100,000 requests 5 to 8 % more CPU time. SQLite does not wait for a lock here; if
    another connection holds one, the next sync sets the mode.
    """
    if engine.dialect.name != "sqlite":
        return
    # Not engine.connect(), which begins a transaction: the mode cannot change within one.
    with (
        suppress(sa.exc.SQLAlchemyError, sqlite3.Error),
        closing(engine.raw_connection()) as connection,
    ):
        connection.cursor().execute("PRAGMA journal_mode = WAL")


def create_engine(url: URL, *, create: bool, read_only: bool) -> Engine:
    """Open a file; `engine.create_engine` has the arguments and errors."""
    if sqlite3.sqlite_version_info < _MIN_VERSION:
        raise UsageError(
            f"this Python has SQLite {sqlite3.sqlite_version}",
            hint=f"mirror needs {_MIN_VERSION[0]}.{_MIN_VERSION[1]} or later",
        )
    path = Path(url.database or "").absolute()
    status = _stat(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path} is a folder", hint="name a file in it with sqlite:///PATH")
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise UsageError(
            f"{path} is a device, a pipe or a socket", hint="name a file with sqlite:///PATH"
        )
    if status is None and not create:
        raise DatabaseError(
            f"there is no mirror at {path} yet",
            hint="run `mirror sync` first, or name another database "
            "with --database or MIRROR_DATABASE_URL",
        )
    engine = sa.create_engine(
        url.set(database=str(path)),
        poolclass=NullPool,
        connect_args={"timeout": lock_waits.LOCK_WAIT, "uri": read_only},
        execution_options={"schema_translate_map": placement.SQLITE_SCHEMAS},
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    if read_only:
        event.listen(engine, "do_connect", _open_read_only)
    if create:
        if status is None:
            _create_file(path)
        _restore_file_modes(path)
    return engine


def _stat(path: Path) -> os.stat_result | None:
    """Return the status of a file, or None if it does not exist."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise DatabaseError(
            f"the database file {str(path)!r} cannot be accessed ({reason})",
            hint="check the path and its permissions, or choose another one with --database",
        ) from error


def _create_file(path: Path) -> None:
    """Create an empty file that its owner alone may read, unless it exists already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise _not_created(path, error.errno) from error


def require_creatable(url: URL) -> None:
    """Check that the missing file of a SQLite database could be created, without creating it.

    Raises:
        DatabaseError: there is no right to.
    """
    path = Path(url.database or "").absolute()
    _stat(path)
    if path.is_symlink() and not Path(os.path.realpath(path)).parent.is_dir():
        raise _not_created(path, errno.ENOENT)
    folder = next(folder for folder in path.parents if os.path.lexists(folder))
    if not folder.is_dir():
        raise _not_created(path, errno.EEXIST if folder == path.parent else errno.ENOTDIR)
    if not os.access(folder, os.W_OK | os.X_OK):
        read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
        raise _not_created(path, errno.EROFS if read_only else errno.EACCES)


def _not_created(path: Path, code: int | None) -> DatabaseError:
    """Return the error for a file that the operating system does not create."""
    return (DatabaseUnavailable if code in DISK_FULL else DatabaseError)(
        f"the database file {path} cannot be created ({os.strerror(code or 0)})",
        hint="check the path and its permissions, or choose another one with --database",
    )


def _restore_file_modes(path: Path) -> None:
    """Make the files beside a database writable if the database is.

    SQLite creates them with the mode of the database. Those created while it was read-only for a
    while would stay read-only, and no writer could ever open it again.
    """
    for companion in (Path(f"{path}-wal"), Path(f"{path}-shm")):
        with suppress(OSError):
            if os.access(path, os.W_OK) and not os.access(companion, os.W_OK):
                companion.chmod(path.stat().st_mode)


def _open_read_only(
    _dialect: object, _record: object, arguments: list[Any], _parameters: dict[str, Any]
) -> None:
    """Make the path that sqlite3 opens a URI. That of the engine stays a path, to be shown."""
    arguments[0] = f"{Path(arguments[0]).as_uri()}?mode=ro"


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin or commit by itself: a failing migration would leave its tables.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")


def _begin(connection: Connection) -> None:
    if statement := connection.get_execution_options().get(BEGIN_OPTION):
        _begin_immediate(connection, statement)
    else:
        connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection, statement: str) -> None:
    """Take the writer's lock of SQLite within lock_waits.LOCK_WAIT, and report if that takes long.

    SQLite waits by itself, but reports nothing, and no signal is handled meanwhile. So it waits
    many times. The driver is called directly: SQLAlchemy would close the connection on Ctrl-C.

    Raises:
        Stopped: the sync was cancelled.
    """
    driver: Any = connection.connection.driver_connection
    due = [time for time in lock_waits.REPORTED_AFTER if time < lock_waits.LOCK_WAIT]
    waited = 0.0
    try:
        while True:
            until = min(waited + lock_waits.POLL_INTERVAL, *due[:1], lock_waits.LOCK_WAIT)
            driver.execute(f"PRAGMA busy_timeout = {1000 * (until - waited):.0f}")
            waited = until
            try:
                driver.execute(statement)
            except sqlite3.OperationalError as error:
                is_busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if waited >= lock_waits.LOCK_WAIT or not is_busy:
                    raise
                lock_waits.require_not_cancelled()
                if due and waited >= due[0]:
                    del due[0]
                    lock_waits.report(waited)
            else:
                break
    finally:
        lock_waits.resume()
        driver.execute(f"PRAGMA busy_timeout = {1000 * lock_waits.LOCK_WAIT:.0f}")
