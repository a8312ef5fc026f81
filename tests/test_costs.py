"""What a sync and a start cost, counted: statements, written rows, imported modules. No clock."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from mirror import cli
from mirror.db import bulk
from mirror.db.engine import write_transaction
from mirror.db.runs import Outcome
from mirror.sync.run import Result
from tests.support.commands import run_python
from tests.support.mirrors import Mirror
from tests.support.statements import recorded
from tests.support.upstream import request

COUNT = 1_000
TABLES = ("release_requests", "release_request_past_versions", "quarantined_records", "sync_runs")
ALLOWED = {
    "sqlite": {"first": 35, "nothing new": 11, "changed": 30, "vanished": 26},
    "postgresql": {"first": 47, "nothing new": 18, "changed": 40, "vanished": 32},
}
"""Statements of a sync, including those that begin and end transactions, and bulk loads."""


@contextmanager
def recorded_statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the statements that are sent to the database."""
    others: list[str] = []

    def record_load(connection: Connection, table: sa.Table, *rows: Any, **constants: Any) -> None:
        others.append(f"load {table.name}")
        copy_rows(connection, table, *rows, **constants)

    def record_commit(_: Connection) -> None:
        others.append("COMMIT")

    copy_rows = bulk.copy_rows
    event.listen(Engine, "commit", record_commit)
    statements: list[str] = []
    with monkeypatch.context() as patch, recorded(Engine) as sent:
        patch.setattr(bulk, "copy_rows", record_load)
        yield statements
    event.remove(Engine, "commit", record_commit)
    statements += [" ".join(statement.split()) for statement, _ in sent] + others


def requests(count: int, resolved: int = 0) -> list[dict[str, Any]]:
    """Requests, of which the first ones are resolved."""
    resolution = {"status": "approved", "resolved_at": "2024-01-11T09:00:00Z"}
    return [request(number, **(resolution if number < resolved else {})) for number in range(count)]


