"""README and docs are true: their commands, queries, exit codes and names are the program's."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from mirror import cli, demo
from mirror.config import file as config
from mirror.config import settings
from mirror.config.environments import resolve
from mirror.config.sources import SettingSources
from mirror.db import dictionary
from mirror.db.cookbook import RECIPES
from mirror.db.engine import create_engine, read_transaction
from mirror.db.models import metadata
from mirror.db.types import to_text
from mirror.db.views import VIEWS
from tests.support import ROOT
from tests.support.commands import run_mirror
from tests.support.databases import DATABASES, new_database

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SQL_PAGE = (ROOT / "docs" / "sql.md").read_text()
QUERIES = [
    found
    for page in (README, SQL_PAGE)
    for found in re.findall(r"```sql\n(.*?);?\n```(?:[^`]*```text\n(.*?)\n```)?", page, re.DOTALL)
]
DEMO_TIME = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""When the last sync of the demo happened whose data the pages show: a Friday."""

FILLED_IN = {
    "since": "2026-11-16",
    "until": "2026-11-20",
    "at": "2026-11-15",
    "number": "+15555565098",
}
"""What the pages say that stands in for a parameter."""


def as_text(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Write a result as the pages show it."""
    lines = [names, *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(names))]
    drawn = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([drawn[0], "-+-".join("-" * width for width in widths), *drawn[1:]])


def cell(value: object) -> str:
    """Write a value as the pages show it: as SQLite does, which has no times or booleans."""
    if isinstance(value, datetime):
        return to_text(value)
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


@pytest.fixture(scope="module", params=DATABASES)
def demo_database(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Answers queries on the demo's data, once in each kind of database."""
    with new_database(request.param, request) as url:
        engine = create_engine(url, create=True)
        demo.run(engine, lambda *_: None, lambda: DEMO_TIME)

        def answer(query: str) -> str:
            for name, value in FILLED_IN.items():
                query = re.sub(rf":{name}\b", f"'{value}'", query)
            with read_transaction(engine) as connection:
                result = connection.exec_driver_sql(query.replace("%", "%%"))
                return as_text(list(result.keys()), [tuple(row) for row in result])

        yield answer


def test_queries_give_what_the_readme_shows(demo_database: Callable[[str], str]) -> None:
    """Each SQL example runs on both databases, and its output is the one shown."""
    assert len(QUERIES) >= 15
    for query, shown in QUERIES:
        answer = demo_database(query)
        assert answer.count("\n") > 1, query
        if shown:
            assert answer == shown.rstrip(), f"the README should show:\n{answer}"


def test_the_cookbook_is_that_of_the_program() -> None:
    """The page has each recipe under its question, in the order of the program."""
    shown = re.findall(r"^### (.+?)\n+```sql\n(.*?);\n```", SQL_PAGE, re.DOTALL | re.MULTILINE)
    assert shown == [(recipe.question, recipe.sql) for recipe in RECIPES]
    parameters = {name for recipe in RECIPES for name in re.findall(r":(\w+)", recipe.sql)}
    assert parameters == FILLED_IN.keys()
    for name, value in FILLED_IN.items():
        assert f"`:{name}`" in SQL_PAGE
        assert f"`'{value}'`" in SQL_PAGE


def test_the_dictionary_is_that_of_the_program() -> None:
    """The page has what `mirror db describe --format markdown` prints."""
    assert dictionary.markdown(dictionary.entries()) in SQL_PAGE


def test_tables_and_views_are_all_there() -> None:
    """The README names every table and view, and every column of the views and main tables."""
    listed = dict(re.findall(r"^\| `(\w+)`(?: \(view\))? \|(.*)\|$", README, re.MULTILINE))
    assert set(metadata.tables) | {view.name for view in VIEWS} <= set(listed)
    for view in VIEWS[1:]:
        assert all(f"`{column.name}`" in listed[view.name] for column in view.columns)
    for column in metadata.tables["release_requests"].columns:
        assert f"`{column.name}`" in listed["release_requests"]


def test_exit_codes_are_those_of_the_program() -> None:
    """The table of exit codes has every code that the command line can return."""
    table = README.split("### Exit codes")[1].split("##")[0]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert listed == set(cli.MOST_SERIOUS_FIRST)
    assert listed == {0, cli.EXIT_NEWLY_QUARANTINED, cli.EXIT_STALE, *cli.EXIT_CODES.values()}


def test_settings_are_those_of_the_program() -> None:
    """Every setting stands there with its option, which `mirror sync` has, and its variable."""
    table = README.split("### Settings")[1].split("###")[0]
    options = {option for one in cli.cli.commands["sync"].params for option in one.opts}
    listed = set(re.findall(r"`(--[\w-]+)`", table))
    assert listed <= options
    variables = set(re.findall(r"`((?:MIRROR|TALKOVER)_\w+)`", table))
    source = "".join(path.read_text() for path in (ROOT / "mirror" / "config").glob("*.py"))
    assert variables == set(re.findall(r'"((?:MIRROR|TALKOVER)_\w+)"', source))
    assert settings.DEFAULT_BASE_URL in table


def test_commands_are_all_there() -> None:
    """Every command has its row, and each option named in the text exists."""
    table = README.split("### Commands")[1].split("###")[0]
    for name, command in cli.cli.commands.items():
        assert f"`mirror {name}" in table
        assert isinstance(command, click.Command)
    everything = {
        option
        for group in (cli.cli, cli.db)
        for command in group.commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    assert set(re.findall(r"`(--[a-z-]+)", table)) <= everything


def test_python_example_runs(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python example runs as it stands on the demo's database, and finds the number's story."""
    assert run_mirror("demo", cwd=tmp_path).code == 0
    monkeypatch.setenv("MIRROR_DATABASE_URL", f"sqlite:///{tmp_path / 'mirror-demo.db'}")
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 (it is our own)
    assert " approved " in capsys.readouterr().out
    with sqlite3.connect(tmp_path / "mirror-demo.db") as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert mode == "wal"


def test_links_lead_somewhere() -> None:
    """Every relative link of a page names a file, and every anchor a heading of it."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if target.startswith("https://"):
                continue
            name, _, anchor = target.partition("#")
            there = page.parent / name if name else page
            assert there.exists(), target
            assert not anchor or anchor in headings(there), target


def headings(page: Path) -> set[str]:
    """The anchors of the headings of a page."""
    return {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.read_text().splitlines()
        if line.startswith("#")
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_that_prove_a_promise_exist(page: Path) -> None:
    """Every test that a page names is there."""
    named = re.findall(r"`(?:tests/((?:\w+/)?test_\w+\.py))?::(test_\w+)`", page.read_text())
    assert named
    file = ""
    for new_file, name in named:
        file = new_file or file
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text()


def test_the_configuration_file_is_read(tmp_path: Path) -> None:
    """The example names the environments that the text speaks of, and nothing unknown."""
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    file = tmp_path / "config.toml"
    file.write_text(example)
    said = config.load(str(file))
    assert said.database == "postgresql://mirror@db.example.com/bi"
    first, second = resolve(SettingSources({}, {"CUSTOMER_7_TOKEN": "talq_7"}, said))
    assert (first.environment, second.environment) == ("prod", "customer-7")
    assert isinstance(second.api, settings.ApiSettings)
    assert second.api.base_url == "https://voice.example.com/api/v1"


def test_the_crontab_line_is_one() -> None:
    """The line has five fields, and a command that there is."""
    (line,) = re.findall(r"```cron\n(.*?)\n```", README, re.DOTALL)
    *fields, variable, program, command, option = line.split()
    assert fields == ["*/15", "*", "*", "*", "*"]
    assert variable.partition("=")[0] == "MIRROR_CONFIG"
    assert program.endswith("/mirror")
    known = cli.cli.commands[command].params
    assert option in {one for parameter in known for one in parameter.opts}
