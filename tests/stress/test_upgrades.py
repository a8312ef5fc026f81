"""Upgrades: a database of every released revision is upgraded, and then used.

The folder `frozen` has them as SQL, made by freeze.py with the rows of history_fixture.py.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from mirror.db import revisions
from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.db.urls import parse_url
from mirror.db.views import VIEWS
from tests.db.frozen.freeze import Rows, restored_inventory, rows_of, thaw
from tests.support import ROOT
from tests.support.commands import run_mirror, run_module
from tests.support.databases import upgrade
from tests.support.history_fixture import STAGING, THIRD, after, entry
from tests.support.http_servers import HttpRequest, ScriptedServer, envelope, http
from tests.support.mirrors import Mirror
from tests.support.schema import inventory, later_revision, opened
from tests.support.upstream import TOKEN

REVISIONS = revisions.known()
HEAD = REVISIONS[-1]
NOON = "2024-01-12T12:00:00Z"
RESOLVED = {"status": "approved", "resolved_at": NOON}

FOURTH = [
    *after(THIRD, (6,), r1=RESOLVED, r3=RESOLVED, r8={"priority": 4}, r12={"status": "pending"}),
    entry(7, status="rejected", resolved_at=NOON),
    entry(13),
]
"""The next list: 6 is missing, 7 returns, 12 is valid at last, 13 is new."""

CHANGES = [
    *[("2024-01-11T15:00:00Z", "resolved", number) for number in (2, 3, 4, 5)],
    *[("2024-01-11T15:00:00Z", "vanished", number) for number in (6, 7)],
    ("2024-01-11T16:00:00Z", "reopened", 3),
    ("2024-01-11T16:00:00Z", "corrected", 4),
    ("2024-01-11T16:00:00Z", "returned", 6),
]
"""Start of the sync that saw a change, its kind, and the number of the request."""

HISTORY = [
    ("2024-01-10T14:30:03Z", "requested", "reported"),
    ("2024-01-11T14:00:00.500Z", "rejected", "reported"),
    ("2024-01-11T16:00:00Z", "reopened", "observed"),
]
"""The history of the number of request 3."""

STATES = {
    "2024-01-11T12:59:59Z": {},
    "2024-01-11T14:59:59Z": dict.fromkeys([*range(1, 9), 10], "pending") | {9: "approved"},
    "2024-01-11T15:00:00Z": dict.fromkeys([1, 8, 10], "pending")
    | dict.fromkeys([2, 4, 9], "approved")
    | {3: "rejected", 5: "cancelled"},
    "2024-01-11T18:00:00Z": dict.fromkeys([1, 3, 6, 8, 10], "pending")
    | dict.fromkeys([2, 4, 9], "approved")
    | {5: "cancelled"},
}
"""By time, the status of each listed request as the mirror knew it."""


@pytest.fixture
def prepared(new_mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """An empty mirror; the environment variables have its settings."""
    monkeypatch.setenv("MIRROR_DATABASE_URL", new_mirror.url)
    monkeypatch.setenv("TALKOVER_BASE_URL", new_mirror.sandbox.base_url)
    monkeypatch.setenv("TALKOVER_TOKEN", TOKEN)
    return new_mirror


def run_json(*words: str) -> Any:
    """Run a command that prints nothing but JSON; return the JSON."""
    ran = run_mirror(*words)
    assert (ran.code, ran.err) == (0, "")
    return json.loads(ran.out)


def inventory_of(url: str) -> Any:
    """Return the inventory of a database, as if restored from a dump."""
    with opened(url) as connection:
        return restored_inventory(connection)


def read(mirror: Mirror, like: Rows | None = None) -> Rows:
    """Return all rows of a mirror, of `like` only with the columns of its rows."""
    with read_transaction(mirror.engine) as connection:
        found = rows_of(connection)
    for table, rows in (like or {}).items():
        found[table] = [{name: row[name] for name in rows[0]} for row in found[table]]
    return found


def number_of(row: dict[str, Any], name: str = "id") -> int:
    """Return the number in the id of a request."""
    return int(row[name].removeprefix("request-"))


def changes(rows: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """Return rows of `mirror changes` in the form of `CHANGES`."""
    return [(row["changed_at"], row["kind"], number_of(row, "request_id")) for row in rows]


def expect_the_past(*later: tuple[str, str, str]) -> None:
    """Expect that the commands print the history before the upgrade, and then `later`."""
    for time, statuses in STATES.items():
        ran = run_mirror("requests", "--as-of", time, "--format", "json")
        assert (ran.code, "the mirror knows nothing of" in ran.err) == (0, not statuses)
        rows = json.loads(ran.out)
        assert {number_of(row): row["status"] for row in rows} == statuses
    rows = run_json("changes", "--format", "json")
    assert sorted(changes(rows))[: len(CHANGES)] == sorted(CHANGES)
    rows = run_json("history", "+1 555 123 0003", "--format", "json")
    events = [(row["occurred_at"], row["event"], row["time_source"]) for row in rows]
    assert events == [*HISTORY, *later]


@pytest.mark.parametrize("later", [False, True], ids=["head", "a later revision"])
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_sync_upgrades_and_goes_on(
    prepared: Mirror,
    revision: str,
    later: bool,
    make_database: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """An upgrade keeps all rows, and the next sync sees what has changed since.

    In SQLite the sync upgrades, in Postgres `mirror db upgrade` does; that changes no row.
    """
    with later_revision(tmp_path) if later else nullcontext(HEAD) as head:
        expect_an_upgrade(prepared, revision, head)
        new = make_database(prepared.engine.dialect.name)
        upgrade(new)
        assert inventory_of(prepared.url) == inventory_of(new)


def expect_an_upgrade(prepared: Mirror, revision: str, head: str) -> None:
    """Load a frozen database, have it upgraded, and expect what two syncs make of it."""
    thaw(prepared.url, revision)
    before = read(prepared)
    if prepared.engine.dialect.name == "postgresql":
        ran = run_mirror("db", "upgrade")
        message = (
            f"the schema is at revision {head} already"
            if revision == head
            else f"upgraded the schema from {revision} to revision {head}"
        )
        assert (ran.code, ran.err) == (0, f"mirror: {message}\n")
        assert read(prepared, before) == before
    prepared.upstream.records = FOURTH
    result = run_json("sync", "--json", "--accept-base-url")
    assert [result[name] for name in ("run_id", "inserted", "updated", "missing", "returned")] == [
        13, 2, 2, 1, 1,
    ]  # fmt: skip
    synced = read(prepared, before)
    expect_rows(before, synced)
    expect_the_past((NOON, "approved", "reported"))
    seen = run_json("changes", "--run", "13", "--format", "json")
    assert sorted((kind, number) for _, kind, number in changes(seen)) == [
        ("resolved", 1),
        ("resolved", 3),
        ("resolved", 7),
        ("returned", 7),
        ("vanished", 6),
    ]
    listed = run_json("requests", "--environment", "default", "--format", "json")
    assert {number_of(row) for row in listed} == {*range(1, 14)} - {6, 11}
    assert run_json("sync", "--json")["outcome"] == "unchanged"
    prepared.upstream.records = STAGING
    prepared.sandbox.invalidate()
    result = run_json("sync", "--json", "--accept-base-url", "--environment", "staging")
    assert (result["outcome"], result["fetched"]) == ("applied", len(STAGING))
    found = read(prepared, before)
    assert found["sync_runs"][11]["outcome"] == "abandoned"
    for table in before.keys() - {"sync_runs"}:
        assert found[table] == synced[table]


def expect_rows(before: Rows, found: Rows) -> None:
    """Expect what a sync of `FOURTH` changes, and nothing else."""
    assert found["sync_runs"][:-1] == before["sync_runs"]
    now = found["sync_runs"][-1]["observed_at"]

    kept = {number_of(row): dict(row) for row in before["release_requests"]}
    superseded = [kept.pop(number) | {"valid_to": now} for number in (1, 3, 6, 7)]
    kept[8] |= {
        "extra": re.sub(
            r'(?<="priority":) ?3', lambda old: old[0][:-1] + "4", str(kept[8]["extra"])
        )
    }
    current = {number_of(row): dict(row) for row in found["release_requests"]}
    for row in (*kept.values(), *superseded, *current.values()):
        del row["digest"]  # that of an entry as the version of mirror reads it
    assert {number: current.pop(number) for number in kept} == kept
    assert current.keys() == {1, 3, 6, 7, 12, 13}
    assert {row["valid_from"] for row in current.values()} == {now}

    past = "release_request_past_versions"
    by_version = itemgetter("id", "valid_from")
    assert sorted(found[past], key=by_version) == sorted(before[past] + superseded, key=by_version)

    still, healed, gone, *others = before["quarantined_records"]
    reason = "`requested_at` is not a time"  # the message of the version that saw it last
    assert found["quarantined_records"] == [
        still | {"last_run_id": "13", "last_seen_at": now, "error": reason},
        healed | {"resolved_at": now},
        gone,
        *others,
    ]


READING = [("requests",), ("changes",), ("history", "+15551230003")]
WRITING = [("sync", "--no-upgrade"), ("sync", "--dry-run")]
UPGRADING = [("sync",), ("db", "upgrade")]
SET_REVISION = "UPDATE alembic_version SET version_num = "
DROP_VIEWS = [f"DROP VIEW {view.name}" for view in reversed(VIEWS)]
DROP_DIGESTS = [
    "DROP INDEX ix_release_requests_environment",
    "ALTER TABLE release_requests DROP COLUMN digest",
]
UNRELEASED = (
    "the database was made by an unreleased version of mirror (schema revision {}), and cannot be "
    "upgraded; name a new database and run `mirror sync`"
)
NEWER = (
    "the database is at schema revision 9999, and this version of mirror knows none after "
    f"{HEAD}; install a newer version of mirror"
)
REFUSED: dict[str, tuple[list[str], list[tuple[str, ...]], str]] = {
    "newer": (
        [f"{SET_REVISION} '9999'"],
        [*UPGRADING, *WRITING, *READING],
        NEWER,
    ),
    "unreleased 0001": (
        [*DROP_VIEWS, *DROP_DIGESTS, f"{SET_REVISION} '0001'"],
        [*UPGRADING, *WRITING, *READING],
        UNRELEASED.format("0001"),
    ),
    "unreleased 0001 without digests": (
        [*DROP_DIGESTS, f"{SET_REVISION} '0001'"],
        [*UPGRADING, *WRITING, *READING],
        UNRELEASED.format("0001"),
    ),
    "unreleased 0003": (
        [*DROP_VIEWS[:1], f"{SET_REVISION} '0003'"],
        [*UPGRADING, *WRITING, *READING],
        UNRELEASED.format("0003"),
    ),
    "unreleased 0005": (
        [
            *DROP_VIEWS[:1],
            "CREATE VIEW release_requests_daily AS WITH winding_ids AS (SELECT 1) SELECT 2 AS day",
            f"{SET_REVISION} '0005'",
        ],
        [*UPGRADING, *WRITING, *READING],
        UNRELEASED.format("0005"),
    ),
}
"""By the age of a database: SQL that makes it so, the commands that refuse it, and their error."""


@pytest.mark.parametrize("age", REFUSED)
def test_a_database_of_another_age_is_left_alone(prepared: Mirror, age: str) -> None:
    """One sentence names the remedy; the API gets no request, and the database is not touched."""
    statements, commands, message = REFUSED[age]
    thaw(prepared.url, HEAD)
    with opened(prepared.url) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    expect_refusals(prepared, commands, message)
    before = everything(prepared)
    for words in (["upgrade", "head"], ["downgrade", "base"]):
        ran = run_module("alembic", "-x", f"database={prepared.url}", *words, cwd=ROOT)
        assert (ran.code, ran.out.strip()) == (255, f"FAILED: {message}"), ran
    assert everything(prepared) == before


IS_AWAITED = """
    SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""

