"""Outages of the database: whatever fails when, the mirror tells the truth, and recovers.

There is one of each kind here; `stress/test_outages_in_full.py` stops, crashes and freezes a server
of its own, and fills disks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from mirror.db import engine as engine_module
from mirror.db import migrate
from mirror.db.engine import parse_url, read_transaction
from tests.support import moved_clock
from tests.support.databases import DATABASES
from tests.support.outages import (
    HEAD,
    LISTED,
    MADE_OF_NEW,
    NEW,
    OLD,
    START,
    WITHIN,
    WRITERS_LOCK,
    OutageMirror,
    ask,
    at,
    expect_failure,
    expect_recovery,
    expect_success,
    held,
    limited,
    outcomes,
    set_revision,
    sites,
    the_commit,
    told,
    until,
    with_password,
)
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
def site_in(make_ready_database: Callable[[str], str]) -> Iterator[Callable[[str], OutageMirror]]:
    """Makes mirrors: give it "sqlite" or "postgresql"."""
    with sites() as make:
        yield lambda kind: make(with_password(make_ready_database(kind)))


@pytest.fixture(params=DATABASES)
def site(request: pytest.FixtureRequest, site_in: Callable[[str], OutageMirror]) -> OutageMirror:
    """A mirror, once in each kind of database."""
    return site_in(request.param)


@pytest.fixture
def file_site(site_in: Callable[[str], OutageMirror]) -> OutageMirror:
    """A mirror in SQLite, in a folder of its own."""
    return site_in("sqlite")


@pytest.fixture
def server_site(site_in: Callable[[str], OutageMirror]) -> OutageMirror:
    """A mirror in Postgres."""
    return site_in("postgresql")


@pytest.fixture
def line(server_site: OutageMirror) -> Iterator[TcpProxy]:
    """The line over which commands reach the mirror in Postgres."""
    with TcpProxy.to(server_site.url).running() as running:
        server_site.door = running.url(server_site.url)
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Mirror waits for locks only briefly."""
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "LOCK_WAIT", 0.2)
        yield


# Postgres, or the line to it.


@pytest.mark.parametrize("moment", WITHIN)
def test_postgres_hangs_up(server_site: OutageMirror, moment: str) -> None:
    """A server that hangs up within the merge, as it stops or restarts, fails the run."""
    before = server_site.begin()
    hang_up = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        f" WHERE datname = '{server_site.name}' AND pid <> pg_backend_pid()"
    )
    with at(moment, server_site, lambda: ask(server_site.url, hang_up)):
        ran = server_site.run(NEW)
    expect_failure(server_site, ran, before, "failed")
    expect_recovery(server_site, "failed")


def test_a_commit_whose_answer_is_lost(server_site: OutageMirror, line: TcpProxy) -> None:
    """What was applied is on record as applied, and told so, though the line broke."""
    server_site.begin()
    line.cut(the_commit(2), delivers=True)
    ran = server_site.run(NEW)
    assert line.dead
    assert (told(ran)["inserted"], told(ran)["updated"], told(ran)["missing"]) == (1, 1, 1)
    expect_success(server_site, ran)


def test_a_commit_whose_answer_is_lost_for_good(server_site: OutageMirror, line: TcpProxy) -> None:
    """If nobody can be asked any more the command failed for now; the record knows better."""
    server_site.begin()
    line.cut(the_commit(2), delivers=True, stays_dead=True)
    ran = server_site.run(NEW)
    assert (ran.code, told(ran)["outcome"]) == (75, "failed")
    line.mend()
    ran = server_site.run()
    assert (ran.code, told(ran)["outcome"]) == (0, "unchanged")
    assert outcomes(server_site) == ["applied", "applied", "unchanged"]
    assert {query: server_site.rows(query) for query in MADE_OF_NEW} == MADE_OF_NEW


@pytest.mark.parametrize(
    ("stays_dead", "silent", "recorded", "later"),
    [
        pytest.param(False, False, "failed", "failed", id="the line breaks"),
        pytest.param(True, False, "running", "abandoned", id="it breaks for good"),
        pytest.param(False, True, "failed", "failed", id="it falls silent"),
    ],
)
def test_a_commit_that_never_arrives(
    server_site: OutageMirror,
    line: TcpProxy,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stays_dead: bool,
    silent: bool,
    recorded: str,
    later: str,
) -> None:
    """Nothing was applied, and the run is on record as failed, if anybody can be told."""
    before = server_site.begin()
    line.cut(the_commit(2), stays_dead=stays_dead, silent=silent)
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "RESPONSE_TIMEOUT", 1)
        ran = server_site.run(NEW)
    assert line.dead
    if silent:
        until(lambda: line.given_up is not None)
        assert line.given_up
    line.mend()
    expect_failure(server_site, ran, before, recorded)
    expect_recovery(server_site, later)


