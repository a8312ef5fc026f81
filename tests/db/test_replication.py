"""Publications of the mirror's tables, and subscriptions to them, beside which nothing is written.

A row of `pg_subscription_rel` stands for a subscription: an active one takes a second server.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mirror.db import replication
from mirror.db.engine import read_transaction
from mirror.sandbox.server import Sandbox
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.postgres import empty_database, execute
from tests.support.upstream import TOKEN, FakeUpstream, request, requests

WRITING = [
    ["sync"],
    ["sync", "--dry-run"],
    ["db", "prune", "--runs-older-than", "1s"],
    ["db", "prune", "--runs-older-than", "1s", "--dry-run"],
    ["db", "rename-environment", "default", "other"],
    ["db", "forget-environment", "default", "--with-requests", "--yes"],
    ["doctor"],
]
READING = [["status"], ["changes"], ["db", "current"], ["db", "upgrade"]]


@pytest.fixture
def mirror(postgres_server: str, sandbox: Sandbox, upstream: FakeUpstream) -> Iterator[Mirror]:
    """A mirror in Postgres with two runs, of which one could be pruned."""
    with empty_database(postgres_server) as url:
        mirror = Mirror(url, sandbox, upstream)
        for number in range(2):
            assert mirror.sync(requests(*range(number + 1))).failure is None
        yield mirror


def run(mirror: Mirror, *words: str) -> Ran:
    """Run a command for a mirror."""
    return run_mirror(
        *words,
        MIRROR_DATABASE_URL=mirror.url,
        TALKOVER_BASE_URL=mirror.sandbox.base_url,
        TALKOVER_TOKEN=TOKEN,
    )


def subscribe(mirror: Mirror, *tables: str) -> None:
    """Let a subscription have tables."""
    execute(
        mirror.url,
        "SET allow_system_table_mods = on",
        "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
        f" SELECT 1, name::regclass, 'r' FROM unnest('{{{','.join(tables)}}}'::text[]) AS name",
    )


def require_refusals(mirror: Mirror, table: str) -> None:
    """Check that each command that writes fails, names a table, and changes nothing."""
    before = mirror.state(), mirror.stored("sync_runs")
    for words in WRITING:
        ran = run(mirror, *words)
        assert ran.code == 1, (words, ran)
        assert f"a subscription writes to {table}" in ran.out + ran.err, words
        assert "sets it right" not in ran.out
    assert (mirror.state(), mirror.stored("sync_runs")) == before


@pytest.mark.parametrize(
    "tables",
    [
        ["release_requests", "release_request_past_versions"],
        ["quarantined_records"],
        ["quarantined_records", "release_request_past_versions", "release_requests", "sync_runs"],
    ],
    ids=", ".join,
)
def test_nothing_is_written_beside_a_subscription(mirror: Mirror, tables: list[str]) -> None:
    """Whatever it has of the mirror; what does not write rows works."""
    subscribe(mirror, *tables)
    execute(mirror.url, "ALTER SEQUENCE sync_runs_id_seq RESTART")
    require_refusals(mirror, ", ".join(sorted(tables)))
    for words in READING:
        assert run(mirror, *words).code == 0, words


def test_a_subscription_to_a_part_of_a_partition(mirror: Mirror) -> None:
    """It is one to the table, at any depth."""
    execute(
        mirror.url,
        "ALTER TABLE release_requests RENAME TO old",
        "CREATE TABLE release_requests (LIKE old) PARTITION BY HASH (id)",
        "CREATE TABLE part PARTITION OF release_requests FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        " PARTITION BY HASH (environment)",
        "CREATE TABLE part_of_part PARTITION OF part FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    )
    subscribe(mirror, "part_of_part")
    require_refusals(mirror, "release_requests")


def test_publications_are_for_every_user(mirror: Mirror) -> None:
    """A user that may not use every schema sees them too, as the owner of a mirror."""
    execute(mirror.url, "CREATE PUBLICATION bi FOR TABLE release_requests")
    with read_transaction(mirror.engine) as connection:
        connection.exec_driver_sql("SET LOCAL ROLE pg_monitor")
        assert [row.name for row in replication.publications(connection)] == ["bi"]


def test_publications_are_told(mirror: Mirror) -> None:
    """Among them one that has `alembic_version`; none disturbs a sync."""
    assert "replication" not in run(mirror, "doctor").out
    execute(mirror.url, "CREATE PUBLICATION bi FOR TABLE release_requests")
    assert "published by bi" in run(mirror, "doctor").out
    execute(mirror.url, "CREATE PUBLICATION everything FOR ALL TABLES")
    ran = run(mirror, "doctor")
    assert "the publication everything has the table alembic_version" in ran.out
    assert ran.code == 0
    assert mirror.sync([request(1)], accept_missing=True).failure is None