BESIDE = {
    "sync": ("sync",),
    "sync --no-upgrade": ("sync", "--no-upgrade"),
    "dry run": ("sync", "--dry-run"),
    "erase-number": ("db", "erase-number", "+15551230003", "--yes"),
    "rename-environment": ("db", "rename-environment", "default", "other"),
    "prune": ("db", "prune", "--runs-older-than", "1s"),
    "changes": ("changes", "--new"),
}
"""Commands that write."""


@contextmanager
def upgrading(url: str) -> Iterator[None]:
    """Change the revision in a transaction that commits when a writer waits, or at the end."""
    begun, ended = threading.Event(), threading.Event()

    def run() -> None:
        with write_transaction(create_engine(url), revisions.LOCK) as connection:
            connection.exec_driver_sql(f"{SET_REVISION} '9999'")
            begun.set()
            if connection.dialect.name == "postgresql":
                while not (ended.is_set() or connection.exec_driver_sql(IS_AWAITED).scalar()):
                    pass

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run)
        assert begun.wait(60) or future.result()
        try:
            yield
        finally:
            ended.set()
    future.result()


@pytest.mark.parametrize("command", BESIDE)
def test_nothing_is_written_beside_an_upgrade(prepared: Mirror, command: str) -> None:
    """A command that begins before an upgrade is committed does not go on in the new schema."""
    thaw(prepared.url, HEAD)
    before = rows(prepared)
    with upgrading(prepared.url):
        ran = run_mirror(*BESIDE[command])
    assert (ran.code, ran.out) == (1, "")
    assert NEWER in ran.err
    assert rows(prepared) == before


