"""Read a table or view as typed record batches of Arrow, by the means of each database."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db.types import UTCDateTime
from mirror.db.watchdog import mark_busy, mark_progress
from mirror.errors import DatabaseError

PARTITION = "environment"
"""The column by which files are partitioned."""

_FETCHED_AT_ONCE = 500
"""Rows of SQLite: as many as stay in the processor's cache until they are converted."""

_BLOCK_SIZE = 2 * 1024 * 1024
"""Bytes of CSV that make a batch."""

_SQLITE_CACHE_KIB = 64 * 1024
"""KiB. The views look up the versions of each request."""

_TIMESTAMP = pa.timestamp("us", tz="UTC")
"""Microseconds: Spark and Trino read no nanoseconds, and these end in 2262."""

_TYPES: Sequence[tuple[type, pa.DataType]] = (
    (UTCDateTime, _TIMESTAMP),
    (sa.Boolean, pa.bool_()),
    (sa.Date, pa.date32()),
    (sa.Float, pa.float64()),
    (sa.Integer, pa.int64()),
)
"""Types of columns; all others are text, and so is JSON."""


def schema(table: sa.Table) -> pa.Schema:
    """Return the columns of a table or view, with their comments; the partition column is last."""
    columns = sorted(table.columns, key=lambda column: str(column.name) == PARTITION)
    fields = [
        pa.field(str(column.name), _type(column), metadata={"comment": column.comment or ""})
        for column in columns
    ]
    return pa.schema(fields, metadata={"comment": table.comment or ""})


def read(
    connection: Connection, table: sa.Table, environment: str | None, *, ordered: bool
) -> Generator[pa.RecordBatch]:
    """Read a table or view.

    Args:
        connection: in a transaction.
        table: the table or view.
        environment: only rows of this environment; None for all.
        ordered: order the rows by environment.

    Returns:
        Batches with the columns of `schema`. Close it before the transaction ends.

    Raises:
        DatabaseError: a stored value is none of its column's type.
    """
    columns = schema(table)
    query = f"SELECT {', '.join(columns.names)} FROM {table.name}"  # noqa: S608 (no value is in it)
    values: tuple[str, ...] = ()
    if environment is not None:
        query, values = f"{query} WHERE {PARTITION} = {{}}", (environment,)
    elif ordered:
        query = f"{query} ORDER BY {PARTITION}"
    mark_busy(connection)
    read_rows = _read_sqlite if connection.dialect.name == "sqlite" else _read_postgres
    try:
        yield from read_rows(connection, query, values, columns)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DatabaseError(
            f"{table.name} has a value that is none of its column's type",
            hint="see whether another program writes to the mirror",
        ) from error


def _type(column: sa.Column[Any]) -> pa.DataType:
    return next((kind for cls, kind in _TYPES if isinstance(column.type, cls)), pa.string())


def _read_sqlite(
    connection: Connection, query: str, values: tuple[str, ...], columns: pa.Schema
) -> Iterator[pa.RecordBatch]:
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA cache_size = -{_SQLITE_CACHE_KIB}")
    cursor = driver.execute(query.format("?"), values)
    while rows := cursor.fetchmany(_FETCHED_AT_ONCE):
        arrays = [
            _array(stored, kind)
            for stored, kind in zip(zip(*rows, strict=True), columns.types, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=columns)


def _array(stored: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Convert values as SQLite stores them: times and days as text, booleans as 1 or 0."""
    if pa.types.is_timestamp(kind):
        return pa.array(stored, pa.string()).cast(pa.timestamp("us")).cast(kind)
    if pa.types.is_date(kind):
        return pa.array(stored, pa.string()).cast(kind)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pa.array(stored).cast(kind)  # which fails for 1.5, unlike pa.array(stored, kind)
    return pa.array(stored, kind)


def _read_postgres(
    connection: Connection, query: str, values: tuple[str, ...], columns: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Let Arrow parse CSV: it takes a tenth of the time of rows of Python objects.

    COPY is read by this thread alone. `open_csv` would read it in a thread of its own, which waits
    for the server without an end once an interrupt has ended the COPY.
    """
    driver: Any = connection.connection.driver_connection
    statement = f"COPY ({query.format('%s')}) TO STDOUT (FORMAT csv)"
    try:
        with driver.cursor() as cursor, cursor.copy(statement, values) as copy:
            while block := _block(connection, copy):
                yield from pa.csv.read_csv(
                    pa.BufferReader(block),
                    pa.csv.ReadOptions(column_names=columns.names, block_size=len(block)),
                    pa.csv.ParseOptions(newlines_in_values=True),
                    pa.csv.ConvertOptions(
                        column_types=columns,
                        null_values=[""],  # NULL is written as nothing, and an empty text as ""
                        strings_can_be_null=True,
                        quoted_strings_can_be_null=False,
                        true_values=["t"],
                        false_values=["f"],
                    ),
                ).to_batches()
    except BaseException:
        # The COPY may still run, also if an interrupt came before psycopg could cancel it.
        connection.invalidate()
        raise


def _block(connection: Connection, copy: Any) -> bytes:
    """Return about `_BLOCK_SIZE` bytes of a COPY, in whole rows; none at the end."""
    mark_progress(connection)
    rows, length = [], 0
    while length < _BLOCK_SIZE and (row := copy.read()):
        rows.append(row)
        length += len(row)
    return b"".join(rows)
