"""The benchmark finds out who gets a list wrong; stress/test_all_benchmarks.py runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.commands import Ran, run_python

BENCHMARKS = ROOT / "tests" / "benchmarks"
FORGETFUL_FLOOR = """
import sqlite3, subprocess, sys
subprocess.run([sys.executable, {floor!r}, *sys.argv[1:]], check=True)
if sys.argv[1] == "sqlite":
    with sqlite3.connect(sys.argv[3]) as connection:
        connection.execute({loss!r})
"""


def benchmark(*options: str) -> Ran:
    """Run the benchmark."""
    return run_python(str(BENCHMARKS), "--runs", "1", *options, cwd=ROOT)


def expect_found_out(folder: Path, loss: str, said: str, *options: str) -> None:
    """Expect that a system that loses something ends the benchmark, which says what is wrong."""
    floor = folder / "floor.py"
    floor.write_text(FORGETFUL_FLOOR.format(floor=str(BENCHMARKS / "floor.py"), loss=loss))
    ran = benchmark(*options, "--databases", "sqlite", "--floor", str(floor))
    assert (ran.code, ran.out) == (1, "")
    assert "failed: floor on sqlite, " in ran.err
    assert said in ran.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--environments", "1", "--runs", "2"), "--environments is less than --runs"),
        (("--beside", "nowhere/mirror"), "--beside: there is no file nowhere/mirror"),
    ],
)
def test_options_that_cannot_be_measured(options: tuple[str, ...], message: str) -> None:
    """What cannot be measured is refused before anything is."""
    ran = benchmark(*options)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_who_gets_the_list_wrong_is_found_out(tmp_path: Path) -> None:
    """A system that leaves something else in the database than the list says ends the benchmark."""
    loss = "DELETE FROM release_requests WHERE rowid = 7"
    said = "requests: 199 instead of 200"
    expect_found_out(tmp_path, loss, said, "--sizes", "200", "--only", "first-load")
