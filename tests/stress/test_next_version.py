"""An upgrade as users do it: version after version is installed, and used on one database.

The next version is that of next_version.py, with another revision and a field that this one keeps
in `extra`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.version import __version__
from tests.db.frozen.freeze import Rows, rows_of
from tests.support import ROOT, next_version
from tests.support.commands import TIMEOUT, Ran
from tests.support.databases import DATABASES, new_database
from tests.support.fleets import Fleet
from tests.support.installed import Installation, build_wheel
from tests.support.schema import execute_script, inventory, opened
from tests.support.upstream import request
from tests.support.workers import KILLED

HEAD, NEXT = next_version.HEAD, next_version.REVISION
TOO_OLD = (
    f"the database is at schema revision {HEAD}, and this version of mirror works with {NEXT}; run "
    "`mirror db upgrade`"
)
TOO_NEW = (
    f"the database is at schema revision {NEXT}, and this version of mirror knows none after "
    f"{HEAD}; install a newer version of mirror"
)
READING = (("requests",), ("changes", "--new"), ("history", "+15550000002"))
SECRET = "+15550000009"
"""A number that is erased."""

KILL_AT = (
    "ADD COLUMN note",
    "CREATE TABLE operator_notes",
    "CREATE OR|DROP VIEW",
    "alembic_version SET",
)
"""Parts of statements of the upgrade; alternatives are separated."""

KILLING = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from mirror import cli

def kill(_, __, statement, *___):
    if any(part in statement for part in sys.argv[1].split("|")):
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", kill)
sys.exit(cli.run(["db", "upgrade"]))
"""


