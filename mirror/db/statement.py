"""Run a statement that a person wrote, and that can only read.

Several things hold independently of each other:

* The transaction is read-only, and rolled back. In Postgres it has a snapshot already, after which
  no statement can make it writable; in SQLite the file is open with `mode=ro` and `query_only`.
* There is one statement, which the database itself checks: Postgres takes no more in its extended
  protocol, Python's sqlite3 none at all.
* Postgres runs it as a cursor, which can be declared for a SELECT, VALUES or TABLE only, unless it
  is an EXPLAIN or SHOW. In SQLite an authorizer refuses whatever does not read.

What remains are functions of Postgres that act outside of a transaction, such as those of dblink
and of the server's files, if the role may call them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.errors import is_transient, is_transient_sqlstate
from mirror.db.parameters import Token, tokens, with_placeholders
from mirror.errors import UsageError
from mirror.text import JsonText

_READING = {"select", "with", "values", "table"}
_EXPLAINING = {"postgresql": {"explain", "show"}, "sqlite": {"explain", "pragma"}}
_WRITING = {"delete", "insert", "into", "merge", "update"}

_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"}
"""Pragmas of SQLite that only read the schema."""

_FETCHED_AT_ONCE = 2_000
_INSTRUCTIONS = 100_000  # of SQLite's virtual machine between two looks for an interrupt

_WOULD_WRITE = {"25001", "25006", "2D000"}
"""SQLSTATE of what a read-only transaction refuses, of making it writable, and of ending it."""

_OWN_CLASSES = {"55", "58"}
"""Classes of SQLSTATE that are mostly the fault of a statement that a person wrote: an object that
it uses itself, a file that is not there."""

_UNAVAILABLE = {"55P03", "58000", "58030"}
"""SQLSTATE of these classes that are not: a lock was not available, the system of the server."""

_NO_CURSOR = {"42601", "0A000"}  # of what no cursor can be declared for, and syntax errors
_INSUFFICIENT_PRIVILEGE = "42501"
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_STORED_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\.(\d{3})")
"""The text format of the mirror's times in SQLite, always UTC."""

_MAX_INTEGER = 2**63
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Result:
    """The result of a statement.

    Attributes:
        columns: their names, each once.
        rows: their values: None, bool, int, float, Decimal, str (times in ISO 8601, those with a
            zone in UTC; bytes in hexadecimal), `JsonText`, and lists of these. To be read within
            the transaction.
    """

    columns: list[str]
    rows: Iterator[Sequence[Any]]


def parameter_names(sql: str, dialect: str) -> list[str]:
    """Return the names of the parameters of a statement, each once, in their order."""
    return list(dict.fromkeys(token.text for token in _parameters(sql, dialect)))


@contextmanager
def running(connection: Connection, sql: str, values: Mapping[str, str]) -> Iterator[Result]:
    """Run a statement within a read-only transaction.

    Args:
        connection: of `read_transaction`, for SQLite with an engine that is `read_only`.
        sql: one statement, with `:name` for its parameters.
        values: of all its parameters. Postgres takes a value for one of the type that belongs
            there; SQLite for a number if it is written like one.

    Yields:
        The result, whose rows are read as they are needed.

    Raises:
        UsageError: the statement would write, there are several, or the database rejects it.
        KeyboardInterrupt: SQLite was interrupted.
    """
    dialect = connection.dialect.name
    _check(sql, dialect, values)
    run = _run_sqlite if dialect == "sqlite" else _run_postgres
    with run(connection, sql, values) as cursor:
        names = [column[0] for column in cursor.description or ()]
        if not names:
            raise UsageError("the statement returns no columns", hint="write a SELECT")
        rows = _rows_of_sqlite(cursor, names) if dialect == "sqlite" else iter(cursor)
        first = list(islice(rows, 1))  # an error comes here, before a header is written
        yield Result(_unique(names), chain(first, rows))


