"""Pruning: old runs go, what rests on runs does not notice, and syncs go on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from mirror.config.settings import ApiSettings, Secret
from mirror.db import runs
from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.db.models import sync_runs
from mirror.db.prune import Pruned, prune
from mirror.db.views import VIEWS
from mirror.errors import DatabaseUnavailable, SchemaError
from mirror.queries.status import status
from mirror.sandbox.server import Sandbox
from mirror.sync.run import Result, sync
from tests.support.http_servers import Question, Scripted, envelope, http
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, request

NOON = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""When the clock of a mirror under test starts; its first sync is an hour later."""

LATER = datetime(2100, 1, 1, tzinfo=UTC)
"""After all runs, also those by the real clock."""

HOUR = timedelta(hours=1)
MANY = 20_000
APPROVED = request(1, status="approved", resolved_at="2024-01-11T09:00:00Z")


def live(mirror: Mirror) -> list[int]:
    """Let a mirror see something of everything; return the runs that nothing rests on."""
    first = [request(1), request(2)]
    mirror.sync(first)  # 1: of request 2, and of a past version of request 1
    mirror.sync()
    mirror.sync([APPROVED, request(2), "junk"])  # 3: of request 1
    mirror.sync([APPROVED, request(2), "junk", "scrap"])  # 4: saw the scrap first
    mirror.sync([APPROVED, "scrap", "junk", request(3)])  # 5: of request 3; request 2 vanished
    mirror.sync([request(3), "scrap", "junk", APPROVED])  # 6: saw junk and scrap last
    mirror.sync([request(3), APPROVED])
    mirror.sync(dry_run=True)
    mirror.sync([], environment="dev")
    mirror.sync([request(9)], environment="dev")  # 10: of request 9
    mirror.sync(environment="dev")
    mirror.sync()
    mirror.sync(environment="dev")  # 13: the last one that is complete
    mirror.sandbox.misbehave("not-found")
    mirror.sync(environment="dev")
    mirror.sync()
    mirror.sync(environment="dev")  # 16: the last one
    mirror.sandbox.misbehave(None)
    mirror.sync([request(3), APPROVED])  # 17: the last one, and complete
    return [2, 7, 8, 9, 11, 12, 14, 15]


def what_is_known(mirror: Mirror) -> list[Any]:
    """What is in the tables and views, but for the runs."""
    with read_transaction(mirror.engine) as connection:
        views = [connection.execute(sa.select(view)).all() for view in VIEWS]
    return [mirror.state(), *(sorted(map(repr, rows)) for rows in views)]


def numbers(mirror: Mirror) -> list[int]:
    """The runs on record."""
    return [number for (number,) in mirror.runs("id")]


def test_what_nothing_rests_on_goes(mirror: Mirror) -> None:
    """Runs go unless a row refers to them, they are the last of theirs, or began at the time."""
    for dry_run in (True, False):
        assert prune(mirror.engine, before=LATER, dry_run=dry_run) == Pruned(0, 0, 0)
    needless = live(mirror)
    before = {one: row for one, *row in mirror.runs("*")}
    known = what_is_known(mirror)
    health = mirror.ask(status, now=mirror.now)

    at = NOON + 8 * HOUR
    expected = Pruned(removed=8, kept=9, remaining=9)
    assert prune(mirror.engine, before=LATER, dry_run=True) == expected
    expected = Pruned(removed=2, kept=5, remaining=15)
    assert prune(mirror.engine, before=at, dry_run=True) == expected
    assert {one: row for one, *row in mirror.runs("*")} == before

    assert prune(mirror.engine, before=at) == expected
    assert numbers(mirror) == [1, 3, 4, 5, 6, *range(8, 18)]
    just_after = at + timedelta(milliseconds=1)
    assert prune(mirror.engine, before=just_after) == Pruned(removed=1, kept=5, remaining=14)
    assert prune(mirror.engine, before=LATER) == Pruned(removed=5, kept=9, remaining=9)
    assert prune(mirror.engine, before=LATER) == Pruned(removed=0, kept=9, remaining=9)

    assert {one: row for one, *row in mirror.runs("*")} == {
        one: row for one, row in before.items() if one not in needless
    }
    assert what_is_known(mirror) == known
    (default, dev), (default_before, dev_before) = mirror.ask(status, now=mirror.now), health
    assert default == default_before
    assert dev == replace(dev_before, failures=1)  # of those on record
    assert mirror.sync().run_id == 18


def test_another_schema_is_left_alone(mirror: Mirror) -> None:
    """A database that this version does not know is refused before anything goes."""
    for _ in range(3):
        mirror.sync([request(1)])
    with write_transaction(mirror.engine, "test") as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = mirror.runs("*")
    for dry_run in (True, False):
        with pytest.raises(SchemaError, match="revision 9999"):
            prune(mirror.engine, before=LATER, dry_run=dry_run)
    assert mirror.runs("*") == before


