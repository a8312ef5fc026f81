"""The benchmark runs, its tables are whole, and it finds out who gets a list wrong.

No time is looked at: this is about the benchmark, not about what it measures.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.commands import Ran, run_python
from tests.test_benchmarks import BENCHMARKS, benchmark, expect_found_out

MIRROR = str(Path(sysconfig.get_path("scripts")) / "mirror")
STAGES = ("first load", "nothing new", "0.01 % changed", "1 % changed", "nothing new, ETag")
FEW_PAGES = ("--pages", "2", "--many-pages", "3")
FEW_ENVIRONMENTS = ("--environments", "3", "--environment-requests", "200")
SECONDS = r"\d+\.\d{3} \(\d+\.\d{3}\)"

FORGETFUL_MIRROR = """#!{python}
import sqlite3, subprocess, sys
subprocess.run([{mirror!r}, *sys.argv[1:]], check=True)
if sys.argv[1] == "sync":
    path = sys.argv[sys.argv.index("--database") + 1].removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM release_requests WHERE rowid = 7")
"""

LOSSES = {
    "requests: 199 instead of 200": "DELETE FROM release_requests WHERE rowid = 7",
    "pending: 59 instead of 60": "UPDATE release_requests SET status = '' WHERE rowid = 2",
    "resolved: 119 instead of 120": "UPDATE release_requests SET resolved_at = NULL"
    " WHERE rowid = 1",
    "characters of reasons: ": "UPDATE release_requests SET reason = '' WHERE rowid = 1",
    "superseded versions: 0 instead of 1": "DELETE FROM release_requests"
    " WHERE valid_to IS NOT NULL",
}


def lines_of(ran: Ran) -> list[list[str]]:
    """Return the cells of all lines of the tables."""
    assert ran.code == 0, ran.err
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in ran.out.splitlines()
        if line.startswith("| ") and "---" not in line
    ]


def test_everything_on_sqlite() -> None:
    """The head says what was measured where, and both tables have all their lines."""
    ran = benchmark("--sizes", "300,600", "--databases", "sqlite", *FEW_PAGES, *FEW_ENVIRONMENTS)
    lines = lines_of(ran)
    assert re.search(r", \d+ cores, \d+ GiB; ", ran.out)
    assert re.search(r"^- Python 3\.[\d.]+, SQLite 3\.[\d.]+$", ran.out, re.MULTILINE)
    assert re.search(r"^- 300 requests are 1\d\d,\d{3} bytes of JSON$", ran.out, re.MULTILINE)
    assert re.search(r"^- 600 requests are 2\d\d,\d{3} bytes of JSON$", ran.out, re.MULTILINE)
    stages = [line for line in lines if len(line) == 10][1:]
    assert [line[:3] for line in stages] == [
        [size, "SQLite", stage] for size in ("300", "600") for stage in STAGES
    ]
    for line in stages:
        etag, nothing_new = line[2] == "nothing new, ETag", line[2] == "nothing new"
        assert re.fullmatch("" if etag else SECONDS, line[3])
        assert re.fullmatch(SECONDS, line[4])
        assert re.fullmatch("" if etag else r"\d+\.\d\d", line[5])
        assert re.fullmatch(r"[+-]\d+\.\d{3}" if nothing_new else "", line[6])
        assert re.fullmatch("" if etag else r"\d+", line[7])
        assert re.fullmatch(r"\d+", line[8])
    others = {line[0]: line[1] for line in lines if len(line) == 2}
    for what in ("`python -c pass`", "`mirror --version`", "`mirror --help`"):
        assert re.fullmatch(r"\d+ ms \(\d+\), ratio \d+\.\d\d", others[what])
    assert re.match(r"\d+ ms", others["`mirror history NUMBER`, 600 requests, SQLite"])
    assert re.match(r"\d+\.\d\d ms", others["its query, by the helper, 600 requests, SQLite"])
    for stage in STAGES[:-1]:
        growth = others[f"time per request at 600 / at 300, SQLite, {stage}"]
        assert re.match(r"floor \d+\.\d\d, mirror \d+\.\d\d", growth)
    (paged,) = (others[what] for what in others if what.startswith("first load of 2 pages"))
    assert re.match(r"\d+\.\d s$", paged)
    (memory,) = (others[what] for what in others if what.startswith("first load of 3 pages"))
    assert re.match(r"\d+\.\d s, peak \d+ MiB, peak / JSON \d+\.\d$", memory)
    assert "\n3 environments of 200 requests in one database:\n" in ran.out
    expect_environments([line for line in lines if len(line) == 5][1:], "SQLite")


def expect_environments(lines: list[list[str]], database: str) -> None:
    """Expect a line for each stage of an environment: of each build two times and a ratio."""
    assert [line[:2] for line in lines] == [
        [database, stage] for stage in ("first load", "nothing new", "1 % changed")
    ]
    for line in lines:
        for place, cell in enumerate(line[2:]):
            assert re.fullmatch(SECONDS if place in {0, 1, 3, 4} else r"\d+\.\d\d", cell)


def test_another_build_beside_this_one() -> None:
    """Another installation goes through the same, and each table has columns for it."""
    ran = benchmark(
        *("--beside", MIRROR, "--sizes", "300", "--databases", "postgres"),
        *("--only", "changed", "etag", "start-up", "paged-memory", "environments"),
        *(*FEW_PAGES, *FEW_ENVIRONMENTS),
    )
    lines = lines_of(ran)
    assert "\n- beside: mirror " in ran.out
    stages = [line for line in lines if len(line) == 13]
    assert stages[0][10:] == ["beside s", "mirror / beside", "beside MiB"]
    assert [line[2] for line in stages[1:]] == ["1 % changed", "nothing new, ETag"]
    for line in stages[1:]:
        assert re.fullmatch(SECONDS, line[10])
        assert re.fullmatch(r"\d+\.\d\d", line[11])
        assert re.fullmatch(r"\d+", line[12])
    others = {line[0]: line[1] for line in lines if len(line) == 2}
    assert {"`mirror --version`", "`beside --version`"} <= others.keys()
    (memory,) = (others[what] for what in others if what.startswith("first load of 3 pages"))
    assert re.match(r"mirror \d+\.\d s, .*; beside \d+\.\d s, ", memory)
    environments = [line for line in lines if len(line) == 9]
    assert environments[0][-1] == "mirror / beside, of 3"
    expect_environments(environments[1:], "Postgres")


def test_postgres() -> None:
    """On Postgres the stages up to the one that is asked for happen, and that one is shown."""
    ran = benchmark("--sizes", "300", "--databases", "postgres", "--only", "changed")
    assert re.search(r", Postgres \d+\.\d+$", ran.out, re.MULTILINE)
    (line,) = lines_of(ran)[1:]
    assert line[:3] == ["300", "Postgres", "1 % changed"]
    assert re.fullmatch(SECONDS, line[3])
    assert re.fullmatch(SECONDS, line[4])


def test_many_environments() -> None:
    """Many environments are synced one after the other and side by side, and counted."""
    script = str(BENCHMARKS / "operations.py")
    few = ("--count", "2", "--requests", "200", "--jobs", "1,2", "--latency", "0")
    lines = lines_of(run_python(script, "environments", *few, cwd=ROOT))[1:]
    assert [line[:2] for line in lines] == [["0 s", "1"], ["0 s", "2"]]
    assert all(re.fullmatch(r"\d+\.\d s", cell) for line in lines for cell in line[2:])


def test_years_of_runs() -> None:
    """Each command is timed with few runs on record, and with many."""
    script = str(BENCHMARKS / "operations.py")
    few = ("--runs-on-record", "300", "--requests", "200", "--times", "1")
    lines = lines_of(run_python(script, "years", *few, "--databases", "postgres", cwd=ROOT))[1:]
    assert [line[1] for line in lines] == ["Postgres"] * 5
    assert all(re.match(r"\d+\.\d+ s", line[3]) for line in lines)


def test_the_report_of_large_mirrors() -> None:
    """The report is timed over its usual period and over a year, and its page is weighed."""
    script = str(BENCHMARKS / "operations.py")
    few = ("--requests", "200", "--times", "1", "--databases", "sqlite")
    (line,) = lines_of(run_python(script, "report", *few, cwd=ROOT))[1:]
    assert line[:2] == ["200", "SQLite"]
    assert all(re.match(r"\d+\.\d+ s", cell) for cell in line[2:4])
    assert re.fullmatch(r"\d+ KiB", line[4])


@pytest.mark.parametrize("said", LOSSES)
def test_whatever_is_lost_is_found_out(tmp_path: Path, said: str) -> None:
    """Each thing that a system can get wrong is compared with the list."""
    expect_found_out(tmp_path, LOSSES[said], said, "--sizes", "300", "--only", "changed")


def test_another_build_that_gets_the_list_wrong_is_found_out(tmp_path: Path) -> None:
    """What the other installation leaves behind is compared with the list too."""
    forgetful = tmp_path / "mirror"
    forgetful.write_text(FORGETFUL_MIRROR.format(python=sys.executable, mirror=MIRROR))
    forgetful.chmod(0o755)
    ran = benchmark(
        *("--beside", str(forgetful), "--sizes", "300", "--databases", "sqlite"),
        *("--only", "first-load"),
    )
    assert ran.code == 1
    assert "failed: beside on sqlite, first load of 200 requests: " in ran.err
    assert "requests: 199 instead of 200" in ran.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Who interrupts a benchmark finds neither its processes nor its files."""
    process = subprocess.Popen(
        [sys.executable, BENCHMARKS, "--sizes", "300", "--databases", "sqlite"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        while "warming up" not in process.stderr.readline():
            assert process.poll() is None
        assert running_in(tmp_path)
        process.send_signal(number)
        process.stderr.read()
    assert process.returncode != 0
    assert not running_in(tmp_path)
    assert not list(tmp_path.iterdir())


def running_in(folder: Path) -> list[str]:
    """Return the command lines of this machine that name a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue  # it has ended
        if str(folder) in command:
            found.append(command)
    return found
