"""Syncs and readers that overlap: pulls overtaken by others, first syncs at once, long reports.

Several schedulers, a laptop that slept and a report that takes its time are daily life. None of
them may make a sync fail, put older data in the place of newer, or show a reader half a state.
`stress/test_crowds.py` lets six processes do so at once.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from mirror.config.settings import ApiSettings, Secret
from mirror.db.engine import create_engine, parse_url
from mirror.sync.run import Result, sync
from tests.support.commands import run_mirror
from tests.support.expected_tables import ChangingList, content, on_record
from tests.support.http_servers import Question, Scripted, envelope, http
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, request
from tests.support.worker_pool import PATIENCE

FIRST = http(200, envelope([request(1), request(2)]))
LATE = http(200, envelope([request(1, status="approved"), request(2), request(3)]))
NEWER = http(200, envelope([request(1, status="rejected"), request(4)]))
GONE = http(404, b'{"success": false, "code": "GONE"}')

Ask = Callable[[str], list[tuple[Any, ...]]]


def pull(url: str, base_url: str, environment: str = "default") -> Result:
    """Sync, by the real clock."""
    engine = create_engine(url, create=True)
    return sync(engine, ApiSettings(base_url, Secret(TOKEN), timeout=PATIENCE), environment)


@pytest.mark.parametrize(
    ("known", "older", "newer", "options"),
    [
        pytest.param(True, LATE, NEWER, (), id="the newer one applied a list"),
        pytest.param(True, LATE, FIRST, (), id="the newer one found nothing new"),
        pytest.param(True, FIRST, NEWER, (), id="the older one found nothing new"),
        pytest.param(True, LATE, NEWER, ("--dry-run",), id="the older one was a dry run"),
        pytest.param(True, GONE, NEWER, (), id="the older one fails"),
        pytest.param(False, LATE, NEWER, (), id="nothing was known before"),
    ],
)
def test_an_older_pull_that_ends_later_changes_nothing(
    ready_database_url: str, *, known: bool, older: bytes, newer: bytes, options: tuple[str, ...]
) -> None:
    """A run whose answer came after a newer run had completed is superseded, and exits with 0.

    The newer one takes it for dead; it corrects that when it wakes up after all.
    """
    before: list[Any] = []

    def overtake(_: Question) -> bytes:
        result = pull(ready_database_url, server.base_url)
        assert result.outcome == ("unchanged" if newer == FIRST else "applied")
        (asleep,) = (run for run in on_record(ready_database_url) if run.outcome == "abandoned")
        assert asleep.error == f"the run recorded no outcome; found by run {result.run_id}"
        before.extend((asleep.id, content(ready_database_url), on_record(ready_database_url)[-1]))
        return older

    with Scripted([FIRST] * known + [overtake, newer]).running() as server:
        if known:
            assert pull(ready_database_url, server.base_url).outcome == "applied"
        ran = run_mirror(
            *("sync", "--json", "--database", ready_database_url, "--base-url", server.base_url),
            *options,
            TALKOVER_TOKEN=TOKEN,
        )
        said = json.loads(ran.out)
        number, held, fast = before
        outcome = "failed" if older == GONE else "superseded"
        assert (ran.code, said["outcome"], said["inserted"]) == (older == GONE, outcome, 0), ran
        assert content(ready_database_url) == held
        *_, slow, last = on_record(ready_database_url)
        assert (slow.id, slow.outcome, slow.error) == (number, outcome, said["error"])
        assert (slow.error is None) is (older != GONE)
        assert (said["run_id"], last) == (number, fast)
        server.answers = [http(200, envelope([request(1), request(4), request(5)]))]
        assert pull(ready_database_url, server.base_url).outcome == "applied"


def test_syncs_that_begin_at_once(database_url: str) -> None:
    """All succeed, also in an empty database: a list is applied once, other environments are apart.

    The list comes when all have begun, so that none knows of another's end.
    """
    all_have_begun = threading.Barrier(4)
    results: list[Result] = []

    def say(_: Question) -> bytes:
        all_have_begun.wait(PATIENCE)
        return FIRST

    def run(base_url: str, environment: str) -> None:
        results.append(pull(database_url, base_url, environment))

    another = http(200, envelope([request(number) for number in (7, 8, 9)]))
    with Scripted([say]).running() as server, Scripted([another]).running() as elsewhere:
        threads = [
            *(threading.Thread(target=run, args=(server.base_url, "default")) for _ in range(4)),
            threading.Thread(target=run, args=(elsewhere.base_url, "dev")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = {run.id: (run.environment, str(run.outcome)) for run in on_record(database_url)}
    assert {one.run_id: (one.environment, str(one.outcome)) for one in results} == found
    outcomes = [("default", "applied"), *[("default", "superseded")] * 3, ("dev", "applied")]
    assert sorted(found.values()) == outcomes
    rows = content(database_url)["release_requests"]
    assert [row[0] for row in rows] == [f"request-{number}" for number in (1, 2, 7, 8, 9)]


@contextmanager
def report(url: str) -> Iterator[Ask]:
    """Read as other programs do, all in one transaction: give it a query, get the rows."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(parsed.database), isolation_level=None)) as connection:
            connection.execute("BEGIN")
            yield lambda query: connection.execute(query).fetchall()
        return
    with psycopg.connect(url) as connected:
        connected.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield lambda query: connected.execute(query.encode()).fetchall()


def test_a_long_report_sees_one_state_and_is_in_nobodys_way(mirror: Mirror) -> None:
    """Syncs succeed beside an open read transaction, which goes on to see what it saw first."""
    upstream = ChangingList(500, random.Random(7))  # noqa: S311 (a test's fate)

    def read(ask: Ask) -> list[tuple[Any, ...]]:
        versions = "SELECT id, status, valid_from, valid_to FROM release_request_versions"
        return sorted(ask(versions), key=repr) + ask("SELECT id, outcome FROM sync_runs ORDER BY 1")

    def sync_once() -> None:
        assert mirror.sync(upstream.entries).outcome == "applied"
        upstream.move_on()

    sync_once()
    with report(mirror.url) as ask:
        first = read(ask)
        for number in (2, 3):
            sync_once()
            assert read(ask) == first
            with report(mirror.url) as ask_now:
                now = read(ask_now)
            assert now[-1] == (number, "applied")
            assert len(now) > len(first)
    sync_once()
    with report(mirror.url) as ask:
        assert read(ask)[-1] == (4, "applied")
