"""Data frames read the mirror as docs/sql.md says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from operator import eq, ge, lt
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

import mirror
from mirror.db.types import UTCDateTime
from tests.support.commands import run_process
from tests.support.readers import (
    DAY_AFTER,
    FIRST_DAY,
    RELATIONS,
    ReaderMirror,
    Row,
    ids_at,
    library,
    utc_text,
    with_extra,
)

pytestmark = pytest.mark.filterwarnings("default")  # those of the readers are not ours

TIMES = sorted(
    {
        column.name
        for table in RELATIONS.values()
        for column in table.columns
        if isinstance(column.type, UTCDateTime)
    }
)


def test_pandas(either: ReaderMirror) -> None:
    """Pandas with Arrow types keeps integers beside nulls; times of SQLite are named."""
    pandas = library("pandas")
    if either.kind == "sqlite":
        engine = sa.create_engine(f"sqlite:///file:{either.path}?mode=ro&uri=true")
        options = {"parse_dates": {name: {"utc": True} for name in TIMES}}
    else:
        engine = sa.create_engine(either.sqlalchemy_url, isolation_level="REPEATABLE READ")
        options = {}
    with engine.connect() as connection:
        if either.kind == "sqlite":
            connection.exec_driver_sql("BEGIN")

        def frame(query: str, parameters: Any = None) -> Any:
            return pandas.read_sql_query(
                sa.text(query),
                connection,
                params=parameters,
                dtype_backend="numpy_nullable",
                **options,
            )

        def find(operator: str, time: Any) -> list[str]:
            value = utc_text(time) if either.kind == "sqlite" else time
            query = f"SELECT id FROM release_requests WHERE requested_at {operator} :time"
            return list(frame(query, {"time": value})["id"])

        # Pandas makes strings of what psycopg reads from JSON, in the form of Python.
        either.assert_reads(
            lambda query: frame(with_extra(query, "CAST(extra AS text)")).to_dict("records")
        )
        rows = frame("SELECT id, requested_at FROM release_requests")
        either.assert_splits(find, dict(zip(rows["id"], rows["requested_at"], strict=True)))
        either.assert_one_state(lambda query: int(frame(query).iloc[0, 0]))
    engine.dispose()


def test_csv(sqlite: ReaderMirror, tmp_path: Path) -> None:
    """Phone numbers in CSV keep their `+` where the type of the column is given."""
    pandas, pyarrow, polars = library("pandas"), library("pyarrow"), library("polars")
    file = tmp_path / "requests.csv"
    file.write_text(run_process("requests", "--format", "csv", "--database", sqlite.url).out)
    options = library("pyarrow.csv").ConvertOptions(column_types={"phone_number": pyarrow.string()})
    read = {
        "pandas": pandas.read_csv(file, dtype={"phone_number": "str"})["phone_number"].tolist(),
        "pyarrow": library("pyarrow.csv")
        .read_csv(file, convert_options=options)["phone_number"]
        .to_pylist(),
        "polars": polars.read_csv(file, infer_schema_length=None)["phone_number"].to_list(),
    }
    expected = sorted(row["phone_number"] for row in sqlite.rows("release_requests"))
    assert {reader: sorted(numbers) == expected for reader, numbers in read.items()} == {
        "pandas": True,
        "pyarrow": True,
        "polars": True,
    }


def test_adbc_sqlite(sqlite: ReaderMirror) -> None:
    """ADBC guesses types from as many rows as it is told to."""
    dbapi = library("adbc_driver_sqlite.dbapi")
    with dbapi.connect(f"file:{sqlite.path}?mode=ro", autocommit=True) as connection:

        def table(query: str, *parameters: Any) -> Any:
            with connection.cursor() as cursor:
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": "1000000"})
                cursor.execute(query, parameters)
                return cursor.fetch_arrow_table()

        def find(operator: str, time: str) -> Any:
            query = f"SELECT id FROM release_requests WHERE requested_at {operator} ?"
            return table(query, time)["id"].to_pylist()

        sqlite.assert_reads(lambda query: table(query).to_pylist())
        rows = table("SELECT id, requested_at FROM release_requests").to_pylist()
        sqlite.assert_splits(find, {row["id"]: row["requested_at"] for row in rows})
        table("BEGIN")
        sqlite.assert_one_state(lambda query: int(table(query)[0][0].as_py()))
        table("COMMIT")


def test_adbc_postgres(postgres: ReaderMirror) -> None:
    """ADBC reads Arrow tables with aware times."""
    dbapi = library("adbc_driver_postgresql.dbapi")
    with dbapi.connect(postgres.dsn, autocommit=True) as connection:

        def table(query: str, *parameters: Any) -> Any:
            with connection.cursor() as cursor:
                cursor.execute(query, parameters)
                return cursor.fetch_arrow_table()

        def find(operator: str, time: datetime) -> Any:
            query = f"SELECT id FROM release_requests WHERE requested_at {operator} $1"
            return table(query, time)["id"].to_pylist()

        postgres.assert_reads(lambda query: table(query).to_pylist())
        rows = table("SELECT id, requested_at FROM release_requests").to_pylist()
        postgres.assert_splits(find, {row["id"]: row["requested_at"] for row in rows})
        with connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        postgres.assert_one_state(lambda query: int(table(query)[0][0].as_py()))
        with connection.cursor() as cursor:
            cursor.execute("COMMIT")


def test_polars_sqlite(sqlite: ReaderMirror) -> None:
    """Polars looks at all rows for a column's type; times become times in an expression."""
    polars = library("polars")
    with closing(
        sqlite3.connect(f"file:{sqlite.path}?mode=ro", uri=True, isolation_level=None)
    ) as connection:

        def frame(query: str, *parameters: Any) -> Any:
            read = polars.read_database(
                query,
                connection,
                infer_schema_length=None,
                execute_options={"parameters": parameters},
            )
            return read.with_columns(
                polars.col(name).cast(polars.String).str.to_datetime("%F %T%.3f", time_zone="UTC")
                for name in TIMES
                if name in read.columns
            )

        def find(operator: str, time: datetime) -> Any:
            query = f"SELECT id FROM release_requests WHERE requested_at {operator} ?"
            return frame(query, utc_text(time))["id"].to_list()

        sqlite.assert_reads(lambda query: frame(query).to_dicts())
        rows = frame("SELECT id, requested_at FROM release_requests")
        sqlite.assert_splits(find, dict(rows.iter_rows()))
        connection.execute("BEGIN")
        sqlite.assert_one_state(lambda query: int(frame(query).item()))


