"""Outages of the database in all their kinds, with a Postgres and disks that tests may break."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import (
    ExitStack,
    suppress,
)
from itertools import count
from pathlib import Path
from typing import cast

import psycopg
import pytest

from mirror import cli
from mirror.db import engine as engine_module
from mirror.db import migrate
from mirror.db.engine import LIBPQ_DEFAULTS, create_engine, parse_url, read_transaction
from tests.support import ROOT, postgres
from tests.support.commands import Ran
from tests.support.databases import DATABASES
from tests.support.outages import (
    COMMIT,
    HEAD,
    LISTED,
    MADE_OF_NEW,
    MANY,
    NEW,
    OLD,
    PASSWORD,
    START,
    WITHIN,
    OutageMirror,
    ask,
    at,
    discreet,
    expect_failure,
    expect_recovery,
    expect_success,
    held,
    limited,
    outcomes,
    run_discreetly,
    sites,
    the_commit,
    told,
    until,
    with_password,
)
from tests.support.tcp_proxy import LONG, TcpProxy
from tests.support.upstream import TOKEN, request


def in_own_process(site: OutageMirror, *before: str, **environment: str) -> Ran:
    """Sync in a process of its own; `before` are words in front of the command."""
    site.sandbox.forget()
    done = subprocess.run(
        [*before, sys.executable, "-m", "mirror", *site.arguments()],
        cwd=ROOT,
        env=os.environ | {"TALKOVER_TOKEN": TOKEN} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return discreet(Ran(done.returncode, done.stdout, done.stderr))


@pytest.fixture
def make_site() -> Iterator[Callable[[str], OutageMirror]]:
    """Makes mirrors of an upstream: give it the URL of a database."""
    with sites() as make:
        yield make


@pytest.fixture
def file_site(tmp_path: Path, make_site: Callable[[str], OutageMirror]) -> OutageMirror:
    """A mirror in SQLite, in a folder of its own."""
    (tmp_path / "data").mkdir()
    return make_site(f"sqlite:///{tmp_path}/data/mirror.db")


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """A Postgres server that tests may stop, with roles whose password it asks for."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres.own_server())
        except postgres.NoPostgres as error:
            pytest.skip(str(error))
        ask(
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
def template(server: postgres.Server) -> str:
    """The name of a database that has the schema, to copy."""
    name = "mirror_template"
    url = parse_url(server.url).set(database=name)
    ask(server.url, f"CREATE DATABASE {name}")
    migrate.upgrade(create_engine(url.render_as_string(hide_password=False)))
    return name


@pytest.fixture
def server_site(
    server: postgres.Server, template: str, make_site: Callable[[str], OutageMirror]
) -> Iterator[OutageMirror]:
    """A mirror on the server that tests may stop; in the end it runs again."""
    with postgres.empty_database(server.url, template=template) as url:
        yield make_site(with_password(url))
        if server.pid is None:
            server.start()


@pytest.fixture
def site_in(request: pytest.FixtureRequest) -> Callable[[str], OutageMirror]:
    """Makes mirrors: give it "sqlite" or "postgresql"."""
    names = {"sqlite": "file_site", "postgresql": "server_site"}
    return lambda kind: cast("OutageMirror", request.getfixturevalue(names[kind]))


@pytest.fixture(params=DATABASES)
def site(request: pytest.FixtureRequest, site_in: Callable[[str], OutageMirror]) -> OutageMirror:
    """A mirror, once in each kind of database."""
    return site_in(request.param)


def backends(server: postgres.Server, site: OutageMirror) -> list[int]:
    """The processes that serve a mirror, the newest first."""
    query = f"SELECT pid FROM pg_stat_activity WHERE datname = '{site.name}'"
    return [pid for (pid,) in ask(server.url, f"{query} ORDER BY backend_start DESC")]


# A Postgres server that stops, restarts or crashes.


@pytest.mark.parametrize(
    ("moment", "mode"),
    [(LISTED, "immediate"), *((moment, "immediate") for moment in WITHIN), (COMMIT, "fast")],
)
def test_postgres_stops(
    server: postgres.Server, server_site: OutageMirror, moment: str, mode: str
) -> None:
    """A server that stops for good leaves a run without an end, which the next one finds."""
    before = server_site.begin()
    with at(moment, server_site, lambda: server.stop(mode)):
        ran = server_site.run(NEW)
    server.start()
    expect_failure(server_site, ran, before, "running")
    expect_recovery(server_site, "abandoned")


@pytest.mark.parametrize("moment", [LISTED, *WITHIN])
def test_postgres_restarts(server: postgres.Server, server_site: OutageMirror, moment: str) -> None:
    """A restart within the merge fails the run, and is on record; before it, it does no harm."""
    before = server_site.begin()

    def restart() -> None:
        server.stop()
        server.start()

    with at(moment, server_site, restart):
        ran = server_site.run(NEW)
    if moment == LISTED:
        expect_success(server_site, ran)
    else:
        expect_failure(server_site, ran, before, "failed")
        expect_recovery(server_site, "failed")


@pytest.mark.parametrize("moment", WITHIN)
def test_postgres_crashes(server: postgres.Server, server_site: OutageMirror, moment: str) -> None:
    """If a process of Postgres is killed all of it recovers: the run fails, on record or not."""
    before = server_site.begin()
    helper = checkpointer(server)
    with at(moment, server_site, lambda: os.kill(backends(server, server_site)[0], signal.SIGKILL)):
        ran = server_site.run(NEW)
    until(lambda: checkpointer(server) not in {None, helper})
    recorded = outcomes(server_site)[-1]
    assert recorded in {"failed", "running"}
    expect_failure(server_site, ran, before, recorded)
    expect_recovery(server_site, "failed" if recorded == "failed" else "abandoned")


def checkpointer(server: postgres.Server) -> int | None:
    """A process that Postgres starts anew after a crash; None while it lets nobody in."""
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    try:
        return next((pid for (pid,) in ask(server.url, query)), None)
    except psycopg.OperationalError:
        return None


# A line to Postgres that breaks.


@pytest.fixture
def line(server: postgres.Server) -> Iterator[TcpProxy]:
    """A line to the server that tests may stop."""
    with TcpProxy(server.socket).running() as running:
        yield running


@pytest.fixture
def line_site(server_site: OutageMirror, line: TcpProxy) -> OutageMirror:
    """A mirror that commands reach over a line."""
    server_site.door = line.url(server_site.url)
    return server_site


def test_the_answer_about_new_quarantine_is_lost(line_site: OutageMirror, line: TcpProxy) -> None:
    """The exit code is the one that the answer would have brought."""
    line_site.begin()
    line.cut(the_commit(2), delivers=True)
    assert line_site.run([*NEW, "rubbish"]).code == cli.EXIT_NEWLY_QUARANTINED
    assert line.dead
    assert outcomes(line_site) == ["applied", "applied"]


def test_the_answer_about_nothing_new_is_lost(line_site: OutageMirror, line: TcpProxy) -> None:
    """A run that found nothing new says so, though the line broke."""
    before = line_site.begin()
    line.cut(the_commit(2), delivers=True)
    ran = line_site.run()
    assert line.dead
    assert (ran.code, told(ran)["outcome"], told(ran)["unchanged"]) == (0, "unchanged", 3)
    assert outcomes(line_site) == ["applied", "unchanged"]
    assert line_site.state() == before


@pytest.mark.parametrize("delivers", [False, True], ids=["lost", "unanswered"])
def test_the_line_breaks_in_the_upgrade(
    server: postgres.Server,
    line: TcpProxy,
    make_site: Callable[[str], OutageMirror],
    delivers: bool,
) -> None:
    """Schema and run are there as a whole or not at all; the next sync goes on from that."""
    with postgres.empty_database(server.url) as url:
        site = make_site(with_password(url))
        site.door = line.url(site.url)
        line.cut(the_commit(1), delivers=delivers)
        ran = site.run(OLD)
        assert line.dead
        assert (ran.code, told(ran)["run_id"]) == (75, None)
        with read_transaction(site.engine) as connection:
            assert migrate.current(connection) == (HEAD if delivers else None)
        site.begin()
        lost = ["abandoned"] * delivers  # the run that nobody knew to be on record
        assert outcomes(site) == [*lost, "applied"]
        assert site.run(NEW).code == 0
        assert {query: site.rows(query) for query in MADE_OF_NEW} == MADE_OF_NEW
        assert outcomes(site) == [*lost, "applied", "applied"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("delivers", "stays_dead"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["lost", "unanswered", "lost for good", "unanswered for good"],
)
def test_the_line_breaks_anywhere(
    line_site: OutageMirror, line: TcpProxy, in_full: bool, delivers: bool, stays_dead: bool
) -> None:
    """Whatever message is the last one, the run is on record as applied if its rows are there."""
    line_site.begin()
    for place in count(1, 1 if in_full else 11):
        before, known = line_site.state(), len(outcomes(line_site))
        line.cut(the_message(place), delivers=delivers, stays_dead=stays_dead)
        ran = line_site.run([request(1, status=f"status {place}"), request(3)])
        was_cut = line.dead
        line.mend()
        status = "SELECT status FROM release_requests WHERE id = 'request-1'"
        applied = line_site.rows(status) == [(f"status {place}",)]
        assert applied or line_site.state() == before
        assert ("applied" in outcomes(line_site)[known:]) == applied
        if not (applied and delivers and stays_dead):  # otherwise it cannot be known
            expected = (0, "applied") if applied else (75, "failed")
            assert (ran.code, told(ran)["outcome"]) == expected
        if not was_cut:
            break
    assert place > 30
    assert line_site.run(NEW).code == 0
    assert "running" not in outcomes(line_site)


def the_message(number: int) -> Callable[[bytes], bool]:
    """Tells the so-manyth message of a sync."""
    seen = count(1)
    return lambda _: next(seen) == number


# A Postgres server, or a line to it, that neither answers nor breaks.


class Cold:
    """Freezes processes, and thaws them."""

    def __init__(self) -> None:
        self._frozen: list[int] = []

    def freeze(self, pid: int) -> None:
        """Let a process do nothing any more."""
        os.kill(pid, signal.SIGSTOP)
        self._frozen.append(pid)

    def thaw(self) -> None:
        """Let the processes go on."""
        while self._frozen:
            with suppress(ProcessLookupError):
                os.kill(self._frozen.pop(), signal.SIGCONT)


@pytest.fixture
def cold() -> Iterator[Cold]:
    """Freezes processes, which before long go on, whatever happens."""
    made = Cold()
    end = threading.Timer(LONG, made.thaw)
    end.start()
    yield made
    end.cancel()
    end.join()
    made.thaw()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Mirror waits for locks only briefly; `undo` makes it patient again."""
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "LOCK_WAIT", 0.2)
        yield patched


def test_a_frozen_server(
    server: postgres.Server, server_site: OutageMirror, cold: Cold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not answer the call is given up."""
    before = server_site.begin()
    monkeypatch.setitem(LIBPQ_DEFAULTS, "connect_timeout", 2)
    pid = server.pid
    assert pid is not None
    cold.freeze(pid)
    ran = server_site.run(NEW)
    cold.thaw()
    expect_failure(server_site, ran, before)
    expect_recovery(server_site)


@pytest.mark.parametrize("moment", WITHIN)
def test_a_frozen_backend(
    server: postgres.Server,
    server_site: OutageMirror,
    cold: Cold,
    impatient: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """A server that stops in the middle is given up; what it does later is what is on record."""
    before = server_site.begin()
    impatient.setattr(engine_module, "RESPONSE_TIMEOUT", 1)
    with at(moment, server_site, lambda: cold.freeze(backends(server, server_site)[0])):
        ran = server_site.run(NEW)
    impatient.undo()
    assert (ran.code, told(ran)["outcome"]) == (75, "failed")
    cold.thaw()
    until(lambda: not backends(server, server_site))
    if moment == COMMIT and outcomes(server_site)[-1] == "applied":
        assert {query: server_site.rows(query) for query in MADE_OF_NEW} == MADE_OF_NEW
        assert told(server_site.run())["outcome"] == "unchanged"
    else:
        expect_failure(server_site, ran, before, "running")
        expect_recovery(server_site, "abandoned")


@pytest.mark.parametrize(
    ("words", "recorded"),
    [
        ("pg_catalog.version()", []),  # SQLAlchemy's first question
        ("alembic_version", []),
        ("COPY staged", ["failed"]),
    ],
)
def test_a_line_that_falls_silent(
    line_site: OutageMirror,
    line: TcpProxy,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    recorded: list[str],
) -> None:
    """A line that brings no answers any more, but does not break, is given up."""
    before = line_site.begin()
    line.cut(lambda message: words.encode() in message, silent=True)
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "RESPONSE_TIMEOUT", 1)
        ran = line_site.run(NEW)
    until(lambda: line.given_up is not None)
    assert line.given_up
    expect_failure(line_site, ran, before, *recorded)
    expect_recovery(line_site, *recorded)


@pytest.mark.parametrize("delivers", [False, True], ids=["lost", "unanswered"])
def test_a_line_that_falls_silent_at_the_commit(
    line_site: OutageMirror, line: TcpProxy, monkeypatch: pytest.MonkeyPatch, delivers: bool
) -> None:
    """Whether the merge was committed or not, that is what is told and on record."""
    before = line_site.begin()
    line.cut(the_commit(2), delivers=delivers, silent=True)
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "RESPONSE_TIMEOUT", 1)
        ran = line_site.run(NEW)
    until(lambda: line.given_up is not None)
    assert line.given_up
    if delivers:
        expect_success(line_site, ran)
    else:
        expect_failure(line_site, ran, before, "failed")
        expect_recovery(line_site, "failed")


# Locks that somebody else holds.


def test_a_reader_stops_no_sync(site: OutageMirror, impatient: object) -> None:
    """A BI tool that reads for hours does not stop a sync."""
    site.begin()
    with held(site, "BEGIN", "SELECT * FROM release_request_versions"):
        ran = site.run(NEW)
    expect_success(site, ran)


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
            migrate.scripts_folder(), folder, ignore=shutil.ignore_patterns("__pycache__")
        )
        (folder / "versions" / "9999_colour.py").write_text(NEXT_REVISION)
        monkeypatch.setattr(migrate, "scripts_folder", lambda: folder)

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
def test_an_upgrade_while_others_are_at_work(
    site_in: Callable[[str], OutageMirror],
    next_version: Callable[[], None],
    impatient: object,
    *,
    kind: str,
    statement: str,
    code: int,
) -> None:
    """An upgrade that others are in the way of fails for now, changes nothing, and goes later."""
    site = site_in(kind)
    before = site.begin()
    next_version()
    with held(site, "BEGIN", statement):
        upgraded = run_discreetly("db", "upgrade", "--database", site.door)
        assert upgraded.code == code, upgraded
        current = run_discreetly("db", "current", "--database", site.door)
        assert current.out == ("9999\n" if code == 0 else f"{HEAD}\n")
        if code:
            expect_failure(site, site.run(NEW), before)
    assert run_discreetly("db", "upgrade", "--database", site.door).code == 0
    expect_recovery(site)


