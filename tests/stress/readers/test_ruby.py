"""Sequel and Active Record, for Ruby, read the mirror as docs/sql.md says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.support.drivers import OTHER_ZONE
from tests.support.reader_programs import Program, database, missing, running
from tests.support.readers import ReaderMirror

PACKAGES = "apt-get install ruby-sequel ruby-activerecord ruby-sqlite3 ruby-pg"


@contextmanager
def reader(library: str, mirror: ReaderMirror, zone: str) -> Iterator[Program]:
    """Run the program for a library in a time zone."""
    ruby = shutil.which("ruby")
    libraries = [f"-r{library}", "-rsqlite3", "-rpg"]
    if not ruby or subprocess.run([ruby, *libraries, "-e", ""], check=False).returncode:
        missing("DRIVERS", PACKAGES)
    program = Path(__file__).with_name(f"{library.replace('_', '')}_reader.rb")
    with database(mirror) as place, running([ruby, program], place, zone) as running_program:
        yield running_program


def sequel(mirror: ReaderMirror, zone: str = "UTC") -> AbstractContextManager[Program]:
    """Run the program for Sequel."""
    return reader("sequel", mirror, zone)


def active_record(mirror: ReaderMirror) -> AbstractContextManager[Program]:
    """Run the program for Active Record, elsewhere."""
    return reader("active_record", mirror, OTHER_ZONE)


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


def test_active_record(either: ReaderMirror) -> None:
    """It reads times in UTC in every zone; in SQLite it must bind text in a condition of text."""
    with active_record(either) as program:
        program.assert_right(either)


def test_active_record_binds_six_digits(sqlite: ReaderMirror) -> None:
    """A Time does not find its own row in SQLite, as in Sequel."""
    with active_record(sqlite) as program:
        assert program.compares(sqlite, "date") == "wrongly"
