"""Pruning deletes old runs that nothing refers to, also beside syncs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
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
from tests.support.http_servers import HttpRequest, ScriptedServer, http, whole
from tests.support.mirrors import Mirror
from tests.support.statements import recorded
from tests.support.upstream import TOKEN, FakeUpstream, request

NOON = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""Start of the clock of a mirror under test; its first sync is an hour later."""

LATER = datetime(2100, 1, 1, tzinfo=UTC)
"""Later than all runs, also those by the real clock."""

HOUR = timedelta(hours=1)
MANY = 20_000
APPROVED = request(1, status="approved", resolved_at="2024-01-11T09:00:00Z")


def fill_history(mirror: Mirror) -> list[int]:
    """Sync changes of all kinds; return the runs that nothing refers to."""
    mirror.sync([request(1), request(2)])  # 1: of request 2, and of a past version of request 1
    mirror.sync()
    mirror.sync([APPROVED, request(2), "junk"])  # 3: of request 1
    mirror.sync([APPROVED, request(2), "junk", "scrap"])  # 4: first run of scrap
    mirror.sync([APPROVED, "scrap", "junk", request(3)])  # 5: of request 3; request 2 is missing
    mirror.sync([request(3), "scrap", "junk", APPROVED])  # 6: last run of junk and scrap
    mirror.sync([request(3), APPROVED])
    mirror.sync()
    mirror.sync([], environment="dev")
    mirror.sync([request(9)], environment="dev")  # 10: of request 9
    mirror.sync(environment="dev")
    mirror.sync()
    mirror.sync(environment="dev")  # 13: the last completed one
    mirror.sandbox.set_fault("not-found")
    mirror.sync(environment="dev")
    mirror.sync()
    mirror.sync(environment="dev")  # 16: the last one
    mirror.sandbox.set_fault(None)
    mirror.sync([request(3), APPROVED])  # 17: the last one, and completed
    return [2, 7, 8, 9, 11, 12, 14, 15]


def contents(mirror: Mirror) -> list[Any]:
    """The contents of the tables and views, without the runs."""
    with read_transaction(mirror.engine) as connection:
        views = [connection.execute(sa.select(view)).all() for view in VIEWS]
    return [mirror.state(), *(sorted(map(repr, rows)) for rows in views)]


def run_ids(mirror: Mirror) -> list[int]:
    """The ids of all runs."""
    return [run_id for (run_id,) in mirror.runs("id")]


def runs_by_id(mirror: Mirror) -> dict[int, list[Any]]:
    """All runs, by id."""
    return {run_id: row for run_id, *row in mirror.runs("*")}


def test_unneeded_runs_are_deleted(mirror: Mirror) -> None:
    """Runs are deleted unless a row refers to them, they are the last ones, or began later."""
    for dry_run in (True, False):
        assert prune(mirror.engine, before=LATER, dry_run=dry_run) == Pruned(0, 0, 0)
    unneeded = fill_history(mirror)
    before, contents_before = runs_by_id(mirror), contents(mirror)
    status_before = mirror.query(status, now=mirror.now)

    at = NOON + 8 * HOUR
    expected = Pruned(removed=8, kept=9, remaining=9)
    assert prune(mirror.engine, before=LATER, dry_run=True) == expected
    expected = Pruned(removed=2, kept=5, remaining=15)
    assert prune(mirror.engine, before=at, dry_run=True) == expected
    assert runs_by_id(mirror) == before

    assert prune(mirror.engine, before=at) == expected
    assert run_ids(mirror) == [1, 3, 4, 5, 6, *range(8, 18)]
    just_after = at + timedelta(milliseconds=1)
    assert prune(mirror.engine, before=just_after) == Pruned(removed=1, kept=5, remaining=14)
    assert prune(mirror.engine, before=LATER) == Pruned(removed=5, kept=9, remaining=9)
    assert prune(mirror.engine, before=LATER) == Pruned(removed=0, kept=9, remaining=9)

    assert runs_by_id(mirror) == {
        run_id: row for run_id, row in before.items() if run_id not in unneeded
    }
    assert contents(mirror) == contents_before
    (default, dev), (default_before, dev_before) = (
        mirror.query(status, now=mirror.now),
        status_before,
    )
    assert default == default_before
    assert dev == replace(dev_before, failures=1)  # of the runs that are left
    assert mirror.sync().run_id == 18