# A Postgres server that says no.


FAULTS = {
    "too many connections of the role": (
        "ALTER ROLE {role} CONNECTION LIMIT 0",
        "ALTER ROLE {role} CONNECTION LIMIT -1",
        75,
    ),
    "too many connections to the database": (
        "ALTER DATABASE {name} CONNECTION LIMIT 0",
        "ALTER DATABASE {name} CONNECTION LIMIT -1",
        75,
    ),
    "read-only": (
        "ALTER DATABASE {name} SET default_transaction_read_only = on",
        "ALTER DATABASE {name} RESET default_transaction_read_only",
        75,
    ),
    "no longer a user": ("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN", 1),
    "may not connect": (
        "REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {name} TO PUBLIC",
        1,
    ),
    "may not see": (
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO PUBLIC",
        1,
    ),
    "may not read": (
        "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        1,
    ),
    "may not write": (
        "REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public FROM {role}",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        1,
    ),
}
"""What somebody may do to a database or role, how that is taken back, and the exit code."""


def employ(site: OutageMirror) -> str:
    """Let the command come to a mirror as a role that may do what it needs; return its name."""
    role = f"worker_{uuid.uuid4().hex[:12]}"
    ask(
        site.url,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
    )
    url = parse_url(site.url).set(username=role, drivername="postgresql")
    site.door = url.render_as_string(hide_password=False)
    return role