@pytest.mark.parametrize("etag", [False, True], ids=["by its bytes", "by its ETag"])
def test_nothing_new_stays_nothing_new(sqlite_mirror: Mirror, *, etag: bool) -> None:
    """The list that was applied last is known by the run that is kept."""
    sqlite_mirror.sandbox.manner.etag = etag
    sqlite_mirror.sync([request(1)])
    sqlite_mirror.sync()
    prune(sqlite_mirror.engine, before=LATER)
    assert sqlite_mirror.sync().outcome == "unchanged"
    prune(sqlite_mirror.engine, before=LATER)
    assert numbers(sqlite_mirror) == [1, 3]
    assert sqlite_mirror.sync([APPROVED]).outcome == "applied"
    assert sqlite_mirror.runs("completion") == [(1,), (3,), (4,)]


# While syncs go on.

LIST = http(200, envelope([request(1), request(2)]))
CHANGED = http(200, envelope([APPROVED, request(2), "junk"]))


def pull(url: str, base_url: str, environment: str = "default") -> Result:
    """Sync, by the real clock."""
    return sync(create_engine(url, create=True), ApiSettings(base_url, Secret(TOKEN)), environment)


def then(answer: bytes, *acts: Callable[[], object]) -> Callable[[Question], bytes]:
    """Do something when the list is asked for, so that the run has begun, and then answer."""

    def say(_: Question) -> bytes:
        for act in acts:
            act()
        return answer

    return say


@pytest.mark.parametrize(
    ("kind", "known", "answer"),
    [
        pytest.param("sqlite", 3, LIST, id="of many, as before"),
        pytest.param("sqlite", 3, CHANGED, id="of many, changed"),
        pytest.param("sqlite", 0, CHANGED, id="of the first one"),
        pytest.param("postgresql", 3, CHANGED, id="in Postgres"),
    ],
)
def test_a_run_that_waits_for_its_list_goes_on(
    make_ready_database: Callable[[str], str], *, kind: str, known: int, answer: bytes
) -> None:
    """Its own run is kept though it is not the last, and the complete one that it compares with."""
    database_url = make_ready_database(kind)
    found: list[Pruned] = []
    with Scripted([LIST]).running() as server:

        def fail() -> None:
            assert pull(database_url, server.base_url).outcome == "failed"

        def act() -> None:
            found.append(prune(create_engine(database_url), before=LATER))

        for _ in range(known):
            pull(database_url, server.base_url)
        server.answers = [then(answer, fail, act), http(404), answer]
        result = pull(database_url, server.base_url)
        assert result.failure is None
        assert result.outcome == ("unchanged" if known and answer == LIST else "applied")
        assert pull(database_url, server.base_url).outcome == "unchanged"
    assert found == [Pruned(removed=1, kept=4, remaining=4) if known else Pruned(0, 2, 2)]


def test_a_run_that_was_overtaken_is_still_superseded(ready_database_url: str) -> None:
    """That another run completed since it began shows also when all older runs are gone."""
    found: list[Pruned] = []
    with Scripted([LIST]).running() as server:

        def overtake() -> None:
            assert pull(ready_database_url, server.base_url).outcome == "unchanged"
            engine = create_engine(ready_database_url)
            with read_transaction(engine) as connection:
                overtaken = connection.scalar(
                    sa.select(sync_runs.c.started_at).where(sync_runs.c.outcome == "abandoned")
                )
            assert overtaken is not None
            found.append(prune(engine, before=overtaken))

        for _ in range(3):
            pull(ready_database_url, server.base_url)
        server.answers = [then(CHANGED, overtake), LIST]
        assert pull(ready_database_url, server.base_url).outcome == "superseded"
    assert found == [Pruned(removed=2, kept=1, remaining=3)]


def test_a_run_given_up_for_dead_says_that_it_is_gone(ready_database_url: str) -> None:
    """If its row was pruned before it woke up, it applies nothing, and the rest is as it was."""
    with Scripted([LIST]).running() as server:

        def bury() -> None:
            for _ in range(2):
                assert pull(ready_database_url, server.base_url).outcome == "unchanged"
            pruned.append(prune(create_engine(ready_database_url), before=LATER))

        pruned: list[Pruned] = []
        pull(ready_database_url, server.base_url)
        server.answers = [then(CHANGED, bury), LIST]
        result = pull(ready_database_url, server.base_url)
        assert pruned == [Pruned(removed=2, kept=2, remaining=2)]
        assert isinstance(result.failure, DatabaseUnavailable)
        assert "no longer on record" in str(result.failure)
        assert pull(ready_database_url, server.base_url).outcome == "unchanged"


@contextmanager
def before_commit(engine: Engine, number: int, act: Callable[[], object]) -> Iterator[None]:
    """Do something when all of an engine's transaction with this number is done but its commit."""
    commits = 0

    def note(_: Connection) -> None:
        nonlocal commits
        commits += 1
        if commits == number:
            act()

    event.listen(engine, "commit", note)
    yield
    event.remove(engine, "commit", note)
    assert commits >= number


