"""What a sync and a start cost, counted: statements, written rows, imported modules. No clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from mirror.db import bulk
from mirror.db.engine import write_transaction
from mirror.sync import merge
from mirror.sync.run import Outcome, Result
from tests.support.commands import run_python
from tests.support.mirrors import Mirror
from tests.support.upstream import request

MANY = 1_000
WATCHED = ("release_requests", "release_request_past_versions", "quarantined_records", "sync_runs")
ALLOWED = {
    "sqlite": {"first": 24, "nothing new": 11, "changed": 26, "vanished": 29},
    "postgresql": {"first": 33, "nothing new": 13, "changed": 33, "vanished": 35},
}
"""Statements of a sync, those that begin and end transactions and loads included."""


@contextmanager
def counted(patched: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note the statements that are sent to the database."""
    sent: list[str] = []

    def note(_: Connection, __: Any, statement: str, *___: Any) -> None:
        sent.append(" ".join(statement.split()))

    def note_load(connection: Connection, table: sa.Table, *given: Any, **same: Any) -> None:
        sent.append(f"load {table.name}")
        load(connection, table, *given, **same)

    def note_end(_: Connection) -> None:
        sent.append("COMMIT")

    load = bulk.copy_rows
    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "commit", note_end)
    with patched.context() as patch:
        patch.setattr(merge.bulk, "copy_rows", note_load)
        yield sent
    event.remove(Engine, "before_cursor_execute", note)
    event.remove(Engine, "commit", note_end)


def listed(count: int, resolved: int = 0, new: int = 0) -> list[dict[str, Any]]:
    """A list of requests; the first ones are resolved, and some more are new."""
    return [
        request(number, status="approved", resolved_at="2024-01-11T09:00:00Z")
        if number < resolved
        else request(number)
        for number in range(count + new)
    ]


