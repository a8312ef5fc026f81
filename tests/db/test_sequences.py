"""Sequences of Postgres that are behind their table: told, and set right by the next sync."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mirror.db import sequences
from mirror.db.engine import create_engine, write_transaction
from mirror.errors import DatabaseError
from mirror.sandbox.server import Sandbox
from tests.support.commands import run_mirror
from tests.support.mirrors import Mirror
from tests.support.postgres import empty_database, execute
from tests.support.upstream import TOKEN, FakeUpstream, request, requests

POSITIONS = "SELECT last_value FROM {}_id_seq"


@pytest.fixture
def mirror(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> Mirror:
    """A mirror in Postgres with three runs and two records in quarantine."""
    mirror = Mirror(make_ready_database("postgresql"), sandbox, upstream)
    for number in range(3):
        assert mirror.sync([*requests(*range(number + 1)), "junk", 7]).failure is None
    return mirror


def reset(mirror: Mirror) -> None:
    """Set the sequences to their beginning, as in a database that was restored without them."""
    for table in ("sync_runs", "quarantined_records"):
        execute(mirror.url, f"ALTER SEQUENCE {table}_id_seq RESTART")


def test_a_sync_sets_sequences_right(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """The next numbers follow those of the table, and one sync says so."""
    reset(mirror)
    with caplog.at_level(logging.WARNING):
        for number in range(2):
            result = mirror.sync([*requests(1, 2, 9 + number), "junk", 7, f"more junk {number}"])
            assert (result.failure, result.run_id) == (None, 4 + number)
    assert mirror.rows("SELECT id FROM quarantined_records ORDER BY id") == [(1,), (2,), (3,), (4,)]
    assert [record.getMessage() for record in caplog.records] == [
        f"the sequence of {table}.id was at 0, behind the table, and is now at {last}: was the "
        "database restored, or is it a former logical subscriber?"
        for table, last in (("sync_runs", 3), ("quarantined_records", 2))
    ]


def test_numbers_of_pruned_runs_are_not_given_again(mirror: Mirror) -> None:
    """A number that is free, but older than others, would make the new run an old one."""
    execute(mirror.url, "DELETE FROM sync_runs WHERE id < 3 AND id NOT IN ("
            " SELECT first_run_id FROM quarantined_records)")  # fmt: skip
    reset(mirror)
    assert mirror.sync(requests(1, 2, 3)).run_id == 4


def test_the_doctor_sees_it_and_changes_nothing(mirror: Mirror) -> None:
    """It warns of each; neither it nor a dry run moves a sequence."""
    reset(mirror)
    ran = run_mirror(
        "doctor",
        MIRROR_DATABASE_URL=mirror.url,
        TALKOVER_BASE_URL=mirror.sandbox.base_url,
        TALKOVER_TOKEN=TOKEN,
    )
    assert ran.code == 0, ran.out
    assert "that of sync_runs.id is at 0, and the table at 3" in ran.out
    assert "that of quarantined_records.id is at 0, and the table at 2" in ran.out
    assert mirror.sync([request(1), "else"], dry_run=True, accept_missing=True).failure is None
    assert execute(mirror.url, POSITIONS.format("sync_runs")) == [(1,)]
    assert mirror.sync().failure is None
    with write_transaction(create_engine(mirror.url), "test") as connection:
        assert sequences.behind(connection) == []


def test_syncs_at_once_after_a_restore(mirror: Mirror) -> None:
    """Of several environments that begin at once none gets the number of another."""
    reset(mirror)

    def begin(number: int) -> int:
        with write_transaction(create_engine(mirror.url), f"sync {number}") as connection:
            sequences.repair(connection)
            query = (
                "INSERT INTO sync_runs (environment, outcome, started_at, base_url, mirror_version)"
                " VALUES ('other', 'failed', now(), '', '') RETURNING id"
            )
            return int(connection.exec_driver_sql(query).scalar_one())

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(begin, range(8))) == list(range(4, 12))


def test_replication_is_told(
    postgres_server: str, sandbox: Sandbox, upstream: FakeUpstream
) -> None:
    """A publication, one with `alembic_version`, and a subscription, which no sync disturbs."""
    with empty_database(postgres_server) as url:
        mirror = Mirror(url, sandbox, upstream)
        mirror.sync(requests(1))

        def check() -> str:
            ran = run_mirror("doctor", "--format", "json", MIRROR_DATABASE_URL=mirror.url)
            return ran.out

        assert "replication" not in check()
        execute(mirror.url, "CREATE PUBLICATION bi FOR TABLE release_requests")
        assert "published by bi" in check()
        execute(mirror.url, "CREATE PUBLICATION everything FOR ALL TABLES")
        assert "the publication everything has the table alembic_version" in check()
        # As an active subscription does, which takes a second server.
        execute(
            mirror.url,
            "SET allow_system_table_mods = on",
            "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
            " VALUES (1, 'sync_runs'::regclass, 'r')",
        )
        reset(mirror)
        assert "a subscription writes to sync_runs" in check()
        assert "sets it right" not in check()
        before = mirror.runs("id")
        failure = mirror.sync([request(1)]).failure
        assert isinstance(failure, DatabaseError)
        assert "sync at the publisher only" in str(failure.hint)
        assert mirror.runs("id") == before
