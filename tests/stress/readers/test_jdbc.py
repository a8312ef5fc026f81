"""The JDBC drivers compare times as docs/sql.md says.

tests/stress/test_drivers.py has what they read, with every kind of time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.drivers import OTHER_ZONE, classpath, jdbc_url
from tests.support.reader_programs import Program, running
from tests.support.readers import ReaderMirror

SETTERS = (
    "setTimestamp Timestamp",
    "setTimestamp Timestamp, Calendar",
    "setObject OffsetDateTime",
    "setObject Instant",
    "setObject LocalDateTime",
    "setString",
    "setString Z",
)


@contextmanager
def jdbc(
    mirror: ReaderMirror, bind: str, *, zone: str = "UTC", options: str = ""
) -> Iterator[Program]:
    """Run the program in a JVM with a time zone, with options of the driver."""
    program = Path(__file__).with_name("jdbc_reader.py")
    with jdbc_url(mirror.kind, mirror.url) as url:
        place = {"url": url + options, "classpath": classpath(), "zone": zone, "bind": bind}
        with running([sys.executable, program], place) as running_program:
            yield running_program


def comparisons(mirror: ReaderMirror, zone: str = "UTC", options: str = "") -> dict[str, list[str]]:
    """The ways to bind a time, by how it is compared then."""
    found: dict[str, list[str]] = {"rightly": [], "wrongly": [], "not at all": []}
    with jdbc(mirror, "", zone=zone, options=options) as program:
        for setter in SETTERS:
            found[program.compares(mirror, setter)].append(setter)
    return found


def test_sqlite(sqlite: ReaderMirror) -> None:
    """With date_class=TEXT and a JVM in UTC everything is right."""
    with jdbc(sqlite, "setTimestamp Timestamp", options="&date_class=TEXT") as program:
        program.assert_right(sqlite)


def test_postgres(postgres: ReaderMirror) -> None:
    """In a JVM of any zone everything is right."""
    with jdbc(postgres, "setTimestamp Timestamp", zone=OTHER_ZONE) as program:
        program.assert_right(postgres)


def test_comparisons_in_sqlite(sqlite: ReaderMirror) -> None:
    """Times are bound as numbers, or as text with date_class=TEXT; java.time is never right."""
    assert comparisons(sqlite) == {
        "rightly": ["setString"],
        "wrongly": [name for name in SETTERS if name != "setString"],
        "not at all": [],
    }
    text = "&date_class=TEXT"
    rightly = ["setTimestamp Timestamp", "setTimestamp Timestamp, Calendar", "setString"]
    assert comparisons(sqlite, options=text)["rightly"] == rightly
    assert comparisons(sqlite, OTHER_ZONE, text)["rightly"] == rightly[1:]


def test_comparisons_in_postgres(postgres: ReaderMirror) -> None:
    """An Instant is refused, text too without stringtype; a LocalDateTime is in the JVM's zone."""
    instants = [
        "setTimestamp Timestamp",
        "setTimestamp Timestamp, Calendar",
        "setObject OffsetDateTime",
    ]
    assert comparisons(postgres) == {
        "rightly": [*instants, "setObject LocalDateTime"],
        "wrongly": [],
        "not at all": ["setObject Instant", "setString", "setString Z"],
    }
    assert comparisons(postgres, OTHER_ZONE)["wrongly"] == ["setObject LocalDateTime"]
    assert comparisons(postgres, OTHER_ZONE, "&stringtype=unspecified") == {
        "rightly": [*instants, "setString Z"],
        "wrongly": ["setObject LocalDateTime", "setString"],
        "not at all": ["setObject Instant"],
    }