@dataclass
class Programs:
    """Both versions.

    Attributes:
        this: an installation of this version, which stays.
        wheel, next_wheel: of this version and of the next one.
        next_checkout: of the next one.
    """

    this: Installation
    wheel: Path
    next_wheel: Path
    next_checkout: Path


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Both versions, as wheels; this one is installed."""
    folder = tmp_path_factory.mktemp("versions")
    next_version.create(folder / "checkout")
    wheel = build_wheel(ROOT, __version__, folder)
    next_wheel = build_wheel(folder / "checkout", next_version.VERSION, folder)
    this = Installation(folder / "environment")
    this.install(wheel)
    return Programs(this, wheel, next_wheel, folder / "checkout")


class Life:
    """A mirror of two environments, its readers, and the program that is installed.

    Attributes:
        fleet: the environments.
        program: the installation.
    """

    def __init__(self, fleet: Fleet, program: Installation) -> None:
        self.fleet = fleet
        self.program = program

    @property
    def url(self) -> str:
        """URL of the database."""
        return self.fleet.url

    @cached_property
    def is_postgres(self) -> bool:
        """Whether it is in Postgres."""
        return self.url.startswith("postgresql")

    def run(self, *words: str) -> Ran:
        """Run a command of the installed version."""
        return self.program.run(*words, MIRROR_CONFIG=str(self.fleet.path))

    def json(self, *words: str) -> Any:
        """Run a command that must succeed, and return its JSON."""
        ran = self.run(*words, "--format", "json")
        assert ran.code == 0, ran
        return json.loads(ran.out)

    def sync(self, *, code: int = 0) -> list[dict[str, Any]]:
        """Run a sync; return its results."""
        ran = self.run("sync", "--json")
        assert ran.code == code, ran
        return [json.loads(line) for line in ran.out.splitlines()]

    def set_lists(self, prod: list[Any], staging: list[Any] | None = None) -> None:
        """Set what the environments list."""
        for environment, records in (("prod", prod), ("staging", staging)):
            if records is not None:
                self.fleet.upstreams[environment].records = records
                self.fleet.sandboxes[environment].invalidate()

    def rows(self) -> Rows:
        """Return all rows of all tables."""
        with opened(self.url) as connection:
            return rows_of(connection)

    def everything(self) -> object:
        """Return all rows, and all of the schema."""
        with opened(self.url) as connection:
            return rows_of(connection), inventory(connection)

    def past(self, times: list[str]) -> list[Any]:
        """Return what commands print of the past, without what a version reads in another way."""
        found: list[Any] = [self.json("requests", "--as-of", time) for time in times]
        found.append(self.json("requests", "--missing"))
        for row in (row for rows in found for row in rows):
            row.pop("extra"), row.pop("note", None)
        changes = self.json("changes")
        for row in changes:
            row["changed_fields"] = [name for name in row["changed_fields"] if name != "note"]
        return [*found, changes, self.json("history", "+15550000002")]

    def execute(self, script: str) -> None:
        """Run SQL of somebody else."""
        execute_script(self.url, script)

    @contextmanager
    def a_reader(self) -> Iterator[Callable[[], list[list[Any]]]]:
        """Create a view of somebody else, and in Postgres a role; yield what it reads."""
        self.execute("CREATE VIEW mine AS SELECT id, version, status FROM release_request_versions")
        role = f"reader_{uuid.uuid4().hex[:8]}" if self.is_postgres else ""
        if role:
            self.execute(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON mine TO {role}")
            assert self.run("db", "grant-read", role).code == 0

        def read() -> list[list[Any]]:
            with opened(self.url) as connection:
                if role:
                    connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
                for table in sa.inspect(connection).get_table_names():
                    connection.exec_driver_sql(f"SELECT * FROM {table}").all()
                return [
                    list(map(tuple, connection.exec_driver_sql(query)))
                    for query in (
                        "SELECT * FROM mine ORDER BY 1, 2",
                        "SELECT * FROM phone_number_history ORDER BY request_id, event",
                    )
                ]

        yield read
        self.execute("DROP VIEW mine")
        if role:
            self.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


FIRST = [
    request(1, note="a"),
    request(2, note='"b" \\ — não'),
    request(3),
    request(4, size=1.50),
    request(5, note="", size=1e3),
    request(6, note="old"),
    request(7, status="approved", note="x"),
    request(8, note="bad", requested_at="yesterday"),
    request(9, note=f"of {SECRET}", phone_number=SECRET),
]
SECOND: list[Any] = [
    FIRST[0] | {"status": "approved", "resolved_at": "2024-01-11T13:30:00Z"},
    *FIRST[1:4],
    *FIRST[6:],
    "junk",
]
"""5 and 6 are missing."""
THIRD = [SECOND[0], SECOND[1] | {"note": "c", "reason": None}, *SECOND[2:], FIRST[5]]
"""6 is back."""
FOURTH = [THIRD[0] | {"note": "new"}, THIRD[1] | {"status": "cancelled"}, *THIRD[2:]]


def begin(life: Life) -> list[str]:
    """Fill the mirror by the old version; return the times of its syncs."""
    life.set_lists(FIRST, [request(21, note="x"), request(22)])
    life.sync(code=3)
    life.set_lists(SECOND)
    life.sync(code=3)
    assert life.json("changes", "--new")
    life.set_lists(THIRD)
    life.sync()
    ran = life.run("db", "erase-number", SECRET, "--yes")
    assert ran.code == 0, ran
    life.sync()
    assert {row["kind"] for row in life.json("changes", "--new")} == {"corrected", "returned"}
    return [run["started_at"] for run in life.json("runs") if run["outcome"] == "applied"]


@pytest.fixture(params=DATABASES)
def life(request: pytest.FixtureRequest, tmp_path: Path, programs: Programs) -> Iterator[Life]:
    """A mirror of two environments in each kind of database, and this version."""
    with new_database(request.param, request) as url, Fleet(url, tmp_path) as fleet:
        fleet.add("prod")
        fleet.add("staging")
        program = Installation(tmp_path / "environment")
        program.install(programs.wheel)
        yield Life(fleet, program)


def test_the_next_version_goes_on(life: Life, programs: Programs) -> None:
    """The next version loses and invents nothing; nor does this one after a downgrade."""
    times = begin(life)
    with life.a_reader() as read:
        past, before, old, read_before = life.past(times), life.rows(), life.everything(), read()
        life.program.install(programs.next_wheel)
        assert life.run("--version").out.split()[-1] == next_version.VERSION
        expect_refusals(life, life.program, TOO_OLD, ("sync", "--no-upgrade"), *READING)
        assert life.everything() == old
        for result in life.sync():
            assert result["outcome"] == "applied"
            counts = ("inserted", "updated", "missing", "returned")
            assert [result[name] for name in counts] == [0] * 4
        expect_nothing_lost(before, life.rows())
        assert life.past(times) == past
        assert read() == read_before
        assert life.json("changes", "--new") == []

        life.set_lists(FOURTH)
        life.sync()
        changes = life.json("changes", "--new")
        assert {(row["request_id"], *row["changed_fields"]) for row in changes} == {
            ("request-1", "note"),
            ("request-2", "status"),
        }
        assert life.past(times)[:-2] == past[:-2]
        expect_refusals(life, programs.this, TOO_NEW, ("sync",), ("db", "upgrade"), *READING)
    upgraded = life.everything()
    life.execute("DROP VIEW release_request_versions")
    ran = life.run("db", "upgrade")
    assert (ran.code, "created again" in ran.err) == (0, True)
    assert life.everything() == upgraded
    expect_a_way_back(life, programs)


def test_upgrades_that_are_killed_or_concurrent(life: Life, programs: Programs) -> None:
    """A killed upgrade changes nothing; of two at once one upgrades, and both succeed."""
    begin(life)
    life.program.install(programs.next_wheel)
    config = {"MIRROR_CONFIG": str(life.fleet.path)}
    before = life.everything()
    for parts in KILL_AT:
        with life.program.start("-c", KILLING, parts, program="python", **config) as process:
            _, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == KILLED, err
        assert life.everything() == before
    rows = life.rows()
    with (
        life.program.start("sync", "--environment", "prod", **config) as one,
        life.program.start("sync", "--environment", "staging", **config) as other,
    ):
        for process in (one, other):
            _, err = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0, err
    expect_nothing_lost(rows, life.rows())
    ran = life.run("db", "upgrade")
    assert (ran.code, "already" in ran.err) == (0, True)


def expect_refusals(
    life: Life, program: Installation, message: str, *commands: tuple[str, ...]
) -> None:
    """Expect that each command prints one message."""
    for words in commands:
        ran = program.run(*words, MIRROR_CONFIG=str(life.fleet.path))
        assert (words, ran.code, ran.out) == (words, 1, "")
        assert message in ran.err


def expect_nothing_lost(before: Rows, found: Rows) -> None:
    """Expect all rows as they were, but for the note, what a sync reads anew, and its runs."""
    assert SECRET not in str(found)
    assert found.keys() == before.keys()
    for table in ("release_requests", "release_request_past_versions"):
        assert len(found[table]) == len(before[table])
        for old, new in zip(by_key(before[table]), by_key(found[table]), strict=True):
            extra, new_extra = (json.loads(row.pop("extra") or "{}") for row in (old, new))
            note = extra.pop("note", extra.pop("erased", None))
            new_extra.pop("erased", None)
            assert (new.pop("note"), new_extra) == (note, extra)
            old.pop("digest", None)
            new.pop("digest", None)
            assert new == old
    runs = len(before["sync_runs"])
    assert found["sync_runs"][:runs] == before["sync_runs"]
    for old, new in zip(before["quarantined_records"], found["quarantined_records"], strict=True):
        if old["resolved_at"] is None:
            old |= {name: new[name] for name in ("last_run_id", "last_seen_at")}
        assert new == old
    for table in ("erasures", "erased_requests", "change_cursors"):
        assert found[table] == before[table]


def expect_a_way_back(life: Life, programs: Programs) -> None:
    """Downgrade, use this version, and upgrade again: no version is lost or invented."""
    before = life.rows()
    options = ("-c", str(programs.next_checkout / "alembic.ini"), "-x", f"database={life.url}")
    with life.program.start("-m", "alembic", *options, "downgrade", HEAD, program="python") as run:
        _, err = run.communicate(timeout=TIMEOUT)
    assert run.returncode == 0, err
    expect_nothing_lost(life.rows(), before)
    for wheel in (programs.wheel, programs.next_wheel):
        life.program.install(wheel)
        assert {result["outcome"] for result in life.sync()} == {"applied"}
        assert life.json("changes", "--new") == []
    assert by_key(life.rows()["release_request_past_versions"]) == by_key(
        before["release_request_past_versions"]
    )


def by_key(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return copies of the rows of versions, in order."""
    return sorted(map(dict, rows), key=lambda row: (row["id"], row["valid_from"]))
