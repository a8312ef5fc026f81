"""Outages of Postgres in all their kinds, with a server that tests may break."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from mirror import cli
from mirror.db import migrate, revisions
from mirror.db.engine import create_engine, read_transaction
from mirror.db.postgres import LIBPQ_DEFAULTS
from mirror.db.urls import parse_url
from tests.support.databases import DATABASES
from tests.support.disks import filled, small_disk
from tests.support.outages import (
    AT_COMMIT,
    BEFORE_SYNC,
    DURING_FETCH,
    DURING_MERGE,
    HEAD,
    MANY,
    NEW,
    OLD,
    PASSWORD,
    MakeMirror,
    OutageMirror,
    cut_off,
    nth_commit,
    outage_mirrors,
    patched,
    result_of,
    run_checked,
    wait_until,
)
from tests.support.postgres import NoPostgres, Server, empty_database, execute, own_server
from tests.support.tcp_proxy import LONG, TcpProxy
from tests.support.upstream import request


@pytest.fixture
def make_mirror() -> Iterator[MakeMirror]:
    """Makes mirrors of an upstream: give it the URL of a database."""
    with outage_mirrors() as make:
        yield make


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A Postgres server that tests may stop, with roles that log in by password."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(own_server())
        except NoPostgres as error:
            pytest.skip(str(error))
        execute(
            server.url,
            "CREATE ROLE suspects",
            "CREATE ROLE suspect LOGIN PASSWORD 'another one' IN ROLE suspects",
            "CREATE ROLE administrator LOGIN PASSWORD 'another one' IN ROLE suspects",
        )
        rules = server.data / "pg_hba.conf"
        rules.write_text(f"local all +suspects scram-sha-256\n{rules.read_text()}")
        server.stop("fast")
        server.start()
        yield server


@pytest.fixture(scope="module")
def template(server: Server) -> str:
    """The name of a database that has the schema, to copy."""
    name = "mirror_template"
    url = parse_url(server.url).set(database=name)
    execute(server.url, f"CREATE DATABASE {name}")
    migrate.upgrade(create_engine(url.render_as_string(hide_password=False)))
    return name


@pytest.fixture
def postgres_mirror(
    server: Server, template: str, make_mirror: MakeMirror
) -> Iterator[OutageMirror]:
    """A mirror on the server that tests may stop; at the end the server runs again."""
    with empty_database(server.url, template=template) as url:
        yield make_mirror(url)
        if server.pid is None:
            server.start()


@pytest.fixture
def mirror_in(
    request: pytest.FixtureRequest, make_mirror: MakeMirror, tmp_path: Path
) -> MakeMirror:
    """Makes mirrors: give it "sqlite" or "postgresql"."""

    def make(kind: str) -> OutageMirror:
        if kind == "sqlite":
            return make_mirror(f"sqlite:///{tmp_path}/mirror.db")
        return cast("OutageMirror", request.getfixturevalue("postgres_mirror"))

    return make


def backends(server: Server, mirror: OutageMirror) -> list[int]:
    """The server's processes for the sessions of a mirror, the newest first."""
    query = f"SELECT pid FROM pg_stat_activity WHERE datname = '{mirror.name}'"
    return [pid for (pid,) in execute(server.url, f"{query} ORDER BY backend_start DESC")]


# A Postgres server that stops, restarts or crashes.


@pytest.mark.parametrize(
    ("moment", "mode"),
    [
        (DURING_FETCH, "immediate"),
        *((moment, "immediate") for moment in DURING_MERGE),
        (AT_COMMIT, "fast"),
    ],
)
def test_postgres_stops(
    server: Server, postgres_mirror: OutageMirror, moment: str, mode: str
) -> None:
    """A server that stops for good leaves a run without an end, which the next sync marks."""
    outage = postgres_mirror.at(moment, lambda: server.stop(mode), server.start)
    postgres_mirror.assert_survives(outage, "running")


def restart(server: Server) -> None:
    """Stop a server, and start it."""
    server.stop()
    server.start()


@pytest.mark.parametrize("moment", DURING_MERGE)
def test_postgres_restarts(server: Server, postgres_mirror: OutageMirror, moment: str) -> None:
    """A restart during the merge fails the run, and is recorded."""
    outage = postgres_mirror.at(moment, lambda: restart(server))
    postgres_mirror.assert_survives(outage, "failed")


