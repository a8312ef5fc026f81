"""The SQL of README.md and docs/sql.md: queries with their outputs, cookbook and dictionary."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from mirror import demo
from mirror.db import dictionary
from mirror.db.cookbook import RECIPES
from mirror.db.engine import create_engine, read_transaction
from mirror.db.types import to_text
from tests.support.commands import run_mirror
from tests.support.databases import DATABASES, new_database
from tests.support.pages import README, SQL, blocks, section

QUERIES = [
    match
    for page in (README, SQL)
    for match in re.findall(r"```sql\n(.*?);?\n```(?:[^`]*```text\n(.*?)\n```)?", page, re.DOTALL)
]
DEMO_TIME = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""The time of the demo's last sync in the documented outputs: a Friday."""

TIME = r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)Z$"

PARAMETERS = {
    "since": "2026-11-16",
    "until": "2026-11-20",
    "at": "2026-11-15",
    "number": "+15555565098",
}
"""The documented values of the parameters."""


def as_text(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Format a result as the pages do."""
    lines = [names, *([cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = (
        " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join([head, "-+-".join("-" * width for width in widths), *body])


def cell(value: object) -> str:
    """Format a value as SQLite does, which has no times or booleans."""
    if isinstance(value, datetime):
        return to_text(value)
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


@pytest.fixture(scope="module", params=DATABASES)
def demo_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The demo's data, in each kind of database."""
    with new_database(request.param, request) as url:
        demo.run(create_engine(url, create=True), lambda *_: None, lambda: DEMO_TIME)
        yield url


@pytest.fixture
def query_demo(demo_url: str) -> Callable[[str], str]:
    """Runs queries on the demo's data."""

    def run(query: str) -> str:
        for name, value in PARAMETERS.items():
            query = re.sub(rf":{name}\b", f"'{value}'", query)
        with read_transaction(create_engine(demo_url)) as connection:
            result = connection.exec_driver_sql(query.replace("%", "%%"))
            return as_text(list(result.keys()), [tuple(row) for row in result])

    return run


def test_queries_have_the_documented_outputs(query_demo: Callable[[str], str]) -> None:
    """Each query runs on both databases, and gives the documented output."""
    assert len(QUERIES) >= 15
    for query, documented in QUERIES:
        output = query_demo(query)
        assert output.count("\n") > 1, query
        if documented:
            assert output == documented.rstrip(), f"the page should show:\n{output}"


def test_the_cookbook_is_that_of_the_program() -> None:
    """The page has each recipe under its question, in the order of the program."""
    documented = re.findall(r"^### (.+?)\n+```sql\n(.*?);\n```", SQL, re.DOTALL | re.MULTILINE)
    assert documented == [(recipe.question, recipe.sql) for recipe in RECIPES]
    parameters = {name for recipe in RECIPES for name in re.findall(r":(\w+)", recipe.sql)}
    assert parameters == PARAMETERS.keys()
    for name, value in PARAMETERS.items():
        assert f"`:{name}`" in SQL
        assert f"`'{value}'`" in SQL


def test_each_question_has_its_command(demo_url: str) -> None:
    """The command under a question gives the documented output of its query."""
    for recipe in RECIPES:
        text = section(SQL, f"### {recipe.question}")
        (command,) = re.findall(r"^`mirror (query .*)`$", text, re.MULTILINE)
        words = shlex.split(command)
        assert words[1] == recipe.name
        ran = run_mirror(*words, "--format", "csv", MIRROR_DATABASE_URL=demo_url)
        names, *rows = csv.reader(io.StringIO(ran.out))
        # Times are those of SQLite in the page.
        cells = [tuple(re.sub(TIME, r"\1 \2.000", cell) for cell in row) for row in rows]
        assert as_text(names, cells) == blocks(text, "text")[0].rstrip(), ran.err
        lines = blocks(text, "text")[1:]
        values = {name: PARAMETERS[name] for name in recipe.parameters}
        expected = [f".parameter set :{name} \"'{value}'\"" for name, value in values.items()]
        expected += [f"\\set {name} '''{value}'''" for name, value in values.items()]
        assert "".join(lines).splitlines() == expected


def test_the_dictionary_is_that_of_the_program() -> None:
    """The page has the output of `mirror db describe --format markdown`."""
    assert dictionary.markdown(dictionary.entries()) in SQL
