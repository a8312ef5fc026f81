"""README.md: its tables, examples and exit codes."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mirror import cli
from mirror.config import file as config
from mirror.config import settings
from mirror.config.environments import resolve
from mirror.config.resolver import SettingSources
from mirror.config.sources import API_DEFAULTS
from mirror.db import dictionary
from tests.support import ROOT
from tests.support.commands import all_commands, run_mirror
from tests.support.pages import README, all_options, blocks, options_of, section


def test_tables_and_views_are_complete() -> None:
    """The README has every table and view, and names only columns that they have.

    docs/sql.md has all columns (tests/docs/test_sql.py), and the tables of bookkeeping.
    """
    table = section(README, "### Tables and views")
    rows = re.findall(r"^\| `(\w+)`(?: \(view\))? \|[^|]*\|(.*)\|$", table, re.MULTILINE)
    columns: dict[str, set[str | None]] = {}
    for entry in dictionary.entries():
        columns.setdefault(entry.relation, set()).add(entry.column)
    assert {name for name, _ in rows} == columns.keys() - {
        "alembic_version",
        "erasures",
        "erased_requests",
        "change_cursors",
    }
    for name, examples in rows:
        named = set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", examples)))
        assert named, name
        assert named <= columns[name], name


def test_exit_codes_are_complete() -> None:
    """The table has every exit code of the command line."""
    table = section(README, "### Exit codes")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert codes == set(cli.MOST_SERIOUS_FIRST)
    assert codes == {0, cli.EXIT_NEWLY_QUARANTINED, cli.EXIT_STALE, *cli.EXIT_CODES.values()}


def test_settings_are_complete() -> None:
    """The table has every environment variable, and only options of `mirror sync`."""
    table = section(README, "### Settings")
    options = set(re.findall(r"`(--[\w-]+)`", table))
    assert options <= options_of(all_commands()["sync"])
    variables = set(re.findall(r"`((?:MIRROR|TALKOVER)_\w+)`", table))
    source = "".join(path.read_text() for path in (ROOT / "mirror" / "config").glob("*.py"))
    assert variables == set(re.findall(r'"((?:MIRROR|TALKOVER)_\w+)"', source))
    assert API_DEFAULTS["base_url"].text in table


def test_commands_are_all_there() -> None:
    """Every command has its row, and each option in the table exists."""
    table = section(README, "### Commands")
    for name in cli.COMMANDS:
        assert f"`mirror {name}" in table
    assert set(re.findall(r"`(--[a-z-]+)", table)) <= all_options()


@pytest.mark.parametrize("database", ["SQLite", "Postgres"])
def test_the_figures_are_those_of_the_page_with_the_method(database: str) -> None:
    """The seconds and the memory are those of docs/speed.md, rounded."""
    speed = (ROOT / "docs" / "speed.md").read_text()
    figures, memory = [], []
    for line in re.findall(rf"^\| 100,000 \| {database} \| (.*) \|$", speed, re.MULTILINE):
        stage, floor, own, _ratio, _over, floor_memory, own_memory, _per_json = line.split(" | ")
        if stage != "0.01 % changed":
            figures += [own.split()[0], floor.split()[0]]
        memory.append((own_memory, floor_memory))
    (row,) = re.findall(rf"^\| `mirror sync`, {database} .*", README, re.MULTILINE)
    shown = re.findall(r"\d+(?:\.\d+)?", row)
    assert [float(figure) for figure in shown[:-2]] == pytest.approx(
        [float(figure) for figure in figures], abs=0.00501
    )
    assert shown[-2:] == [max(sizes, key=int) for sizes in zip(*memory, strict=True)]


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python example runs on the demo's database, and prints the history of its number."""
    assert run_mirror("demo", cwd=tmp_path).code == 0
    monkeypatch.setenv("MIRROR_DATABASE_URL", f"sqlite:///{tmp_path / 'mirror-demo.db'}")
    (example,) = blocks(README, "python")
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 (it is our own)
    assert " approved " in capsys.readouterr().out
    with closing(sqlite3.connect(tmp_path / "mirror-demo.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_configuration_example_is_read(tmp_path: Path) -> None:
    """The example has the environments of the text, and no unknown key."""
    (example,) = blocks(README, "toml")
    file = tmp_path / "config.toml"
    file.write_text(example)
    configuration = config.load(str(file))
    assert configuration.database is not None
    assert configuration.database.text == "postgresql://mirror@db.example.com/bi"
    first, second = resolve(SettingSources({}, configuration, {"CUSTOMER_7_TOKEN": "talq_7"}))
    assert (first.environment, second.environment) == ("prod", "customer-7")
    assert isinstance(second.api, settings.ApiSettings)
    assert second.api.base_url == "https://voice.example.com/api/v1"