@pytest.fixture
def side_by_side(make_ready_database: Callable[[str], str], sandbox: Sandbox, world: Any) -> Mirror:
    """A mirror in Postgres, where writers go on side by side."""
    mirror = Mirror(make_ready_database("postgresql"), sandbox, world)
    live(mirror)
    return mirror


STAGES: list[tuple[str, list[Any]]] = [
    ("default", [request(3), APPROVED]),
    ("default", [request(1), request(3), request(4), "junk"]),
    ("dev", [request(9, status="approved"), "more junk"]),
    ("new", [request(20)]),
]


def test_pruning_beside_a_sync_that_is_about_to_commit(side_by_side: Mirror) -> None:
    """Neither waits: what the sync has written but not committed refers to nothing that goes."""
    engine = create_engine(side_by_side.url)

    def act(environment: str, records: list[Any]) -> None:
        found: list[Pruned] = []
        needless = prune(engine, before=LATER, dry_run=True).removed
        assert needless > 0
        prune_now = partial(prune, engine, before=LATER)
        with before_commit(side_by_side.engine, 2, lambda: found.append(prune_now())):
            result = side_by_side.sync(records, environment=environment)
        assert result.failure is None
        assert found[0].removed == needless + (environment == "dev")  # its last one is a new one
        expect_whole(side_by_side, result)

    for stage in STAGES:
        act(*stage)


def test_a_sync_beside_pruning_that_is_about_to_commit(side_by_side: Mirror) -> None:
    """Neither waits: a whole sync begins and ends while the rows that go are locked."""
    engine = create_engine(side_by_side.url)

    def act(environment: str, records: list[Any]) -> None:
        results: list[Result] = []
        needless = prune(engine, before=LATER, dry_run=True).removed
        assert needless > 0
        sync_now = partial(side_by_side.sync, records, environment=environment)
        with before_commit(engine, 1, lambda: results.append(sync_now())):
            assert prune(engine, before=LATER).removed == needless
        (result,) = results
        assert result.failure is None
        expect_whole(side_by_side, result)

    for stage in STAGES:
        act(*stage)


def expect_whole(mirror: Mirror, result: Result) -> None:
    """Expect that a sync was recorded, that nothing lacks its run, and that syncs go on."""
    last = mirror.rows(
        "SELECT id, outcome FROM sync_runs WHERE environment = :environment"
        " ORDER BY completion IS NULL, completion DESC LIMIT 1",
        environment=result.environment,
    )
    assert last == [(result.run_id, result.outcome)]
    on_record = set(numbers(mirror))
    for table, column in (
        ("release_requests", "sync_run_id"),
        ("release_request_past_versions", "sync_run_id"),
        ("quarantined_records", "first_run_id"),
        ("quarantined_records", "last_run_id"),
    ):
        rows = mirror.rows(f"SELECT {column} FROM {table}")
        assert {number for (number,) in rows} <= on_record
    assert mirror.sync(environment=result.environment).outcome == "unchanged"


# What it costs.


def fill(connection: Connection, number: int) -> None:
    """Put complete runs on record, so many as if they had been there for long."""
    sqlite = connection.dialect.name == "sqlite"
    time = "'2024-01-01 00:00:00.000'" if sqlite else "timestamptz '2024-01-01 00:00:00Z'"
    connection.exec_driver_sql(
        f"""INSERT INTO sync_runs
                (environment, outcome, started_at, completion, base_url, mirror_version)
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number})
            SELECT 'default', 'unchanged', {time}, i, 'https://api.example/api/v1', '0' FROM n"""
    )


def test_all_goes_at_once(mirror: Mirror) -> None:
    """Many runs are deleted by one statement that searches nothing for each of them.

    A run notes the complete one before it as always, after all others of years are gone.
    """
    with write_transaction(mirror.engine, "test") as connection:
        fill(connection, MANY)
    sent: list[tuple[str, Any]] = []

    def note(_: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        sent.append((statement, parameters))

    event.listen(mirror.engine, "before_cursor_execute", note)
    assert prune(mirror.engine, before=LATER) == Pruned(MANY - 1, 1, 1)
    event.remove(mirror.engine, "before_cursor_execute", note)
    deletions = [one for one in sent if one[0].startswith("DELETE")]
    assert len(deletions) == 1
    assert len(sent) < 10
    ((statement, parameters),) = deletions
    sqlite = mirror.engine.dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
    with read_transaction(mirror.engine) as connection:
        plan = connection.exec_driver_sql(f"{explain} {statement}", parameters)
        lines = [str(row[-1]) for row in plan]
    assert len(lines) > 5
    assert [line for line in lines if "CORRELATED" in line or "SubPlan" in line] == []
    assert mirror.ask(runs.last_completion, "default").number == MANY
