"""A JVM in another time zone reads times right, as far as that can be."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.support.databases import DATABASES
from tests.support.drivers import (
    ELSEWHERE,
    TIME_COLUMNS,
    Filled,
    Jdbc,
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
        read = read_by_jdbc([*both.values()], ELSEWHERE)
        postgres = read["postgresql"].times(instant)
        assert_equal_times(both["postgresql"], "JDBC elsewhere", postgres)
        expect_the_text_of_sqlite(both["sqlite"], read["sqlite"])


def expect_the_text_of_sqlite(filled: Filled, jdbc: Jdbc) -> None:
    """Expect what a tool shows of SQLite to be right, but for times that its zone skipped.

    The text in SQLite is in UTC, but has no zone; sqlite-jdbc takes it for a local time of the JVM.
    What a tool shows is right all the same, but for times that its zone skipped when clocks were
    set forward. To get the right instants, and these too, a tool on SQLite must run with
    `-Duser.timezone=UTC`.
    """
    read = jdbc.times(wall_clock)
    skipped = 0
    for relation, name in TIME_COLUMNS:
        for row, true in zip(read[relation], filled.truth[relation], strict=True):
            if true[name] and not exists_elsewhere(true[name]):
                skipped += 1
            else:
                assert row[name] == true[name], (relation, name)
    assert skipped


def exists_elsewhere(text: str) -> bool:
    """Tell whether clocks elsewhere ever showed a time."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ELSEWHERE))
    try:
        seen = local.astimezone(UTC).astimezone(ZoneInfo(ELSEWHERE))
    except OverflowError:  # the last hours of year 9999 are in year 10000 in UTC
        return True
    return seen.replace(tzinfo=None) == local.replace(tzinfo=None)