@pytest.mark.parametrize(
    ("fault", "moment"),
    [*((fault, START) for fault in FAULTS), ("read-only", LISTED), ("may not write", LISTED)],
)
def test_postgres_refuses(
    server: postgres.Server, server_site: OutageMirror, fault: str, moment: str
) -> None:
    """What passes by itself is told from what somebody must mend."""
    before = server_site.begin()
    role = employ(server_site)
    harm, cure, code = FAULTS[fault]

    def administer(statement: str) -> None:
        url = server_site.url if "SCHEMA" in statement else server.url
        ask(url, statement.format(role=role, name=server_site.name))

    begun = moment == LISTED
    with at(moment, server_site, lambda: administer(harm)):
        ran = server_site.run(NEW)
    administer(cure)
    expect_failure(server_site, ran, before, *["running"] * begun, code=code)
    expect_recovery(server_site, *["abandoned"] * begun)


def test_postgres_allows_no_temporary_tables(server_site: OutageMirror) -> None:
    """A role that may not make temporary tables changes nothing, and the run says so."""
    before = server_site.begin()
    employ(server_site)
    ask(server_site.url, f"REVOKE TEMPORARY ON DATABASE {server_site.name} FROM PUBLIC")
    ran = server_site.run(NEW)
    expect_failure(server_site, ran, before, "failed", code=1)
    ask(server_site.url, f"GRANT TEMPORARY ON DATABASE {server_site.name} TO PUBLIC")
    expect_recovery(server_site, "failed")


