"""The status of environments, and that its cost does not grow with the number of runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from mirror.db import migrate, revisions, runs
from mirror.db.engine import write_transaction
from mirror.db.urls import shown_url
from mirror.queries.status import EnvironmentStatus, is_stale, status
from tests.support.mirrors import Mirror
from tests.support.statements import recorded
from tests.support.upstream import request

NOON = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""An hour before the first sync."""

HOUR = timedelta(hours=1)
NEVER = EnvironmentStatus(
    **{field.name: 0 for field in fields(EnvironmentStatus)}  # type: ignore[arg-type]
    | dict.fromkeys(
        (
            "complete_at",
            "age",
            "outcome",
            "started_at",
            "seconds",
            "error",
            "schema_revision",
            "base_url",
            "age_seconds",
            "max_age_seconds",
            "stale",
        )
    )
    | {"environment": "default", "database": ""}
)
"""The status of an environment without a run."""

MANY = 50_000
ENVIRONMENTS = 5
_READ = re.compile(r"Actual Rows|Rows Removed")


def status_of(mirror: Mirror, *environments: str) -> list[EnvironmentStatus]:
    """The status an hour after the last sync, of these environments or of all."""
    statuses: list[EnvironmentStatus] = mirror.query(
        status, now=mirror.now + HOUR, environments=environments or None
    )
    for each in statuses:
        assert each.schema_revision == revisions.known()[-1]
        assert each.database == shown_url(mirror.url)
        assert (each.base_url is None) == (each.complete_at is None)
        assert each.age_seconds == each.age
    return [without_database(each) for each in statuses]


def without_database(status: EnvironmentStatus) -> EnvironmentStatus:
    """A status without revision and URLs, which are the same for all, and without `age` twice."""
    return replace(status, schema_revision=None, database="", base_url=None, age_seconds=None)


def record(connection: Connection, environment: str, *outcomes: str) -> None:
    """Record runs, one an hour; those that are not complete have their place as error."""
    for place, outcome in enumerate(outcomes, start=1):
        started_at = NOON + place * HOUR
        run = runs.begin(connection, environment, "https://api.example/api/v1", started_at)
        result: dict[str, Any] = {"outcome": outcome, "finished_at": started_at}
        if outcome in {"applied", "unchanged"}:
            runs.complete(connection, run, counts=runs.Counts(), seconds=place / 4, **result)
        elif outcome != "running":
            runs.end(connection, run, error=f"error {place}", seconds=place / 4, **result)


def test_counts_and_age(mirror: Mirror) -> None:
    """Requests are counted by status, missing and garbled ones apart; age is that of the sync."""
    statuses = ["pending", "pending", "approved", "rejected", "cancelled", "on_hold", "missing"]
    listed = [request(number, status=name) for number, name in enumerate(statuses)]
    mirror.sync([*listed, request(10), "junk", request(11, status=7)])
    mirror.sync([*listed, "junk"])
    (applied,) = status_of(mirror)
    assert applied.seconds is not None
    assert applied == replace(
        NEVER,
        complete_at=NOON + 2 * HOUR,
        age=3600.0,
        outcome="applied",
        started_at=NOON + 2 * HOUR,
        seconds=applied.seconds,
        pending=2,
        approved=1,
        rejected=1,
        cancelled=1,
        other=2,
        missing=1,
        quarantined=1,
    )
    mirror.sync()
    (unchanged,) = status_of(mirror)
    assert (unchanged.outcome, unchanged.age) == ("unchanged", 3600.0)
    assert unchanged.complete_at == NOON + 3 * HOUR


def test_a_failure_counts_until_a_sync_completes(mirror: Mirror) -> None:
    """Failures since the last complete sync are counted, with the last error."""
    mirror.sync([request(1)])
    mirror.sandbox.set_fault("not-found")
    mirror.sync()
    mirror.sandbox.set_fault("unauthorized")
    mirror.sync()
    (failed,) = status_of(mirror)
    assert (failed.outcome, failed.failures, failed.pending) == ("failed", 2, 1)
    assert "token" in str(failed.error)
    assert (failed.complete_at, failed.age) == (NOON + HOUR, 3 * 3600.0)
    assert failed.started_at == NOON + 3 * HOUR
    mirror.sandbox.set_fault(None)
    mirror.sync()
    (complete,) = status_of(mirror)
    assert (complete.outcome, complete.failures, complete.error) == ("unchanged", 0, None)


FAILURES = [
    ("running", None, 0, None),
    ("failed", None, 1, 1),
    ("failed applied", 2, 0, None),
    ("applied failed unchanged", 3, 0, None),
    ("applied failed refused abandoned", 1, 3, 4),
    ("applied unchanged superseded running", 2, 0, None),
    ("unchanged failed superseded refused running", 1, 2, 4),
    ("failed superseded", None, 1, 1),
]
"""Runs, the place of the last complete one, the number of failures since, and the last of them."""


