"""Many rows at once: loads by the means of the drivers, and what helps the databases to join them.

An index that is kept up to date row by row costs more than the rows, a comparison row by row of two
tables more than reading both. What is to be done about it differs between SQLite and Postgres.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex, CreateTable, DropIndex

from mirror.db import watchdog
from mirror.db.models import is_partial
from mirror.db.types import Identifier

_COMPARING = """SELECT set_config('enable_nestloop', 'off', true), set_config('work_mem',
    greatest(pg_size_bytes(current_setting('work_mem')), 64 * 1024 * 1024) / 1024 || 'kB', true)"""
"""Postgres's own 4 MiB would send most of a join of whole tables through temporary files."""

_MANY_WRITTEN, _MUCH_WRITTEN = 50, 0.1
"""So many rows, and that share of a table: what autovacuum goes by when it analyzes."""

_FEW_STATISTICS = 30
"""Statistics target of Postgres for what a merge analyzes: 9,000 rows are looked at, not 30,000."""

_NOT_FOR_US = {
    "42501",  # insufficient privilege
    "55P03",  # lock not available
}

_LITERAL: dict[str, Any] = {"compile_kwargs": {"literal_binds": True}}


class _Taken(Exception):
    """Leaves a savepoint: somebody else has written meanwhile."""


def copy_rows(
    connection: Connection,
    table: sa.Table,
    columns: Sequence[str],
    rows: Iterable[tuple[object, ...]],
    **same: str | int,
) -> None:
    """Write many rows in one go, by the fastest way of the driver.

    Args:
        connection: in the transaction that writes.
        table: where to.
        columns: names of the columns that `rows` give.
        rows: their values, as text that both databases read; taken one at a time.
        same: the values of other columns, which all rows share.
    """
    watchdog.mark_busy(connection)
    driver: Any = connection.connection.driver_connection
    names = ", ".join([*columns, *same])
    if connection.dialect.name == "sqlite":
        # What is part of the statement need not be bound for each row.
        shared = (str(sa.literal(one).compile(connection, **_LITERAL)) for one in same.values())
        values = ", ".join(["?"] * len(columns) + list(shared))
        driver.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({values})", rows)  # noqa: S608
        return
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy,
    ):
        write, own = copy.write_row, tuple(same.values())
        for row in rows:
            write(row + own)


@contextmanager
def deferred_indexes(connection: Connection, table: sa.Table) -> Iterator[bool]:
    """Take the indexes of an empty table away while it is filled, and make them again.

    A million rows are loaded in a fifth of the time (Postgres; half in SQLite) if their indexes are
    made afterwards, each in one go. Whoever wants to read the table meanwhile waits in Postgres:
    there is nothing in it yet.

    Args:
        connection: in the transaction that fills the table.
        table: the table. Its primary key stays in force.

    Yields:
        Whether it is so. Otherwise the table holds rows, somebody else uses it, or it is not ours
        to change, and it was left as it was.
    """
    emptied = _is_empty(connection, table) and _drop_indexes(connection, table)
    yield emptied
    if emptied:
        for index in _indexes(table):
            connection.execute(CreateIndex(index))


def _is_empty(connection: Connection, table: sa.Table) -> bool:
    return connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)) is None


def _indexes(table: sa.Table) -> list[sa.Index]:
    """The indexes of a table, but for those of few rows: none of these is in a list.

    Only requests that went missing are in such an index, so that it costs a load nothing.
    """
    return sorted(
        (index for index in table.indexes if not is_partial(index)), key=lambda one: str(one.name)
    )


def _drop_indexes(connection: Connection, table: sa.Table) -> bool:
    """Drop the indexes of a table if it is still empty, and nobody else uses it."""
    drops = [DropIndex(index, if_exists=True) for index in _indexes(table)]
    if connection.dialect.name == "sqlite":  # the transaction has the whole file to itself
        for drop in drops:
            connection.execute(drop)
        return True
    try:
        with connection.begin_nested():
            # Without waiting: two that wait for each other would be a deadlock.
            connection.exec_driver_sql(f"LOCK TABLE {table.name} IN ACCESS EXCLUSIVE MODE NOWAIT")
            if not _is_empty(connection, table):
                raise _Taken
            for drop in drops:
                connection.execute(drop)
    except _Taken:
        return False
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _NOT_FOR_US:
            raise
        return False
    return True


@contextmanager
def comparing_whole_tables(connection: Connection) -> Iterator[None]:
    """Keep Postgres from joining row by row, as it does if it takes a table for empty.

    It knows a table's size from the last ANALYZE only, which may have seen it before it was filled;
    a nested loop over two tables of 40,000 rows takes ten seconds. SQLite has indexes to go by.
    """
    if connection.dialect.name == "sqlite":
        yield
        return
    connection.exec_driver_sql(_COMPARING)
    yield
    connection.exec_driver_sql("SET LOCAL enable_nestloop = DEFAULT; SET LOCAL work_mem = DEFAULT")


def analyze(connection: Connection, *tables: sa.Table) -> None:
    """Let the planner of Postgres know what is in tables, within the transaction.

    It learns about the columns by which rows are found, from a part of the rows; about all columns
    of a temporary table, which has no index. Autovacuum, where
    it is on, will look at all columns as it does anyway: an ANALYZE of some does not put it off.
    """
    if not tables or connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql(f"SET LOCAL default_statistics_target = {_FEW_STATISTICS}")
    for table in tables:
        indexed = {column for index in table.indexes for column in index.columns}
        indexed.update(table.primary_key)
        columns = [one.name for one in table.columns if one in indexed or one.type is Identifier]
        what = f" ({', '.join(columns)})" if indexed else ""
        connection.exec_driver_sql(f"ANALYZE {table.name}{what}")


def analyze_what_grew(connection: Connection, written: dict[sa.Table, int]) -> None:
    """Analyze the tables of which much was written, for whoever asks next.

    Autovacuum would do so by the same measure, but later, and only where it is on; until then the
    planner may take a table for empty, and read all of it instead of a few rows.

    Args:
        connection: in the transaction that wrote.
        written: how many rows were written of each table.
    """
    if connection.dialect.name != "postgresql":
        return
    sizes = sa.text("SELECT reltuples FROM pg_class WHERE oid = to_regclass(:name)")
    grown = [
        table
        for table, rows in written.items()
        if rows > _MANY_WRITTEN
        and rows > _MUCH_WRITTEN * (connection.scalar(sizes, {"name": table.name}) or 0)
    ]
    analyze(connection, *grown)


def index_temporary(connection: Connection, table: sa.Table, column: str) -> None:
    """Make an index of a temporary table in SQLite, which joins by nothing else."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"CREATE INDEX {table.name}_{column} ON {table.name} ({column})")


@contextmanager
def temporary(connection: Connection, *tables: sa.Table) -> Iterator[None]:
    """Make temporary tables, and drop them in the end.

    In SQLite they go with the connection, which takes no time; dropping them takes a tenth of the
    time that filling them took.
    """
    for table in tables:
        connection.execute(CreateTable(table))
    yield
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"DROP TABLE {', '.join(table.name for table in tables)}")