@pytest.mark.parametrize(
    ("role", "password", "name"),
    [
        ("nobody", None, "postgres"),
        ("mirror", None, "nowhere"),
        ("mirror", None, "recovery"),  # sounds like what a server says while it starts
        ("suspect", PASSWORD, "postgres"),
        ("suspect", None, "postgres"),
        ("administrator", PASSWORD, "postgres"),  # sounds like what one says as it stops
    ],
)
def test_a_wrong_url(
    server: postgres.Server,
    make_site: Callable[[str], OutageMirror],
    role: str,
    password: str | None,
    name: str,
) -> None:
    """A wrong user, password or database is for somebody to mend, whatever its name is."""
    url = parse_url(server.url).set(
        drivername="postgresql", username=role, password=password, database=name
    )
    ran = make_site(url.render_as_string(hide_password=False)).run(NEW)
    assert (ran.code, told(ran)["run_id"]) == (1, None), ran


def test_a_list_whose_staging_is_cancelled(
    server: postgres.Server, line_site: OutageMirror, line: TcpProxy
) -> None:
    """Somebody who cancels what mirror does, or a time-out that does, stops the run for now."""
    before = line_site.begin()
    cancelled: list[tuple[bool]] = []

    def cancel(message: bytes) -> bool:
        if b"\tphone-1\t" in message and not cancelled:  # a row of COPY
            pid = backends(server, line_site)[0]
            cancelled.extend(ask(server.url, f"SELECT pg_cancel_backend({pid})"))
        return False

    line.cut(cancel)
    ran = line_site.run(NEW)
    assert cancelled == [(True,)]
    expect_failure(line_site, ran, before, "failed")
    expect_recovery(line_site, "failed")


