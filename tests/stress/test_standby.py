"""A real streaming standby: readers there, conflicts with recovery, writers that are sent there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from mirror.db.engine import create_engine, read_transaction
from mirror.errors import DatabaseUnavailable
from mirror.queries import helpers
from tests.support.exports import count
from tests.support.outages import (
    NEW,
    OLD,
    OutageMirror,
    outage_mirrors,
    result_of,
    run_checked,
    wait_until,
)
from tests.support.postgres import Server, execute, own_server, wait_for_replay
from tests.support.upstream import requests

SETTINGS = ("fsync=off", "wal_receiver_status_interval=1s")

REQUESTS = range(10, 30)
SYNCS = 12


@dataclass
class Pair:
    """A primary and a standby, and the mirror on both.

    Attributes:
        primary: the server that syncs write to.
        standby: the one that replays what it wrote.
        mirror: on the primary.
        replica: the same on the standby.
    """

    primary: Server
    standby: Server
    mirror: OutageMirror
    replica: OutageMirror

    def wait(self) -> None:
        """Wait until the standby has what the primary has."""
        wait_for_replay(self.primary, self.standby)

    def configure(self, **settings: str) -> None:
        """Change settings of the standby."""
        statements = [f"ALTER SYSTEM SET {name} = '{value}'" for name, value in settings.items()]
        execute(self.standby.url, *statements, "SELECT pg_reload_conf()")
        for name, value in settings.items():
            wait_until(lambda: execute(self.standby.url, f"SHOW {name}") == [(value,)])  # noqa: B023

    def remove_row_versions(self) -> None:
        """Remove row versions on the primary that a transaction on the standby may still need."""
        execute(
            self.primary.url,
            "UPDATE release_requests SET digest = digest",
            "VACUUM release_requests",
        )

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run a command on the standby; return its exit code and stderr."""
        ran = run_checked(*arguments, "--database", self.replica.command_url)
        return ran.code, ran.err


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    """A primary and its standby."""
    with own_server(SETTINGS) as primary, own_server(SETTINGS, primary) as standby:
        yield primary, standby


