"""DuckDB reads the mirror as docs/sql.md says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
import pytest

from tests.support.readers import VIEWS, ReaderMirror, library


@contextmanager
def connected(*extensions: str) -> Iterator[Any]:
    """A connection of DuckDB with extensions."""
    duckdb, packages = library("duckdb"), library("duckdb_extensions")
    for extension in extensions:
        packages.import_extension(extension)
    with duckdb.connect() as connection:
        for extension in extensions:
            connection.execute(f"LOAD {extension}")
        yield connection


def rows_of(connection: Any, query: str, *parameters: Any) -> list[dict[str, Any]]:
    """Run a query."""
    return connection.execute(query, parameters).to_arrow_table().to_pylist()


def find_by(connection: Any, table: str) -> Any:
    """A function for `ReaderMirror.assert_splits`."""

    def find(operator: str, time: datetime) -> list[str]:
        query = f"SELECT id FROM {table} WHERE requested_at {operator} ?"
        return [row["id"] for row in rows_of(connection, query, time)]

    return find


def times_of(connection: Any, table: str) -> dict[str, datetime]:
    """The times of requests, as DuckDB reads them."""
    return {
        row["id"]: row["requested_at"]
        for row in rows_of(connection, f"SELECT id, requested_at FROM {table}")
    }


def test_sqlite_scan(sqlite: ReaderMirror) -> None:
    """`sqlite_scan` reads each table and view with its types, naive times in UTC."""
    with connected("sqlite_scanner") as connection:

        def scan(relation: str) -> str:
            return f"sqlite_scan('{sqlite.path}', '{relation}')"

        def read(query: str) -> list[dict[str, Any]]:
            relation = query.split()[3]
            return rows_of(connection, query.replace(relation, scan(relation), 1))

        sqlite.assert_reads(read)
        requests = scan("release_requests")
        sqlite.assert_splits(find_by(connection, requests), times_of(connection, requests))


def test_attach_sqlite(sqlite: ReaderMirror) -> None:
    """An attached file is read in one state, with one thread, by statements of a transaction."""
    with connected("sqlite_scanner") as connection:
        connection.execute("SET sqlite_disable_multithreaded_scans = true")
        connection.execute(f"ATTACH '{sqlite.path}' AS mirror (TYPE sqlite, READ_ONLY)")
        requests = "mirror.release_requests"
        sqlite.assert_splits(find_by(connection, requests), times_of(connection, requests))
        connection.execute("BEGIN TRANSACTION")

        def count(query: str) -> int:
            # The view is read by SQLite itself, which returns text.
            query = f"SELECT * FROM sqlite_query('mirror', '{query}')"
            return int(connection.execute(query).fetchone()[0])

        before = connection.execute(f"SELECT count(*) FROM {requests}").fetchone()
        sqlite.assert_one_state(count)
        assert connection.execute(f"SELECT count(*) FROM {requests}").fetchone() == before
        connection.execute("COMMIT")


def test_attach_postgres(postgres: ReaderMirror) -> None:
    """An attached database has aware times, and one state in a transaction."""
    with connected("postgres_scanner") as connection:
        server = psycopg.conninfo.conninfo_to_dict(postgres.dsn)
        dsn = psycopg.conninfo.make_conninfo(**server)
        connection.execute(f"ATTACH '{dsn}' AS mirror (TYPE postgres, READ_ONLY)")
        connection.execute("USE mirror")
        postgres.assert_reads(lambda query: rows_of(connection, query))
        requests = "release_requests"
        postgres.assert_splits(find_by(connection, requests), times_of(connection, requests))
        connection.execute("BEGIN TRANSACTION")
        postgres.assert_one_state(lambda query: int(connection.execute(query).fetchone()[0]))
        connection.execute("COMMIT")
        connection.execute("USE memory")