def stages(count: int) -> dict[str, list[dict[str, Any]]]:
    """What upstream says, sync by sync."""
    changed = listed(count, resolved=count // 100, new=2)
    return {
        "first": listed(count),
        "nothing new": listed(count),
        "changed": changed,
        "vanished": changed[1:],
    }


def test_the_number_of_statements_does_not_depend_on_the_size(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync of many requests, or pages, sends as many statements as one of few, and not many."""
    found: list[dict[str, Counter[str]]] = []
    sizes: list[tuple[int, Literal["meta"] | None]] = [(MANY, None), (200, None), (200, "meta")]
    for count, mirror.sandbox.config.paging in sizes:
        found.append({})
        for stage, records in stages(count).items():
            with counted(monkeypatch) as sent:
                result = mirror.sync(records)
            assert result.failure is None
            found[-1][stage] = Counter(sent)
        with write_transaction(mirror.engine, "test") as connection:
            for table in reversed(WATCHED):
                connection.exec_driver_sql(f"DELETE FROM {table}")
    assert found[0] == found[1] == found[2]
    allowed = ALLOWED[mirror.engine.dialect.name]
    totals = {stage: sent.total() for stage, sent in found[0].items()}
    assert {stage: total for stage, total in totals.items() if total > allowed[stage]} == {}


def count_writes(connection: Connection) -> None:
    """Have the database itself note each row that is written from now on."""
    connection.exec_driver_sql("CREATE TABLE written (what TEXT)")
    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:
        connection.exec_driver_sql(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO written VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$"
        )
    for table in WATCHED:
        for verb in ("INSERT", "UPDATE", "DELETE"):
            done = (
                f"BEGIN INSERT INTO written VALUES ('{verb} {table}'); END"
                if sqlite
                else "FOR EACH ROW EXECUTE FUNCTION note()"
            )
            connection.exec_driver_sql(
                f"CREATE TRIGGER {verb}_{table} AFTER {verb} ON {table} {done}"
            )


def writes(mirror: Mirror) -> Counter[str]:
    """The rows written since this was asked last."""
    with write_transaction(mirror.engine, "test") as connection:
        done = Counter(connection.scalars(sa.text("SELECT what FROM written")))
        connection.exec_driver_sql("DELETE FROM written")
    return done


ITS_OWN = Counter({"INSERT sync_runs": 1, "UPDATE sync_runs": 1})
"""What every run writes: its row, when it begins and when it ends."""


def synced(mirror: Mirror, stage: str, **options: Any) -> tuple[Result, Counter[str]]:
    """Sync a stage; return what it did, and the rows written besides the run's own."""
    result = mirror.sync(stages(MANY)[stage], **options)
    return result, writes(mirror) - ITS_OWN


def test_only_what_changed_is_written(mirror: Mirror) -> None:
    """The database sees as many writes as there are changes, and none if there is nothing new.

    Other bytes that say the same are compared, and found to be the same.
    """
    with write_transaction(mirror.engine, "test") as connection:
        count_writes(connection)
    result, written = synced(mirror, "first")
    assert (result.outcome, result.counts.inserted) == (Outcome.APPLIED, MANY)
    assert written == {"INSERT release_requests": MANY}

    result, written = synced(mirror, "nothing new")
    assert (result.outcome, written) == (Outcome.UNCHANGED, Counter())
    result = mirror.sync(listed(MANY)[::-1])
    assert (result.outcome, result.counts.unchanged) == (Outcome.APPLIED, MANY)
    assert writes(mirror) == ITS_OWN

    result, written = synced(mirror, "changed")
    assert (result.counts.updated, result.counts.inserted) == (MANY // 100, 2)
    assert written == {
        "INSERT release_requests": 2,
        "UPDATE release_requests": MANY // 100,
        "INSERT release_request_past_versions": MANY // 100,
    }

    result, written = synced(mirror, "vanished")
    assert result.counts.missing == 1
    assert written == {"UPDATE release_requests": 1, "INSERT release_request_past_versions": 1}

    mirror.sandbox.config.etag = True
    result, written = synced(mirror, "first")
    assert result.counts.returned == 1
    assert written["DELETE release_requests"] == 0
    result, written = synced(mirror, "first")
    assert (result.outcome, result.bytes, written) == (Outcome.UNCHANGED, 0, Counter())


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_what_is_said_at_once_imports_nothing(word: str) -> None:
    """The start of `mirror --version` is Python's own."""
    code = (
        f"import sys; sys.argv[1:] = [{word!r}]; before = set(sys.modules)\n"
        "from mirror.__main__ import main\n"
        "try: main()\n"
        "finally: print(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    ran = run_python("-c", code, COLUMNS="80")
    assert ran.code == 0
    assert ran.err.split() == ["gc", "mirror", "mirror.__main__", "mirror.version"]


def test_a_sync_imports_only_what_it_needs(mirror: Mirror) -> None:
    """A sync into one database does without the other one's driver, Alembic and what is for people.

    Each of them takes longer to import than the rest of a small sync takes.
    """
    code = "import sys\nfrom mirror import cli\nprint(cli.run(['sync']), *sorted(sys.modules))"
    mirror.upstream.records = [request(1)]
    ran = run_python(
        "-c",
        code,
        MIRROR_DATABASE_URL=mirror.url,
        TALKOVER_BASE_URL=mirror.sandbox.base_url,
        TALKOVER_TOKEN=mirror.sandbox.config.token,
    )
    exit_code, *modules = ran.out.split()
    assert exit_code == "0", ran.err
    unneeded = {
        "alembic",
        "rich",
        "pygments",
        "phonenumbers",
        "mirror.queries.helpers",
        "mirror.sandbox.server",
    }
    if mirror.engine.dialect.name == "sqlite":
        unneeded |= {"psycopg", "sqlalchemy.dialects.postgresql"}
    assert sorted(unneeded & set(modules)) == []


def test_a_status_imports_only_what_it_needs(sqlite_mirror: Mirror) -> None:
    """What a monitor asks every minute needs no HTTP client, no Alembic, and no drawing.

    The library of the metrics is loaded when it is needed.
    """
    code = (
        "import sys\nfrom mirror import cli\n"
        "for form in ('json', 'prometheus'):\n"
        "    print(cli.run(['status', '--format', form]), *sorted(sys.modules), file=sys.stderr)"
    )
    ran = run_python("-c", code, MIRROR_DATABASE_URL=sqlite_mirror.url)
    json, prometheus = (line.split() for line in ran.err.splitlines())
    assert json[0] == prometheus[0] == "0", ran.err
    unneeded = {"alembic", "rich", "httpx", "phonenumbers", "mirror.sync.run", "psycopg"}
    assert sorted(unneeded & {*json, *prometheus}) == []
    assert "prometheus_client" not in json
    assert "prometheus_client" in prometheus