@pytest.fixture
def pair(servers: tuple[Server, Server]) -> Iterator[Pair]:
    """A mirror that has synced OLD, on a primary and on its standby."""
    primary, standby = servers
    with outage_mirrors() as make:
        pair = Pair(primary, standby, make(primary.url), make(standby.url))
        pair.configure(hot_standby_feedback="off", max_standby_streaming_delay="30s")
        pair.mirror.load_old()
        pair.wait()
        yield pair
        execute(primary.url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        pair.wait()


def test_everything_can_be_read_there(pair: Pair, tmp_path: Path) -> None:
    """Each command that only reads works on the standby, and prints the same as on the primary."""
    pair.mirror.run(NEW)
    pair.wait()
    for arguments in (
        ["requests"],
        ["requests", "--missing"],
        ["history", "+15550000001"],
        ["changes"],
        ["quarantine", "--all"],
        ["db", "current"],
        ["db", "prune", "--runs-older-than", "1d", "--dry-run"],
        ["db", "rename-environment", "default", "prod", "--dry-run"],
    ):
        there = run_checked(*arguments, "--database", pair.replica.command_url)
        here = run_checked(*arguments, "--database", pair.mirror.command_url)
        assert there == here
        assert here.code == 0
    assert pair.command("status", "--max-age", "1h")[0] == 0
    assert pair.command("report", "--output", f"{tmp_path}/report.html")[0] == 0
    assert pair.command("export", f"{tmp_path}/export")[0] == 0
    [(total,)] = execute(pair.primary.url, "SELECT count(*) FROM release_requests")
    assert count(tmp_path / "export") == total > 0
    assert pair.replica.state() == pair.mirror.state()


def test_a_url_that_prefers_the_standby(pair: Pair) -> None:
    """With both hosts and target_session_attrs=prefer-standby a reader gets the standby."""
    hosts = f"host={pair.primary.folder}&host={pair.standby.folder}"
    url = f"postgresql://mirror@/postgres?{hosts}&target_session_attrs=prefer-standby"
    with read_transaction(create_engine(url)) as connection:
        assert connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar()
        assert len(helpers.release_requests(connection)) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["sync"],
        ["sync", "--no-upgrade"],
        ["sync", "--dry-run"],
        ["db", "rename-environment", "default", "prod"],
        ["db", "forget-environment", "default", "--with-requests", "--yes"],
        ["db", "prune", "--runs-older-than", "1d"],
        ["db", "grant-read", "somebody"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_nothing_is_written_there(pair: Pair, arguments: list[str]) -> None:
    """What writes is refused with one sentence, and neither server has a trace of it."""
    before, outcomes = pair.mirror.state(), pair.mirror.outcomes()
    url = ["--base-url", pair.mirror.sandbox.base_url] if arguments[0] in {"sync", "doctor"} else []
    code, err = pair.command(*arguments, *url)
    assert code == 75, err
    if arguments != ["doctor"]:
        assert len(err.splitlines()) == 1
        assert "is a standby" in err
    pair.wait()
    assert (pair.mirror.state(), pair.mirror.outcomes()) == (before, outcomes)
    assert pair.replica.state() == before


def test_a_sync_beside_readers(pair: Pair) -> None:
    """While the primary syncs, each transaction on the standby sees one state of the mirror."""
    mirror, replica = pair.mirror, create_engine(pair.standby.url)
    mirror.sync(requests(*REQUESTS), accept_missing=True)
    pair.wait()

    def sync() -> None:
        for number in range(SYNCS):
            status = ("pending", "approved", "rejected")[number % 3]
            mirror.sync(requests(*REQUESTS, status=status))

    syncing = threading.Thread(target=sync)
    syncing.start()
    seen = set()
    while syncing.is_alive():
        with read_transaction(replica) as connection:
            first = helpers.release_requests(connection, missing=False)
            changes = helpers.changes(connection)
            assert helpers.release_requests(connection, missing=False) == first
            (state,) = {(request.status, request.valid_from) for request in first}
            assert all(change.changed_at <= state[1] for change in changes)
            seen.add(state)
    syncing.join()
    assert len(seen) > 1
    pair.wait()
    assert pair.replica.state() == mirror.state()


def read_while_rows_are_removed(pair: Pair, wait: bool, tmp_path: Path) -> tuple[int, str]:
    """Write a report on the standby, in the middle of which the primary removes row versions."""

    def remove() -> None:
        if not wait:
            wait_until(lambda: execute(pair.primary.url, XMIN) == [(True,)])
        pair.remove_row_versions()
        if wait:
            pair.wait()

    with pair.replica.at("FROM release_requests_daily", remove):
        return pair.command("report", "--output", f"{tmp_path}/report.html")


XMIN = "SELECT backend_xmin IS NOT NULL FROM pg_stat_replication"
"""Whether a standby tells the primary which row versions it needs."""


def test_a_report_in_conflict_with_recovery(pair: Pair, tmp_path: Path) -> None:
    """A report that holds the standby up for too long fails for now, with what to set."""
    pair.configure(max_standby_streaming_delay="0")
    code, err = read_while_rows_are_removed(pair, wait=True, tmp_path=tmp_path)
    assert code == 75
    assert "hot_standby_feedback" in err
    assert len(err.splitlines()) == 1
    assert pair.command("report", "--output", f"{tmp_path}/report.html")[0] == 0


def test_feedback_prevents_the_conflict(pair: Pair, tmp_path: Path) -> None:
    """With hot_standby_feedback the primary keeps what a report needs, and it does not fail."""
    pair.configure(max_standby_streaming_delay="0", hot_standby_feedback="on")
    assert read_while_rows_are_removed(pair, wait=False, tmp_path=tmp_path)[0] == 0


def read_across(pair: Pair, statement: str) -> None:
    """Read on the standby in one transaction, before and after a statement on the primary."""
    with read_transaction(create_engine(pair.standby.url)) as connection:
        assert helpers.release_requests(connection)
        execute(pair.primary.url, statement)
        pair.wait()
        assert helpers.release_requests(connection)


def test_an_exclusive_lock_ends_readers(pair: Pair) -> None:
    """Feedback does not help where the primary changes a table as a whole, as upgrades do."""
    pair.configure(max_standby_streaming_delay="0", hot_standby_feedback="on")
    with pytest.raises(DatabaseUnavailable, match="standby"):
        read_across(pair, "ALTER TABLE release_requests ADD COLUMN colour text")


def test_a_delay_lets_the_standby_wait(pair: Pair) -> None:
    """With max_standby_streaming_delay = -1 readers go on, and the standby lags until they end."""
    pair.configure(max_standby_streaming_delay="-1")
    with read_transaction(create_engine(pair.standby.url)) as connection:
        before = helpers.release_requests(connection)
        pair.remove_row_versions()
        [(position,)] = execute(pair.primary.url, "SELECT pg_current_wal_lsn()")
        assert helpers.release_requests(connection) == before
        replayed = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
        assert execute(pair.standby.url, replayed) == [(False,)]
    pair.wait()


@contextmanager
def connections_in_turn(*urls: str) -> Iterator[str]:
    """Let the connections of the first URL lead to each in turn, as a load balancer does."""
    pending = [create_engine(url) for url in urls]

    def connect(
        _dialect: object, _record: object, _args: object, parameters: dict[str, str]
    ) -> None:
        engine = pending.pop(0)
        pending.append(engine)
        parameters["host"] = str(engine.url.query["host"])

    event.listen(Engine, "do_connect", connect)
    try:
        yield urls[0]
    finally:
        event.remove(Engine, "do_connect", connect)


def test_digests_of_a_standby_that_lags_behind(pair: Pair) -> None:
    """A sync that reads an older state than the one it began with applies nothing, for now.

    The request is again as the standby knows it, so it would be taken for unchanged.
    """
    execute(pair.standby.url, "SELECT pg_wal_replay_pause()")
    try:
        pair.mirror.run(NEW)
        before = pair.mirror.state()
        with connections_in_turn(pair.primary.url, pair.standby.url):
            ran = pair.mirror.run(OLD)
        assert (ran.code, result_of(ran)["outcome"]) == (75, "failed")
        assert "standby" in ran.err
    finally:
        execute(pair.standby.url, "SELECT pg_wal_replay_resume()")
    assert pair.mirror.state() == before
    assert pair.mirror.run(OLD).code in {0, 3}
    statuses = "SELECT DISTINCT status FROM release_requests WHERE missing_since IS NULL"
    assert pair.mirror.rows(statuses) == [("pending",)]
