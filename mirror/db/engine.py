"""Engines, transactions and locks for SQLite and Postgres."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.pool import NullPool

from mirror.db import lock_waits, placement, postgres, watchdog
from mirror.db.errors import redact_url, translate_errors
from mirror.db.urls import parse_url, shown_url_of
from mirror.db.watchdog import mark_busy, watchdog_of
from mirror.errors import DatabaseError, DatabaseUnavailable, MissingExtra, UsageError
from mirror.files import DISK_FULL

LOCK_WAIT = 60
"""Seconds to wait for a lock that another connection holds."""

_READ_SETTINGS = {
    # Of the values in a result: psycopg reads no other dates.
    "client_encoding": "UTF8",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    # In another zone year 1 may be year 0.
    "TimeZone": "UTC",
    # Of the texts in a statement: a backslash is a backslash.
    "standard_conforming_strings": "on",
    "lock_timeout": "{lock_wait}s",
    # Compiling one of mirror's queries takes longer than running it.
    "jit": "off",
}
_UNLIMITED_READ_SETTINGS = _READ_SETTINGS | {
    "idle_in_transaction_session_timeout": "{response_timeout}s",
    # The watchdog ends a statement; the defaults of a role may be too short for any first load.
    "statement_timeout": "0",
}
_WRITE_SETTINGS = _UNLIMITED_READ_SETTINGS | {
    # An error instead of rows that a policy leaves out: a sync would take them for new ones.
    "row_security": "off",
    # If this machine dies, the server releases its locks after one minute, not two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    # A merge looks up the requests that changed by their keys. The default, 4, is for disks that
    # turn, and makes Postgres read the whole table for one request in a hundred.
    "random_page_cost": "1.1",
}

_TIME_LIMITS = {
    "57014": "statement_timeout",
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
}
"""Settings of Postgres, by the SQLSTATE with which they end a statement or a session."""

_STATEMENT_TIMEOUT = sa.literal_column(
    "pg_catalog.date_part('epoch', CAST("
    "pg_catalog.current_setting('statement_timeout') AS pg_catalog.interval))",
    sa.Float,
)

_SQLITE_PAGE_SIZE = 8 * 1024
"""Bytes, of a new file. A first load takes a seventh less time than with SQLite's 4 KiB."""

_SQLITE_CACHE_KIB = 64 * 1024
"""KiB, allocated as needed. With SQLite's 2 MiB a first load spends half its time on indexes."""

_SQLITE_READ_CACHE_KIB = 4 * 1024
"""KiB, for transactions that only read: most of them read a page once."""

_MIN_SQLITE_VERSION = (3, 35)
_BEGIN_OPTION = "mirror_begin"
LOCK_CLASS = 0x6D72
"""First key of mirror's advisory locks ("mr"): keeps them apart from those of other programs."""


def create_engine(text: str, *, create: bool = False, read_only: bool = False) -> Engine:
    """Open a database.

    Args:
        text: its URL.
        create: create the SQLite file and its folder if missing, readable by the owner alone.
        read_only: open the SQLite file with `mode=ro`, which cannot recover it from a writer that
            was killed in a first sync.

    Raises:
        UsageError: the URL cannot be used.
        DatabaseError: the SQLite file does not exist, or cannot be created.
    """
    url = parse_url(text)
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, create=create, read_only=read_only)
    try:
        engine = sa.create_engine(
            url,
            poolclass=NullPool,
            connect_args=postgres.connect_arguments(url),
            use_native_hstore=False,
        )
    except ImportError as error:  # psycopg, or libpq
        raise MissingExtra("Postgres needs the driver psycopg", "postgres") from error
    except (sa.exc.ArgumentError, ValueError) as error:
        raise UsageError(
            f"the hosts and ports of the database URL {redact_url(url)} cannot be used",
            hint="use postgresql://USER@HOST:PORT,HOST:PORT/DATABASE",
        ) from error
    postgres.install(engine)
    watchdog.install(engine)
    return engine