def test_polars_postgres(postgres: ReaderMirror) -> None:
    """Polars over ADBC has the types of Postgres."""
    polars, dbapi = library("polars"), library("adbc_driver_postgresql.dbapi")
    with dbapi.connect(postgres.dsn, autocommit=True) as connection:

        def frame(query: str) -> Any:
            return polars.read_database(query, connection)

        def find(operator: str, time: datetime) -> Any:
            return frame(ids_at(operator, time, "+00"))["id"].to_list()

        postgres.assert_reads(lambda query: frame(query).to_dicts())
        rows = frame("SELECT id, requested_at FROM release_requests")
        postgres.assert_splits(find, dict(rows.iter_rows()))
        with connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        postgres.assert_one_state(lambda query: int(frame(query).item()))
        with connection.cursor() as cursor:
            cursor.execute("COMMIT")


def test_connectorx(either: ReaderMirror) -> None:
    """Connectorx reads times, naive ones from SQLite."""
    connectorx = library("connectorx")
    zone = "" if either.kind == "sqlite" else "+00"
    with either.connectorx_url() as url:

        def frame(query: str) -> Any:
            return connectorx.read_sql(url, query, return_type="polars")

        def find(operator: str, time: datetime) -> list[str]:
            return list(frame(ids_at(operator, time, zone))["id"])

        def read(query: str) -> Iterable[Row]:
            if either.kind == "postgresql":
                return list(frame(query).to_dicts())
            # It cannot tell the type of a null in a column declared JSON.
            rows = frame(with_extra(query, "coalesce(extra, '')")).to_dicts()
            return [
                row | {"extra": row["extra"] or None} if "extra" in row else row for row in rows
            ]

        either.assert_reads(read)
        either.assert_splits(
            find, dict(frame("SELECT id, requested_at FROM release_requests").iter_rows())
        )


def test_ibis(either: ReaderMirror) -> None:
    """Ibis finds rows by times that are cast to text in SQLite."""
    ibis = library("ibis")
    if either.kind == "sqlite":
        connection = ibis.sqlite.connect(either.path)
    else:
        connection = ibis.postgres.from_connection(psycopg.connect(either.dsn))

    def read(query: str) -> Any:
        table = connection.table(query.split()[3])
        if "WHERE" in query:
            day = table.day.cast("string")
            table = table.filter(day >= FIRST_DAY, day < DAY_AFTER)
        return table.to_pandas().to_dict("records")

    either.assert_reads(read)
    requests = connection.table("release_requests")
    rows = requests.select("id", "requested_at").to_pandas().to_dict("records")
    compare = {"=": eq, ">=": ge, "<": lt}

    def find(operator: str, time: datetime) -> list[str]:
        if either.kind == "sqlite":
            chosen = compare[operator](requests.requested_at.cast("string"), utc_text(time))
        else:
            chosen = compare[operator](requests.requested_at, time)
        return list(requests.filter(chosen).select("id").to_pandas()["id"])

    either.assert_splits(find, {row["id"]: row["requested_at"] for row in rows})
    connection.disconnect()


def test_query_helpers(either: ReaderMirror) -> None:
    """Frames of what the query helpers return have their times in UTC."""
    pandas, polars = library("pandas"), library("polars")
    with mirror.connect(either.url) as connection:
        rows = mirror.release_requests(connection)
        assert polars.DataFrame(mirror.release_requests(connection, limit=0)).columns == []
    times = [row.requested_at for row in rows]
    assert list(pandas.DataFrame(rows)["requested_at"]) == times
    in_utc = polars.col(polars.Datetime).dt.replace_time_zone("UTC")
    assert list(polars.DataFrame(rows).with_columns(in_utc)["requested_at"]) == times
