"""The ODBC drivers compare times as docs/sql.md says, and read one state in a transaction.

tests/stress/test_drivers.py has what they read, with every kind of time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.support.drivers import OTHER_ZONE, odbc_connection
from tests.support.readers import ReaderMirror

AT = "2024-01-10 14:30:00.456"


def find(connection: Any, comparison: str, time: datetime | str) -> list[str]:
    """The ids of the requests whose time compares so with another one."""
    sql = f"SELECT id FROM release_requests WHERE requested_at {comparison} ?"
    return [row[0] for row in connection.execute(sql, time).fetchall()]


def test_odbc(either: ReaderMirror) -> None:
    """A datetime finds its row; Postgres needs a session in UTC, and asks for one state."""
    rows = either.rows("release_requests")
    times = {row["id"]: datetime.fromisoformat(row["requested_at"]) for row in rows}
    with odbc_connection(either.url) as connection:
        either.assert_splits(lambda comparison, time: find(connection, comparison, time), times)
        connection.rollback()
        if either.kind == "postgresql":
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        either.assert_one_state(lambda sql: int(connection.execute(sql).fetchone()[0]))


def test_text_with_an_offset(either: ReaderMirror) -> None:
    """Text is compared as it is in SQLite; in Postgres it may have an offset."""
    with odbc_connection(either.url) as connection:
        assert len(find(connection, "=", AT)) == 1
        assert len(find(connection, "=", AT + "Z")) == (either.kind == "postgresql")


def test_a_session_elsewhere(postgres: ReaderMirror) -> None:
    """A datetime is a time in the zone of the session: hence ConnSettings."""
    zone = f"SET TimeZone TO '{OTHER_ZONE}'"
    with odbc_connection(postgres.url, ConnSettings=zone) as connection:
        assert find(connection, "=", datetime.fromisoformat(AT)) == []
        assert len(find(connection, "=", AT + "Z")) == 1
