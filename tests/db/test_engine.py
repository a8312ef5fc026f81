"""Errors of the drivers: what may pass is decided by codes and documented classes."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
import sqlalchemy as sa

from mirror.db.engine import _is_transient, read_transaction, shown_url
from mirror.errors import DatabaseError, DatabaseUnavailable
from tests.support.mirrors import Mirror


class OperationalError(Exception):
    """Of nobody's driver."""


class _Lost(psycopg.OperationalError):
    """A kind of error that a later driver may have."""


def coded(code: int) -> sqlite3.Error:
    """An error of SQLite."""
    error = sqlite3.DatabaseError("some words")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (psycopg.OperationalError("the connection is lost"), True),
        (_Lost("la conexión se ha perdido"), True),
        (psycopg.InterfaceError("the connection is closed"), True),
        (psycopg.ProgrammingError("some words"), False),
        (psycopg.errors.DeadlockDetected("some words"), True),
        (psycopg.errors.InsufficientPrivilege("some words"), False),
        (OperationalError("some words"), False),
        (coded(sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (coded(sqlite3.SQLITE_FULL), True),
        (coded(sqlite3.SQLITE_CORRUPT_VTAB), False),
        (sqlite3.OperationalError("database is locked"), False),
        (None, False),
    ],
    ids=repr,
)
def test_what_may_pass(error: BaseException | None, passes: bool) -> None:
    """The code decides, else the class of PEP 249; a name or a word alone never does."""
    assert _is_transient(error, psycopg) is passes


def test_each_error_is_ours(mirror: Mirror) -> None:
    """Whoever raised an error, it is told in our sentence, with the server's words in brackets."""
    where = shown_url(mirror.url)
    with pytest.raises(DatabaseError) as raised, read_transaction(mirror.engine) as connection:
        connection.execute(sa.text("SELECT nonsense"))
    assert type(raised.value) is DatabaseError
    assert str(raised.value).startswith(f"the database {where} refused (")
    with pytest.raises(DatabaseError) as raised, read_transaction(mirror.engine) as connection:
        sa.inspect(object())
    assert not isinstance(raised.value, DatabaseUnavailable)
    assert str(raised.value) == (
        f"the database {where} was asked something that SQLAlchemy does not take "
        "(NoInspectionAvailable); please report this as a defect of mirror"
    )
