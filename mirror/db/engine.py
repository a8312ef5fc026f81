"""Engines, transactions and locks for SQLite and Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from mirror.db import lock_waits, placement, postgres, sqlite, watchdog
from mirror.db.errors import redact_url, translate_errors
from mirror.db.urls import parse_url, shown_url_of
from mirror.db.watchdog import mark_busy, watchdog_of
from mirror.errors import DatabaseError, DatabaseUnavailable, MissingExtra, UsageError

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
        return sqlite.create_engine(url, create=create, read_only=read_only)
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
        with translate_errors(engine, reading=True), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql(f"PRAGMA cache_size = -{sqlite.READ_CACHE_KIB}")
            yield connection
        return
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with (
        translate_errors(engine, reading=True),
        engine.connect().execution_options(**options) as connection,
    ):
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
    is_sqlite = engine.dialect.name == "sqlite"
    # Not the server's default isolation level: a snapshot taken while waiting for the lock would
    # not see what the previous holder has committed.
    options = (
        {sqlite.BEGIN_OPTION: "BEGIN IMMEDIATE"}
        if is_sqlite
        else {"isolation_level": "READ COMMITTED"}
    )
    with (
        translate_errors(engine),
        engine.connect().execution_options(**options) as connection,
        connection.begin() as transaction,
    ):
        if is_sqlite:
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
        name: value.format(
            lock_wait=lock_waits.LOCK_WAIT, response_timeout=watchdog.RESPONSE_TIMEOUT
        )
        for name, value in parameters.items()
    }
    # Qualified: the user's search_path may have a function of that name before pg_catalog's.
    set_config = sa.func.pg_catalog.set_config
    settings = [set_config(name, value, sa.true()) for name, value in values.items()]
    row = connection.execute(sa.select(*expressions, *settings, placement.search_path())).one()
    return tuple(row[: len(expressions)])
