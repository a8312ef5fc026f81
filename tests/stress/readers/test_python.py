"""Drivers and object-relational mappers of Python read the mirror as docs/sql.md says."""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row

from mirror.db import dictionary
from tests.support.readers import (
    RELATIONS,
    ReaderMirror,
    Row,
    library,
    mapper_example,
    program,
    utc_text,
)

pytestmark = pytest.mark.filterwarnings("default")  # those of the readers are not ours


def test_declared_types(sqlite: ReaderMirror) -> None:
    """Each column of each table and view has the documented type in the newest SQLite, too.

    Mappers read it from `PRAGMA table_info`, drivers of BI tools from a statement.
    """
    apsw = library("apsw")
    connection = apsw.Connection(str(sqlite.path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for relation in RELATIONS:
            documented = {
                entry.column: entry.sqlite_type
                for entry in dictionary.entries()
                if entry.relation == relation and entry.column
            }
            cursor = connection.execute(f"SELECT * FROM {relation}")
            assert dict(cursor.getdescription()) == documented, relation
            pragma = connection.execute(f"SELECT name, type FROM pragma_table_info('{relation}')")
            assert dict(pragma) == documented, relation
    finally:
        connection.close()


def test_sqlite3(sqlite: ReaderMirror) -> None:
    """Python's sqlite3 reads text; text finds a row, a datetime does not."""
    with closing(
        sqlite3.connect(f"file:{sqlite.path}?mode=ro", uri=True, isolation_level=None)
    ) as connection:
        connection.row_factory = sqlite3.Row

        def read(query: str) -> list[Row]:
            return [dict(row) for row in connection.execute(query)]

        def find(operator: str, time: str) -> list[str]:
            query = f"SELECT id FROM release_requests WHERE requested_at {operator} ?"
            return [row["id"] for row in connection.execute(query, (time,))]

        sqlite.assert_reads(read)
        times = {row["id"]: row["requested_at"] for row in read("SELECT * FROM release_requests")}
        sqlite.assert_splits(find, times)
        sqlite.assert_splits(
            lambda operator, time: find(operator, utc_text(time)),
            {key: datetime.fromisoformat(f"{time}+00:00") for key, time in times.items()},
        )
        connection.execute("BEGIN")
        sqlite.assert_one_state(lambda query: int(connection.execute(query).fetchone()[0]))


def test_a_year_alone(sqlite: ReaderMirror) -> None:
    """In SQLite a year alone is less than every time."""
    with closing(sqlite3.connect(f"file:{sqlite.path}?mode=ro", uri=True)) as connection:

        def count(time: str) -> int:
            query = "SELECT count(*) FROM release_requests WHERE requested_at >= ?"
            return int(connection.execute(query, (time,)).fetchone()[0])

        requests = len(sqlite.rows("release_requests"))
        assert count("2024") == requests
        assert 0 < count("2024-01-01") < requests


def test_psycopg(postgres: ReaderMirror) -> None:
    """Psycopg reads aware times, which find their rows."""
    with psycopg.connect(
        postgres.dsn, options="-c timezone=UTC", row_factory=dict_row
    ) as connection:

        def read(query: str) -> Iterable[Row]:
            return connection.execute(query)

        def find(operator: str, time: datetime) -> list[str]:
            query = f"SELECT id FROM release_requests WHERE requested_at {operator} %s"
            return [row["id"] for row in connection.execute(query, (time,))]

        postgres.assert_reads(read)
        rows = connection.execute("SELECT id, requested_at FROM release_requests")
        postgres.assert_splits(find, {row["id"]: row["requested_at"] for row in rows})
        connection.rollback()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        postgres.assert_one_state(
            lambda query: next(iter(connection.execute(query).fetchall()[0].values()))
        )


def test_psycopg2(postgres: ReaderMirror) -> None:
    """Psycopg 2 reads aware times, which find their rows."""
    psycopg2 = library("psycopg2")
    factory = importlib.import_module("psycopg2.extras").RealDictCursor
    with closing(
        psycopg2.connect(postgres.dsn, options="-c timezone=UTC", cursor_factory=factory)
    ) as connection:

        def read(query: str, *values: datetime) -> list[Row]:
            with connection.cursor() as cursor:
                cursor.execute(query, values or None)
                return list(cursor.fetchall())

        def find(operator: str, time: datetime) -> list[str]:
            query = f"SELECT id FROM release_requests WHERE requested_at {operator} %s"
            return [row["id"] for row in read(query, time)]

        postgres.assert_reads(read)
        rows = read("SELECT id, requested_at FROM release_requests")
        postgres.assert_splits(find, {row["id"]: row["requested_at"] for row in rows})
        connection.rollback()
        connection.set_session(isolation_level="REPEATABLE READ")
        postgres.assert_one_state(lambda query: next(iter(read(query)[0].values())))


def test_pg8000(postgres: ReaderMirror) -> None:
    """Pg8000 reads aware times, which find their rows."""
    pg8000 = library("pg8000.native")
    server = psycopg.conninfo.conninfo_to_dict(postgres.dsn)
    host = str(server["host"])
    place = {"unix_sock": f"{host}/.s.PGSQL.5432"} if host.startswith("/") else {"host": host}
    with closing(
        pg8000.Connection(
            server["user"], database=server["dbname"], password=server.get("password"), **place
        )
    ) as connection:
        connection.run("SET TimeZone TO 'UTC'")

        def read(query: str, **values: datetime) -> list[Row]:
            rows = connection.run(query, **values)
            names = [column["name"] for column in connection.columns]
            return [dict(zip(names, row, strict=True)) for row in rows]

        def find(operator: str, time: datetime) -> list[str]:
            query = f"SELECT id FROM release_requests WHERE requested_at {operator} :time"
            return [row["id"] for row in read(query, time=time)]

        postgres.assert_reads(read)
        rows = read("SELECT id, requested_at FROM release_requests")
        postgres.assert_splits(find, {row["id"]: row["requested_at"] for row in rows})
        connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        postgres.assert_one_state(lambda query: next(iter(read(query)[0].values())))


def test_asyncpg(postgres: ReaderMirror) -> None:
    """Asyncpg reads aware times, which find their rows."""
    asyncpg = library("asyncpg")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        connection = await asyncpg.connect(postgres.dsn)

        def wait(awaitable: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(awaitable, loop).result()

        def find(operator: str, time: datetime) -> list[str]:
            query = f"SELECT id FROM release_requests WHERE requested_at {operator} $1"
            return [row["id"] for row in wait(connection.fetch(query, time))]

        def check() -> None:
            postgres.assert_reads(lambda query: map(dict, wait(connection.fetch(query))))
            rows = wait(connection.fetch("SELECT id, requested_at FROM release_requests"))
            postgres.assert_splits(find, {row["id"]: row["requested_at"] for row in rows})
            wait(connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ"))
            postgres.assert_one_state(lambda query: int(wait(connection.fetchval(query))))

        try:
            await asyncio.to_thread(check)
        finally:
            await connection.close()

    asyncio.run(run())


def test_sqlalchemy(either: ReaderMirror) -> None:
    """Reflected tables and views; in SQLite as the code on the page does it."""
    if either.kind == "sqlite":
        names = mapper_example("sqlalchemy", either.path)
        engine, tables = names["engine"], names["metadata"]
    else:
        engine = sa.create_engine(either.sqlalchemy_url, isolation_level="REPEATABLE READ")
        tables = sa.MetaData()
        tables.reflect(engine, views=True)
    requests = tables.tables["release_requests"]
    with engine.connect() as connection:

        def read(query: str) -> list[Row]:
            name = query.split()[3]
            select = sa.select(tables.tables[name])
            if "WHERE" in query:
                select = select.where(sa.text(query.split("WHERE ")[1]))
            return [dict(row) for row in connection.execute(select).mappings()]

        def find(operator: str, time: datetime) -> Any:
            return connection.scalars(
                sa.select(requests.c.id).where(requests.c.requested_at.op(operator)(time))
            )

        either.assert_reads(read)
        either.assert_splits(
            find, dict(connection.execute(sa.select(requests.c.id, requests.c.requested_at)).all())
        )
        connection.rollback()
        if either.kind == "sqlite":
            connection.exec_driver_sql("BEGIN")
        either.assert_one_state(lambda query: connection.scalar(sa.text(query)))
    engine.dispose()


def test_sqlacodegen(either: ReaderMirror) -> None:
    """The generated module compiles, and its tables are all tables and views."""
    options = ["--options", "noindexes"] if either.kind == "sqlite" else []
    url = either.url if either.kind == "sqlite" else either.sqlalchemy_url
    module = subprocess.run(
        [program("sqlacodegen"), "--generator", "tables", *options, url],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    names: dict[str, Any] = {}
    exec(module, names)  # noqa: S102
    tables = {table.name: table for table in names.values() if isinstance(table, sa.Table)}
    assert tables.keys() - {"alembic_version"} == RELATIONS.keys()
    for name, table in RELATIONS.items():
        assert tables[name].columns.keys() == table.columns.keys()
