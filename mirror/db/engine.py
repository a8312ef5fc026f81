"""Engines, transactions and locks for SQLite and Postgres; their errors in our own words."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import NullPool

from mirror.db import watchdog
from mirror.errors import DatabaseError, DatabaseUnavailable, UsageError

LOCK_WAIT = 60
"""Seconds to wait for a lock that somebody else holds."""

_LIBPQ = {
    "connect_timeout": 30,  # seconds
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
"""By itself libpq waits two hours for a server that vanished; what the URL says wins."""

_SESSION = {
    # In another zone year 1 may be year 0.
    "TimeZone": "UTC",
    "lock_timeout": "{lock_wait}s",
    # Compiling a query of ours takes longer than running it.
    "jit": "off",
}
_WRITER = _SESSION | {
    # When this machine dies, the server lets go of its locks in a minute, not in two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "{patience}s",
}

_SQLITE_PAGE = 8 * 1024
"""Bytes, of a new file. A load takes a seventh less time than with SQLite's own 4 KiB."""

_SQLITE_CACHE = 128 * 1024
"""KiB; used as needed. With SQLite's own 2 MiB a first load spends half its time on index pages."""

_OLDEST_SQLITE = (3, 35)
_PASSING_SQLITE_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
}
_PASSING_SQLSTATE_CLASSES = {
    "08",  # connection exception
    "25",  # invalid transaction state, such as a server that is read-only after a failover
    "40",  # transaction rollback: deadlock, serialization
    "53",  # insufficient resources, such as a full disk or too many connections
    "55",  # object not in prerequisite state, such as a lock not available
    "57",  # operator intervention, such as a shutdown
    "58",  # system error
}
_REFUSAL = re.compile(r"FATAL:|no password supplied")
_PASSING_REFUSAL = re.compile(
    r"FATAL: +(the database system is|sorry, too many clients|remaining connection slots"
    r"|too many connections for|terminating connection due to"
    r'|database ".*" is not currently accepting connections)'
)
_SECRET_PARAMETER = re.compile(r"(?i)pass|secret|token|key")
_SHORTEST_SECRET = 4
_BEGIN = "mirror_begin"
_LOCK_CLASS = 0x6D72  # "mr": keeps our advisory locks apart from those of other programs


def parse_url(text: str) -> URL:
    """Read a database URL, and choose its driver.

    Raises:
        UsageError: it cannot be read, or names neither SQLite nor Postgres.
    """
    try:
        url = make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise UsageError(
            "the database URL cannot be read",
            hint="use sqlite:///PATH or "
            "postgresql://USER@HOST/DATABASE (special characters in a password %-escaped)",
        ) from error
    backend = url.get_backend_name()
    if backend == "sqlite":
        return url.set(drivername="sqlite")
    if backend in {"postgresql", "postgres"}:
        if "\0" in unquote(text):  # nothing in such a URL can have one
            raise UsageError("the database URL cannot be used: there is a NUL (%00) in it")
        return url.set(drivername="postgresql+psycopg")
    raise UsageError(
        f"{backend!r} databases are not supported", hint="use sqlite:/// or postgresql://"
    )


def shown_url(text: str) -> str:
    """Return a database URL as it may be shown: without its passwords."""
    return _shown(parse_url(text))


def shown_url_of(connection: Connection) -> str:
    """Return the URL of an open database as it may be shown."""
    return _shown(connection.engine.url)


def has_secrets(text: str) -> bool:
    """Tell whether a database URL holds a password."""
    return "***" in shown_url(text)


def _shown(url: URL) -> str:
    url = url.set(drivername=url.get_backend_name())
    hidden = {name: "***" for name in url.query if _SECRET_PARAMETER.search(name)}
    return (
        url.update_query_dict(hidden)
        .render_as_string(hide_password=True)
        .replace("%2A%2A%2A", "***")
    )


