"""Real poolers before Postgres: PgBouncer in its modes, and pgpool with a standby."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from mirror import connect
from mirror.queries import helpers
from tests.support.fleets import Fleet
from tests.support.outages import (
    BEFORE_SYNC,
    DURING_MERGE,
    NEW,
    OLD,
    MakeMirror,
    OutageMirror,
    outage_mirrors,
    result_of,
    run_checked,
    wait_until,
)
from tests.support.poolers import accepts_connections, make_database, pgbouncer, pgpool
from tests.support.postgres import Server, execute, own_server, wait_for_replay
from tests.support.upstream import request

NUMBER = "+15550000001"

COMMANDS = (
    ["status", "--max-age", "1h"],
    ["requests"],
    ["changes"],
    ["history", NUMBER],
    ["quarantine"],
    ["db", "current"],
)


EMPTY = (
    "DROP SCHEMA public CASCADE",
    "DROP SCHEMA IF EXISTS mirror CASCADE",
    "CREATE SCHEMA public",
)


@pytest.fixture(scope="module")
def server_and_url() -> Iterator[tuple[Server, str]]:
    """A server, and the URL of its database without a pooler."""
    with own_server() as server:
        yield server, make_database(server)


@pytest.fixture
def server(server_and_url: tuple[Server, str]) -> Server:
    """A server to put behind PgBouncer."""
    return server_and_url[0]


@pytest.fixture
def direct_url(server_and_url: tuple[Server, str]) -> Iterator[str]:
    """The URL of its empty database, without a pooler."""
    yield server_and_url[1]
    execute(server_and_url[1], *EMPTY)


@pytest.fixture
def make_mirror(direct_url: str) -> Iterator[MakeMirror]:
    """Makes a mirror that commands reach by a URL."""

    def make(url: str) -> OutageMirror:
        mirror = make_direct(direct_url)
        mirror.command_url = url
        return mirror

    with outage_mirrors() as make_direct:
        yield make


def repeat_history(url: str) -> None:
    """Ask for a history many times, over one connection: psycopg prepares what it repeats."""
    with connect(url) as connection:
        for _ in range(12):
            assert helpers.phone_number_history(connection, NUMBER)


@pytest.mark.parametrize(
    ("mode", "size"), [("transaction", 1), ("transaction", 2), ("session", 1), ("session", 2)]
)
def test_everything_through_pgbouncer(
    server: Server,
    make_mirror: MakeMirror,
    direct_url: str,
    tmp_path: Path,
    *,
    mode: str,
    size: int,
) -> None:
    """Every command works, whatever connection of the pool each transaction gets."""
    with pgbouncer(server, {"pool_mode": mode, "default_pool_size": str(size)}) as url:
        mirror = make_mirror(url)
        assert run_checked("db", "upgrade", "--database", url).code == 0
        mirror.load_old()
        api = ("--base-url", mirror.sandbox.base_url)
        mirror.upstream.records = NEW
        mirror.sandbox.invalidate()
        before = mirror.state()
        assert run_checked("sync", "--dry-run", "--database", url, *api).code == 0
        assert mirror.state() == before
        mirror.assert_applied(mirror.run(NEW))
        for command in (
            *COMMANDS,
            ["doctor", *api],
            ["report", "--output", f"{tmp_path}/report.html"],
            ["export", f"{tmp_path}/export"],
        ):
            ran = run_checked(*command, "--database", url)
            assert ran.code == 0, ran
        for sql, code in (("pg_advisory_lock(7)", 0), ("pg_advisory_lock(8), 1 / 0", 2)):
            assert run_checked("query", f"SELECT {sql}", "--database", url).code == code
        kept = "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND objid IN (7, 8)"
        wait_until(lambda: not execute(direct_url, kept))
        repeat_history(url)
        repeat_history(url)
        with ThreadPoolExecutor(2 if mode == "transaction" else size) as sessions:
            list(sessions.map(repeat_history, [url] * 2))


@pytest.mark.parametrize("size", [1, 2])
def test_many_environments_through_pgbouncer(
    server: Server, direct_url: str, tmp_path: Path, size: int
) -> None:
    """Four jobs share a pool that is smaller; each environment is applied."""
    with (
        pgbouncer(server, {"default_pool_size": str(size)}) as url,
        Fleet(url, tmp_path) as fleet,
    ):
        for number in range(11):
            fleet.add(f"environment-{number}", 10 * number, 10 * number + 1)
        for outcome in ("applied", "applied", "unchanged"):
            ran = fleet.run("sync", "--jobs", "4", "--json")
            assert ran.code == 0, ran
            assert ran.out.count(f'"outcome":"{outcome}"') == 11
            if outcome == "applied":
                fleet.approve_first()
    [(requests,)] = execute(direct_url, "SELECT count(*) FROM release_requests")
    assert requests == 22


def test_statement_pooling_is_refused(server: Server, direct_url: str) -> None:
    """Without transactions nothing is written, and the error is no temporary one."""
    with pgbouncer(server, {"pool_mode": "statement"}) as url:
        for arguments in (["sync"], ["status"], ["db", "upgrade"]):
            ran = run_checked(*arguments, "--database", url)
            assert ran.code in {1, 2}, ran
            assert len(ran.err.splitlines()) == 1
    assert execute(direct_url, "SELECT to_regclass('sync_runs')") == [(None,)]


def test_a_pool_that_is_busy(server: Server, make_mirror: MakeMirror) -> None:
    """A sync that gets no connection of the pool in time fails for now, and the next one works."""
    settings = {"default_pool_size": "1", "query_wait_timeout": "1"}
    with pgbouncer(server, settings) as url:
        mirror = make_mirror(url)
        before = mirror.load_old()
        with psycopg.connect(url) as busy:
            busy.execute("SELECT 1")
            ran = mirror.run(NEW)
        mirror.assert_failed(ran, before)
        mirror.assert_recovers()


@pytest.mark.parametrize("moment", [BEFORE_SYNC, *DURING_MERGE])
def test_the_server_behind_pgbouncer_restarts(
    server: Server, make_mirror: MakeMirror, moment: str
) -> None:
    """Without a server behind it the pooler refuses: for now, and with the failed run on record."""
    settings = {"query_wait_timeout": "1", "server_login_retry": "0"}
    with pgbouncer(server, settings) as url:
        mirror = make_mirror(url)

        def restart() -> None:
            server.start()
            wait_until(lambda: accepts_connections(url))

        outage = mirror.at(moment, server.stop, restart)
        mirror.assert_survives(outage, *(["running"] if moment != BEFORE_SYNC else []))


# pgpool, a primary and its standby, which does not replay for the time of a test.


@dataclass(frozen=True)
class Pair:
    """A primary and its standby.

    Attributes:
        servers: both, the primary first.
        url: of the database on the primary.
    """

    servers: tuple[Server, Server]
    url: str

    def resume(self) -> None:
        """Let the standby replay everything."""
        execute(self.servers[1].url, "SELECT pg_wal_replay_resume()")
        wait_for_replay(*self.servers)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A primary with the database, and its standby."""
    with own_server() as primary, own_server(primary=primary) as standby:
        yield Pair((primary, standby), make_database(primary))


