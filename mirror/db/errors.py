"""Translate errors of SQLAlchemy and the drivers into MirrorErrors."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from mirror.errors import DatabaseError, DatabaseUnavailable

_TRANSIENT_SQLITE_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
}
_TRANSIENT_SQLSTATE_CLASSES = {
    "08",  # connection exception
    "25",  # invalid transaction state, such as a server that is read-only after a failover
    "40",  # transaction rollback: deadlock, serialization
    "53",  # insufficient resources, such as a full disk or too many connections
    "55",  # object not in prerequisite state, such as a lock not available
    "57",  # operator intervention, such as a shutdown
    "58",  # system error
}
_PERMANENT_SQLSTATES = {
    "58P01",  # undefined file, such as a library that sessions of the user load first
}
"""SQLSTATEs of these classes that no later attempt is without."""

_NOT_IN_PREREQUISITE_STATE = "55000"
"""Of a login: the database accepts none for now. Of a statement: a table is published, but has no
replica identity."""

_OF_READING = {"25006", "25P02"}
"""In a transaction that only reads: a statement would write, or an earlier one failed."""

_LIMIT_EXCEEDED = "53400"
"""Of a statement of ours only `temp_file_limit` is exceeded."""

_SERIALIZATION_FAILURE = "40001"
"""Of a transaction of ours only a standby reports it, which replays what conflicts with it."""

_CORRUPTION_SQLSTATES = {"XX001", "XX002"}
_FOREIGN_SQLSTATE_CLASSES = {
    "09",  # triggered action exception
    "22",  # data exception, as in the expression of an index
    "23",  # integrity constraint violation
    "27",  # triggered data change violation
    "38",  # external routine exception
    "39",  # external routine invocation exception
    "P0",  # PL/pgSQL, such as raise_exception
}
"""Of what others added to the tables: the mirror's own statements and rows break no rule of it."""

_STATEMENT_SQLSTATE_CLASSES = {"22", "42"}  # data exception; syntax error or access rule violation
_INSUFFICIENT_PRIVILEGE = "42501"

_SECRET_PARAMETER = re.compile(r"(?i)pass(?!file$)|pw|secret|token|(?<!ssl)key")
"""Of `passfile` and `sslkey` the value is a path, without which a shown URL is of no use."""

_MIN_SECRET_LENGTH = 4
"""Characters. A shorter password cannot be distinguished from ordinary words of a message."""


@contextmanager
def translate_errors(engine: Engine, *, reading: bool = False) -> Iterator[None]:
    """Raise errors of SQLAlchemy and of the engine's driver as DatabaseError.

    Args:
        engine: the database.
        reading: the transaction only reads.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        if reading and (hint := _remedy_of_reading(error.orig)):
            raise DatabaseError(
                f"the database {redact_url(engine.url)} refused a statement "
                f"({driver_message(error.orig, engine.url)})",
                hint=hint,
            ) from error
        raise _translate(error.orig, engine) from error
    except sa.exc.SQLAlchemyError as error:
        raise DatabaseError(
            f"SQLAlchemy rejected a statement for the database {redact_url(engine.url)} "
            f"({type(error).__name__})",
            hint="please report this as a defect of mirror",
        ) from error
    except engine.dialect.loaded_dbapi.Error as error:  # SQLAlchemy does not see a COPY
        raise _translate(error, engine) from error


def redact_url(url: URL) -> str:
    """Return a database URL as text, with `***` in place of its passwords."""
    redacted = url.set(drivername=url.get_backend_name()).update_query_dict(
        {name: "***" for name in url.query if _SECRET_PARAMETER.search(name)}
    )
    return redacted.render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def _translate(error: BaseException | None, engine: Engine) -> DatabaseError:
    """Return the MirrorError for an error of the driver."""
    if getattr(error, "sqlstate", None) == _SERIALIZATION_FAILURE:
        return DatabaseUnavailable(
            f"the standby {redact_url(engine.url)} ended the transaction, which conflicted with "
            f"changes of the primary ({driver_message(error, engine.url)})",
            hint="run it again; if this repeats, set hot_standby_feedback = on there, or a longer "
            "max_standby_streaming_delay",
        )
    if isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode"):
        # It is not from SQLite, but from Python, which decodes the texts.
        return DatabaseError(
            f"the database {redact_url(engine.url)} has a text that is not UTF-8",
            hint="see whether another program writes to the mirror",
        )
    if getattr(error, "sqlstate", None) == _LIMIT_EXCEEDED:
        return DatabaseError(
            f"the database {redact_url(engine.url)} ended the transaction by the setting "
            f"temp_file_limit ({driver_message(error, engine.url)})",
            hint="as a superuser, run: ALTER ROLE … SET temp_file_limit = … (-1 is no limit); or "
            "raise work_mem of the role, with which less goes to files",
        )
    if is_transient(error, engine.dialect.loaded_dbapi):
        return unavailable(error, engine.url)
    return refused(error, engine.url)


def _remedy_of_reading(error: BaseException | None) -> str | None:
    """Return what to do about a statement that cannot be of `mirror`; None about others."""
    code = getattr(error, "sqlite_errorcode", None)
    sqlstate = getattr(error, "sqlstate", None) or ""
    if code == sqlite3.SQLITE_READONLY or sqlstate in _OF_READING:
        return (
            "this transaction only reads, and in Postgres ends with the first statement that "
            "fails; begin another one"
        )
    if sqlstate == _INSUFFICIENT_PRIVILEGE:
        return None
    if code == sqlite3.SQLITE_ERROR or sqlstate[:2] in _STATEMENT_SQLSTATE_CLASSES:
        return "correct it; `mirror db describe` lists tables and columns"
    return None


def unavailable(error: BaseException | None, url: URL) -> DatabaseUnavailable:
    """Return the error for a database that may be used later, with the driver's message."""
    return DatabaseUnavailable(
        f"the database {redact_url(url)} is unavailable ({driver_message(error, url)})",
        hint="check that it is running and reachable, and try again",
    )