def test_postgres_restarts_during_the_fetch(server: Server, postgres_mirror: OutageMirror) -> None:
    """A restart while no transaction is open does no harm."""
    postgres_mirror.load_old()
    with postgres_mirror.at(DURING_FETCH, lambda: restart(server)):
        ran = postgres_mirror.run(NEW)
    postgres_mirror.assert_applied(ran)


@pytest.mark.parametrize("moment", DURING_MERGE)
def test_postgres_crashes(server: Server, postgres_mirror: OutageMirror, moment: str) -> None:
    """If a process of Postgres is killed all of it restarts: the run fails, recorded or not."""
    before = postgres_mirror.load_old()
    old = checkpointer(server)

    def kill() -> None:
        os.kill(backends(server, postgres_mirror)[0], signal.SIGKILL)

    with postgres_mirror.at(moment, kill):
        ran = postgres_mirror.run(NEW)
    wait_until(lambda: checkpointer(server) not in {None, old})
    recorded = postgres_mirror.outcomes()[-1]
    assert recorded in {"failed", "running"}
    postgres_mirror.assert_failed(ran, before, recorded)
    postgres_mirror.assert_recovers(recorded)


def checkpointer(server: Server) -> int | None:
    """A process that Postgres starts anew after a crash; None while it accepts no connection."""
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    try:
        return next((pid for (pid,) in execute(server.url, query)), None)
    except psycopg.OperationalError:
        return None


# A connection to Postgres that breaks or falls silent.


@pytest.fixture
def proxy(server: Server) -> Iterator[TcpProxy]:
    """A TCP proxy of the server that tests may stop."""
    with TcpProxy(server.socket).running() as running:
        yield running


@pytest.fixture
def proxy_mirror(postgres_mirror: OutageMirror, proxy: TcpProxy) -> OutageMirror:
    """A mirror that the command reaches through the proxy."""
    postgres_mirror.command_url = proxy.url(postgres_mirror.url)
    return postgres_mirror


@pytest.mark.parametrize(
    ("records", "code", "outcome"),
    [
        pytest.param([*NEW, "rubbish"], cli.EXIT_NEWLY_QUARANTINED, "applied", id="quarantine"),
        pytest.param(None, 0, "unchanged", id="nothing new"),
    ],
)
def test_a_commit_whose_answer_is_lost(
    proxy_mirror: OutageMirror,
    proxy: TcpProxy,
    records: list[Any] | None,
    code: int,
    outcome: str,
) -> None:
    """The exit code and the counts are those that the answer would have brought."""
    proxy_mirror.load_old()
    with cut_off(proxy, nth_commit(2), delivers=True):
        ran = proxy_mirror.run(records)
    result = result_of(ran)
    assert (ran.code, result["outcome"]) == (code, outcome)
    assert (result["unchanged"], result["updated"]) == ((3, 0) if records is None else (1, 1))
    assert proxy_mirror.outcomes() == ["applied", outcome]


def test_a_commit_whose_answer_never_comes(proxy_mirror: OutageMirror, proxy: TcpProxy) -> None:
    """If the connection falls silent after the commit, the run is printed as applied."""
    proxy_mirror.load_old()
    with cut_off(proxy, nth_commit(2), delivers=True, silent=True):
        ran = proxy_mirror.run(NEW)
    proxy_mirror.assert_applied(ran)


@pytest.mark.parametrize(
    ("words", "recorded"),
    [
        ("pg_catalog.version()", []),  # SQLAlchemy's first statement
        ("alembic_version", []),
        ("COPY pg_temp.mirror_staged", ["failed"]),
    ],
)
def test_the_connection_falls_silent(
    proxy_mirror: OutageMirror, proxy: TcpProxy, words: str, recorded: list[str]
) -> None:
    """A connection on which nothing comes any more, but which does not break, is closed."""
    outage = cut_off(proxy, lambda message: words.encode() in message, silent=True)
    proxy_mirror.assert_survives(outage, *recorded)


