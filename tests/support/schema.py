"""What there is in a database: its tables, views, columns, indexes and rights."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy.engine import Connection

from mirror.db import migrate
from mirror.db.engine import create_engine, parse_url, write_transaction

INVENTORY = (
    """SELECT c.relname, c.relkind, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
              a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid), l.collname,
              col_description(c.oid, a.attnum)
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
       LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
       LEFT JOIN pg_collation l ON l.oid = a.attcollation
       WHERE c.relnamespace = 'public'::regnamespace""",
    """SELECT relname, relkind, relpersistence, obj_description(oid, 'pg_class') FROM pg_class
       WHERE relnamespace = 'public'::regnamespace""",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
       WHERE connamespace = 'public'::regnamespace""",
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
    "SELECT version_num, '' FROM alembic_version",
)
"""What Postgres knows about a schema."""


def words(text: str) -> str:
    """Leave differences in white space aside."""
    return " ".join(text.split())


@contextmanager
def opened(url: str) -> Iterator[Connection]:
    """Open a database for writing, as an upgrade does."""
    with write_transaction(create_engine(url, create=True), migrate.LOCK) as connection:
        yield connection


def alembic(url: str, do: Callable[..., Any], *arguments: str) -> None:
    """Run a command of Alembic's own on a database, in one transaction."""
    config = migrate.alembic_config()
    with opened(url) as connection:
        config.attributes["connection"] = connection
        do(config, *arguments)


def inventory(connection: Connection) -> list[tuple[Any, ...]]:
    """Everything that a schema is made of, as the database describes it."""
    if connection.dialect.name == "sqlite":
        stored = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master")
        return sorted((*row[:3], words(row[3] or "")) for row in stored)
    found: list[tuple[Any, ...]] = []
    for query in INVENTORY:
        found += sorted(map(tuple, connection.exec_driver_sql(query)), key=str)
    return found


def execute_script(url: str, script: str) -> None:
    """Run a script as the database's own command line would."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(str(parse_url(url).database))
        connection.executescript(script)
        connection.close()
    else:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(script.encode())