@contextmanager
def read_transaction(engine: Engine, *, time_limits: bool = True) -> Iterator[Connection]:
    """Open a read-only transaction that sees one snapshot of the database.

    Args:
        engine: the database.
        time_limits: keep the time limits that Postgres has for the user, which a sync does not.

    Raises:
        DatabaseError: among others, Postgres ended the transaction by a time limit.
    """
    if engine.dialect.name == "sqlite":
        with translate_errors(engine), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql(f"PRAGMA cache_size = -{_SQLITE_READ_CACHE_KIB}")
            yield connection
        return
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with translate_errors(engine), engine.connect().execution_options(**options) as connection:
        settings = _READ_SETTINGS if time_limits else _UNLIMITED_READ_SETTINGS
        (limit,) = _set_parameters(connection, settings, _STATEMENT_TIMEOUT)
        with _explain_time_limits(connection, limit):
            yield connection


@contextmanager
def _explain_time_limits(connection: Connection, statement_timeout: float) -> Iterator[None]:
    """Name the setting of Postgres that ended a transaction: to try again would not help.

    Args:
        connection: of the transaction.
        statement_timeout: its value in seconds, 0 for none. A statement that was ended earlier was
            cancelled by somebody, for which Postgres has the same SQLSTATE.
    """
    timer = watchdog_of(connection)  # out of reach once the connection is lost
    try:
        yield
    except (sa.exc.DBAPIError, connection.dialect.loaded_dbapi.Error) as error:
        name = _TIME_LIMITS.get(getattr(getattr(error, "orig", error), "sqlstate", ""))
        seconds = timer.statement_seconds()
        was_cancelled = name == "statement_timeout" and not 0 < statement_timeout <= seconds
        if name is None or was_cancelled:
            raise
        raise DatabaseError(
            f"the database {shown_url_of(connection)} ended the transaction by the setting {name}",
            hint=f"to raise it run: ALTER ROLE … SET {name} = … (0 is no limit), or ALTER DATABASE "
            "if it is set there",
        ) from error


@contextmanager
def write_transaction(engine: Engine, lock: str, *, commit: bool = True) -> Iterator[Connection]:
    """Open a transaction that holds the writer's lock; commit at the end, or roll back.

    SQLite has one lock for the whole file. In Postgres writers with different `lock` names, such as
    those of different environments, run in parallel.
    """
    sqlite = engine.dialect.name == "sqlite"
    # Not the server's default isolation level: a snapshot taken while waiting for the lock would
    # not see what the previous holder has committed.
    options = (
        {_BEGIN_OPTION: "BEGIN IMMEDIATE"} if sqlite else {"isolation_level": "READ COMMITTED"}
    )
    with (
        translate_errors(engine),
        engine.connect().execution_options(**options) as connection,
        connection.begin() as transaction,
    ):
        if sqlite:
            yield connection
        else:
            pid = _begin_writing(connection)
            with lock_waits.reported(engine, connection, pid):
                advisory_lock(connection, lock)
                yield connection
        mark_busy(connection)  # the commit or rollback
        if not commit:
            transaction.rollback()


def _begin_writing(connection: Connection) -> int:
    """Set the parameters of a transaction that writes, and check that Postgres lets it.

    Returns:
        The process of the server, which behind a pooler is that of this transaction only.

    Raises:
        DatabaseUnavailable: the server is a standby, as after a failover.
        DatabaseError: sessions of the role, or in the database, only read.
    """
    in_recovery, read_only, pid = _set_parameters(
        connection,
        _WRITE_SETTINGS,
        sa.func.pg_catalog.pg_is_in_recovery(),
        sa.func.pg_catalog.current_setting("transaction_read_only"),
        sa.func.pg_catalog.pg_backend_pid(),
    )
    shown = shown_url_of(connection)
    if in_recovery:
        raise DatabaseUnavailable(
            f"the server of the database {shown} is a standby, which is read-only",
            hint="name the primary server, or try again after it was promoted",
        )
    if read_only == "on":
        raise DatabaseError(
            f"the database {shown} is read-only for its user (default_transaction_read_only)",
            hint="reset that with ALTER ROLE or ALTER DATABASE, or name another user",
        )
    return int(pid)


