"""Reading in two threads, in one snapshot."""

from __future__ import annotations

import itertools
import threading

import pytest
from sqlalchemy.engine import Connection

from mirror.db import second_thread as module
from mirror.db.engine import read_transaction
from mirror.db.second_thread import second_thread
from mirror.queries import helpers
from tests.support.mirrors import Mirror
from tests.support.upstream import request

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


def count(connection: Connection) -> int:
    """The number of requests."""
    return len(helpers.release_requests(connection))


def test_both_threads_see_one_snapshot(mirror: Mirror) -> None:
    """What is committed meanwhile is seen by neither."""
    mirror.sync([request(1)])
    with read_transaction(mirror.engine) as connection, second_thread(connection) as start:
        assert count(connection) == 1
        mirror.sync([request(1), request(2)])
        assert start(count)() == count(connection) == 1


def test_a_commit_between(sqlite_mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """If others commit all the time there is no second connection in the same snapshot."""
    versions = itertools.count()
    monkeypatch.setattr(module, "_data_version", lambda _: next(versions))
    with read_transaction(sqlite_mirror.engine) as connection, second_thread(connection) as start:
        assert start(lambda other: other)() is connection


def test_two_connections(sqlite_mirror: Mirror) -> None:
    """SQLite reads in another thread, over another connection."""
    with read_transaction(sqlite_mirror.engine) as connection, second_thread(connection) as start:
        other, thread = start(lambda other: (other, threading.current_thread()))()
        assert other is not connection
        assert thread is not threading.current_thread()


def test_an_interrupt_ends_both(sqlite_mirror: Mirror) -> None:
    """Nobody waits for the second thread after an error in the first."""

    def interrupted() -> None:
        with read_transaction(sqlite_mirror.engine) as connection, second_thread(connection) as run:
            run(lambda other: other.exec_driver_sql(ENDLESS).scalar())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
