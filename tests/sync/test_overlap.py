"""Overlapping syncs and readers: none fails, replaces newer data, or sees half a state.

`stress/test_crowds.py` has six processes sync at once.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import product
from typing import Any

import psycopg
import pytest

from mirror.config.settings import ApiSettings, Secret
from mirror.db import bulk
from mirror.db.engine import create_engine
from mirror.db.urls import parse_url
from mirror.errors import GuardRefused
from mirror.sync.run import Result, sync
from tests.support.commands import run_mirror
from tests.support.database_state import runs_of, tables_of
from tests.support.http_servers import HttpRequest, ScriptedServer, http, whole
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, request, requests
from tests.support.upstream_generator import ChangingList
from tests.support.workers import TIMEOUT

FIRST = whole(requests(1, 2))
LATE = whole([request(1, status="approved"), *requests(2, 3)])
NEWER = whole([request(1, status="rejected"), request(4)])
GONE = http(404, b'{"success": false, "code": "GONE"}')

Select = Callable[[str], list[tuple[Any, ...]]]


def sync_now(url: str, base_url: str, environment: str = "default") -> Result:
    """Sync, by the real clock."""
    engine = create_engine(url, create=True)
    return sync(engine, ApiSettings(base_url, Secret(TOKEN), timeout=TIMEOUT), environment)


OVERTAKEN = {
    "the newer one applied a list": (True, LATE, NEWER),
    "the newer one found nothing new": (True, LATE, FIRST),
    "the older one found nothing new": (True, FIRST, NEWER),
    "the older one fails": (True, GONE, NEWER),
    "nothing was known before": (False, LATE, NEWER),
}
"""Whether there was a sync before, and the lists of the older and of the newer run."""


@pytest.mark.parametrize(
    ("kind", "case"),
    [*product(["sqlite"], OVERTAKEN), ("postgresql", "the newer one applied a list")],
)
def test_an_older_pull_that_ends_later_changes_nothing(
    make_ready_database: Callable[[str], str], kind: str, case: str
) -> None:
    """A run that is overtaken is superseded and exits with 0, though a newer one held it dead."""
    url, (known, older, newer) = make_ready_database(kind), OVERTAKEN[case]
    before: list[Any] = []

    def overtake(_: HttpRequest) -> bytes:
        result = sync_now(url, server.base_url)
        assert result.outcome == ("unchanged" if newer == FIRST else "applied")
        (overtaken,) = (run for run in runs_of(url) if run.outcome == "abandoned")
        assert overtaken.error == f"the run recorded no outcome; found by run {result.run_id}"
        before.extend((overtaken.id, tables_of(url), runs_of(url)[-1]))
        return older

    with ScriptedServer([FIRST] * known + [overtake, newer]).running() as server:
        if known:
            assert sync_now(url, server.base_url).outcome == "applied"
        ran = run_mirror(
            *("sync", "--json", "--database", url, "--base-url", server.base_url),
            TALKOVER_TOKEN=TOKEN,
        )
        result = json.loads(ran.out)
        run_id, tables, newest = before
        failed = older == GONE
        outcome = "failed" if failed else "superseded"
        assert (ran.code, result["outcome"], result["inserted"]) == (failed, outcome, 0), ran
        assert tables_of(url) == tables
        *_, slow, last = runs_of(url)
        assert (slow.id, slow.outcome, slow.error) == (run_id, outcome, result["error"])
        assert (slow.error is not None) is failed
        assert (result["run_id"], last) == (run_id, newest)
        server.responses = [whole(requests(1, 4, 5))]
        assert sync_now(url, server.base_url).outcome == "applied"


@pytest.mark.parametrize("older", [LATE, FIRST], ids=["another list", "nothing new"])
def test_a_dry_run_that_is_overtaken(ready_database_url: str, older: bytes) -> None:
    """It is superseded, and leaves what the newer one recorded."""
    url = ready_database_url
    before: list[Any] = []

    def overtake(_: HttpRequest) -> bytes:
        assert sync_now(url, server.base_url).outcome == "applied"
        before.extend((tables_of(url), runs_of(url)))
        return older

    with ScriptedServer([FIRST, overtake, NEWER]).running() as server:
        sync_now(url, server.base_url)
        ran = run_mirror(
            *("sync", "--json", "--dry-run", "--database", url, "--base-url", server.base_url),
            TALKOVER_TOKEN=TOKEN,
        )
    result = json.loads(ran.out)
    assert (ran.code, result["run_id"], result["outcome"]) == (0, None, "superseded"), ran
    assert [tables_of(url), runs_of(url)] == before


def test_syncs_that_begin_at_once(database_url: str) -> None:
    """All succeed, also in an empty database: a list is applied once, other environments are apart.

    The list comes when all have begun, so that none knows of another's end.
    """
    all_have_begun = threading.Barrier(4)
    results: list[Result] = []

    def wait_for_all(_: HttpRequest) -> bytes:
        all_have_begun.wait(TIMEOUT)
        return FIRST

    def run(base_url: str, environment: str) -> None:
        results.append(sync_now(database_url, base_url, environment))

    other_list = whole(requests(7, 8, 9))
    with (
        ScriptedServer([wait_for_all]).running() as server,
        ScriptedServer([other_list]).running() as other,
    ):
        arguments = [(server.base_url, "default")] * 4 + [(other.base_url, "dev")]
        threads = [threading.Thread(target=run, args=pair) for pair in arguments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    recorded = {run.id: (run.environment, str(run.outcome)) for run in runs_of(database_url)}
    assert {run.run_id: (run.environment, str(run.outcome)) for run in results} == recorded
    outcomes = [("default", "applied"), *[("default", "superseded")] * 3, ("dev", "applied")]
    assert sorted(recorded.values()) == outcomes
    rows = tables_of(database_url)["release_requests"]
    assert [row[1] for row in rows] == [f"request-{number}" for number in (1, 2, 7, 8, 9)]


def insert_request(connection: psycopg.Connection, number: int, environment: str) -> None:
    """Insert what a sync of another environment would, within its transaction."""
    connection.execute(
        "INSERT INTO release_requests (id, environment, phone_number, status, requested_at,"
        " first_seen_at, valid_from, sync_run_id)"
        " VALUES (%s, %s, '+1', 'pending', now(), now(), now(), 1)",
        (f"request-{number}", environment),
    )


@pytest.mark.parametrize("dry_run", [False, True], ids=["sync", "dry run"])
@pytest.mark.parametrize("commits", [True, False], ids=["commits", "rolls back"])
def test_lists_that_share_a_new_request(
    make_ready_database: Callable[[str], str], *, commits: bool, dry_run: bool
) -> None:
    """Of two environments that insert it at once, the later one is refused, and names both."""
    url = make_ready_database("postgresql")
    listed = whole(requests(*range(9)))
    results: list[Result] = []
    with (
        ScriptedServer([listed]).running() as server,
        psycopg.connect(url) as other,
        psycopg.connect(url, autocommit=True) as observer,
    ):
        insert_request(other, 5, "staging")
        api = ApiSettings(server.base_url, Secret(TOKEN), timeout=TIMEOUT)
        arguments: Any = {"dry_run": dry_run}
        thread = threading.Thread(
            target=lambda: results.append(sync(create_engine(url), api, "prod", **arguments))
        )
        thread.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event = 'transactionid'"
        )
        while observer.execute(waiting).fetchone() == (0,):
            thread.join(0.01)
            assert thread.is_alive()
        other.commit() if commits else other.rollback()
        thread.join()
    (result,) = results
    if not commits:
        assert (result.failure, result.counts.inserted) == (None, 9)
        return
    assert isinstance(result.failure, GuardRefused)
    for name in ("request-5", "'staging'", "'prod'"):
        assert name in str(result.failure)
    assert [row[1] for row in tables_of(url)["release_requests"]] == ["request-5"]


def test_new_requests_are_inserted_in_order(
    make_ready_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Postgres, by their ids: two that insert the same ones in any order cannot deadlock."""
    url, inserted, numbers = make_ready_database("postgresql"), list[str](), list(range(4000))
    random.Random(7).shuffle(numbers)  # noqa: S311 (no cryptography)
    first, later = (whole(requests(*some)) for some in ([-1], [-1, *numbers]))
    copy_rows = bulk.copy_rows

    def record(connection: Any, table: Any, columns: Any, rows: Any, **constants: Any) -> None:
        rows = list(rows)
        inserted.extend(row[0] for row in rows)
        copy_rows(connection, table, columns, rows, **constants)

    with ScriptedServer([first, later]).running() as server:
        assert sync_now(url, server.base_url).counts.inserted == 1
        monkeypatch.setattr(bulk, "copy_rows", record)
        assert sync_now(url, server.base_url).counts.inserted == 4000
    assert inserted == sorted(f"request-{number}" for number in numbers)