def test_another_schema_is_left_alone(mirror: Mirror) -> None:
    """A database of an unknown schema revision is refused before anything is deleted."""
    for _ in range(3):
        mirror.sync([request(1)])
    with write_transaction(mirror.engine, "test") as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = mirror.runs("*")
    for dry_run in (True, False):
        with pytest.raises(SchemaError, match="revision 9999"):
            prune(mirror.engine, before=LATER, dry_run=dry_run)
    assert mirror.runs("*") == before


@pytest.mark.parametrize("etag", [False, True], ids=["by bytes", "by ETag"])
def test_nothing_new_stays_nothing_new(sqlite_mirror: Mirror, *, etag: bool) -> None:
    """The last applied list is still recognised, by the run that is kept."""
    sqlite_mirror.sandbox.config.etag = etag
    sqlite_mirror.sync([request(1)])
    sqlite_mirror.sync()
    prune(sqlite_mirror.engine, before=LATER)
    assert sqlite_mirror.sync().outcome == "unchanged"
    prune(sqlite_mirror.engine, before=LATER)
    assert run_ids(sqlite_mirror) == [1, 3]
    assert sqlite_mirror.sync([APPROVED]).outcome == "applied"
    assert sqlite_mirror.runs("completion") == [(1,), (3,), (4,)]


# Beside syncs.

LIST = whole([request(1), request(2)])
CHANGED = whole([APPROVED, request(2), "junk"])


def sync_from(base_url: str, url: str) -> Result:
    """Sync, by the real clock."""
    return sync(create_engine(url, create=True), ApiSettings(base_url, Secret(TOKEN)), "default")


def respond_after(
    *actions: Callable[[], object], response: bytes
) -> Callable[[HttpRequest], bytes]:
    """Run actions when the list is requested, so that the run has begun, and then respond."""

    def respond(_: HttpRequest) -> bytes:
        for action in actions:
            action()
        return response

    return respond


@pytest.mark.parametrize(
    ("kind", "known", "response"),
    [
        pytest.param("sqlite", 3, LIST, id="of many, as before"),
        pytest.param("sqlite", 3, CHANGED, id="of many, changed"),
        pytest.param("sqlite", 0, CHANGED, id="of the first one"),
        pytest.param("postgresql", 3, CHANGED, id="in Postgres"),
    ],
)
def test_a_run_that_fetches_its_list(
    make_ready_database: Callable[[str], str], kind: str, known: int, response: bytes
) -> None:
    """A running run is kept though it is not the last, and the completed one before it."""
    database_url = make_ready_database(kind)
    pruned: list[Pruned] = []
    with ScriptedServer([LIST]).running() as server:

        def fail() -> None:
            assert sync_from(server.base_url, database_url).outcome == "failed"

        def prune_all() -> None:
            pruned.append(prune(create_engine(database_url), before=LATER))

        for _ in range(known):
            sync_from(server.base_url, database_url)
        first = respond_after(fail, prune_all, response=response)
        server.responses = [first, http(404), response]
        result = sync_from(server.base_url, database_url)
        assert result.failure is None
        assert result.outcome == ("unchanged" if known and response == LIST else "applied")
        assert sync_from(server.base_url, database_url).outcome == "unchanged"
    assert pruned == [Pruned(removed=1, kept=4, remaining=4) if known else Pruned(0, 2, 2)]


def test_an_overtaken_run_is_superseded(ready_database_url: str) -> None:
    """A run that another one overtook is superseded also after all older runs were pruned."""
    pruned: list[Pruned] = []
    with ScriptedServer([LIST]).running() as server:

        def overtake() -> None:
            assert sync_from(server.base_url, ready_database_url).outcome == "unchanged"
            engine = create_engine(ready_database_url)
            with read_transaction(engine) as connection:
                overtaken = connection.scalar(
                    sa.select(sync_runs.c.started_at).where(sync_runs.c.outcome == "abandoned")
                )
            assert overtaken is not None
            pruned.append(prune(engine, before=overtaken))

        for _ in range(3):
            sync_from(server.base_url, ready_database_url)
        server.responses = [respond_after(overtake, response=CHANGED), LIST]
        assert sync_from(server.base_url, ready_database_url).outcome == "superseded"
    assert pruned == [Pruned(removed=2, kept=1, remaining=3)]


def test_an_abandoned_run_that_was_pruned(ready_database_url: str) -> None:
    """If the row of an abandoned run was pruned, the run fails and applies nothing."""
    pruned: list[Pruned] = []
    with ScriptedServer([LIST]).running() as server:

        def abandon() -> None:
            for _ in range(2):
                assert sync_from(server.base_url, ready_database_url).outcome == "unchanged"
            pruned.append(prune(create_engine(ready_database_url), before=LATER))

        sync_from(server.base_url, ready_database_url)
        server.responses = [respond_after(abandon, response=CHANGED), LIST]
        result = sync_from(server.base_url, ready_database_url)
        assert pruned == [Pruned(removed=2, kept=2, remaining=2)]
        assert isinstance(result.failure, DatabaseUnavailable)
        assert "no longer on record" in str(result.failure)
        assert sync_from(server.base_url, ready_database_url).outcome == "unchanged"


