"""Outages of the database: the sync reports what happened, changes nothing, and the next recovers.

There is one of each kind here; `test_outages_in_full.py` stops, crashes and freezes a server
of its own, and `test_disk_outages.py` fills disks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from mirror.db import revisions
from mirror.db.engine import read_transaction
from mirror.db.urls import parse_url
from tests.support import moved_clock
from tests.support.databases import DATABASES
from tests.support.outages import (
    BEFORE_SYNC,
    DURING_FETCH,
    DURING_MERGE,
    HEAD,
    NEW,
    OLD,
    WRITERS_LOCK,
    MakeMirror,
    OutageMirror,
    cut_off,
    max_pages,
    nth_commit,
    outage_mirrors,
    patched,
    result_of,
)
from tests.support.postgres import execute
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
def mirror_in(make_ready_database: Callable[[str], str]) -> Iterator[MakeMirror]:
    """Makes mirrors: give it "sqlite" or "postgresql"."""
    with outage_mirrors() as make:
        yield lambda kind: make(make_ready_database(kind))


@pytest.fixture(params=DATABASES)
def mirror(request: pytest.FixtureRequest, mirror_in: MakeMirror) -> OutageMirror:
    """A mirror, once in each kind of database."""
    return mirror_in(request.param)


@pytest.fixture
def sqlite_mirror(mirror_in: MakeMirror) -> OutageMirror:
    """A mirror in SQLite, in a folder of its own."""
    return mirror_in("sqlite")


@pytest.fixture
def postgres_mirror(mirror_in: MakeMirror) -> OutageMirror:
    """A mirror in Postgres."""
    return mirror_in("postgresql")


@pytest.fixture
def proxy(postgres_mirror: OutageMirror) -> Iterator[TcpProxy]:
    """The connection of the command to the mirror in Postgres."""
    with TcpProxy.to(postgres_mirror.url).running() as running:
        postgres_mirror.command_url = running.url(postgres_mirror.url)
        yield running


# Postgres, or the connection to it.


@pytest.mark.parametrize("moment", DURING_MERGE)
def test_postgres_hangs_up(postgres_mirror: OutageMirror, moment: str) -> None:
    """A server that closes the connection during the merge, as a restart does, fails the run."""
    hang_up = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        f" WHERE datname = '{postgres_mirror.name}' AND pid <> pg_backend_pid()"
    )
    outage = postgres_mirror.at(moment, lambda: execute(postgres_mirror.url, hang_up))
    postgres_mirror.assert_survives(outage, "failed")


def test_a_commit_whose_answer_is_lost(postgres_mirror: OutageMirror, proxy: TcpProxy) -> None:
    """What was applied is printed and recorded as applied, though the connection broke."""
    postgres_mirror.load_old()
    with cut_off(proxy, nth_commit(2), delivers=True):
        ran = postgres_mirror.run(NEW)
    result = result_of(ran)
    assert (result["inserted"], result["updated"], result["missing"]) == (1, 1, 1)
    postgres_mirror.assert_applied(ran)


def test_a_commit_whose_answer_is_lost_for_good(
    postgres_mirror: OutageMirror, proxy: TcpProxy
) -> None:
    """If the server stays away the command fails for now, but the run is recorded as applied."""
    postgres_mirror.load_old()
    with cut_off(proxy, nth_commit(2), delivers=True, stays_dead=True):
        ran = postgres_mirror.run(NEW)
    assert (ran.code, result_of(ran)["outcome"]) == (75, "failed")
    ran = postgres_mirror.run()
    assert (ran.code, result_of(ran)["outcome"]) == (0, "unchanged")
    assert postgres_mirror.outcomes() == ["applied", "applied", "unchanged"]
    assert postgres_mirror.has_new()


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        pytest.param({}, "failed", id="the connection breaks"),
        pytest.param({"stays_dead": True}, "running", id="it breaks for good"),
        pytest.param({"silent": True}, "failed", id="it falls silent"),
    ],
)
def test_a_commit_that_never_arrives(
    postgres_mirror: OutageMirror, proxy: TcpProxy, options: dict[str, bool], recorded: str
) -> None:
    """Nothing was applied, and the run is recorded as failed if the server can be reached."""
    postgres_mirror.assert_survives(cut_off(proxy, nth_commit(2), **options), recorded)


@pytest.mark.parametrize(
    ("table", "moment", "recorded"),
    [
        ("alembic_version", BEFORE_SYNC, []),
        ("sync_runs", BEFORE_SYNC, []),
        ("sync_runs", DURING_FETCH, ["running"]),
        ("release_requests", DURING_FETCH, ["failed"]),
    ],
)
def test_a_locked_table(
    postgres_mirror: OutageMirror, table: str, moment: str, recorded: list[str]
) -> None:
    """The wait for a table that another session locked has an end, also the wait to read it."""
    moved_clock.skip_what_fails("A time-out of Postgres")
    lock = f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
    with patched(LOCK_WAIT=0.2):
        postgres_mirror.assert_survives(postgres_mirror.locked_from(moment, lock), *recorded)


def test_postgres_becomes_read_only(postgres_mirror: OutageMirror) -> None:
    """A database that only reads, and is no standby, stays so until somebody changes that."""
    url, database = postgres_mirror.url, f"ALTER DATABASE {postgres_mirror.name}"
    outage = postgres_mirror.at(
        DURING_FETCH,
        lambda: execute(url, f"{database} SET default_transaction_read_only = on"),
        lambda: execute(
            url,
            "SET default_transaction_read_only = off",
            f"{database} RESET default_transaction_read_only",
        ),
    )
    postgres_mirror.assert_survives(outage, "running", code=1)


@pytest.mark.parametrize("name", ["nowhere", "recovery"])  # a server says "recovery" as it starts
def test_a_wrong_url(postgres_mirror: OutageMirror, name: str) -> None:
    """A database that does not exist is no temporary failure, whatever its name."""
    url = parse_url(postgres_mirror.url).set(database=name)
    postgres_mirror.command_url = url.render_as_string(hide_password=False)
    ran = postgres_mirror.run(NEW)
    assert (ran.code, result_of(ran)["run_id"]) == (1, None), ran


# Either database.


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize(("moment", "recorded"), [(BEFORE_SYNC, []), (DURING_FETCH, ["running"])])
def test_another_writer(mirror_in: MakeMirror, kind: str, moment: str, recorded: list[str]) -> None:
    """The wait for another writer has an end."""
    if kind == "postgresql":
        moved_clock.skip_what_fails("A time-out of Postgres")
    mirror = mirror_in(kind)
    with patched(LOCK_WAIT=0.2):
        mirror.assert_survives(mirror.locked_from(moment, WRITERS_LOCK[kind]), *recorded)


def test_a_newer_schema(mirror: OutageMirror) -> None:
    """A database that a newer mirror has upgraded is left alone."""
    upgrade, downgrade = (partial(mirror.set_revision, name) for name in ("9999", HEAD))
    ran = mirror.assert_survives(mirror.at(BEFORE_SYNC, upgrade, downgrade), code=1)
    assert "install a newer version of mirror" in ran.err


def test_the_beginning_of_a_run_is_lost(mirror: OutageMirror) -> None:
    """A run whose row was lost in a failover to an older copy is not applied."""

    def fail_over() -> None:
        with mirror.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM sync_runs WHERE outcome = 'running'")

    mirror.assert_survives(mirror.at(DURING_FETCH, fail_over))


# A file of SQLite.


def test_an_exclusively_locked_file(sqlite_mirror: OutageMirror) -> None:
    """The wait for a file that another process lets nobody read has an end."""
    lock = ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE", "COMMIT")
    with patched(LOCK_WAIT=0.2):
        sqlite_mirror.assert_survives(sqlite_mirror.locked(*lock))


def test_sqlite_is_full(sqlite_mirror: OutageMirror) -> None:
    """If the disk is full the change is rolled back, and the run recorded as failed."""
    before = sqlite_mirror.load_old()
    ((pages,),) = sqlite_mirror.rows("PRAGMA page_count")
    large = [record | {"reason": "because " * 2000} for record in NEW]
    recorded: list[str] = []
    for part, limit in (("main", pages), ("main", pages + 2), ("temp", 1)):
        with max_pages(part, limit):
            ran = sqlite_mirror.run(large)
        recorded.append("failed")
        sqlite_mirror.assert_failed(ran, before, *recorded)
    sqlite_mirror.assert_recovers(*recorded)


def test_sqlite_is_full_before_the_first_sync(sqlite_mirror: OutageMirror) -> None:
    """If there is no room for the whole schema nothing of it is created."""
    sqlite_mirror.file.unlink()
    for pages in (1, 9):
        with max_pages("main", pages):
            assert sqlite_mirror.run(OLD).code == 75
        with read_transaction(sqlite_mirror.engine) as connection:
            assert revisions.current(connection) is None
    sqlite_mirror.load_old()
    assert sqlite_mirror.outcomes() == ["applied"]


@pytest.mark.parametrize(
    "content", [b"This is somebody's diary.\n" * 100, b"SQLite format 3\0" + bytes(5000)]
)
def test_a_file_that_is_no_database(sqlite_mirror: OutageMirror, content: bytes) -> None:
    """A file of another program is left as it is."""
    sqlite_mirror.file.write_bytes(content)
    ran = sqlite_mirror.run(OLD)
    assert (ran.code, result_of(ran)["run_id"]) == (1, None)
    assert sqlite_mirror.file.read_bytes() == content
    assert list(sqlite_mirror.file.parent.iterdir()) == [sqlite_mirror.file]


def test_a_damaged_page(sqlite_mirror: OutageMirror) -> None:
    """A damaged file is reported, and nothing of it is replaced."""

    @contextmanager
    def damaged() -> Iterator[None]:
        root = "SELECT rootpage FROM sqlite_master WHERE name = 'release_requests'"
        ((page,),), ((size,),) = sqlite_mirror.rows(root), sqlite_mirror.rows("PRAGMA page_size")
        start = (page - 1) * size
        with sqlite_mirror.file.open("r+b", buffering=0) as file:
            whole = os.pread(file.fileno(), size, start)
            os.pwrite(file.fileno(), b"\xff" * size, start)
            yield
            os.pwrite(file.fileno(), whole, start)

    assert "malformed" in sqlite_mirror.assert_survives(damaged(), "failed", code=1).err


def test_the_file_is_removed_during_a_sync(sqlite_mirror: OutageMirror) -> None:
    """If the file was removed there is no half mirror afterwards; the next sync starts anew."""
    sqlite_mirror.load_old()
    with sqlite_mirror.at(DURING_FETCH, sqlite_mirror.file.unlink):
        ran = sqlite_mirror.run(NEW)
    assert (ran.code, result_of(ran)["outcome"]) == (1, "failed")
    with read_transaction(sqlite_mirror.engine) as connection:
        assert revisions.current(connection) is None
    sqlite_mirror.load_old()
    sqlite_mirror.assert_recovers()
