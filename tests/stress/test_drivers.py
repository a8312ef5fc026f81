"""The drivers of BI tools read every time column right, and block no sync.

What they read is compared with what upstream reported, or with what the drivers of Python read.
stress/test_jdbc_elsewhere.py reads in a JVM of another time zone.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.db import lock_waits
from mirror.db.engine import write_transaction
from mirror.db.runs import Outcome
from mirror.db.types import UTCDateTime
from tests.support.databases import DATABASES, cached_by_kind
from tests.support.drivers import (
    EMPTY_QUERIES,
    RELATIONS,
    TIME_COLUMNS,
    TIMES,
    FilledMirror,
    JdbcResult,
    Note,
    Row,
    assert_equal_times,
    columns,
    filled_mirror,
    instant,
    odbc_connection,
    query,
    read_by_jdbc,
    reported_time,
    to_milliseconds,
)
from tests.support.mirrors import Mirror
from tests.support.upstream import request as release_request

JDBC_TIMESTAMP, JDBC_DATE, JDBC_TEXT, JDBC_BIT = 93, 91, 12, -7
JDBC_WHOLE = {4, -5}  # INTEGER, BIGINT
JDBC_FRACTION = {6, 8}  # FLOAT, DOUBLE


@pytest.fixture(scope="module")
def mirrors(request: pytest.FixtureRequest) -> Iterator[Callable[[str], FilledMirror]]:
    """Mirrors that hold times of all kinds, by the kind of database."""
    with cached_by_kind(partial(filled_mirror, request=request)) as get:
        yield get


@pytest.fixture(params=DATABASES)
def filled(request: pytest.FixtureRequest, mirrors: Callable[[str], FilledMirror]) -> FilledMirror:
    """Such a mirror, once in each database."""
    return mirrors(request.param)


def test_the_mirror_holds_every_kind_of_time(filled: FilledMirror) -> None:
    """Every relation has rows, every time column a time, and every reported time is stored."""
    for relation in RELATIONS:
        assert filled.expected[relation], relation
    for relation, name in TIME_COLUMNS:
        assert any(row[name] for row in filled.expected[relation]), (relation, name)
    reported = {reported_time(time) for time in TIMES}
    assert len(reported) == len(TIMES)
    for name in ("requested_at", "resolved_at"):
        assert reported <= {row[name] for row in filled.expected["release_request_versions"]}
    assert filled.stored("release_requests") == filled.expected["release_requests"]


# JDBC


def test_jdbc_in_utc(mirrors: Callable[[str], FilledMirror], record_property: Note) -> None:
    """A JVM in UTC gets every time to the millisecond, and all else, from both databases."""
    both = [mirrors(kind) for kind in DATABASES]
    read = read_by_jdbc(both, "UTC")
    for filled in both:
        result = read[filled.kind]
        assert_equal_times(filled, "JDBC", result.times(instant), record_property)
        assert_declared_times(filled.kind, result)
        assert_declared_others(filled.kind, result)
        assert_numbers_and_days(filled, result)


def assert_declared_times(kind: str, read: JdbcResult) -> None:
    """The type is TIMESTAMP: before the first row, at each row, in results without rows.

    So it is in the metadata of a table or view. There sqlite-jdbc gives the number of VARCHAR for
    types it does not know, of which TIMESTAMP is one; the name is right.
    """
    name_of = {"sqlite": "TIMESTAMP", "postgresql": "timestamptz"}[kind]
    listed_as = {"sqlite": {JDBC_TEXT, JDBC_TIMESTAMP}, "postgresql": {JDBC_TIMESTAMP}}[kind]
    for relation, name in TIME_COLUMNS:
        declared_name, number = read.declared[relation][name]
        assert declared_name == name_of, (relation, name)
        assert number in listed_as, (relation, name)
    for query_name, types in read.types.items():
        for name in columns(query_name.split()[0], UTCDateTime):
            assert types[name] == [[name_of, JDBC_TIMESTAMP]], (query_name, name)


def assert_declared_others(database_kind: str, read: JdbcResult) -> None:
    """Text is text, numbers are numbers, and a day is a date in Postgres and text in SQLite.

    It is text there on purpose: sqlite-jdbc cannot read a date without a time of day.
    """
    sqlite = database_kind == "sqlite"
    kinds = {
        sa.Text: {JDBC_TEXT},
        sa.Integer: JDBC_WHOLE,
        sa.Float: JDBC_FRACTION,
        sa.Boolean: JDBC_WHOLE if sqlite else {JDBC_BIT},
        sa.Date: {JDBC_TEXT if sqlite else JDBC_DATE},
    }
    for query_name, types in read.types.items():
        for kind, expected in kinds.items():
            for name in columns(query_name.split()[0], kind):
                assert {number for _, number in types[name]} <= expected, (query_name, name)


def assert_numbers_and_days(filled: FilledMirror, read: JdbcResult) -> None:
    """Numbers are read as numbers, days as YYYY-MM-DD, and both are right."""
    for relation, rows in read.rows.items():
        for row, stored in zip(rows, filled.expected[relation], strict=True):
            for name in columns(relation, sa.Integer, sa.Float, sa.Boolean):
                assert row[name] == stored[name], (relation, name)
            for name in columns(relation, sa.Date):
                assert row[name] == str(stored[name]), (relation, name)
                assert re.fullmatch(r"\d{4}-\d\d-\d\d", row[name])


# ODBC


def fetch(connection: Any, sql: str) -> tuple[dict[str, type], list[Row]]:
    """Run a query; return the types of its columns, and its rows."""
    cursor = connection.execute(sql)
    types = {name: kind for name, kind, *_ in cursor.description}
    rows = [dict(zip(types, row, strict=True)) for row in cursor.fetchall()]
    cursor.close()
    return types, rows


def test_odbc_times(filled: FilledMirror, record_property: Note) -> None:
    """Every time comes as a time, to the millisecond, if the session of Postgres is in UTC.

    A time column is one even in a result without rows or without a time. Numbers are numbers and
    right; a day is a date in Postgres and text in SQLite.
    """
    with odbc_connection(filled.url) as connection:
        read = {relation: fetch(connection, query(relation)) for relation in RELATIONS}
        empty = {name: fetch(connection, sql)[0] for name, sql in EMPTY_QUERIES.items()}
    for query_name, types in empty.items():
        for name in columns(query_name.split()[0], UTCDateTime):
            assert types[name] is datetime, (query_name, name)
    for relation, name in TIME_COLUMNS:
        for row in read[relation][1]:
            if row[name] is not None:
                assert type(row[name]) is datetime, (relation, name)
                row[name] = to_milliseconds(row[name])
    rows_of = {relation: rows for relation, (_, rows) in read.items()}
    assert_equal_times(filled, "ODBC", rows_of, record_property)
    kinds = {sa.Integer: int, sa.Float: float, sa.Date: str if filled.kind == "sqlite" else date}
    for relation, expected_rows in filled.expected.items():
        types, rows = read[relation]
        for kind, expected in kinds.items():
            for name in columns(relation, kind):
                assert types[name] is expected, (relation, name)
                got, stored = ([row[name] for row in side] for side in (rows, expected_rows))
                assert all(map(are_equal, got, stored)), (relation, name)
                assert len(got) == len(stored)


def are_equal(read: Any, stored: Any) -> bool:
    """Compare two values; sqliteodbc reads 15 digits of a fraction."""
    if isinstance(stored, float):
        return math.isclose(read, stored, rel_tol=1e-14)
    return bool(read == stored)


# Readers and writers


MANY = 300
ROW_BY_ROW: dict[str, dict[str, Any]] = {
    "sqlite": {"StepAPI": 1},
    "postgresql": {"UseDeclareFetch": 1, "Fetch": 10},
}
"""Options with which a driver fetches rows one by one, so that its query stays open."""

WITHOUT_LOCK_WAIT: dict[str, dict[str, Any]] = {
    "sqlite": {"Timeout": 1},  # milliseconds
    "postgresql": {"ConnSettings": "SET lock_timeout TO 1"},
}
"""Options with which a driver waits for no lock."""


def kind_of(mirror: Mirror) -> str:
    """The kind of a mirror's database."""
    return mirror.engine.dialect.name