@contextmanager
def before_commit(engine: Engine, number: int, action: Callable[[], object]) -> Iterator[None]:
    """Run an action right before an engine's n-th commit."""
    commits = count(1)

    def fire(_: Connection) -> None:
        if next(commits) == number:
            action()

    event.listen(engine, "commit", fire)
    yield
    event.remove(engine, "commit", fire)
    assert next(commits) > number


STAGES: list[tuple[str, list[Any]]] = [
    ("default", [request(3), APPROVED]),
    ("default", [request(1), request(3), request(4), "junk"]),
    ("dev", [request(9, status="approved"), "more junk"]),
    ("new", [request(20)]),
]


def prune_and_sync(
    mirror: Mirror, records: list[Any], environment: str, *, sync_commits_first: bool
) -> tuple[Pruned, Result]:
    """Run one of the two as a whole right before the commit of the other."""
    results: list[Result] = []
    pruned: list[Pruned] = []
    engine = create_engine(mirror.url)

    def run_sync() -> None:
        results.append(mirror.sync(records, environment=environment))

    def run_prune() -> None:
        pruned.append(prune(engine, before=LATER))

    if sync_commits_first:
        with before_commit(engine, 1, run_sync):
            run_prune()
    else:
        with before_commit(mirror.engine, 2, run_prune):
            run_sync()
    return pruned[0], results[0]


@pytest.mark.parametrize("sync_commits_first", [True, False])
def test_pruning_and_a_sync_in_parallel(
    make_ready_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: FakeUpstream,
    sync_commits_first: bool,
) -> None:
    """In Postgres neither waits for the other, and no row loses its run."""
    mirror = Mirror(make_ready_database("postgresql"), sandbox, upstream)
    fill_history(mirror)
    for environment, records in STAGES:
        unneeded = prune(mirror.engine, before=LATER, dry_run=True).removed
        assert unneeded > 0
        if environment == "dev" and not sync_commits_first:
            unneeded += 1  # the one that was the last run of dev
        pruned, result = prune_and_sync(
            mirror, records, environment, sync_commits_first=sync_commits_first
        )
        assert pruned.removed == unneeded
        assert result.failure is None
        assert_consistent(mirror, result)


def assert_consistent(mirror: Mirror, result: Result) -> None:
    """The sync is recorded as the last one, no row lacks its run, and the next sync works."""
    last = mirror.rows(
        "SELECT id, outcome FROM sync_runs WHERE environment = :environment"
        " ORDER BY completion IS NULL, completion DESC LIMIT 1",
        environment=result.environment,
    )
    assert last == [(result.run_id, result.outcome)]
    recorded = set(run_ids(mirror))
    for table, column in (
        ("release_requests", "sync_run_id"),
        ("release_request_past_versions", "sync_run_id"),
        ("quarantined_records", "first_run_id"),
        ("quarantined_records", "last_run_id"),
    ):
        rows = mirror.rows(f"SELECT {column} FROM {table}")
        assert {run_id for (run_id,) in rows} <= recorded
    assert mirror.sync(environment=result.environment).outcome == "unchanged"


# Cost.


def fill(connection: Connection, number: int) -> None:
    """Insert completed runs, as many as some years leave."""
    sqlite = connection.dialect.name == "sqlite"
    time = "'2024-01-01 00:00:00.000'" if sqlite else "timestamptz '2024-01-01 00:00:00Z'"
    connection.exec_driver_sql(
        f"""INSERT INTO sync_runs
                (environment, outcome, started_at, completion, base_url, mirror_version)
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number})
            SELECT 'default', 'unchanged', {time}, i, 'https://api.example/api/v1', '0' FROM n"""
    )


def test_pruning_many_runs(mirror: Mirror) -> None:
    """Many runs are deleted by one statement without a subquery for each; the last one stays."""
    with write_transaction(mirror.engine, "test") as connection:
        fill(connection, MANY)
    with recorded(mirror.engine) as sent:
        assert prune(mirror.engine, before=LATER) == Pruned(MANY - 1, 1, 1)
    deletions = [statement for statement in sent if statement[0].startswith("DELETE")]
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
    assert mirror.query(runs.last_completion, "default").number == MANY
