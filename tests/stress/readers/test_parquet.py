"""DuckDB, Polars, Spark and pyarrow read an export as docs/parquet.md says, equal to SQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror.export.run import RELATIONS
from tests.support.databases import DATABASES
from tests.support.exports import NAMES, assert_is, expected, export, fill, normalized
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.pages import PARQUET, blocks
from tests.support.readers import library
from tests.support.upstream import request

ANCIENT = request(9999, requested_at="1499-12-31T23:59:59.999Z", resolved_at="1500-02-28T00:00:00Z")
"""Before Spark's calendar became the Gregorian one. Its view has a row for each day since."""


@pytest.fixture(scope="module", params=DATABASES)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Mirror, Path]]:
    """A mirror of environments with all kinds of names, and its export."""
    folder = tmp_path_factory.mktemp("export")

    def use(mirror: Mirror) -> Mirror:
        fill(mirror, *NAMES)
        mirror.sync([ANCIENT], environment="ancient")
        assert export(mirror, folder).code == 0
        return mirror

    with mirrors_by_kind(request, use) as get:
        yield get(request.param), folder


def assert_equal(mirror: Mirror, name: str, rows: list[dict[str, Any]]) -> None:
    """Rows are those of a table or view, in any order."""
    (table,) = (table for table in RELATIONS if table.name == name)
    assert normalized(rows) == expected(mirror, table), name


def test_pyarrow(exported: tuple[Mirror, Path]) -> None:
    """Pyarrow reads all of it."""
    mirror, folder = exported
    assert_is(folder, mirror)


def test_duckdb(exported: tuple[Mirror, Path]) -> None:
    """DuckDB reads all of it, and JSON functions work on `extra`."""
    duckdb = library("duckdb")
    mirror, folder = exported
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def source(name: str) -> str:
            return (
                f"read_parquet('{folder}/{name}/*/*.parquet', "
                "hive_types = {'environment': VARCHAR})"
            )

        for table in RELATIONS:
            query = f"SELECT * FROM {source(table.name)}"
            assert_equal(mirror, table.name, connection.sql(query).to_arrow_table().to_pylist())
        query = f"SELECT DISTINCT extra->>'$.surprise.a[2]' FROM {source('release_requests')}"
        assert ("é",) in connection.execute(query).fetchall()


def test_polars(exported: tuple[Mirror, Path]) -> None:
    """Polars reads all of it."""
    polars = library("polars")
    mirror, folder = exported
    for table in RELATIONS:
        frame = polars.scan_parquet(
            f"{folder}/{table.name}/", hive_schema={"environment": polars.String}
        )
        assert_equal(mirror, table.name, frame.collect().to_dicts())


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A local Spark."""
    sql = library("pyspark.sql")
    if shutil.which("java") is None:
        (pytest.fail if os.environ.get("MIRROR_TEST_DRIVERS") else pytest.skip)("no Java")
    session = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
        .getOrCreate()
    )
    yield session
    session.stop()


def test_spark(exported: tuple[Mirror, Path], spark: Any) -> None:
    """Spark reads all of it, with the types that it has for them."""
    mirror, folder = exported
    for table in RELATIONS:
        frame = spark.read.parquet(str(folder / table.name))
        assert_equal(mirror, table.name, frame.toArrow().to_pylist())
    requests = spark.read.parquet(str(folder / "release_requests"))
    types = dict(requests.dtypes)
    assert (types["requested_at"], types["phone_number"]) == ("timestamp", "string")
    assert requests.where("requested_at < '1500-01-01'").count() == 1
    days = spark.read.parquet(str(folder / "release_requests_daily"))
    assert dict(days.dtypes)["day"] == "date"


def test_the_calls_of_the_page(
    exported: tuple[Mirror, Path], spark: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The examples of docs/parquet.md run."""
    for name in ("duckdb", "polars"):
        library(name)
    mirror, folder = exported
    page = PARQUET.replace("/srv/mirror-parquet", str(folder))
    sql = next(iter(blocks(page, "sql")))
    with library("duckdb").connect() as connection:
        counts = connection.execute(sql).fetchall()
    total = len(expected(mirror, RELATIONS[0]))
    assert sum(row[2] for row in counts) == total
    for code in blocks(page, "python"):
        exec(code, {})  # noqa: S102 (of the page)
    assert "日本" in capsys.readouterr().out
