"""Bulk reads and loads, by the means of each database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex, CreateTable, DropIndex

from mirror.db import placement
from mirror.db.models import is_partial
from mirror.db.types import Identifier
from mirror.db.watchdog import mark_busy
from mirror.errors import DatabaseError

_ANALYZE_THRESHOLD, _ANALYZE_SCALE_FACTOR = 50, 0.1
"""Rows written, and their share of the table, above which autovacuum analyzes (its defaults)."""

_STREAMED_AT_ONCE = 1_000
"""Rows that libpq hands over at once, since version 17; before, one at a time, which is slower."""

_STATISTICS_TARGET = 30
"""Default statistics target for ANALYZE in a merge: it samples 9,000 rows, not 30,000."""

_CANNOT_DROP_SQLSTATES = {
    "42501",  # insufficient privilege
    "55P03",  # lock not available
}

_UNIQUE_VIOLATION = "23505"

_LITERAL: dict[str, Any] = {"compile_kwargs": {"literal_binds": True}}


def require_rows(table: sa.Table, expected: int, written: int) -> None:
    """Check that a table took all rows: a trigger may keep some of them out without an error.

    Raises:
        DatabaseError: it did not.
    """
    if written != expected:
        raise DatabaseError(
            f"the table {table.name} took {written:,} of {expected:,} rows, and gave no error: a "
            "trigger or a rule that is not the mirror's keeps the others out. Nothing was applied",
            hint="drop it, or give the mirror a database of its own",
        )


def write_rows(connection: Connection, statement: sa.Insert | sa.Update, rows: int) -> None:
    """Insert or update rows, and check that there were as many as expected.

    Raises:
        DatabaseError: there were not.
    """
    result = connection.execute(statement, execution_options={"preserve_rowcount": True})
    assert isinstance(statement.table, sa.Table)
    require_rows(statement.table, rows, result.rowcount)


def copy_rows(
    connection: Connection,
    table: sa.Table,
    columns: Sequence[str],
    rows: Iterable[tuple[object, ...]],
    **constants: str | int | None,
) -> None:
    """Insert many rows, by `executemany` in SQLite and COPY in Postgres.

    A column that is in neither gets its default, which in a table may be somebody else's.

    Args:
        connection: in the transaction that writes.
        table: the target.
        columns: names of the columns in `rows`.
        rows: their values, as text that both databases parse; consumed lazily.
        constants: values of further columns, the same in all rows.

    Raises:
        DatabaseError: the table did not take all rows.
    """
    mark_busy(connection)
    numbers = count()
    rows = (row for row, _number in zip(rows, numbers, strict=False))
    driver: Any = connection.connection.driver_connection
    name, names = sql_name(connection, table), ", ".join([*columns, *constants])
    if connection.dialect.name == "sqlite":
        # A literal in the statement need not be bound for each row.
        literals = [
            str(sa.literal(value).compile(connection, **_LITERAL)) for value in constants.values()
        ]
        values = ", ".join(["?"] * len(columns) + literals)
        cursor = driver.executemany(f"INSERT INTO {name} ({names}) VALUES ({values})", rows)  # noqa: S608
        require_rows(table, next(numbers), max(cursor.rowcount, 0))  # -1 if there were none
        return
    with driver.cursor() as cursor:
        with cursor.copy(f"COPY {name} ({names}) FROM STDIN") as copy:
            write, suffix = copy.write_row, tuple(constants.values())
            for row in rows:
                write(row + suffix)
        require_rows(table, next(numbers), cursor.rowcount)


@contextmanager
def stream(connection: Connection, query: str, *values: str) -> Iterator[Iterable[Any]]:
    """Stream the rows of a query, as tuples, without the cost of SQLAlchemy's rows.

    Args:
        connection: in a transaction.
        query: SQL, with {} in the place of each value.
        values: the values.
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        yield driver.execute(query.format(*"?" * len(values)), values)
        return
    from psycopg import capabilities

    mark_busy(connection)
    with driver.cursor(binary=True) as cursor:
        size = _STREAMED_AT_ONCE if capabilities.has_stream_chunked() else 1
        yield cursor.stream(query.format(*["%s"] * len(values)), values, size=size)


def existing_ids(connection: Connection, ids: list[str]) -> set[str]:
    """Return those of some ids that requests of any environment have."""
    if connection.dialect.name == "sqlite":
        value: object
        condition, value = "IN (SELECT value FROM json_each(?))", json.dumps(ids)
    else:
        condition, value = "= ANY(%s)", ids
    query = f"SELECT id FROM release_requests WHERE id {condition}"  # noqa: S608 (no value is in it)
    return set(connection.exec_driver_sql(query, (value,)).scalars())


def has_parallel_writers(connection: Connection) -> bool:
    """Return whether others may write at the same time; a SQLite file has one writer."""
    return connection.dialect.name != "sqlite"


@dataclass(slots=True)
class Attempt:
    """An attempt to insert rows, and the error of the driver if one of their keys is in use."""

    error: Exception | None = None


