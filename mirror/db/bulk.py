"""Bulk loads, and settings and statistics for set-based comparisons of whole tables.

Maintaining an index row by row costs more than the rows, and a nested loop over two whole tables
more than reading both. The remedies differ between SQLite and Postgres.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex, CreateTable, DropIndex

from mirror.db.engine import mark_busy
from mirror.db.models import is_partial
from mirror.db.types import Identifier

_HASH_JOIN_SETTINGS = """SELECT set_config('enable_nestloop', 'off', true), set_config('work_mem',
    greatest(pg_size_bytes(current_setting('work_mem')), 64 * 1024 * 1024) / 1024 || 'kB', true)"""
"""With Postgres's 4 MiB of work_mem a join of whole tables spills to temporary files."""

_ANALYZE_THRESHOLD, _ANALYZE_SCALE_FACTOR = 50, 0.1
"""Rows written, and their share of the table, above which autovacuum analyzes (its defaults)."""

_STATISTICS_TARGET = 30
"""Default statistics target for ANALYZE in a merge: it samples 9,000 rows, not 30,000."""

_CANNOT_DROP_SQLSTATES = {
    "42501",  # insufficient privilege
    "55P03",  # lock not available
}

_LITERAL: dict[str, Any] = {"compile_kwargs": {"literal_binds": True}}


class _NoLongerEmpty(Exception):
    """Rolls back a savepoint: another transaction has written meanwhile."""


def copy_rows(
    connection: Connection,
    table: sa.Table,
    columns: Sequence[str],
    rows: Iterable[tuple[object, ...]],
    **constants: str | int,
) -> None:
    """Insert many rows, by `executemany` in SQLite and COPY in Postgres.

    Args:
        connection: in the transaction that writes.
        table: the target.
        columns: names of the columns in `rows`.
        rows: their values, as text that both databases parse; consumed lazily.
        constants: values of further columns, the same in all rows.
    """
    mark_busy(connection)
    driver: Any = connection.connection.driver_connection
    names = ", ".join([*columns, *constants])
    if connection.dialect.name == "sqlite":
        # A literal in the statement need not be bound for each row.
        literals = [
            str(sa.literal(value).compile(connection, **_LITERAL)) for value in constants.values()
        ]
        values = ", ".join(["?"] * len(columns) + literals)
        driver.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({values})", rows)  # noqa: S608
        return
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy,
    ):
        write, suffix = copy.write_row, tuple(constants.values())
        for row in rows:
            write(row + suffix)


@contextmanager
def deferred_indexes(connection: Connection, table: sa.Table) -> Iterator[bool]:
    """Drop the indexes of an empty table while it is filled, and create them again at the end.

    A million rows load in a fifth of the time (Postgres; half in SQLite) if their indexes are
    created afterwards. In Postgres readers of the table, which is empty, wait meanwhile.

    Args:
        connection: in the transaction that fills the table.
        table: the table. Its primary key stays in force.

    Yields:
        Whether the indexes were dropped. Otherwise the table holds rows, is in use, or belongs to
        another role, and is unchanged.
    """
    dropped = _is_empty(connection, table) and _drop_indexes(connection, table)
    yield dropped
    if dropped:
        for index in _indexes(table):
            connection.execute(CreateIndex(index))


def _is_empty(connection: Connection, table: sa.Table) -> bool:
    return connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)) is None


def _indexes(table: sa.Table) -> list[sa.Index]:
    """Return the indexes of a table, except partial ones.

    Those hold only requests that went missing, so a load does not touch them.
    """
    return sorted(
        (index for index in table.indexes if not is_partial(index)),
        key=lambda index: str(index.name),
    )


def _drop_indexes(connection: Connection, table: sa.Table) -> bool:
    """Drop the indexes of a table if it is still empty and not in use."""
    drops = [DropIndex(index, if_exists=True) for index in _indexes(table)]
    if connection.dialect.name == "sqlite":  # the transaction has the whole file to itself
        for drop in drops:
            connection.execute(drop)
        return True
    try:
        with connection.begin_nested():
            # NOWAIT, because two transactions that upgrade their locks would deadlock.
            connection.exec_driver_sql(f"LOCK TABLE {table.name} IN ACCESS EXCLUSIVE MODE NOWAIT")
            if not _is_empty(connection, table):
                raise _NoLongerEmpty
            for drop in drops:
                connection.execute(drop)
    except _NoLongerEmpty:
        return False
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _CANNOT_DROP_SQLSTATES:
            raise
        return False
    return True


@contextmanager
def comparing_whole_tables(connection: Connection) -> Iterator[None]:
    """Keep Postgres from nested loops, which it plans if its statistics say a table is empty.

    Postgres knows a table's size only from the last ANALYZE, which may have run before the table
    was filled; a nested loop over two tables of 40,000 rows takes ten seconds. SQLite uses indexes.
    """
    if connection.dialect.name == "sqlite":
        yield
        return
    connection.exec_driver_sql(_HASH_JOIN_SETTINGS)
    yield
    connection.exec_driver_sql("SET LOCAL enable_nestloop = DEFAULT; SET LOCAL work_mem = DEFAULT")


def analyze(connection: Connection, *tables: sa.Table) -> None:
    """Update the statistics of Postgres's planner, within the transaction.

    Only of indexed columns and from a sample of the rows; of all columns of a temporary table,
    which has no index. An ANALYZE of some columns does not delay that of autovacuum, if it is on.
    """
    if not tables or connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql(f"SET LOCAL default_statistics_target = {_STATISTICS_TARGET}")
    for table in tables:
        indexed = {column for index in table.indexes for column in index.columns}
        indexed.update(table.primary_key)
        names = [
            column.name
            for column in table.columns
            if column in indexed or column.type is Identifier
        ]
        columns = f" ({', '.join(names)})" if indexed else ""
        connection.exec_driver_sql(f"ANALYZE {table.name}{columns}")


def analyze_what_grew(connection: Connection, written: dict[sa.Table, int]) -> None:
    """Analyze the tables to which many rows were written, for the queries that follow.

    Autovacuum applies the same thresholds, but later, and only where it is on; until then the
    planner may assume that a table is empty, and scan it for a few rows.

    Args:
        connection: in the transaction that wrote.
        written: rows written to each table.
    """
    if connection.dialect.name != "postgresql":
        return
    sizes = sa.text("SELECT reltuples FROM pg_class WHERE oid = to_regclass(:name)")
    grown = [
        table
        for table, rows in written.items()
        if rows > _ANALYZE_THRESHOLD
        and rows > _ANALYZE_SCALE_FACTOR * (connection.scalar(sizes, {"name": table.name}) or 0)
    ]
    analyze(connection, *grown)


def index_temporary(connection: Connection, table: sa.Table, column: str) -> None:
    """Create an index of a temporary table in SQLite, which has no hash joins."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"CREATE INDEX {table.name}_{column} ON {table.name} ({column})")


@contextmanager
def temporary(connection: Connection, *tables: sa.Table) -> Iterator[None]:
    """Create temporary tables, and drop them at the end.

    In SQLite they end with the connection, at no cost; dropping them would take a tenth of the time
    that filling them took.
    """
    for table in tables:
        connection.execute(CreateTable(table))
    yield
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"DROP TABLE {', '.join(table.name for table in tables)}")