@contextmanager
def read_transaction(url: str) -> Iterator[Select]:
    """Read as other programs do, by the driver, in one transaction."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(parsed.database), isolation_level=None)) as sqlite:
            sqlite.execute("BEGIN")
            yield lambda query: sqlite.execute(query).fetchall()
        return
    with psycopg.connect(url) as postgres:
        postgres.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield lambda query: postgres.execute(query.encode()).fetchall()


def test_a_long_report_sees_one_state_and_is_in_nobodys_way(mirror: Mirror) -> None:
    """Syncs succeed beside an open read transaction, which goes on to see what it saw first."""
    listing = ChangingList(500, random.Random(7))  # noqa: S311 (no cryptography)

    def read(select: Select) -> list[tuple[Any, ...]]:
        versions = "SELECT id, status, valid_from, valid_to FROM release_request_versions"
        runs = select("SELECT id, outcome FROM sync_runs ORDER BY 1")
        return sorted(select(versions), key=repr) + runs

    def sync_changed_list() -> None:
        assert mirror.sync(listing.entries).outcome == "applied"
        listing.move_on()

    sync_changed_list()
    with read_transaction(mirror.url) as select:
        first = read(select)
        for number in (2, 3):
            sync_changed_list()
            assert read(select) == first
            with read_transaction(mirror.url) as select_now:
                now = read(select_now)
            assert now[-1] == (number, "applied")
            assert len(now) > len(first)
    sync_changed_list()
    with read_transaction(mirror.url) as select:
        assert read(select)[-1] == (4, "applied")