def is_standby(connection: Connection) -> bool:
    """Return whether a connection leads to a standby of Postgres, which may lag behind."""
    return connection.dialect.name != "sqlite" and bool(
        connection.scalar(sa.select(sa.func.pg_catalog.pg_is_in_recovery()))
    )


def advisory_lock(connection: Connection, name: str, *, shared: bool = False) -> None:
    """Take another writer's lock until the transaction ends; SQLite has but one.

    Args:
        connection: in a transaction that writes.
        name: of the lock.
        shared: others may hold it as well, if they share it.
    """
    if connection.dialect.name != "sqlite":
        # Qualified: others may have a function in the mirror's schema that fits better.
        function = "pg_catalog.pg_advisory_xact_lock" + "_shared" * shared
        connection.execute(
            sa.text(f"SELECT {function}(:class, pg_catalog.hashtext(:name))"),
            {"class": LOCK_CLASS, "name": name},
        )


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


def _set_parameters(
    connection: Connection, parameters: dict[str, str], *expressions: sa.ColumnElement[Any]
) -> tuple[Any, ...]:
    """Set parameters of Postgres, and the mirror's schema, for this transaction only.

    A pooler's session keeps none of them.

    Returns:
        The values of more expressions, which take no statement of their own.
    """
    version = connection.dialect.server_version_info or ()
    if "statement_timeout" in parameters and version >= (17,):
        parameters = parameters | {"transaction_timeout": "0"}
    values = {
        name: value.format(lock_wait=LOCK_WAIT, response_timeout=watchdog.RESPONSE_TIMEOUT)
        for name, value in parameters.items()
    }
    # Qualified: the user's search_path may have a function of that name before pg_catalog's.
    set_config = sa.func.pg_catalog.set_config
    settings = [set_config(name, value, sa.true()) for name, value in values.items()]
    row = connection.execute(sa.select(*expressions, *settings, placement.search_path())).one()
    return tuple(row[: len(expressions)])


def _sqlite_engine(url: URL, *, create: bool, read_only: bool) -> Engine:
    if sqlite3.sqlite_version_info < _MIN_SQLITE_VERSION:
        raise UsageError(
            f"this Python has SQLite {sqlite3.sqlite_version}",
            hint=f"mirror needs {_MIN_SQLITE_VERSION[0]}.{_MIN_SQLITE_VERSION[1]} or later",
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
        connect_args={"timeout": LOCK_WAIT, "uri": read_only},
        execution_options={"schema_translate_map": placement.SQLITE_SCHEMAS},
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
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


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin or commit by itself: a failing migration would leave its tables.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{_SQLITE_CACHE_KIB}")
    connection.execute(f"PRAGMA page_size = {_SQLITE_PAGE_SIZE}")


def _begin_sqlite(connection: Connection) -> None:
    if statement := connection.get_execution_options().get(_BEGIN_OPTION):
        _begin_immediate(connection, statement)
    else:
        connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection, statement: str) -> None:
    """Take the writer's lock of SQLite within LOCK_WAIT, and report if that takes long.

    SQLite waits by itself, but reports nothing, and no signal is handled meanwhile. So it waits
    many times. The driver is called directly: SQLAlchemy would close the connection on Ctrl-C.

    Raises:
        Stopped: the sync was cancelled.
    """
    driver: Any = connection.connection.driver_connection
    due = [time for time in lock_waits.REPORTED_AFTER if time < LOCK_WAIT]
    waited = 0.0
    try:
        while True:
            until = min(waited + lock_waits.POLL_INTERVAL, *due[:1], LOCK_WAIT)
            driver.execute(f"PRAGMA busy_timeout = {1000 * (until - waited):.0f}")
            waited = until
            try:
                driver.execute(statement)
            except sqlite3.OperationalError as error:
                is_busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if waited >= LOCK_WAIT or not is_busy:
                    raise
                lock_waits.require_not_cancelled()
                if due and waited >= due[0]:
                    del due[0]
                    lock_waits.report(waited)
            else:
                break
    finally:
        lock_waits.resume()
        driver.execute(f"PRAGMA busy_timeout = {1000 * LOCK_WAIT:.0f}")
