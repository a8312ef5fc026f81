"""DuckDB reads the mirror as docs/sql.md says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg

from tests.support.readers import RELATIONS, VIEWS, ReaderMirror, library


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
    rows: list[dict[str, Any]]
    rows = connection.execute(query, parameters).to_arrow_table().to_pylist()
    return rows


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


def test_attach_sqlite(sqlite: ReaderMirror) -> None:
    """An attached file has naive times in UTC; with one thread, a transaction reads one state."""
    with connected("sqlite_scanner") as connection:
        connection.execute("SET sqlite_disable_multithreaded_scans = true")
        connection.execute(f"ATTACH '{sqlite.path}' AS mirror (TYPE sqlite, READ_ONLY)")
        connection.execute("USE mirror")
        sqlite.assert_reads(lambda query: rows_of(connection, query))
        requests = "release_requests"
        sqlite.assert_splits(find_by(connection, requests), times_of(connection, requests))
        listed = {row["name"] for row in rows_of(connection, "SHOW TABLES")}
        assert listed >= RELATIONS.keys() - set(VIEWS)
        connection.execute("BEGIN TRANSACTION")
        sqlite.assert_one_state(lambda query: int(connection.execute(query).fetchone()[0]))
        connection.execute("COMMIT")
        connection.execute("USE memory")


def test_attach_postgres(postgres: ReaderMirror) -> None:
    """An attached database has aware times, and one state in a transaction."""
    with connected("postgres_scanner") as connection:
        server = psycopg.conninfo.conninfo_to_dict(postgres.dsn)
        dsn = psycopg.conninfo.make_conninfo("", **server)
        connection.execute(f"ATTACH '{dsn}' AS mirror (TYPE postgres, READ_ONLY)")
        connection.execute("USE mirror")
        postgres.assert_reads(lambda query: rows_of(connection, query))
        requests = "release_requests"
        postgres.assert_splits(find_by(connection, requests), times_of(connection, requests))
        connection.execute("BEGIN TRANSACTION")
        postgres.assert_one_state(lambda query: int(connection.execute(query).fetchone()[0]))
        connection.execute("COMMIT")
        connection.execute("USE memory")
