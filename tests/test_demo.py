"""`mirror demo`."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.setup.installation import EXTRAS, has_extra
from tests.support import ROOT
from tests.support.commands import run_mirror
from tests.support.pages import executable, find_command

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_demo_shows_a_request_that_a_later_sync_saw_approved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo works without token or settings, leaves other databases alone, and can be rerun.

    The commands at the end run as printed, by the program as it was called; of an extra that is
    missing it says how to get it.
    """
    other = tmp_path / "real.db"
    program = executable(tmp_path / "my bin" / "mirror", "exit 0")
    printed = []
    for called, module in (("my bin/mirror", "jinja2"), (str(program), "no_such_module")):
        monkeypatch.setattr("sys.argv", [called])
        monkeypatch.setattr("mirror.setup.installation.EXTRAS", {"report": (module,)})
        ran = run_mirror("demo", cwd=tmp_path, MIRROR_DATABASE_URL=f"sqlite:///{other}")
        assert (ran.code, ran.err) == (0, "")
        printed.append(ran.out)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    assert printed[1].splitlines()[-2:] == [
        "Next:         mirror changes --database sqlite:///mirror-demo.db",
        (
            "As a report:  install mirror again with the extra report, as in '.[report]' "
            "(and with those that it has already)"
        ),
    ]
    story = printed[0].split("What happened to")[1]
    assert re.search(r"\trequested\t", story)
    assert re.search(r"\tapproved\t", story)
    assert "was pending at first" in story
    assert "saw it approved" in story
    assert not other.exists()
    for line in printed[0].splitlines()[-2:]:
        name, *arguments = shlex.split(line.partition(":")[2])
        assert (tmp_path / name).samefile(program)
        if arguments[0] == "changes":
            assert "\tpending\tapproved\t" in run_mirror(*arguments, cwd=tmp_path).out
        else:  # .ci/run runs it: that takes seconds
            command, options = find_command(arguments)
            assert command.make_context(command.name, options)


def test_extras_are_those_of_the_project() -> None:
    """The modules of each extra are those of its packages."""
    packages = PROJECT["optional-dependencies"]
    assert EXTRAS.keys() == packages.keys() - {"dev"}
    for extra, modules in EXTRAS.items():
        names = [re.split(r"[\[>=-]python|[\[>=]", package)[0] for package in packages[extra]]
        assert sorted(name.replace("-", "_") for name in names) == sorted(modules)
        assert has_extra(extra)


def test_demo_refuses_a_database_that_is_not_empty(tmp_path: Path) -> None:
    """A named database is never emptied."""
    url = f"sqlite:///{tmp_path / 'mine.db'}"
    assert run_mirror("demo", "--database", url).code == 0
    ran = run_mirror("demo", "--database", url)
    assert ran.code == 2
    assert "not empty" in ran.err


def test_demo_removes_no_other_mirror(tmp_path: Path) -> None:
    """A file with the name of the demo's database and other content is left unchanged."""
    file = tmp_path / "mirror-demo.db"
    assert run_mirror("db", "upgrade", "--database", f"sqlite:///{file}").code == 0
    with sqlite3.connect(file) as connection:
        connection.execute(
            "INSERT INTO sync_runs (environment, outcome, started_at, base_url, mirror_version)"
            " VALUES ('prod', 'applied', '2024-01-01 00:00:00.000', 'https://x', '0.1.0')"
        )
    connection.close()
    before = file.read_bytes()
    ran = run_mirror("demo", cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert "something else than a demo" in ran.err
    assert file.read_bytes() == before
    file.unlink()
    file.mkdir()
    assert run_mirror("demo", cwd=tmp_path).code == 2


@pytest.mark.calendar
def test_demo_on_postgres(make_database: Callable[[str], str]) -> None:
    """The demo runs on Postgres as well."""
    ran = run_mirror("demo", "--database", make_database("postgresql"))
    assert ran.code == 0, ran.err
    assert "saw it approved" in ran.out