def stages(count: int) -> dict[str, list[dict[str, Any]]]:
    """The list of the API at each of four syncs."""
    changed = requests(count + 2, resolved=count // 100)
    return {
        "first": requests(count),
        "nothing new": requests(count),
        "changed": changed,
        "vanished": changed[1:],
    }


def test_the_number_of_statements_does_not_depend_on_the_size(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync of many requests, or pages, sends as many statements as one of few, and not many."""
    counts: list[dict[str, Counter[str]]] = []
    sizes: list[tuple[int, Literal["meta"] | None]] = [
        (COUNT, None),
        (200, None),
    ]
    if mirror.engine.dialect.name == "sqlite":  # pages are merged like a single list
        sizes += [(COUNT, "meta"), (200, "meta")]
    for count, mirror.sandbox.config.paging in sizes:
        counts.append({})
        for stage, records in stages(count).items():
            with recorded_statements(monkeypatch) as statements:
                result = mirror.sync(records)
            assert result.failure is None
            counts[-1][stage] = Counter(statements)
        with write_transaction(mirror.engine, "test") as connection:
            for table in reversed(TABLES):
                connection.exec_driver_sql(f"DELETE FROM {table}")
    assert all(few == many for many, few in zip(counts[::2], counts[1::2], strict=True))
    allowed = ALLOWED[mirror.engine.dialect.name]
    totals = {stage: statements.total() for stage, statements in counts[0].items()}
    assert {stage: total for stage, total in totals.items() if total > allowed[stage]} == {}


def create_triggers(connection: Connection) -> None:
    """Let the database itself record each row that is written from now on."""
    connection.exec_driver_sql("CREATE TABLE written (what TEXT)")
    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:
        connection.exec_driver_sql(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO written VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$"
        )
    for table in TABLES:
        for verb in ("INSERT", "UPDATE", "DELETE"):
            action = (
                f"BEGIN INSERT INTO written VALUES ('{verb} {table}'); END"
                if sqlite
                else "FOR EACH ROW EXECUTE FUNCTION note()"
            )
            connection.exec_driver_sql(
                f"CREATE TRIGGER {verb}_{table} AFTER {verb} ON {table} {action}"
            )


OF_EVERY_RUN = Counter({"INSERT sync_runs": 1, "UPDATE sync_runs": 1})


def sync(mirror: Mirror, records: list[dict[str, Any]]) -> tuple[Result, Counter[str]]:
    """Sync; return the result, and the rows written besides those of every run."""
    result = mirror.sync(records)
    with write_transaction(mirror.engine, "test") as connection:
        written = Counter(connection.scalars(sa.text("SELECT what FROM written")))
        connection.exec_driver_sql("DELETE FROM written")
    assert written >= OF_EVERY_RUN
    return result, written - OF_EVERY_RUN


def test_only_what_changed_is_written(mirror: Mirror) -> None:
    """The database sees as many writes as there are changes, and none if there is nothing new.

    A list with other bytes and the same requests counts as nothing new.
    """
    with write_transaction(mirror.engine, "test") as connection:
        create_triggers(connection)
    lists = stages(COUNT)
    result, written = sync(mirror, lists["first"])
    assert (result.outcome, result.counts.inserted) == (Outcome.APPLIED, COUNT)
    assert written == {"INSERT release_requests": COUNT}

    result, written = sync(mirror, lists["nothing new"])
    assert (result.outcome, written) == (Outcome.UNCHANGED, Counter())
    result, written = sync(mirror, requests(COUNT)[::-1])
    assert (result.outcome, result.counts.unchanged) == (Outcome.APPLIED, COUNT)
    assert written == Counter()

    result, written = sync(mirror, lists["changed"])
    assert (result.counts.updated, result.counts.inserted) == (COUNT // 100, 2)
    assert written == {
        "INSERT release_requests": 2,
        "UPDATE release_requests": COUNT // 100,
        "INSERT release_request_past_versions": COUNT // 100,
    }

    result, written = sync(mirror, lists["vanished"])
    assert result.counts.missing == 1
    assert written == {"UPDATE release_requests": 1, "INSERT release_request_past_versions": 1}

    mirror.sandbox.config.etag = True
    result, written = sync(mirror, lists["first"])
    assert result.counts.returned == 1
    assert written["DELETE release_requests"] == 0
    result, written = sync(mirror, lists["first"])
    assert (result.outcome, result.bytes, written) == (Outcome.UNCHANGED, 0, Counter())


def imported(*command_lines: list[str], **environment: str) -> list[set[str]]:
    """What a process has imported after each of some command lines, which must succeed."""
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from mirror import cli\n"
        f"for arguments in {command_lines!r}:\n"
        "    assert cli.run(arguments) == 0\n"
        "    print(*set(sys.modules) - before, file=sys.stderr)"
    )
    ran = run_python("-c", code, **environment)
    assert ran.code == 0, ran.err
    modules = [set(line.split()) for line in ran.err.splitlines() if not line.startswith("mirror:")]
    assert len(modules) == len(command_lines)
    return modules


def test_the_start_imports_only_click() -> None:
    """`--version` and `--help` import click, and neither another library nor a command."""
    _, modules = imported(["--version"], ["--help"])
    packages = {module.partition(".")[0] for module in modules}
    assert packages - sys.stdlib_module_names == {"click", "mirror"}
    assert modules & {module for module, _ in cli.COMMANDS.values()} == set()


def test_a_sync_imports_only_what_it_needs(mirror: Mirror) -> None:
    """A sync imports neither the other database's driver, nor Alembic, nor what draws tables.

    Each of them takes longer to import than the rest of a small sync takes.
    """
    mirror.upstream.records = [request(1)]
    (modules,) = imported(
        ["sync"],
        MIRROR_DATABASE_URL=mirror.url,
        TALKOVER_BASE_URL=mirror.sandbox.base_url,
        TALKOVER_TOKEN=mirror.sandbox.config.token,
    )
    unneeded = {
        "alembic",
        "rich",
        "pygments",
        "phonenumbers",
        "mirror.cli.queries",
        "mirror.db.environments",
        "mirror.queries.helpers",
        "mirror.queries.results",
        "mirror.sandbox.server",
    }
    if mirror.engine.dialect.name == "sqlite":
        unneeded |= {"psycopg", "sqlalchemy.dialects.postgresql"}
    assert unneeded & modules == set()


def test_a_sync_without_news_collects_no_garbage(mirror: Mirror) -> None:
    """What a sync imports is below the number of objects at which Python looks for garbage."""
    code = (
        "import gc, os, sys\n"
        "from mirror.__main__ import main\n"
        "def collections():\n"
        "    return sum(generation['collections'] for generation in gc.get_stats())\n"
        "def end(code):\n"
        "    print(collections() - before)\n"
        "    sys.stdout.flush()\n"
        "    exit_process(code)\n"
        "exit_process, os._exit = os._exit, end\n"
        "sys.argv, before = ['mirror', 'sync'], collections()\n"
        "main()"
    )
    mirror.sync()
    ran = run_python(
        "-c",
        code,
        MIRROR_DATABASE_URL=mirror.url,
        TALKOVER_BASE_URL=mirror.sandbox.base_url,
        TALKOVER_TOKEN=mirror.sandbox.config.token,
    )
    assert (ran.code, ran.out) == (0, "0\n"), ran.err


def test_a_status_imports_only_what_it_needs(sqlite_mirror: Mirror) -> None:
    """A status, which monitors run every minute, imports no HTTP client, no Alembic and no Rich.

    The library of the metrics is imported only for them.
    """
    json, prometheus = imported(
        ["status", "--format", "json"],
        ["status", "--format", "prometheus"],
        MIRROR_DATABASE_URL=sqlite_mirror.url,
    )
    unneeded = {"alembic", "rich", "httpx", "phonenumbers", "mirror.sync.run", "psycopg"}
    unneeded |= {"mirror.numbers.reading"}
    assert unneeded & (json | prometheus) == set()
    assert "prometheus_client" not in json
    assert "prometheus_client" in prometheus