@pytest.mark.parametrize("delivers", [False, True], ids=["lost", "unanswered"])
def test_the_connection_breaks_in_the_upgrade(
    server: Server,
    proxy: TcpProxy,
    make_mirror: MakeMirror,
    delivers: bool,
) -> None:
    """Schema and run are committed together or not at all; the next sync goes on from that."""
    with empty_database(server.url) as url:
        mirror = make_mirror(url)
        mirror.command_url = proxy.url(mirror.url)
        with cut_off(proxy, nth_commit(1), delivers=delivers):
            ran = mirror.run(OLD)
        assert (ran.code, result_of(ran)["run_id"]) == (75, None)
        with read_transaction(mirror.engine) as connection:
            assert revisions.current(connection) == (HEAD if delivers else None)
        mirror.load_old()
        assert mirror.run(NEW).code == 0
        assert mirror.has_new()
        lost = ["abandoned"] * delivers  # the run whose beginning was committed unnoticed
        assert mirror.outcomes() == [*lost, "applied", "applied"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("delivers", "stays_dead"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["lost", "unanswered", "lost for good", "unanswered for good"],
)
def test_the_line_breaks_anywhere(
    proxy_mirror: OutageMirror, proxy: TcpProxy, in_full: bool, delivers: bool, stays_dead: bool
) -> None:
    """Whatever message is the last one, the run is recorded as applied if its rows are there."""
    proxy_mirror.load_old()
    for number in count(1, 1 if in_full else 11):
        before, known = proxy_mirror.state(), len(proxy_mirror.outcomes())
        proxy.cut(nth_message(number), delivers=delivers, stays_dead=stays_dead)
        ran = proxy_mirror.run([request(1, status=f"status {number}"), request(3)])
        was_cut = proxy.is_cut
        proxy.restore()
        status = "SELECT status FROM release_requests WHERE id = 'request-1'"
        applied = proxy_mirror.rows(status) == [(f"status {number}",)]
        assert applied or proxy_mirror.state() == before
        assert ("applied" in proxy_mirror.outcomes()[known:]) == applied
        if not (applied and delivers and stays_dead):  # otherwise it cannot be known
            expected = (0, "applied") if applied else (75, "failed")
            assert (ran.code, result_of(ran)["outcome"]) == expected
        if not was_cut:
            break
    assert number > 30
    assert proxy_mirror.run(NEW).code == 0
    assert "running" not in proxy_mirror.outcomes()


def nth_message(number: int) -> Callable[[bytes], bool]:
    """Match the n-th message of a sync."""
    seen = count(1)
    return lambda _: next(seen) == number


# A Postgres server that freezes.


class ProcessFreezer:
    """Freezes processes, and thaws them."""

    def __init__(self) -> None:
        self._frozen: list[int] = []

    def freeze(self, pid: int) -> None:
        """Suspend a process."""
        os.kill(pid, signal.SIGSTOP)
        self._frozen.append(pid)

    def thaw(self) -> None:
        """Resume the processes."""
        while self._frozen:
            with suppress(ProcessLookupError):
                os.kill(self._frozen.pop(), signal.SIGCONT)


@pytest.fixture
def freezer() -> Iterator[ProcessFreezer]:
    """Freezes processes, which resume after a while whatever happens."""
    freezer = ProcessFreezer()
    timer = threading.Timer(LONG, freezer.thaw)
    timer.start()
    yield freezer
    timer.cancel()
    timer.join()
    freezer.thaw()


def test_a_frozen_server(
    server: Server,
    postgres_mirror: OutageMirror,
    freezer: ProcessFreezer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The attempt to connect to a server that does not respond has an end."""
    monkeypatch.setitem(LIBPQ_DEFAULTS, "connect_timeout", 2)
    pid = server.pid
    assert pid is not None
    outage = postgres_mirror.at(BEFORE_SYNC, lambda: freezer.freeze(pid), freezer.thaw)
    postgres_mirror.assert_survives(outage)


@pytest.mark.parametrize("moment", DURING_MERGE)
def test_a_frozen_backend(
    server: Server, postgres_mirror: OutageMirror, freezer: ProcessFreezer, moment: str
) -> None:
    """A backend that freezes is given up; what it commits later is what is recorded."""
    before = postgres_mirror.load_old()

    def freeze() -> None:
        freezer.freeze(backends(server, postgres_mirror)[0])

    with patched(LOCK_WAIT=0.2, RESPONSE_TIMEOUT=1), postgres_mirror.at(moment, freeze):
        ran = postgres_mirror.run(NEW)
    assert (ran.code, result_of(ran)["outcome"]) == (75, "failed")
    freezer.thaw()
    wait_until(lambda: not backends(server, postgres_mirror))
    if moment == AT_COMMIT and postgres_mirror.outcomes()[-1] == "applied":
        assert postgres_mirror.has_new()
        assert result_of(postgres_mirror.run())["outcome"] == "unchanged"
    else:
        postgres_mirror.assert_failed(ran, before, "running")
        postgres_mirror.assert_recovers("running")


# Locks of other sessions.


@pytest.mark.parametrize("kind", DATABASES)
def test_a_reader_blocks_no_sync(mirror_in: MakeMirror, kind: str) -> None:
    """A BI tool that reads for hours does not block a sync."""
    mirror = mirror_in(kind)
    mirror.load_old()
    with (
        patched(LOCK_WAIT=0.2),
        mirror.locked("BEGIN", "SELECT * FROM release_request_versions"),
    ):
        ran = mirror.run(NEW)
    mirror.assert_applied(ran)


NEXT_REVISION = f"""
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{HEAD}"


def upgrade() -> None:
    op.add_column("release_requests", sa.Column("colour", sa.Text))


def downgrade() -> None:
    op.drop_column("release_requests", "colour")
"""


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Installs a version of mirror that has one revision more."""

    def install() -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(
            revisions.scripts_folder(), folder, ignore=shutil.ignore_patterns("__pycache__")
        )
        (folder / "versions" / "9999_colour.py").write_text(NEXT_REVISION)
        monkeypatch.setattr(revisions, "scripts_folder", lambda: folder)

    return install


@pytest.mark.parametrize(
    ("kind", "statement", "code"),
    [
        ("sqlite", "SELECT * FROM release_requests", 0),
        ("sqlite", "DELETE FROM sync_runs", 75),
        ("postgresql", "SELECT * FROM release_requests", 75),
        ("postgresql", "LOCK TABLE release_requests IN SHARE MODE", 75),
    ],
)
def test_an_upgrade_beside_other_sessions(
    mirror_in: MakeMirror,
    next_version: Callable[[], None],
    kind: str,
    statement: str,
    code: int,
) -> None:
    """An upgrade that another session blocks fails for now, changes nothing, and succeeds later."""
    mirror = mirror_in(kind)
    before = mirror.load_old()
    next_version()
    with patched(LOCK_WAIT=0.2), mirror.locked("BEGIN", statement):
        upgraded = run_checked("db", "upgrade", "--database", mirror.command_url)
        assert upgraded.code == code, upgraded
        current = run_checked("db", "current", "--database", mirror.command_url)
        assert current.out == ("9999\n" if code == 0 else f"{HEAD}\n")
        if code:
            mirror.assert_failed(mirror.run(NEW), before)
    assert run_checked("db", "upgrade", "--database", mirror.command_url).code == 0
    mirror.assert_recovers()


# A Postgres server that refuses.


RIGHTS = "ALL TABLES IN SCHEMA public"
REFUSALS = {
    "too many connections of the role": (
        "ALTER ROLE {role} CONNECTION LIMIT 0", "ALTER ROLE {role} CONNECTION LIMIT -1", 75,
    ),
    "too many connections to the database": (
        "ALTER DATABASE {name} CONNECTION LIMIT 0", "ALTER DATABASE {name} CONNECTION LIMIT -1", 75,
    ),
    "read-only": (
        "ALTER DATABASE {name} SET default_transaction_read_only = on",
        "ALTER DATABASE {name} RESET default_transaction_read_only",
        1,
    ),
    "no longer a user": ("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN", 1),
    "may not connect": (
        "REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {name} TO PUBLIC",
        1,
    ),
    "may not see": (
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC", "GRANT USAGE ON SCHEMA public TO PUBLIC", 1,
    ),
    "may not read": (
        f"REVOKE ALL ON {RIGHTS} FROM {{role}}", f"GRANT ALL ON {RIGHTS} TO {{role}}", 1,
    ),
    "may not write": (
        f"REVOKE INSERT, UPDATE, DELETE ON {RIGHTS} FROM {{role}}",
        f"GRANT ALL ON {RIGHTS} TO {{role}}",
        1,
    ),
    "may not make temporary tables": (
        "REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC",
        "GRANT TEMPORARY ON DATABASE {name} TO PUBLIC",
        1,
    ),
}  # fmt: skip
"""By name: what a server's administrator does, how it is undone, and the exit code."""


def use_worker_role(mirror: OutageMirror) -> str:
    """Make the command log in as a role with the rights it needs; return its name."""
    role = f"worker_{uuid.uuid4().hex[:12]}"
    execute(
        mirror.url,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
    )
    url = parse_url(mirror.url).set(username=role, drivername="postgresql")
    mirror.command_url = url.render_as_string(hide_password=False)
    return role


@pytest.mark.parametrize(
    ("refusal", "moment", "recorded"),
    [
        *((name, BEFORE_SYNC, []) for name in REFUSALS if "temporary" not in name),
        ("may not write", DURING_FETCH, ["running"]),
        ("may not make temporary tables", BEFORE_SYNC, ["failed"]),
    ],
)
def test_postgres_refuses(
    server: Server,
    postgres_mirror: OutageMirror,
    refusal: str,
    moment: str,
    recorded: list[str],
) -> None:
    """The exit code distinguishes what passes by itself from what a person must fix."""
    names = {"role": use_worker_role(postgres_mirror), "name": postgres_mirror.name}
    cause, cure, code = REFUSALS[refusal]

    def administer(statement: str) -> None:
        url = postgres_mirror.url if "SCHEMA" in statement else server.url
        execute(url, statement.format(**names))

    outage = postgres_mirror.at(moment, lambda: administer(cause), lambda: administer(cure))
    postgres_mirror.assert_survives(outage, *recorded, code=code)


@pytest.mark.parametrize(
    ("role", "password"),
    [
        ("nobody", None),
        ("suspect", PASSWORD),
        ("suspect", None),
        ("administrator", PASSWORD),  # a server says "administrator" as it stops
    ],
)
def test_a_wrong_user(
    server: Server,
    make_mirror: MakeMirror,
    role: str,
    password: str | None,
) -> None:
    """A wrong user or password is no temporary failure, whatever its name is."""
    url = parse_url(server.url).set(drivername="postgresql", username=role, password=password)
    mirror = make_mirror(server.url)
    mirror.command_url = url.render_as_string(hide_password=False)
    ran = mirror.run(NEW)
    assert (ran.code, result_of(ran)["run_id"]) == (1, None), ran


def test_staging_is_cancelled(server: Server, proxy_mirror: OutageMirror, proxy: TcpProxy) -> None:
    """A statement that an administrator or a time-out cancels fails the run for now."""
    cancelled: list[tuple[bool]] = []

    def cancel(message: bytes) -> bool:
        if b"\tphone-1\t" in message and not cancelled:  # a row of COPY
            pid = backends(server, proxy_mirror)[0]
            cancelled.extend(execute(server.url, f"SELECT pg_cancel_backend({pid})"))
        return False

    outage = proxy_mirror.at(BEFORE_SYNC, lambda: proxy.cut(cancel), proxy.restore)
    proxy_mirror.assert_survives(outage, "failed")
    assert cancelled == [(True,)]


# A disk that is full.


def test_postgres_on_a_full_disk(server: Server, template: str, make_mirror: MakeMirror) -> None:
    """A change that finds no room in Postgres fails for now, and is recorded as failed."""
    name = f"small_{uuid.uuid4().hex[:12]}"
    with small_disk(f"size=64m,mode=0700,uid={server.data.stat().st_uid}") as disk:
        execute(server.url, f"CREATE TABLESPACE {name} LOCATION '{disk}'")
        try:
            execute(server.url, f"CREATE DATABASE {name} TEMPLATE {template} TABLESPACE {name}")
            mirror = make_mirror(parse_url(server.url).set(database=name).render_as_string())
            before = mirror.load_old()
            with filled(disk, 256):
                ran = mirror.run(MANY)
            mirror.assert_failed(ran, before, "failed")
            mirror.assert_applies_many()
        finally:
            drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
            execute(server.url, drop, f"DROP TABLESPACE {name}")