def test_what_counts_as_a_failure(connection: Connection) -> None:
    """Failed, refused and abandoned runs count; superseded and running ones do not."""
    for outcomes, *_ in FAILURES:
        record(connection, outcomes, *outcomes.split())
    now = NOON + 10 * HOUR
    statuses = {each.environment: without_database(each) for each in status(connection, now=now)}
    for outcomes, complete, failures, last_failure in FAILURES:
        recorded = outcomes.split()
        complete_at = None if complete is None else NOON + complete * HOUR
        assert statuses[outcomes] == replace(
            NEVER,
            environment=outcomes,
            complete_at=complete_at,
            age=None if complete_at is None else (now - complete_at).total_seconds(),
            outcome=recorded[-1],
            started_at=NOON + len(recorded) * HOUR,
            seconds=None if recorded[-1] == "running" else len(recorded) / 4,
            error=None if last_failure is None else f"error {last_failure}",
            failures=failures,
        )


def test_order_of_environments(mirror: Mirror) -> None:
    """Each environment has its own figures; they come in code point order."""
    mirror.sync([request(1), "junk"], environment="prod")
    mirror.sync([request(2, status="approved"), request(3)], environment="Été 100%")
    mirror.sync([request(4), request(5)], environment="_")
    mirror.sync([request(4)], environment="_", accept_missing=True)
    mirror.sync([], environment="Prod")
    assert [
        (each.environment, each.pending, each.approved, each.missing, each.quarantined)
        for each in status_of(mirror)
    ] == [
        ("Prod", 0, 0, 0, 0),
        ("_", 1, 0, 1, 0),
        ("prod", 1, 0, 0, 1),
        ("Été 100%", 1, 1, 0, 0),
    ]


def test_selected_environments(mirror: Mirror) -> None:
    """Selected environments are returned once each, also one that never ran."""
    mirror.sync([request(1), "junk"], environment="prod")
    mirror.sync([request(2)], environment="dev")
    dev, prod = status_of(mirror)
    assert dev.environment == "dev"
    assert status_of(mirror, "prod", "nowhere", "prod") == [
        replace(NEVER, environment="nowhere"),
        prod,
    ]
    assert mirror.query(status, now=mirror.now, environments=[]) == []


def test_a_mirror_without_a_run(connection: Connection) -> None:
    """Without runs there is no environment, unless it is selected."""
    assert status(connection, now=NOON) == []
    (never,) = status(connection, now=NOON, environments=["default"])
    assert without_database(never) == NEVER


@pytest.mark.calendar
def test_negative_age(connection: Connection) -> None:
    """The age of a sync in the future is negative."""
    record(connection, "default", "applied")
    (future,) = status(connection, now=NOON - HOUR)
    assert future.age == -7200.0


@pytest.mark.parametrize(
    ("age", "stale"),
    [
        (None, True),
        (0.0, False),
        (3600.0, False),
        (3600.001, True),
        (1e9, True),
        (-60.0, False),
        (-60.001, True),
        (-1e9, True),
    ],
)
def test_is_stale(*, age: float | None, stale: bool) -> None:
    """Stale is older than allowed, never complete, or further in the future than clocks differ."""
    assert is_stale(replace(NEVER, age=age), HOUR) is stale


def test_limits(connection: Connection) -> None:
    """A limit is for all environments, or for each by name; without one nothing is stale."""
    record(connection, "old", "applied", "failed")
    record(connection, "new", "failed", "applied")
    record(connection, "never", "failed")
    now = NOON + 3 * HOUR

    def rows(max_age: Any) -> list[tuple[float | None, float | None, bool | None]]:
        statuses = {each.environment: each for each in status(connection, now=now, max_age=max_age)}
        ordered = (statuses[name] for name in ("old", "new", "never"))
        return [(each.age_seconds, each.max_age_seconds, each.stale) for each in ordered]

    assert rows(None) == [(7200.0, None, None), (3600.0, None, None), (None, None, None)]
    assert rows(HOUR) == [(7200.0, 3600.0, True), (3600.0, 3600.0, False), (None, 3600.0, True)]
    limits = {"old": 2 * HOUR, "never": 9 * HOUR}.get
    assert rows(limits) == [(7200.0, 7200.0, False), (3600.0, None, None), (None, 32400.0, True)]
    with pytest.raises(TypeError, match="max_age must be a timedelta or a function, not int"):
        rows(7200)


# Cost