def _secrets(url: URL) -> list[str]:
    """The passwords in a URL that are long enough to be told from ordinary words."""
    values = [str(url.password or "")]
    values += [str(value) for name, value in url.query.items() if _SECRET_PARAMETER.search(name)]
    return [value for value in values if len(value) >= _SHORTEST_SECRET]


def create_engine(text: str, *, create: bool = False) -> Engine:
    """Open a database.

    Args:
        text: its URL.
        create: make the SQLite file, and its folder, if there is none; its owner alone may read it.

    Raises:
        UsageError: the URL cannot be used.
        DatabaseError: there is no such SQLite file, or it cannot be made.
    """
    url = parse_url(text)
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, create=create)
    try:
        known = {name: value for name, value in _LIBPQ.items() if name not in url.query}
        result = sa.create_engine(
            url, poolclass=NullPool, connect_args=known, use_native_hstore=False
        )
    except ImportError as error:  # the driver, or the library that it needs
        raise UsageError(
            "Postgres needs the driver psycopg",
            hint="install it with: pip install 'talkover-mirror[postgres]'",
        ) from error
    watchdog.install_watchdog(result)
    return result


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """Give a connection in a transaction that sees one state of the database, and changes none."""
    if engine.dialect.name == "sqlite":
        with _translated(engine), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            yield connection
        return
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _translated(engine), engine.connect().execution_options(**options) as connection:
        _configure(connection, _SESSION)
        yield connection


@contextmanager
def write_transaction(engine: Engine, lock: str) -> Iterator[Connection]:
    """Give a connection in a transaction that holds the writer's lock, and commit at the end.

    SQLite has one lock for the whole file. In Postgres writers with different `lock` names, such as
    those of different environments, go on side by side.
    """
    sqlite = engine.dialect.name == "sqlite"
    # Not whatever the server has as its default: a snapshot taken while waiting for the lock would
    # not see what the one who held it has committed.
    options = {_BEGIN: "BEGIN IMMEDIATE"} if sqlite else {"isolation_level": "READ COMMITTED"}
    with (
        _translated(engine),
        engine.connect().execution_options(**options) as connection,
        connection.begin(),
    ):
        if not sqlite:
            _configure(connection, _WRITER)
            advisory_lock(connection, lock)
        yield connection
        watchdog.mark_busy(connection)  # the commit


def advisory_lock(connection: Connection, name: str) -> None:
    """Take one more writer's lock, until the transaction ends; in SQLite there is but one."""
    if connection.dialect.name != "sqlite":
        connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(:class, hashtext(:name))"),
            {"class": _LOCK_CLASS, "name": name},
        )


def _configure(connection: Connection, parameters: dict[str, str]) -> None:
    """Set parameters of Postgres, until the transaction ends: a connection pooler leaks nothing."""
    values = {
        name: value.format(lock_wait=LOCK_WAIT, patience=watchdog.RESPONSE_TIMEOUT)
        for name, value in parameters.items()
    }
    settings = (sa.func.set_config(name, value, sa.true()) for name, value in values.items())
    connection.execute(sa.select(*settings))


