"""Sequel, for Ruby, reads the mirror as docs/sql.md says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.drivers import OTHER_ZONE
from tests.support.reader_programs import Program, database, missing, running
from tests.support.readers import ReaderMirror

PACKAGES = "apt-get install ruby-sequel ruby-sqlite3 ruby-pg"


@contextmanager
def sequel(mirror: ReaderMirror, zone: str = "UTC") -> Iterator[Program]:
    """Run the program in a time zone."""
    ruby = shutil.which("ruby")
    libraries = ["-rsequel", "-rsqlite3", "-rpg"]
    if not ruby or subprocess.run([ruby, *libraries, "-e", ""], check=False).returncode:
        missing("DRIVERS", PACKAGES)
    program = Path(__file__).with_name("sequel_reader.rb")
    with database(mirror) as place, running([ruby, program], place, zone) as running_program:
        yield running_program


def test_sequel(either: ReaderMirror) -> None:
    """With its zones in UTC, and text bound in SQLite, everything is right."""
    with sequel(either) as program:
        program.assert_right(either)


def test_sequel_binds_six_digits(sqlite: ReaderMirror) -> None:
    """A Time does not find its own row in SQLite: it is bound with more digits than are stored."""
    with sequel(sqlite) as program:
        assert program.compares(sqlite, "date") == "wrongly"


def test_sequel_elsewhere(sqlite: ReaderMirror) -> None:
    """In another zone a time is an hour off that its clocks skipped: hence TZ=UTC."""
    skipped = "2018-11-04 00:30:00.000"
    sql = "SELECT id, requested_at FROM release_requests"
    with sequel(sqlite) as utc, sequel(sqlite, OTHER_ZONE) as elsewhere:
        right = {row["id"]: row["requested_at"] for row in utc.read(sql)}
        wrong = {row["id"]: row["requested_at"] for row in elsewhere.read(sql)}
    assert {right[name] for name in right if right[name] != wrong[name]} == {skipped}