def test_no_list_is_applied_beside_an_upgrade(prepared: Mirror) -> None:
    """An upgrade that begins during the fetch, and is not committed when it ends, is noticed."""
    thaw(prepared.url, HEAD)
    before = rows(prepared)
    upgrades = ExitStack()

    def answer(_: HttpRequest) -> bytes:
        upgrades.enter_context(upgrading(prepared.url))  # once, as no page is asked for again
        return http(200, envelope(FOURTH))

    with upgrades, ScriptedServer([answer]).running() as server:
        ran = run_mirror("sync", "--base-url", server.base_url, "--accept-base-url")
    assert ran.code == 1
    assert NEWER in ran.err
    assert rows(prepared) == before


def rows(mirror: Mirror) -> object:
    """All rows but those of runs."""
    with opened(mirror.url) as connection:
        return {
            table: found for table, found in rows_of(connection).items() if table != "sync_runs"
        }


def test_an_older_database_is_left_alone(prepared: Mirror, tmp_path: Path) -> None:
    """A command that does not upgrade names the one that does."""
    thaw(prepared.url, HEAD)
    with later_revision(tmp_path) as head:
        message = (
            f"the database is at schema revision {HEAD}, and this version of mirror works with "
            f"{head}; run `mirror db upgrade`"
        )
        expect_refusals(prepared, [*WRITING, *READING], message)


def expect_refusals(mirror: Mirror, commands: list[tuple[str, ...]], message: str) -> None:
    """Expect that each command prints one message, and changes nothing."""
    before = everything(mirror)
    for words in commands:
        ran = run_mirror(*words)
        assert (words, ran.code, ran.out, ran.err) == (words, 1, "", f"mirror: {message}\n")
    assert everything(mirror) == before
    assert mirror.sandbox.request_log == []


def everything(mirror: Mirror) -> tuple[object, ...]:
    """Return everything in a database, and the bytes of its files."""
    path = parse_url(mirror.url).database or ""
    files = sorted(Path(path).parent.iterdir()) if mirror.url.startswith("sqlite") else []
    content = [(file, file.read_bytes()) for file in files]
    with opened(mirror.url) as connection:
        return content, inventory(connection), rows_of(connection)
