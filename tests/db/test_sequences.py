"""Sequences of Postgres that are behind their table: told, and set right by the next sync."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.engine import make_url

from mirror.db import sequences
from mirror.db.engine import create_engine, write_transaction
from mirror.sandbox.server import Sandbox
from tests.support.commands import run_mirror
from tests.support.mirrors import Mirror
from tests.support.postgres import execute
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


def variables(mirror: Mirror) -> dict[str, str]:
    """The settings of a mirror, as environment variables."""
    return {
        "MIRROR_DATABASE_URL": mirror.url,
        "TALKOVER_BASE_URL": mirror.sandbox.base_url,
        "TALKOVER_TOKEN": TOKEN,
    }


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
    ran = run_mirror("doctor", **variables(mirror))
    assert ran.code == 0, ran.out
    assert "the sequence of sync_runs.id is at 0, behind the table (3)" in ran.out
    assert "the sequence of quarantined_records.id is at 0, behind the table (2)" in ran.out
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


@pytest.mark.parametrize(
    ("revoked", "is_behind"), [("ALL", False), ("UPDATE", True)], ids=["numbers", "position"]
)
def test_a_user_without_rights_to_the_sequences(
    mirror: Mirror, revoked: str, is_behind: bool
) -> None:
    """Doctor, sync and dry run fail alike, with a GRANT that mends it."""
    name = make_url(mirror.url).database
    user, environment = f"{name}_writer", variables(mirror)
    execute(
        mirror.url,
        f"CREATE ROLE {user} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {user}",
        f"REVOKE {revoked} ON ALL SEQUENCES IN SCHEMA public FROM {user}",
    )
    try:
        if is_behind:
            reset(mirror)
        login = make_url(mirror.url).set(username=user)
        environment["MIRROR_DATABASE_URL"] = login.render_as_string(hide_password=False)
        for words in (["doctor"], ["sync"], ["sync", "--dry-run"]):
            ran = run_mirror(*words, **environment)
            assert ran.code == 1, (words, ran)
            assert "public.sync_runs_id_seq" in ran.out + ran.err
            assert "sets it right" not in ran.out
            grants = re.findall(r"as the owner, run: (GRANT [\w ,.]+)", ran.out + ran.err)
            assert grants
        execute(mirror.url, grants[0])
        for words in (["sync", "--dry-run"], ["doctor"], ["sync"]):
            ran = run_mirror(*words, **environment)
            assert ran.code == 0, (words, ran)
    finally:
        execute(mirror.url, f"DROP OWNED BY {user}", f"DROP ROLE {user}")