# Disks that are full.


@pytest.mark.long
@pytest.mark.parametrize("part", ["main", "temp"])
def test_sqlite_is_full_at_any_page(file_site: OutageMirror, in_full: bool, part: str) -> None:
    """Wherever there is no more room, the change is undone and the run on record as failed."""
    before = file_site.begin()
    ((first,),) = file_site.rows("PRAGMA page_count") if part == "main" else [(1,)]
    failures = 0
    for pages in count(first, 1 if in_full else 2):
        with limited(part, pages):
            ran = file_site.run(MANY[:300])
        if ran.code == 0:
            break
        failures += 1
        expect_failure(file_site, ran, before, *["failed"] * failures)
    assert failures >= 5
    assert outcomes(file_site)[-1] == "applied"
    assert file_site.rows("SELECT count(*) FROM release_requests") == [(300,)]


@pytest.mark.long
def test_sqlite_is_full_before_the_first_sync(file_site: OutageMirror, in_full: bool) -> None:
    """If there is no room for the whole schema there is none of it, until there is."""
    codes = []
    for pages in count(1, 1 if in_full else 9):
        with limited("main", pages):
            codes.append(file_site.run(OLD).code)
        with read_transaction(file_site.engine) as connection:
            assert migrate.current(connection) in {None, HEAD}
        if codes[-1] != 75:
            break
    assert len(codes) >= 4
    assert codes[-1] == cli.EXIT_NEWLY_QUARANTINED
    assert told(file_site.run())["outcome"] == "unchanged"
    assert "running" not in outcomes(file_site)


