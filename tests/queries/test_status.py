"""The status of environments: what it says, and that it takes no longer the more runs there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from mirror.db import migrate, runs
from mirror.db.engine import shown_url
from mirror.queries.status import EnvironmentStatus, is_stale, status
from tests.support.mirrors import Mirror
from tests.support.upstream import request

NOON = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""When the clock of a mirror under test starts; its first sync is an hour later."""

HOUR = timedelta(hours=1)
NEVER = EnvironmentStatus(
    environment="default",
    complete_at=None,
    age=None,
    outcome=None,
    started_at=None,
    seconds=None,
    error=None,
    failures=0,
    pending=0,
    approved=0,
    rejected=0,
    cancelled=0,
    other=0,
    missing=0,
    quarantined=0,
    schema_revision=None,
    database="",
)
MANY = 50_000
ENVIRONMENTS = 5
_READ = re.compile(r"Actual Rows|Rows Removed")


def ask(mirror: Mirror, *environments: str) -> list[EnvironmentStatus]:
    """The status an hour after the last sync, of these environments or of all.

    What is said of the database is the same for all, and is left out.
    """
    found: list[EnvironmentStatus] = mirror.query(
        status, now=mirror.now + HOUR, environments=environments or None
    )
    for one in found:
        assert one.schema_revision == migrate.revisions()[-1]
        assert one.database == shown_url(mirror.url)
    return [bare(one) for one in found]


def bare(one: EnvironmentStatus) -> EnvironmentStatus:
    """A status without what it says of the database."""
    return replace(one, schema_revision=None, database="")


def record(connection: Connection, environment: str, *outcomes: str) -> None:
    """Put runs on record, one an hour; those that are not complete give their place as error."""
    for place, outcome in enumerate(outcomes, start=1):
        began = NOON + place * HOUR
        run = runs.begin(connection, environment, "https://api.example/api/v1", began)
        ended = {"outcome": outcome, "finished_at": began, "seconds": place / 4}
        if outcome in {"applied", "unchanged"}:
            runs.complete(connection, run, counts=runs.Counts(), **ended)  # type: ignore[arg-type]
        elif outcome != "running":
            runs.end(connection, run, error=f"error {place}", **ended)  # type: ignore[arg-type]


def test_what_a_mirror_holds_and_how_old_it_is(mirror: Mirror) -> None:
    """Requests are counted by status, missing and garbled ones apart; age is that of the pull."""
    statuses = ["pending", "pending", "approved", "rejected", "cancelled", "on_hold", "missing"]
    listed = [request(number, status=one) for number, one in enumerate(statuses)]
    mirror.sync([*listed, request(10), "junk", request(11, status=7)])
    mirror.sync([*listed, "junk"])
    (found,) = ask(mirror)
    assert found.seconds is not None
    assert found == EnvironmentStatus(
        environment="default",
        complete_at=NOON + 2 * HOUR,
        age=3600.0,
        outcome="applied",
        started_at=NOON + 2 * HOUR,
        seconds=found.seconds,
        error=None,
        failures=0,
        pending=2,
        approved=1,
        rejected=1,
        cancelled=1,
        other=2,
        missing=1,
        quarantined=1,
        schema_revision=None,
        database="",
    )


def test_a_pull_that_finds_nothing_new_is_complete_too(mirror: Mirror) -> None:
    """What is in the mirror is as fresh as the last list that was read whole."""
    mirror.sync([request(1)])
    mirror.sync()
    (found,) = ask(mirror)
    assert (found.outcome, found.complete_at, found.age) == ("unchanged", NOON + 2 * HOUR, 3600.0)


def test_a_failure_is_told_until_a_pull_completes(mirror: Mirror) -> None:
    """What failed since the last complete pull is counted, with the last reason, and then over."""
    mirror.sync([request(1)])
    mirror.sandbox.misbehave("not-found")
    mirror.sync()
    mirror.sandbox.misbehave("unauthorized")
    mirror.sync()
    (found,) = ask(mirror)
    assert (found.outcome, found.failures, found.pending) == ("failed", 2, 1)
    assert found.error is not None
    assert "token" in found.error
    assert (found.complete_at, found.age) == (NOON + HOUR, 3 * 3600.0)
    assert found.started_at == NOON + 3 * HOUR
    mirror.sandbox.misbehave(None)
    mirror.sync()
    (found,) = ask(mirror)
    assert (found.outcome, found.failures, found.error) == ("unchanged", 0, None)


FAILURES = [
    ("running", None, 0, None),
    ("failed", None, 1, 1),
    ("failed applied", 2, 0, None),
    ("applied failed unchanged", 3, 0, None),
    ("applied failed refused abandoned", 1, 3, 4),
    ("applied unchanged superseded dry_run running", 2, 0, None),
    ("unchanged failed superseded refused dry_run running", 1, 2, 4),
    ("failed superseded", None, 1, 1),
]
"""Runs, which of them completed last, how many failed since, and which of these was last."""


def test_what_counts_as_a_failure(connection: Connection) -> None:
    """Failed, refused and abandoned runs do; superseded, dry and running ones do not."""
    for outcomes, *_ in FAILURES:
        record(connection, outcomes, *outcomes.split())
    now = NOON + 10 * HOUR
    found = {one.environment: bare(one) for one in status(connection, now=now)}
    for outcomes, complete, failures, last_failure in FAILURES:
        began = outcomes.split()
        complete_at = complete and NOON + complete * HOUR
        assert found[outcomes] == replace(
            NEVER,
            environment=outcomes,
            complete_at=complete_at,
            age=complete_at and (now - complete_at).total_seconds(),
            outcome=began[-1],
            started_at=NOON + len(began) * HOUR,
            seconds=None if began[-1] == "running" else len(began) / 4,
            error=last_failure and f"error {last_failure}",
            failures=failures,
        )