@contextmanager
def unless_duplicate(connection: Connection) -> Iterator[Attempt]:
    """Undo an insert if another transaction has committed a row with one of its keys meanwhile.

    Args:
        connection: in the transaction that inserts.

    Yields:
        The attempt, whose `error` is known afterwards.
    """
    attempt = Attempt()
    if not has_parallel_writers(connection):
        yield attempt
        return
    savepoint = connection.begin_nested()
    try:
        yield attempt
    except connection.dialect.loaded_dbapi.IntegrityError as error:  # of a COPY
        if error.sqlstate != _UNIQUE_VIOLATION:
            raise
        savepoint.rollback()
        attempt.error = error
    else:
        savepoint.commit()


def _is_empty(connection: Connection, table: sa.Table) -> bool:
    """Return whether a table has no rows."""
    return connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)) is None


def _may_create_indexes(connection: Connection, table: sa.Table) -> bool:
    """Return whether indexes may be created where a table is; in Postgres its owner may not."""
    if connection.dialect.name == "sqlite":
        return True
    query = sa.text(
        "SELECT pg_catalog.has_schema_privilege(relnamespace, 'CREATE') FROM pg_class "
        "WHERE oid = pg_catalog.to_regclass(:name)"
    )
    return bool(connection.scalar(query, {"name": table.name}))


@contextmanager
def deferred_indexes(connection: Connection, table: sa.Table) -> Iterator[bool]:
    """Drop the indexes of an empty table while it is filled, and create them again at the end.

    A first load takes half the time then. In Postgres readers of the table, which is empty, wait
    meanwhile. Partial indexes stay: they hold only what is rare.

    Args:
        connection: in the transaction that fills the table.
        table: the table. Its primary key stays in force.

    Yields:
        Whether the indexes were dropped. Otherwise the table holds rows, is in use, or belongs to
        another role, or its owner may not create indexes; it is unchanged then.
    """
    indexes = sorted(
        (index for index in table.indexes if not is_partial(index)), key=lambda one: str(one.name)
    )
    dropped = False
    if _is_empty(connection, table) and _may_create_indexes(connection, table):
        savepoint = connection.begin_nested()
        try:
            if connection.dialect.name != "sqlite":
                # NOWAIT: two transactions that both read the table would wait for each other.
                connection.exec_driver_sql(f"LOCK TABLE {table.name} NOWAIT")
            if _is_empty(connection, table):  # still, now that nobody else can write
                for index in indexes:
                    connection.execute(DropIndex(index, if_exists=True))
                dropped = True
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _CANNOT_DROP_SQLSTATES:
                raise
        savepoint.commit() if dropped else savepoint.rollback()
    yield dropped
    if dropped:
        for index in indexes:
            connection.execute(CreateIndex(index))


def analyze(connection: Connection, *tables: sa.Table) -> None:
    """Update the statistics of Postgres's planner, within the transaction.

    Only of indexed columns and from a sample of the rows; of all columns of a temporary table,
    which has no index. An ANALYZE of some columns does not delay that of autovacuum, if it is on.
    A table that another session maintains is skipped: CREATE INDEX CONCURRENTLY, which waits for
    this transaction, would end in a deadlock.
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
        connection.exec_driver_sql(f"ANALYZE (SKIP_LOCKED) {sql_name(connection, table)}{columns}")


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
    sizes = sa.text("SELECT reltuples FROM pg_class WHERE oid = pg_catalog.to_regclass(:name)")
    grown = [
        table
        for table, rows in written.items()
        if rows > _ANALYZE_THRESHOLD
        and rows > _ANALYZE_SCALE_FACTOR * (connection.scalar(sizes, {"name": table.name}) or 0)
    ]
    analyze(connection, *grown)


def temporary_table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """Define a temporary table; `temporary` creates it.

    Args:
        name: after `mirror_`, which no other program's tables begin with.
        columns: its columns.
    """
    return sa.Table(
        f"mirror_{name}",
        sa.MetaData(),
        *columns,
        prefixes=["TEMPORARY"],
        schema=placement.TEMPORARY_SCHEMA,
    )


def sql_name(connection: Connection, table: sa.Table) -> str:
    """Return the name of a table for SQL text, with the schema if it is a temporary one."""
    if table.schema is None:
        return table.name
    translated = connection.get_execution_options().get("schema_translate_map", {})
    return f"{translated.get(table.schema, table.schema)}.{table.name}"


def index_temporary(connection: Connection, table: sa.Table, column: str) -> None:
    """Create an index of a temporary table in SQLite, which has no hash joins."""
    if connection.dialect.name == "sqlite":
        # The index has the schema; its table is in the same one.
        index = f"{sql_name(connection, table)}_{column}"
        connection.exec_driver_sql(f"CREATE INDEX {index} ON {table.name} ({column})")


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
        names = ", ".join(sql_name(connection, table) for table in tables)
        connection.exec_driver_sql(f"DROP TABLE {names}")
