"""Programs read the mirror as docs/sql.md says."""

from __future__ import annotations

import csv
import html
import io
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlencode

from mirror.db.cookbook import RECIPES
from tests.support.commands import run_process
from tests.support.readers import (
    RELATIONS,
    VIEWS,
    ReaderMirror,
    Row,
    program,
    with_extra,
)

READ = ("release_requests", *VIEWS)
"""What programs read, each with a process of its own."""


def output_of(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program; return its output."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, cwd=cwd
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_sqlite_utils(sqlite: ReaderMirror, tmp_path: Path) -> None:
    """`query` prints JSON with text for times; `insert` keeps the `+` without type detection."""
    tool = program("sqlite-utils")

    def rows(query: str, *options: str, path: Path = sqlite.path) -> list[Row]:
        return list(json.loads(output_of(tool, "query", path, query, *options)))

    sqlite.assert_reads(rows, READ)
    time = rows("SELECT requested_at FROM release_requests WHERE id = 'request-2000'")[0]
    condition = "SELECT id FROM release_requests WHERE requested_at = :time"
    found = rows(condition, "-p", "time", time["requested_at"])
    assert found == [{"id": "request-2000"}]

    file = tmp_path / "requests.csv"
    file.write_text(run_process("requests", "--format", "csv", "--database", sqlite.url).out)
    copy = tmp_path / "copy.db"
    output_of(tool, "insert", copy, "requests", file, "--csv", "--no-detect-types")
    numbers = {row["phone_number"] for row in rows("SELECT * FROM requests", path=copy)}
    assert numbers == {row["phone_number"] for row in sqlite.rows("release_requests")}


def test_csvkit(either: ReaderMirror) -> None:
    """`sql2csv` writes what is stored, and `csvsql -I` keeps it."""
    tool = program("sql2csv")
    if either.kind == "sqlite":
        url = f"sqlite:///file:{either.path}?mode=ro&uri=true"
    else:
        url = either.sqlalchemy_url

    def rows(query: str) -> Iterable[Row]:
        query = with_extra(query, "CAST(extra AS text)")
        return csv.DictReader(io.StringIO(output_of(tool, "--db", url, "--query", query)))

    either.assert_reads(rows, READ, text=True)


def test_csvkit_reads_csv(sqlite: ReaderMirror, tmp_path: Path) -> None:
    """`-I` keeps the `+` of phone numbers; without it they become other numbers."""
    file = tmp_path / "requests.csv"
    file.write_text(run_process("requests", "--format", "csv", "--database", sqlite.url).out)
    written = output_of(program("csvjson"), "-I", file)
    numbers = {row["phone_number"] for row in json.loads(written)}
    assert numbers == {row["phone_number"] for row in sqlite.rows("release_requests")}


def test_datasette(sqlite: ReaderMirror, tmp_path: Path) -> None:
    """Datasette 1.0 takes descriptions, sort order and facets from `-m`, the cookbook from `-c`.

    It is the same file.
    """
    tool = program("datasette", "1.")
    metadata = tmp_path / "metadata.json"
    ran = run_process("db", "describe", "--format", "datasette", "--database", sqlite.url)
    metadata.write_text(ran.out)

    def get(path: str, **parameters: str) -> str:
        address = f"/mirror/{path}?{urlencode(parameters)}"
        limits = ("max_returned_rows", "9999", "--setting", "sql_time_limit_ms", "60000")
        files = (sqlite.path, "-m", metadata, "-c", metadata)
        return output_of(tool, *files, "--setting", *limits, "--get", address)

    def rows(query: str) -> list[Row]:
        return list(json.loads(get("-/query.json", sql=query, _shape="array")))

    sqlite.assert_reads(rows, READ)
    page = html.unescape(get("release_requests"))
    for column in RELATIONS["release_requests"].columns:
        assert str(column.comment).split("(")[0].rstrip() in page
    assert 'href="/mirror/phone_number_history"' in page
    shown = json.loads(get("release_requests.json", _extra="facet_results"))
    times = [row["requested_at"] for row in shown["rows"]]
    assert times == sorted(times, reverse=True)
    facets = shown["facet_results"]["results"]
    assert list(facets) == ["status", "rejection_reason", "environment"]
    recipe = next(recipe for recipe in RECIPES if ":number" in recipe.sql)
    assert f"mirror query {recipe.name} --param number=" in get(recipe.name)
    answer = json.loads(get(f"{recipe.name}.json", number="+15550002000", _shape="array"))
    assert answer