def _parameters(sql: str, dialect: str) -> Iterator[Token]:
    return (token for token in tokens(sql, dialect) if token.kind == "parameter")


def _check(sql: str, dialect: str, values: Mapping[str, str]) -> None:
    """Refuse early, in plain words, what the database would not run.

    Raises:
        UsageError: it is no text, no statement, more than one, or one that does not read.
    """
    if _UNUSABLE.search("".join([sql, *values.values()])):
        raise UsageError("the SQL or a value is not valid UTF-8, or has a NUL character in it")
    found = list(tokens(sql, dialect))
    first = next((token for token in found if token.kind == "word"), None)
    if first is None:
        raise UsageError("there is no statement", hint="write a SELECT")
    ends = [token for token in found if token.kind == "end"]
    if ends and any(token.start > ends[0].start for token in found if token.kind != "end"):
        raise UsageError("there is more than one statement", hint="run each one by itself")
    if other := next((token for token in found if token.kind == "other"), None):
        raise UsageError(f"the SQL has the parameter {other.text!r}", hint="write it as :name")
    if first.text.lower() not in _READING | _EXPLAINING[dialect]:
        begin = first.text.upper()
        raise UsageError(
            f"`mirror query` only reads, and this begins with {begin!r}; write a SELECT"
        )


@contextmanager
def _run_postgres(connection: Connection, sql: str, values: Mapping[str, str]) -> Iterator[Any]:
    driver: Any = connection.connection.driver_connection
    words = (token.text.lower() for token in tokens(sql, "postgresql") if token.kind == "word")
    if next(words) in _EXPLAINING["postgresql"]:
        # Binary results take the extended protocol, also without parameters.
        cursor = driver.cursor(binary=True)
    else:
        # The default is to plan for the first rows only.
        connection.execute(sa.text("SET LOCAL cursor_tuple_fraction = 1"))
        cursor = driver.cursor("mirror_query", scrollable=False)
        cursor.itersize = _FETCHED_AT_ONCE
    _read_as_text(cursor)
    query = with_placeholders(sql, _parameters(sql, "postgresql"))
    try:
        with cursor:
            cursor.execute(query, values)
            yield cursor
    except connection.dialect.loaded_dbapi.Error as error:
        _explain_postgres(error, sql)


def _read_as_text(cursor: Any) -> None:
    """Let a cursor of psycopg return the types of `Result`, and no value be out of Python's range.

    Python has no interval of months, no infinite time, and none before Christ.
    """
    from psycopg.types.string import TextLoader

    class Json(TextLoader):
        def load(self, data: Any) -> str:
            return JsonText(bytes(data).decode())

    class Time(TextLoader):
        def load(self, data: Any) -> str:
            text = bytes(data).decode().replace(" ", "T", 1)
            if not text[0].isdecimal() or " " in text:  # infinity, or BC
                return text.replace("T", " ", 1) if " " in text else text
            time, zone, _ = text.partition("+00")
            seconds, _, fraction = time.partition(".")
            return f"{seconds}{_fraction(fraction)}{'Z' if zone else ''}"

    kept = {"bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric"}
    special = {"json": Json, "jsonb": Json, "timestamp": Time, "timestamptz": Time}
    for kind in cursor.adapters.types:
        if kind.name not in kept:
            cursor.adapters.register_loader(kind.oid, special.get(kind.name, TextLoader))


def _explain_postgres(error: Any, sql: str) -> NoReturn:
    """Raise what an error of Postgres means: the statement is wrong, or something else failed."""
    sqlstate = error.sqlstate
    if sqlstate in _WOULD_WRITE:
        raise _would_write(error.diag.message_primary) from error
    if (
        sqlstate is None
        or sqlstate == _INSUFFICIENT_PRIVILEGE
        or sqlstate.startswith("XX")  # internal errors
        or sqlstate in _UNAVAILABLE
        or (is_transient_sqlstate(sqlstate) and sqlstate[:2] not in _OWN_CLASSES)
    ):
        raise error
    words = {token.text.lower() for token in tokens(sql, "postgresql") if token.kind == "word"}
    if sqlstate in _NO_CURSOR and words & _WRITING:  # such as DELETE in a WITH
        raise _would_write(error.diag.message_primary) from error
    message, hint = error.diag.message_primary, error.diag.message_hint
    raise _rejected(f"{message}; {hint.rstrip('.')}" if hint else message) from error