def holds_a_snapshot(mirror: Mirror) -> bool:
    """Whether another session has an open transaction that reads."""
    if kind_of(mirror) == "sqlite":
        with closing(sqlite3.connect(str(mirror.engine.url.database), timeout=0)) as connection:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return bool(busy)
    idle = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state = 'idle in transaction'"
    )
    return mirror.rows(idle) == [(1,)]


def test_an_open_reader_blocks_no_sync(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that stops in the middle of a result blocks no sync, and reads on in its snapshot."""
    monkeypatch.setattr(lock_waits, "LOCK_WAIT", 1)  # a sync that waits for a lock fails
    mirror.sync([release_request(number) for number in range(MANY)])
    statuses = "SELECT status FROM release_requests ORDER BY id"
    with odbc_connection(mirror.url, **ROW_BY_ROW[kind_of(mirror)]) as connection:
        cursor = connection.execute(statuses)
        read = [cursor.fetchone()[0]]
        result = mirror.sync(
            [release_request(number, status="approved") for number in range(MANY + 1)]
        )
        assert result.outcome is Outcome.APPLIED
        assert result.counts.updated == MANY
        assert holds_a_snapshot(mirror)
        read += [status for (status,) in cursor.fetchall()]
        assert read == ["pending"] * MANY
        cursor.close()
        connection.rollback()
        _, rows = fetch(connection, statuses)
        assert [row["status"] for row in rows] == ["approved"] * (MANY + 1)


def test_an_open_writer_blocks_no_reader(mirror: Mirror) -> None:
    """While a write transaction is open, a tool that waits for no lock reads the old state."""
    mirror.sync([release_request(number) for number in range(MANY)])
    with (
        write_transaction(mirror.engine, "test") as writer,
        odbc_connection(mirror.url, **WITHOUT_LOCK_WAIT[kind_of(mirror)]) as connection,
    ):
        writer.execute(sa.text("UPDATE release_requests SET status = 'approved'"))
        writer.execute(sa.text("DELETE FROM sync_runs"))
        for relation in RELATIONS:
            fetch(connection, query(relation))
        _, rows = fetch(connection, "SELECT DISTINCT status FROM release_requests")
        assert [row["status"] for row in rows] == ["pending"]
        _, rows = fetch(connection, "SELECT id FROM sync_runs")
        assert len(rows) == 1