def test_environments_are_in_order_and_apart(mirror: Mirror) -> None:
    """Each environment has its own figures, and they come in the order of their characters."""
    mirror.sync([request(1), "junk"], environment="prod")
    mirror.sync([request(2, status="approved"), request(3)], environment="Été 100%")
    mirror.sync([request(4), request(5)], environment="_")
    mirror.sync([request(4)], environment="_", accept_missing=True)
    mirror.sync([], environment="Prod")
    found = {
        one.environment: (one.pending, one.approved, one.missing, one.quarantined)
        for one in ask(mirror)
    }
    assert list(found.items()) == [
        ("Prod", (0, 0, 0, 0)),
        ("_", (1, 0, 1, 0)),
        ("prod", (1, 0, 0, 1)),
        ("Été 100%", (1, 1, 0, 0)),
    ]


def test_environments_that_are_asked_for(mirror: Mirror) -> None:
    """Those and no others are told of, each once, also one that never ran."""
    mirror.sync([request(1), "junk"], environment="prod")
    mirror.sync([request(2)], environment="dev")
    (everything, prod) = ask(mirror)
    assert everything.environment == "dev"
    never, found = ask(mirror, "prod", "nowhere", "prod")
    assert found == prod
    assert never == replace(NEVER, environment="nowhere")
    assert mirror.query(status, now=mirror.now, environments=[]) == []


def test_a_mirror_without_a_run(connection: Connection) -> None:
    """Where nothing is on record there is nothing to tell, unless an environment is asked for."""
    assert status(connection, now=NOON) == []
    (found,) = status(connection, now=NOON, environments=["default"])
    assert bare(found) == NEVER


@pytest.mark.calendar
def test_age_is_below_zero_if_the_clock_went_back(connection: Connection) -> None:
    """A pull that began in the future is not made younger than it says."""
    record(connection, "default", "applied")
    (found,) = status(connection, now=NOON - HOUR)
    assert found.age == -7200.0


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
def test_what_is_stale(*, age: float | None, stale: bool) -> None:
    """Older than allowed, never complete, or from a future that clocks do not explain."""
    assert is_stale(replace(NEVER, age=age), HOUR) is stale


# What it costs.


def fill(connection: Connection, number: int) -> None:
    """Put many runs on record, of all environments in turns; every tenth failed, but not of late.

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


@contextmanager
def noting(connection: Connection) -> Iterator[list[tuple[str, Any]]]:
    """Note the statements that are sent, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        sent.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    yield sent
    event.remove(connection, "before_cursor_execute", note)


def reads_all_runs(connection: Connection, statement: str, parameters: Any) -> bool:
    """Tell whether the plan of a statement goes through all runs, or through an index of them."""
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return any(row.detail.startswith("SCAN sync_runs") for row in plan)
    ways = [node for node in _plan(connection, statement, parameters) if _reads_runs(node)]
    return any("Index Cond" not in node for node in ways if node["Node Type"] != "Bitmap Heap Scan")


def effort(connection: Connection, statement: str, parameters: Any) -> int:
    """Count what a statement does about runs: rows that Postgres reads, or steps of SQLite."""
    if connection.dialect.name == "postgresql":
        return sum(
            node["Actual Loops"] * sum(rows for what, rows in node.items() if _READ.match(what))
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
    connection: Connection, statement: str, parameters: Any, more: str = ""
) -> list[dict[str, Any]]:
    """Every node of a plan of Postgres."""
    explain = f"EXPLAIN ({more}FORMAT JSON) {statement}"
    (plan,) = connection.exec_driver_sql(explain, parameters).scalar_one()

    def below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("Plans", ()):
            yield from below(child)

    return list(below(plan["Plan"]))


def _reads_runs(node: dict[str, Any]) -> bool:
    return node.get("Relation Name") == "sync_runs" or "sync_runs" in node.get("Index Name", "")


def test_no_question_reads_all_runs(connection: Connection) -> None:
    """Among 50,000 runs, those that matter are found by index, and hardly any other is read."""
    fill(connection, MANY // ENVIRONMENTS)
    for query in (  # what is about everything would be noticed, in both ways
        "SELECT DISTINCT environment FROM sync_runs",
        "SELECT count(*) FROM sync_runs WHERE outcome = 'failed'",
    ):
        parameters = () if connection.dialect.name == "sqlite" else None
        assert reads_all_runs(connection, query, parameters)
        assert effort(connection, query, parameters) >= MANY
    for analyzed in (False, True):
        if analyzed:
            connection.exec_driver_sql("ANALYZE")
        with noting(connection) as sent:
            found = status(connection, now=NOON)
        assert [one.environment for one in found] == [
            f"environment {number + 1}" for number in range(ENVIRONMENTS)
        ]
        assert {(one.outcome, one.failures, one.error) for one in found} == {
            ("failed", 1, f"error {MANY // ENVIRONMENTS}")
        }
        assert len(sent) > 2
        for statement, parameters in sent:
            assert not reads_all_runs(connection, statement, parameters), statement
            assert effort(connection, statement, parameters) < 1000, statement


def test_the_number_of_statements_is_small(connection: Connection) -> None:
    """It depends on neither runs nor requests nor environments, but for those that fail now."""
    counts = []
    for number in range(1, 4):
        for name in range(number * 3):
            record(connection, f"environment {name}", "applied", "failed", "unchanged")
        with noting(connection) as sent:
            assert len(status(connection, now=NOON)) == number * 3
        counts.append(len(sent))
    assert counts == [6, 6, 6]
    record(connection, "environment 1", "failed", "running")
    record(connection, "environment 2", "refused")
    with noting(connection) as sent:
        status(connection, now=NOON)
    assert len(sent) == 8