@contextmanager
def _run_sqlite(connection: Connection, sql: str, values: Mapping[str, str]) -> Iterator[Any]:
    driver: Any = connection.connection.driver_connection
    driver.text_factory = lambda data: data.decode(errors="backslashreplace")
    # Python handles signals between its own instructions only.
    driver.set_progress_handler(lambda: None, _INSTRUCTIONS)
    driver.set_authorizer(_authorize)
    try:
        cursor = driver.cursor()
        yield cursor.execute(sql, {name: _number(value) for name, value in values.items()})
        cursor.close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        _explain_sqlite(error)
    finally:
        driver.set_authorizer(None)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Allow SQLite to read; Python's callback for a part of a statement that is prepared."""
    allowed = (
        action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
        or (action == sqlite3.SQLITE_FUNCTION and second != "load_extension")
        or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS)
        # To name the columns of a table-valued function such as json_each. A statement that has
        # this as its purpose is not prepared without PRAGMA writable_schema.
        or (action == sqlite3.SQLITE_UPDATE and first == "sqlite_master")
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _number(text: str) -> str | int | float:
    """Return a value for SQLite, which compares a text with a number as if it were larger.

    Where a column declared TEXT is compared with a number, SQLite takes that for its text again.
    """
    if _NUMBER.fullmatch(text):
        number = float(text) if "." in text else int(text)
        if str(number) == text and abs(number) < _MAX_INTEGER:
            return number
    return text


def _rows_of_sqlite(cursor: Any, names: Sequence[str]) -> Iterator[Sequence[Any]]:
    """Return rows with times as `Result` has them, and JSON marked by the column's name."""
    kinds = [JsonText if name == "extra" else _time_text for name in names]
    for row in cursor:
        yield [
            kind(value) if isinstance(value, str) else _bytes_as_text(value)
            for kind, value in zip(kinds, row, strict=True)
        ]


def _bytes_as_text(value: object) -> object:
    """Return bytes as Postgres writes them, and any other value as it is."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else value


def _time_text(text: str) -> str:
    """Return a time of the mirror as ISO 8601, and any other text as it is."""
    match = _STORED_TIME.fullmatch(text)
    return f"{match[1]}T{match[2]}{_fraction(match[3])}Z" if match else text


def _fraction(digits: str) -> str:
    """Return the milliseconds of a time, if there are any."""
    milliseconds = digits.ljust(3, "0")[:3]
    return "" if milliseconds == "000" else f".{milliseconds}"


def _unique(names: Sequence[str]) -> list[str]:
    """Return names of columns with a number behind those that are there already."""
    unique: list[str] = []
    for name in names:
        candidates = (f"{name}_{number}" for number in count(2))
        taken = {*names, *unique}
        unique.append(next(c for c in candidates if c not in taken) if name in unique else name)
    return unique


def _would_write(message: str) -> UsageError:
    return UsageError(f"`mirror query` only reads, and this statement would do more ({message})")


def _rejected(message: str) -> UsageError:
    return UsageError(
        f"the database rejects the SQL ({message})",
        hint="`mirror db describe` lists the tables and columns",
    )


def _explain_sqlite(error: Exception) -> NoReturn:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_INTERRUPT:
        raise KeyboardInterrupt from error
    message = " ".join(str(error).split())
    if code in {sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY}:
        raise _would_write(message) from error
    if is_transient(error, sqlite3) or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        raise error
    raise _rejected(message) from error