def _sqlite_engine(url: URL, *, create: bool) -> Engine:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise UsageError(
            f"this Python has SQLite {sqlite3.sqlite_version}",
            hint=f"mirror needs {_OLDEST_SQLITE[0]}.{_OLDEST_SQLITE[1]} or later",
        )
    if not url.database or url.database == ":memory:" or url.query:
        raise UsageError("the SQLite URL must be of the form sqlite:///PATH")
    path = Path(url.database).absolute()
    found = _look_at(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{path} is a folder", hint="name a file in it with sqlite:///PATH")
    if create and found is None:
        _make_file(path)
    elif found is None:
        raise DatabaseError(
            f"there is no mirror at {path} yet",
            hint="run `mirror sync` first, or name another database "
            "with --database or MIRROR_DATABASE_URL",
        )
    if create:
        _give_back_rights(path)
    result = sa.create_engine(
        url.set(database=str(path)), poolclass=NullPool, connect_args={"timeout": LOCK_WAIT}
    )
    event.listen(result, "connect", _set_up_sqlite)
    if create:
        event.listen(result, "connect", _use_wal)
    event.listen(result, "begin", _begin_sqlite)
    return result


def _look_at(path: Path) -> os.stat_result | None:
    """Return what there is at a path, or None if there is nothing."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is none"
        raise DatabaseError(
            f"the database file {str(path)!r} cannot be looked at ({why})",
            hint="check the path and its rights, or choose another one with --database",
        ) from error


def _make_file(path: Path) -> None:
    """Make an empty file that its owner alone may read, unless it is there already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (DatabaseUnavailable if full else DatabaseError)(
            f"the database file {path} cannot be made ({error.strerror}); check the path and its "
            "rights, or choose another one with --database"
        ) from error


def _give_back_rights(path: Path) -> None:
    """Make the files beside a database writable if it is writable itself.

    SQLite makes them with its rights. Those made while it was read-only for a while would stay so,
    and no writer could ever open it again.
    """
    for companion in (Path(f"{path}-wal"), Path(f"{path}-shm")):
        with suppress(OSError):
            if os.access(path, os.W_OK) and not os.access(companion, os.W_OK):
                companion.chmod(path.stat().st_mode)


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin or commit by itself: a failing migration would leave its tables.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{_SQLITE_CACHE}")
    connection.execute(f"PRAGMA page_size = {_SQLITE_PAGE}")


def _use_wal(connection: sqlite3.Connection, _record: object) -> None:
    """Let readers and the writer go on side by side; the file remembers it.

    Not before there is something to read: with a log to be copied, the first load would be written
    twice. SQLite does not wait for a lock here. Whoever holds it is another process that made the
    file at the same moment: then that one, or the next one, changes the mode.
    """
    with suppress(sqlite3.OperationalError):
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return
        if connection.execute("SELECT 1 FROM release_requests LIMIT 1").fetchone():
            connection.execute("PRAGMA journal_mode = WAL")


def settle(engine: Engine) -> None:
    """Get a database ready for its readers, now that there are rows."""
    if engine.dialect.name == "sqlite":
        with suppress(sa.exc.SQLAlchemyError), engine.connect():
            pass  # `_use_wal` has seen that there is something to read


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    """Turn the errors of SQLAlchemy and the drivers into ours."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _translate(error.orig, engine) from error
    except sa.exc.SQLAlchemyError as error:
        raise DatabaseError(
            f"the database {_shown(engine.url)} was asked something that SQLAlchemy does not take "
            f"({type(error).__name__})",
            hint="please report this as a defect of mirror",
        ) from error
    except engine.dialect.loaded_dbapi.Error as error:  # SQLAlchemy does not see a COPY
        raise _translate(error, engine) from error


def _translate(error: BaseException | None, engine: Engine) -> DatabaseError:
    """Put an error of the driver into our words; what it says itself is quoted in them."""
    said = " ".join(str(error).split())
    for secret in _secrets(engine.url):
        said = said.replace(secret, "***")
    where = _shown(engine.url)
    if _is_transient(error, engine.dialect.loaded_dbapi):
        return DatabaseUnavailable(
            f"the database {where} cannot be used for now ({said})",
            hint="check that it is there, and try again",
        )
    return DatabaseError(
        f"the database {where} refused ({said})", hint="check its URL, and what its user may do"
    )


def _is_transient(error: BaseException | None, driver: Any) -> bool:
    """Tell whether the same attempt may succeed later, by the codes of the databases.

    Args:
        error: of the driver.
        driver: its module, with the classes of PEP 249.
    """
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _PASSING_SQLITE_CODES
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return state[:2] in _PASSING_SQLSTATE_CLASSES
    if not isinstance(error, (driver.OperationalError, driver.InterfaceError)):
        return False
    # The one place that decides by words: libpq gives no code while connecting, but repeats a
    # server's last words, which come in the server's language.
    refused = _REFUSAL.search(str(error)) and not _PASSING_REFUSAL.search(str(error))
    return not refused