@pytest.fixture
def lagging(pair: Pair) -> Iterator[OutageMirror]:
    """A mirror that has synced OLD, and then NEW, which the standby has not replayed."""
    with outage_mirrors() as make:
        mirror = make(pair.url)
        mirror.load_old()
        wait_for_replay(*pair.servers)
        execute(pair.servers[1].url, "SELECT pg_wal_replay_pause()")
        mirror.run(NEW)
        yield mirror
        execute(pair.url, *EMPTY)
        pair.resume()


STATUS = "SELECT status FROM release_requests WHERE id = 'request-1'"


@pytest.mark.parametrize("statement_level", ["off", "on"])
def test_pgpool_sends_the_mirror_to_the_primary(
    pair: Pair, lagging: OutageMirror, statement_level: str, tmp_path: Path
) -> None:
    """Commands and helpers see what the last sync wrote; other readers see the standby."""
    with pgpool(*pair.servers, {"statement_level_load_balance": statement_level}) as url:
        lagging.command_url = url
        assert result_of(lagging.run())["outcome"] == "unchanged"
        assert result_of(lagging.run([request(1, status="rejected")]))["outcome"] == "applied"
        for command in (*COMMANDS, ["report", "--output", f"{tmp_path}/report.html"]):
            assert run_checked(*command, "--database", url).code == 0
        with connect(url) as connection:
            assert helpers.phone_number_history(connection, NUMBER)[-1].status == "rejected"
        assert run_checked("history", NUMBER, "--database", url).out.count("rejected")
        with psycopg.connect(url, autocommit=True) as reader:
            assert reader.execute(STATUS).fetchall() == [("pending",)]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("disable_load_balance_on_write", "'off'"), ("write_function_list", "'nextval'")],
)
def test_pgpool_with_other_settings(
    pair: Pair, lagging: OutageMirror, setting: str, value: str
) -> None:
    """A sync whose reads are sent to a standby that lags behind fails, and changes nothing.

    With the settings of the page it is applied.
    """
    before = lagging.state()
    with pgpool(*pair.servers, {setting: value}) as url:
        lagging.command_url = url
        for records in (OLD, NEW, [request(1, status="rejected")]):
            ran = lagging.run(records)
            assert ran.code == 75, ran
            assert lagging.state() == before
    with pgpool(*pair.servers, {}) as url:
        lagging.command_url = url
        assert lagging.run([request(1, status="rejected")]).code == 0


def test_pgbouncer_that_drops_the_schema_of_the_url(server: Server, direct_url: str) -> None:
    """The server decides which schema is meant, so no second mirror is made in another one."""
    execute(direct_url, "CREATE SCHEMA mirror")
    in_schema = "&options=-csearch_path%3Dmirror"
    assert run_checked("db", "upgrade", "--database", direct_url + in_schema).code == 0
    with pgbouncer(server, {"ignore_startup_parameters": "extra_float_digits, options"}) as url:
        ran = run_checked("db", "upgrade", "--database", url + in_schema)
    assert ran.code == 1, ran
    assert "the mirror is in the schema mirror" in ran.err
    assert execute(direct_url, "SELECT to_regclass('public.sync_runs')") == [(None,)]