@pytest.mark.parametrize(
    ("table", "moment", "recorded", "later"),
    [
        ("alembic_version", START, [], []),
        ("sync_runs", START, [], []),
        ("sync_runs", LISTED, ["running"], ["abandoned"]),
        ("release_requests", LISTED, ["failed"], ["failed"]),
    ],
)
def test_a_locked_table(
    server_site: OutageMirror,
    impatient: None,
    *,
    table: str,
    moment: str,
    recorded: list[str],
    later: list[str],
) -> None:
    """A table that somebody locked is not waited for without an end, be it to read."""
    moved_clock.skip_what_fails("A time-out of Postgres")
    before = server_site.begin()
    with ExitStack() as stack:
        lock = held(server_site, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        with at(moment, server_site, lambda: stack.enter_context(lock)):
            ran = server_site.run(NEW)
    expect_failure(server_site, ran, before, *recorded)
    expect_recovery(server_site, *later)


def test_postgres_becomes_read_only(server_site: OutageMirror) -> None:
    """What passes by itself, as a failover does, is for the next sync."""
    before = server_site.begin()
    rule = f"ALTER DATABASE {server_site.name} {{}} default_transaction_read_only"
    harm, cure = f"{rule.format('SET')} = on", rule.format("RESET")
    with at(LISTED, server_site, lambda: ask(server_site.url, harm)):
        ran = server_site.run(NEW)
    ask(server_site.url, "SET default_transaction_read_only = off", cure)
    expect_failure(server_site, ran, before, "running")
    expect_recovery(server_site, "abandoned")


def test_a_wrong_url(server_site: OutageMirror) -> None:
    """A database that is not there is for somebody to mend, also if its name sounds otherwise."""
    url = parse_url(server_site.url)
    for name in ("nowhere", "recovery"):  # what a server says while it starts
        server_site.door = url.set(database=name).render_as_string(hide_password=False)
        ran = server_site.run(NEW)
        assert (ran.code, told(ran)["run_id"]) == (1, None), ran


# Either database.


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("moment", [START, LISTED])
def test_another_writer(
    site_in: Callable[[str], OutageMirror], impatient: None, kind: str, moment: str
) -> None:
    """Another writer that does not end is not waited for without an end."""
    if kind == "postgresql":
        moved_clock.skip_what_fails("A time-out of Postgres")
    site = site_in(kind)
    before = site.begin()
    begun = moment == LISTED
    with ExitStack() as stack:
        lock = held(site, WRITERS_LOCK[kind])
        with at(moment, site, lambda: stack.enter_context(lock)):
            ran = site.run(NEW)
        expect_failure(site, ran, before, *["running"] * begun)
    expect_recovery(site, *["abandoned"] * begun)


def test_a_newer_schema(site: OutageMirror) -> None:
    """A database that a newer mirror has upgraded is left alone."""
    before = site.begin()
    set_revision(site, "9999")
    ran = site.run(NEW)
    set_revision(site, HEAD)
    expect_failure(site, ran, before, code=1)
    assert "pip install --upgrade" in ran.err
    expect_recovery(site)


def test_the_beginning_of_a_run_is_lost(site: OutageMirror) -> None:
    """A run that a failover to an older copy has forgotten is not applied off the record."""
    before = site.begin()

    def fail_over() -> None:
        with site.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM sync_runs WHERE outcome = 'running'")

    with at(LISTED, site, fail_over):
        ran = site.run(NEW)
    expect_failure(site, ran, before)


# A file of SQLite.


def test_a_file_that_somebody_keeps_to_himself(file_site: OutageMirror, impatient: None) -> None:
    """Somebody who lets nobody even read the SQLite file is not waited for without an end."""
    before = file_site.begin()
    with held(file_site, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE", "COMMIT"):
        ran = file_site.run(NEW)
    expect_failure(file_site, ran, before)
    expect_recovery(file_site)


def test_sqlite_is_full(file_site: OutageMirror) -> None:
    """Where there is no more room the change is undone, and the run on record as failed."""
    before = file_site.begin()
    ((pages,),) = file_site.rows("PRAGMA page_count")
    wordy = [one | {"reason": "because " * 2000} for one in NEW]
    failures = 0
    for part, limit in (("main", pages), ("main", pages + 2), ("temp", 1)):
        with limited(part, limit):
            ran = file_site.run(wordy)
        failures += 1
        expect_failure(file_site, ran, before, *["failed"] * failures)
    expect_recovery(file_site, *["failed"] * failures)


def test_sqlite_is_full_before_the_first_sync(file_site: OutageMirror) -> None:
    """If there is no room for the whole schema there is none of it, until there is."""
    file_site.file.unlink()
    for pages in (1, 9):
        with limited("main", pages):
            assert file_site.run(OLD).code == 75
        with read_transaction(file_site.engine) as connection:
            assert migrate.current(connection) is None
    file_site.begin()
    assert outcomes(file_site) == ["applied"]


def test_a_file_that_is_no_database(file_site: OutageMirror) -> None:
    """A file of somebody else is left as it is."""
    for content in (b"This is somebody's diary.\n" * 100, b"SQLite format 3\0" + bytes(5000)):
        file_site.file.write_bytes(content)
        ran = file_site.run(OLD)
        assert (ran.code, told(ran)["run_id"]) == (1, None)
        assert file_site.file.read_bytes() == content
        assert list(file_site.file.parent.iterdir()) == [file_site.file]


def test_a_page_that_is_broken(file_site: OutageMirror) -> None:
    """A file that is damaged within is reported, and nothing of it is replaced."""
    before = file_site.begin()
    root = "SELECT rootpage FROM sqlite_master WHERE name = 'release_requests'"
    ((page,),), ((size,),) = file_site.rows(root), file_site.rows("PRAGMA page_size")
    with file_site.file.open("r+b") as file:
        file.seek((page - 1) * size)
        whole = file.read(size)
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    ran = file_site.run(NEW)
    assert (ran.code, told(ran)["outcome"]) == (1, "failed")
    assert "malformed" in ran.err
    with file_site.file.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(whole)
    expect_failure(file_site, ran, before, "failed", code=1)
    expect_recovery(file_site, "failed")


def test_the_file_is_removed_during_a_sync(file_site: OutageMirror) -> None:
    """Where somebody removed the file there is no half mirror afterwards; the next sync starts."""
    file_site.begin()
    with at(LISTED, file_site, file_site.file.unlink):
        ran = file_site.run(NEW)
    assert (ran.code, told(ran)["outcome"]) == (1, "failed")
    with read_transaction(file_site.engine) as connection:
        assert migrate.current(connection) is None
    file_site.begin()
    expect_recovery(file_site)