def refused(error: BaseException | None, url: URL) -> DatabaseError:
    """Return the error for a database that refuses, with the driver's message."""
    return DatabaseError(
        f"the database {redact_url(url)} refused ({driver_message(error, url)})",
        hint=_remedy(error),
    )


def _remedy(error: BaseException | None) -> str:
    """Return what to do about an error that no later attempt is without, by its code."""
    sqlite_code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    sqlstate = getattr(error, "sqlstate", None) or ""
    if sqlite_code == sqlite3.SQLITE_CORRUPT or sqlstate in _CORRUPTION_SQLSTATES:
        return "it is damaged: stop the syncs, and restore a backup (docs/operations.md, Upgrades)"
    if sqlstate[:2] in _FOREIGN_SQLSTATE_CLASSES or sqlite_code == sqlite3.SQLITE_CONSTRAINT:
        return (
            "see which trigger, constraint or index that is not the mirror's refuses, and correct "
            "or drop it"
        )
    if sqlite_code:
        return (
            "check its path, and the rights to the file and to its folder, where SQLite creates "
            "others beside it"
        )
    return "check its URL and the rights of its user"


def driver_message(error: BaseException | str | None, url: URL) -> str:
    """Return the message of an error of the driver on one line.

    It has no passwords of a URL, and no rows, which would stay in logs and in `sync_runs.error`
    when their number is erased. Postgres adds as context the row of a COPY, or parameters; and as
    detail the row that a constraint refuses.
    """
    text: object = error
    diagnostics: Any = getattr(error, "diag", None)  # of psycopg
    if diagnostics and diagnostics.message_primary:
        parts = [diagnostics.message_primary]
        if (diagnostics.sqlstate or "")[:2] not in _FOREIGN_SQLSTATE_CLASSES:
            parts += [diagnostics.message_detail, diagnostics.message_hint]
        text = "; ".join(part.rstrip(".") for part in parts if part)
    message = " ".join(str(text).split())
    for secret in _secrets(url):
        message = message.replace(secret, "***")
    return message


def _secrets(url: URL) -> list[str]:
    """Return the passwords in a URL that may occur in a message of the driver."""
    values = [str(url.password or "")]
    values += [str(value) for name, value in url.query.items() if _SECRET_PARAMETER.search(name)]
    return [value for value in values if len(value) >= _MIN_SECRET_LENGTH]


def is_transient(error: BaseException | None, driver: Any) -> bool:
    """Return whether the same attempt may succeed later, by the database's error code.

    Args:
        error: of the driver.
        driver: the driver's module, with the exception classes of PEP 249.
    """
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _TRANSIENT_SQLITE_CODES
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate is not None:
        return sqlstate != _NOT_IN_PREREQUISITE_STATE and is_transient_sqlstate(sqlstate)
    # Without a code: the connection was lost. `mirror.db.postgres` explains one that was not made.
    return isinstance(error, (driver.OperationalError, driver.InterfaceError))


def is_transient_sqlstate(sqlstate: str) -> bool:
    """Return whether what failed with a SQLSTATE may succeed later."""
    return sqlstate[:2] in _TRANSIENT_SQLSTATE_CLASSES and sqlstate not in _PERMANENT_SQLSTATES