@pytest.fixture
def mount() -> Iterator[Callable[[str], Path]]:
    """Makes small disks: give it the options of a tmpfs."""
    with ExitStack() as stack:

        def make(options: str) -> Path:
            if os.geteuid() != 0:
                pytest.skip("needs root, to mount a small disk")
            folder = Path(tempfile.mkdtemp(prefix="mirror-disk-"))
            stack.callback(folder.rmdir)
            command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
            if done.returncode:
                pytest.skip(f"needs the right to mount a small disk: {done.stderr}")
            command = ["umount", "--lazy", str(folder)]
            stack.callback(subprocess.run, command, check=True, timeout=30)
            return folder

        yield make


def remount(disk: Path, options: str) -> None:
    """Change the options of a small disk."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True, timeout=30)


def fill(disk: Path, left: int = 0) -> Path:
    """Fill a disk up to some blocks of 4 KiB; return the file to delete in the end."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(filler, filler.stat().st_size - left * 4096)
    assert shutil.disk_usage(disk).free == left * 4096
    return filler


@pytest.fixture
def disk_site(
    mount: Callable[[str], Path], make_site: Callable[[str], OutageMirror]
) -> OutageMirror:
    """A mirror in SQLite, on a small disk of its own."""
    return make_site(f"sqlite:///{mount('size=16m,nr_inodes=6')}/mirror.db")


def test_a_disk_that_is_full_from_the_start(disk_site: OutageMirror) -> None:
    """If not even the schema fits nothing is called done, and the next sync does it all."""
    for left in (0, 1, 8, 12, 16, 32):
        filler = fill(disk_site.file.parent, left)
        ran = disk_site.run(OLD)
        filler.unlink()
        assert (ran.code, told(ran)["outcome"], told(ran)["run_id"]) == (75, "failed", None)
    disk_site.begin()
    expect_recovery(disk_site)


def test_a_disk_that_can_hold_no_more_files(disk_site: OutageMirror) -> None:
    """A disk may also run out of files; once there is room for them the sync is done."""
    others = [disk_site.file.with_name(str(number)) for number in range(5)]
    for other in others:
        other.touch()
    codes = [disk_site.run(OLD).code]
    while codes[-1] in {1, 75}:  # SQLite does not tell why it cannot make a file
        others.pop().unlink()
        codes.append(disk_site.run().code)
    assert (codes[0], codes[-1]) == (75, cli.EXIT_NEWLY_QUARANTINED)
    for other in others:
        other.unlink()
    expect_recovery(disk_site)


def test_a_disk_that_is_full_to_the_last_byte(disk_site: OutageMirror) -> None:
    """A sync that finds nothing new is a failure where it cannot be put on record."""
    before = disk_site.begin()
    filler = fill(disk_site.file.parent)
    ran = disk_site.run()
    filler.unlink()
    expect_failure(disk_site, ran, before)
    expect_recovery(disk_site)


