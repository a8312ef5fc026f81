"""Real Postgres servers that are not those of the other tests: languages, versions, standbys."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from mirror.db import migrate
from mirror.db.engine import create_engine, read_transaction
from mirror.errors import DatabaseError, DatabaseUnavailable
from mirror.sandbox.server import Sandbox
from tests.support import guardian, postgres
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.postgres import execute, own_server
from tests.support.tcp_proxy import TcpProxy
from tests.support.upstream import TOKEN, FakeUpstream, request

LANGUAGES = ("de_DE", "es_ES", "fr_FR", "ja_JP", "ru_RU", "zh_CN")

PROGRAMS = [
    Path(folder) for folder in os.environ.get("MIRROR_TEST_POSTGRES", "").split(":") if folder
]
"""Folders with other versions of Postgres."""

HBA = """
local all mirror trust
local all clear password
local all md5 md5
local all scram scram-sha-256
local all crowd trust
"""


def unavailable(url: str) -> bool:
    """Return whether a database cannot be opened for now, rather than for good."""
    with pytest.raises(DatabaseError) as raised, read_transaction(create_engine(url)):
        pytest.fail("it was opened")
    return type(raised.value) is DatabaseUnavailable


@pytest.fixture(scope="module")
def locales() -> Iterator[None]:
    """Locales for the messages of servers that are started meanwhile."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales").is_dir():
        _missing("the package locales")
    folder = Path(tempfile.mkdtemp(prefix="locales-", dir=os.environ.get(guardian.MARK)))
    folder.chmod(0o755)
    for language in LANGUAGES:
        command = ["localedef", "-i", language, "-f", "UTF-8", str(folder / f"{language}.UTF-8")]
        subprocess.run(command, check=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LOCPATH", str(folder))
        yield
    shutil.rmtree(folder)


def _missing(what: str) -> None:
    """Skip a test, or fail it if MIRROR_TEST_POSTGRES names servers to test with."""
    reason = f"it takes {what}"
    if PROGRAMS:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_login_in_another_language(locales: None, language: str) -> None:
    """What a login fails for is known whatever the language of the server is."""
    settings = (
        *postgres.UNSAFE_SETTINGS,
        f"lc_messages={language}.UTF-8",
        "max_connections=4",
        "superuser_reserved_connections=1",
        "max_wal_senders=0",
    )
    with own_server(settings) as server, ExitStack() as stack:
        execute(
            server.url,
            *(f"CREATE ROLE {role} LOGIN PASSWORD 'right'" for role in ("clear", "scram", "crowd")),
            "SET password_encryption = md5",
            "CREATE ROLE md5 LOGIN PASSWORD 'right'",
            "ALTER ROLE crowd CONNECTION LIMIT 0",
            "CREATE DATABASE closed ALLOW_CONNECTIONS false",
        )
        (server.data / "pg_hba.conf").write_text(HBA)
        server.stop("fast")
        server.start()

        def url(user: str, database: str = "postgres", parameters: str = "") -> str:
            return f"postgresql://{user}@/{database}?host={server.folder}{parameters}"

        with pytest.raises(psycopg.OperationalError) as raised:
            psycopg.connect(host=str(server.folder), user="mirror", dbname="nowhere")
        if "does not exist" in str(raised.value):
            pytest.skip(f"this Postgres has no messages in {language}")
        for role in ("clear", "md5", "scram"):
            assert not unavailable(url(f"{role}:wrong"))
            assert not unavailable(url(role))  # without a password
            with read_transaction(create_engine(url(f"{role}:right"))):
                pass
        assert not unavailable(url("mirror", "nowhere"))
        assert not unavailable(url("nobody"))
        assert not unavailable(url("mirror", parameters="&options=-c%20nonsense=1"))
        assert unavailable(url("crowd"))
        assert unavailable(url("mirror", "closed"))
        assert unavailable(url("mirror", parameters="&target_session_attrs=standby"))
        for _ in range(4):
            stack.enter_context(
                psycopg.connect(host=str(server.folder), user="mirror", dbname="postgres")
            )
        assert unavailable(url("mirror"))
        stack.close()
        server.stop("fast")
        assert unavailable(url("mirror"))
        server.start()


def run(url: str, sandbox: Sandbox, *arguments: str) -> Ran:
    """Run a command on a database."""
    return run_mirror(
        *arguments,
        MIRROR_DATABASE_URL=url,
        TALKOVER_BASE_URL=sandbox.base_url,
        TALKOVER_TOKEN=TOKEN,
    )


def outputs(url: str, sandbox: Sandbox, upstream: FakeUpstream, folder: Path) -> list[str]:
    """Sync two states of a list; return what the commands that read print then."""
    mirror = Mirror(url, sandbox, upstream)
    migrate.upgrade(mirror.engine)
    for status in ("pending", "approved"):
        mirror.sync([request(number) | {"status": status} for number in range(20)])
    for command in ("sync", "doctor", f"report --output {folder}/report.html", "status"):
        ran = run(url, sandbox, *command.split())
        assert ran.code == 0, ran
    reads = ("requests", "changes", "history +15550000001", "requests --as-of 2026-01-01")
    ran_reads = [run(url, sandbox, *read.split(), "--format", "json") for read in reads]
    assert [ran.code for ran in ran_reads] == [0] * len(reads)
    return [ran.out for ran in ran_reads]


def test_versions_of_postgres(sandbox: Sandbox, upstream: FakeUpstream, tmp_path: Path) -> None:
    """Postgres 12 and later do the same, and earlier versions are refused in one sentence."""
    if not PROGRAMS:
        _missing("other versions of Postgres, whose folders MIRROR_TEST_POSTGRES names")
    now, printed = upstream.now, {}
    for programs in (None, *PROGRAMS):
        upstream.now = now
        with own_server(programs=programs) as server:
            [(version,)] = execute(server.url, "SELECT current_setting('server_version_num')::int")
            if version >= 120_000:
                printed[version] = outputs(server.url, sandbox, upstream, tmp_path)
                continue
            for command in ("sync", "status", "doctor", "db upgrade", "report"):
                ran = run(server.url, sandbox, *command.split())
                refusal = f"is Postgres {version // 10_000}; mirror needs Postgres 12 or later"
                assert (ran.code, "Traceback" in ran.err) == (1, False), ran
                assert refusal in (ran.out + ran.err).replace("\t", "; ")
            assert execute(server.url, "SELECT to_regclass('alembic_version')") == [(None,)]
    assert len({str(each) for each in printed.values()}) == 1, printed.keys()


def test_a_standby(sandbox: Sandbox) -> None:
    """A server in recovery is read, and may be written to after it was promoted."""
    with own_server() as server:
        migrate.upgrade(create_engine(server.url))
        server.stop("fast")
        (server.data / "standby.signal").touch()
        server.start()
        assert run(server.url, sandbox, "status").code == 0
        for command in ("sync", "sync --dry-run", "doctor", "db prune --runs-older-than 1d"):
            ran = run(server.url, sandbox, *command.split())
            assert (ran.code, "is a standby" in ran.out + ran.err) == (75, True), ran
        execute(server.url, "SELECT pg_promote()")
        assert run(server.url, sandbox, "sync").code == 0


def test_encryption_that_is_not_there() -> None:
    """A server without TLS is no server that is down."""
    with own_server() as server, TcpProxy.to(server.url).running() as proxy:
        url = proxy.url(server.url)
        for mode in ("require", "verify-full"):
            assert not unavailable(f"{url}?sslmode={mode}")
        with read_transaction(create_engine(f"{url}?sslmode=prefer")):
            pass
    assert unavailable(f"{url}?sslmode=require")