def record_many(connection: Connection, number: int) -> None:
    """Record runs of all environments in turns: every tenth of the older half failed.

    The last two of each environment are a complete one and a failure.
    """
    sqlite = connection.dialect.name == "sqlite"
    time = "'2024-01-01 00:00:00.000'" if sqlite else "timestamptz '2024-01-01 00:00:00Z'"
    failed = f"(n.i = {number} OR n.i < {number // 2} AND n.i - n.i / 10 * 10 = 0)"
    connection.exec_driver_sql(
        f"""INSERT INTO sync_runs
                (environment, outcome, started_at, completion, error, base_url, mirror_version)
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number}),
                e (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM e WHERE k < {ENVIRONMENTS})
            SELECT 'environment ' || e.k, CASE WHEN {failed} THEN 'failed' ELSE 'unchanged' END,
                   {time}, CASE WHEN {failed} THEN NULL ELSE n.i END,
                   CASE WHEN {failed} THEN 'error ' || n.i END, 'https://api.example/api/v1', '0'
            FROM n, e ORDER BY n.i, e.k"""
    )


def reads_all_runs(connection: Connection, statement: str, parameters: Any) -> bool:
    """Return whether the plan of a statement scans `sync_runs`, or an index of it."""
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return any(row.detail.startswith("SCAN sync_runs") for row in plan)
    nodes = [node for node in _plan(connection, statement, parameters) if _reads_runs(node)]
    return any(
        "Index Cond" not in node for node in nodes if node["Node Type"] != "Bitmap Heap Scan"
    )


def effort(connection: Connection, statement: str, parameters: Any) -> int:
    """The cost of a statement: rows of `sync_runs` that Postgres reads, or steps of SQLite."""
    if connection.dialect.name == "postgresql":
        return sum(
            node["Actual Loops"] * sum(rows for name, rows in node.items() if _READ.match(name))
            for node in _plan(connection, statement, parameters, "ANALYZE, ")
            if _reads_runs(node)
        )
    driver: Any = connection.connection.driver_connection
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    driver.set_progress_handler(count, 1)
    connection.exec_driver_sql(statement, parameters).all()
    driver.set_progress_handler(None, 1)
    return steps


def _plan(
    connection: Connection, statement: str, parameters: Any, options: str = ""
) -> list[dict[str, Any]]:
    """The nodes of a plan of Postgres."""
    explain = f"EXPLAIN ({options}FORMAT JSON) {statement}"
    (plan,) = connection.exec_driver_sql(explain, parameters).scalar_one()

    def below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("Plans", ()):
            yield from below(child)

    return list(below(plan["Plan"]))


def _reads_runs(node: dict[str, Any]) -> bool:
    return node.get("Relation Name") == "sync_runs" or "sync_runs" in node.get("Index Name", "")


def test_no_statement_reads_all_runs(new_mirror: Mirror) -> None:
    """Among 50,000 runs, those that matter are found by index, and hardly any other is read."""
    migrate.upgrade(new_mirror.engine)  # a database of other tests may have statistics of them
    with write_transaction(new_mirror.engine, "test") as connection:
        _require_few_reads(connection)


def _require_few_reads(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # which might analyze before these rows are there
        connection.exec_driver_sql("ALTER TABLE sync_runs SET (autovacuum_enabled = false)")
    record_many(connection, MANY // ENVIRONMENTS)
    for query in (  # both checks notice a full scan
        "SELECT DISTINCT environment FROM sync_runs",
        "SELECT count(*) FROM sync_runs WHERE outcome = 'failed'",
    ):
        parameters = () if connection.dialect.name == "sqlite" else None
        assert reads_all_runs(connection, query, parameters)
        assert effort(connection, query, parameters) >= MANY
    for analyzed in (False, True):
        if analyzed:
            connection.exec_driver_sql("ANALYZE")
        with recorded(connection) as sent:
            statuses = status(connection, now=NOON)
        assert [each.environment for each in statuses] == [
            f"environment {number + 1}" for number in range(ENVIRONMENTS)
        ]
        assert {(each.outcome, each.failures, each.error) for each in statuses} == {
            ("failed", 1, f"error {MANY // ENVIRONMENTS}")
        }
        assert len(sent) > 2
        for statement, parameters in sent:
            assert not reads_all_runs(connection, statement, parameters), statement
            assert effort(connection, statement, parameters) < 1000, statement


def test_the_number_of_statements_is_small(connection: Connection) -> None:
    """It depends only on the number of environments that fail now."""
    counts = []
    for number in range(1, 4):
        for name in range(number * 3):
            record(connection, f"environment {name}", "applied", "failed", "unchanged")
        with recorded(connection) as sent:
            assert len(status(connection, now=NOON)) == number * 3
        counts.append(len(sent))
    assert counts == [6, 6, 6]
    record(connection, "environment 1", "failed", "running")
    record(connection, "environment 2", "refused")
    with recorded(connection) as sent:
        status(connection, now=NOON)
    assert len(sent) == 8
