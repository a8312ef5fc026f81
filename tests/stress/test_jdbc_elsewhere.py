"""A JVM in another time zone reads times right, as far as the drivers allow."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.support.databases import DATABASES
from tests.support.drivers import (
    OTHER_ZONE,
    TIME_COLUMNS,
    FilledMirror,
    JdbcResult,
    assert_equal_times,
    filled_mirror,
    instant,
    read_by_jdbc,
    wall_clock,
)


def test_jdbc_elsewhere(request: pytest.FixtureRequest) -> None:
    """A JVM in another zone gets the same instants from Postgres, and from SQLite the same text."""
    with ExitStack() as stack:
        both = {kind: stack.enter_context(filled_mirror(kind, request)) for kind in DATABASES}
        read = read_by_jdbc([*both.values()], OTHER_ZONE)
        postgres = read["postgresql"].times(instant)
        assert_equal_times(both["postgresql"], "JDBC elsewhere", postgres)
        assert_sqlite_text(both["sqlite"], read["sqlite"])


def assert_sqlite_text(filled: FilledMirror, jdbc: JdbcResult) -> None:
    """The text of every time in SQLite is right, except times that the JVM's zone skipped.

    The text in SQLite is UTC without a zone; sqlite-jdbc parses it as a local time of the JVM. Its
    text is right all the same, except times skipped when clocks were set forward. For the right
    instants, and for these times, the JVM must run with `-Duser.timezone=UTC`.
    """
    read = jdbc.times(wall_clock)
    skipped = 0
    for relation, name in TIME_COLUMNS:
        for row, expected in zip(read[relation], filled.expected[relation], strict=True):
            if expected[name] and not exists_in_other_zone(expected[name]):
                skipped += 1
            else:
                assert row[name] == expected[name], (relation, name)
    assert skipped


def exists_in_other_zone(text: str) -> bool:
    """Whether clocks of the other zone ever showed a time."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(OTHER_ZONE))
    try:
        shown = local.astimezone(UTC).astimezone(ZoneInfo(OTHER_ZONE))
    except OverflowError:  # the last hours of year 9999 are in year 10000 in UTC
        return True
    return shown.replace(tzinfo=None) == local.replace(tzinfo=None)