def test_a_disk_that_fills_up_during_a_sync(disk_site: OutageMirror) -> None:
    """A run whose end finds no room is found by the next one."""
    before = disk_site.begin()
    disk = disk_site.file.parent
    with at(LISTED, disk_site, lambda: fill(disk)):
        ran = disk_site.run(NEW)
    (disk / "filler").unlink()
    expect_failure(disk_site, ran, before, "running")
    expect_recovery(disk_site, "abandoned")


def test_a_change_too_big_for_the_disk(disk_site: OutageMirror) -> None:
    """A change of some thousand requests that does not fit is undone; all before can be read."""
    before = disk_site.begin()
    filler = fill(disk_site.file.parent, 256)
    ran = disk_site.run(MANY)
    expect_failure(disk_site, ran, before, "failed")
    shown = run_discreetly("requests", "--database", disk_site.door)
    assert (shown.code, shown.out.count("\n")) == (0, 4)
    filler.unlink()
    expect_all_of_many(disk_site)


def expect_all_of_many(site: OutageMirror) -> None:
    """The next sync applies MANY."""
    assert site.run(MANY).code == 0
    assert outcomes(site) == ["applied", "failed", "applied"]
    assert site.rows("SELECT count(*) FROM release_requests") == [(len(MANY),)]


def test_a_full_folder_for_temporary_files(
    mount: Callable[[str], Path], file_site: OutageMirror
) -> None:
    """A list that finds no room to be compared is not applied."""
    before = file_site.begin()
    disk = mount("size=1m")
    fill(disk)
    file_site.world.records = [one | {"reason": "because " * 100} for one in MANY]
    ran = in_own_process(file_site, SQLITE_TMPDIR=str(disk))
    expect_failure(file_site, ran, before, "failed")
    expect_all_of_many(file_site)


def test_a_disk_that_becomes_read_only(disk_site: OutageMirror) -> None:
    """A disk that the system no longer writes to is for somebody to mend."""
    before = disk_site.begin()
    remount(disk_site.file.parent, "ro")
    ran = disk_site.run(NEW)
    remount(disk_site.file.parent, "rw")
    expect_failure(disk_site, ran, before, code=1)
    expect_recovery(disk_site)


def test_postgres_on_a_full_disk(
    mount: Callable[[str], Path],
    server: postgres.Server,
    template: str,
    make_site: Callable[[str], OutageMirror],
) -> None:
    """A change that finds no room in Postgres fails for now, and is on record as failed."""
    disk = mount(f"size=64m,mode=0700,uid={server.data.stat().st_uid}")
    name = f"small_{uuid.uuid4().hex[:12]}"
    ask(server.url, f"CREATE TABLESPACE {name} LOCATION '{disk}'")
    try:
        ask(server.url, f"CREATE DATABASE {name} TEMPLATE {template} TABLESPACE {name}")
        url = parse_url(server.url).set(database=name).render_as_string()
        site = make_site(with_password(url))
        before = site.begin()
        filler = fill(disk, 256)
        ran = site.run(MANY)
        filler.unlink()
        expect_failure(site, ran, before, "failed")
        expect_all_of_many(site)
    finally:
        ask(server.url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"DROP TABLESPACE {name}")


# Files that are not what they should be.


@pytest.mark.parametrize(("what", "mode"), [("mirror.db", 0o400), (".", 0o500)])
def test_a_file_that_may_not_be_written(file_site: OutageMirror, what: str, mode: int) -> None:
    """A file, or a folder, that mirror may only read is for somebody to mend, who need do no more.

    Between the two syncs nobody opens the file who might have more rights than they.
    """
    words: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, to give up the rights of root, or not to be root")
        words = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    file_site.begin()
    before = file_site.file.read_bytes()
    file_site.world.records = NEW
    path = file_site.file.parent / what
    was = path.stat().st_mode
    path.chmod(mode)
    ran = in_own_process(file_site, *words)
    path.chmod(was)
    assert (ran.code, told(ran)["outcome"], told(ran)["run_id"]) == (1, "failed", None)
    assert file_site.file.read_bytes() == before
    expect_success(file_site, in_own_process(file_site, *words))
