"""Postgres as somebody else configured it: session settings, encodings, URLs, refused logins."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection

from mirror.db import libpq, postgres
from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.db.urls import parse_url
from mirror.doctor.checks import SERVER_CHECKS
from mirror.errors import DatabaseError, DatabaseUnavailable, MirrorError, UsageError
from mirror.sandbox.server import Sandbox
from mirror.sync import compare
from tests.support.commands import run_mirror
from tests.support.mirrors import Mirror
from tests.support.postgres import empty_database, execute
from tests.support.upstream import TOKEN, FakeUpstream, request

ODD_DEFAULTS = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Kathmandu",
    "client_encoding": "LATIN1",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
}
"""Defaults of a database that change what a session returns, understands or sees."""

READS = (
    ("requests", "--format", "json"),
    ("history", "+15550000001", "--format", "json"),
    ("changes", "--format", "json"),
)


def with_parameters(url: str, **parameters: str) -> str:
    """Return a URL with more parameters."""
    parsed = parse_url(url).update_query_dict(parameters)
    return parsed.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def database(server: str, encoding: str) -> Iterator[str]:
    """Create a database with an encoding; yield its URL."""
    options = f"template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
    with empty_database(server, template=options) as url:
        yield url


def set_defaults(url: str, defaults: dict[str, str]) -> None:
    """Change the defaults of a database."""
    name = parse_url(url).database
    execute(
        url, *(f"ALTER DATABASE {name} SET {key} = '{value}'" for key, value in defaults.items())
    )


def outputs(url: str, sandbox: Sandbox, upstream: FakeUpstream) -> list[str]:
    """Sync three times, with a change; return what the commands that read then print."""
    environment = {
        "MIRROR_DATABASE_URL": url,
        "TALKOVER_BASE_URL": sandbox.base_url,
        "TALKOVER_TOKEN": TOKEN,
    }
    for status in ("pending", "pending", "approved"):
        second = request(2, extra="ж") | {"status": status}
        upstream.records = [request(1, reason="Ärger \\ 'ф' 🙂"), second]
        sandbox.invalidate()
        ran = run_mirror("sync", **environment)
        assert ran.code == 0, ran
    ran = run_mirror("status", **environment)
    assert ran.code == 0, ran
    read = [run_mirror(*arguments, **environment) for arguments in READS]
    assert [(ran.code, ran.err) for ran in read] == [(0, "")] * len(READS)
    return [ran.out for ran in read]


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII"])
def test_defaults_of_a_database(
    postgres_server: str, sandbox: Sandbox, upstream: FakeUpstream, encoding: str
) -> None:
    """Neither the defaults of a database nor SQL_ASCII change what is stored or read."""
    with database(postgres_server, encoding) as url:
        set_defaults(url, ODD_DEFAULTS)
        printed = outputs(url, sandbox, upstream)
        assert "Ärger \\\\ 'ф' 🙂" in printed[0]
        with read_transaction(create_engine(url)) as connection:
            row = connection.exec_driver_sql(
                "SELECT timestamptz '2026-02-03 04:05:06.789Z', 0.1::float8 + 0.2::float8,"
                " interval '1 day 2 hours', '\\x00ff'::bytea"
            ).one()
        assert [str(value) for value in row] == [
            "2026-02-03 04:05:06.789000+00:00",
            "0.30000000000000004",
            "1 day, 2:00:00",
            str(b"\x00\xff"),
        ]


def test_defaults_of_the_environment(
    make_ready_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor do variables of libpq."""
    mirror = Mirror(make_ready_database("postgresql"), sandbox, upstream)
    mirror.sync([request(1, reason="Ä")])
    query = "SELECT reason, requested_at FROM release_requests"
    before = mirror.rows(query)
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    monkeypatch.setenv("PGOPTIONS", "-c IntervalStyle=sql_standard")
    assert mirror.rows(query) == before


def test_a_sync_has_no_time_out_of_the_role(postgres_server: str) -> None:
    """Time-outs that are the defaults of a role do not end a transaction that writes."""
    with empty_database(postgres_server) as url:
        set_defaults(url, {"statement_timeout": "20ms", "lock_timeout": "1ms"})
        with write_transaction(create_engine(url), "test") as connection:
            connection.exec_driver_sql("SELECT pg_sleep(0.05)")


LIMITS = (
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",  # Postgres 17 and later
)


def test_no_transaction_of_a_sync_has_a_time_limit_of_the_role(
    postgres_server: str, sandbox: Sandbox, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one either that reads what is stored."""
    query = f"SELECT setting FROM pg_settings WHERE name IN {LIMITS} ORDER BY name"
    seen, stored_digests = [], compare.stored_digests

    def recording(connection: Connection, environment: str) -> Any:
        seen.append(connection.exec_driver_sql(query).scalars().all())
        return stored_digests(connection, environment)

    monkeypatch.setattr("mirror.sync.compare.stored_digests", recording)
    with empty_database(postgres_server) as url:
        known = execute(url, query)
        set_defaults(url, dict.fromkeys(LIMITS[: len(known)], "7min"))
        mirror = Mirror(url, sandbox, upstream)
        for records in ([request(1)], [request(2)]):
            assert mirror.sync(records, accept_missing=True).failure is None
    assert {tuple(values) for values in seen} == {("600000", "0", "0")[: len(known)]}


def idle(url: str, connection: Connection) -> None:
    """Do nothing until the server has ended the connection; read then."""
    pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    while execute(url, f"SELECT pid FROM pg_stat_activity WHERE pid = {pid}"):
        pass
    connection.exec_driver_sql("SELECT 1")


def test_a_connection_that_fails_at_once_leaves_no_thread(postgres_server: str) -> None:
    """A pooler accepts connections whose first statement fails; their watchdogs end with them."""
    before = set(threading.enumerate())
    engine = create_engine(postgres_server)

    def fail(*_: object) -> None:
        raise ConnectionError

    event.listen(engine, "connect", fail)
    with pytest.raises(ConnectionError):
        engine.connect()
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive(), thread


def test_a_time_limit_of_the_role_is_named(postgres_server: str) -> None:
    """It ends a reader again and again; what somebody cancels may be tried again (75)."""
    slow = "SELECT count(*) FROM generate_series(1, 1000000000)"
    with empty_database(postgres_server) as url:
        set_defaults(url, {"statement_timeout": "20ms"})
        for read in (
            lambda connection: connection.exec_driver_sql(slow),
            lambda connection: connection.connection.driver_connection.execute(slow),
        ):
            error = error_of(url, read)
            assert type(error) is DatabaseError
            assert "ended the transaction by the setting statement_timeout" in str(error)
            assert "ALTER ROLE … SET statement_timeout = …" in str(error)
        set_defaults(url, {"idle_in_transaction_session_timeout": "50ms", "statement_timeout": "0"})
        error = error_of(url, lambda connection: idle(url, connection))
        assert type(error) is DatabaseError
        assert "by the setting idle_in_transaction_session_timeout" in str(error)
        set_defaults(url, {"idle_in_transaction_session_timeout": "0"})
        for limit in ("0", "1h"):
            set_defaults(url, {"statement_timeout": limit})
            cancelled = error_of(
                url,
                lambda connection: connection.exec_driver_sql(
                    "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)"
                ),
            )
            assert type(cancelled) is DatabaseUnavailable, cancelled


def test_a_limit_of_temporary_files_is_named(postgres_server: str) -> None:
    """It ends a reader and a sync again and again, so they fail for good (1)."""
    large = "SELECT count(DISTINCT n::text) FROM generate_series(1, 100000) AS n"
    with empty_database(postgres_server) as url:
        set_defaults(url, {"temp_file_limit": "64kB", "work_mem": "64kB"})
        error = error_of(url, lambda connection: connection.exec_driver_sql(large))
        with (
            pytest.raises(DatabaseError) as raised,
            write_transaction(create_engine(url), "test") as connection,
        ):
            connection.exec_driver_sql(large)
        for each in (error, raised.value):
            assert type(each) is DatabaseError
            assert "by the setting temp_file_limit" in str(each)


def test_what_never_heals_by_itself(postgres_server: str) -> None:
    """A library that is not there, and a published table without an identity, are no outages."""
    with empty_database(postgres_server) as url:
        execute(
            url,
            "CREATE TABLE told AS SELECT 1 AS n",
            "CREATE PUBLICATION told FOR TABLE told",
        )
        with (
            pytest.raises(DatabaseError) as raised,
            write_transaction(create_engine(url), "test") as connection,
        ):
            connection.exec_driver_sql("UPDATE told SET n = 2")
        assert type(raised.value) is DatabaseError
        set_defaults(url, {"session_preload_libraries": "none_of_that_name"})
        assert type(error_of(url)) is DatabaseError


def test_a_connection_for_replication_is_an_ordinary_one(postgres_server: str) -> None:
    """That parameter of the URL would let every statement fail, for now as it seems."""
    with empty_database(postgres_server) as url:
        for value in ("database", "false"):
            engine = create_engine(with_parameters(url, replication=value))
            with read_transaction(engine) as connection:
                assert connection.exec_driver_sql("SELECT 1").scalar() == 1


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP"])
def test_an_encoding_that_lacks_characters(
    postgres_server: str, sandbox: Sandbox, encoding: str
) -> None:
    """A database that cannot hold all texts is refused before anything is created in it."""
    with database(postgres_server, encoding) as url:
        environment = {
            "MIRROR_DATABASE_URL": url,
            "TALKOVER_BASE_URL": sandbox.base_url,
            "TALKOVER_TOKEN": TOKEN,
        }
        for arguments in (("sync",), ("status",), ("db", "upgrade")):
            ran = run_mirror(*arguments, **environment)
            assert ran.code == 1, ran
            assert ran.err.count("\n") == 1
            assert f"has the encoding {encoding}, which cannot hold all texts; use" in ran.err
        doctor = run_mirror("doctor", **environment)
        assert (doctor.code, f"has the encoding {encoding}" in doctor.out) == (1, True)
        tables = "SELECT count(*) FROM pg_class WHERE relname = 'alembic_version'"
        assert execute(url, tables) == [(0,)]


def error_of(url: str, read: Callable[[Connection], object] = lambda _: None) -> MirrorError:
    """Return the error of opening a database, or of reading from it."""
    try:
        with read_transaction(create_engine(url)) as connection:
            read(connection)
    except MirrorError as error:
        return error
    pytest.fail("it was read")


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        ({"sslmode": "disabled"}, UsageError),
        ({"service": "nowhere"}, UsageError),
        ({"connect_timeout": "soon"}, UsageError),
        ({"target_session_attrs": "writable"}, UsageError),
        ({"autocommit": "1"}, UsageError),
        ({"conninfo": "host=elsewhere"}, UsageError),
        ({"plugin": "some"}, UsageError),
        ({"port": "abc"}, UsageError),
        ({"port": "65536"}, UsageError),
        ({"host": "127.0.0.1", "port": "1"}, DatabaseUnavailable),
        ({"host": "nowhere.invalid"}, DatabaseUnavailable),
        ({"dbname": "nowhere"}, DatabaseError),
        ({"options": "-c nonsense=1"}, DatabaseError),
        ({"requirepeer": "somebody"}, DatabaseError),
    ],
    ids=repr,
)
def test_parameters(
    postgres_server: str, parameters: dict[str, str], kind: type[MirrorError]
) -> None:
    """What never heals is not called unavailable, and what may heal is not called refused."""
    if parse_url(postgres_server).host and "requirepeer" in parameters:
        pytest.skip("only a Unix socket has a peer")
    error = error_of(with_parameters(postgres_server, **parameters))
    assert type(error) is kind, error


def test_a_login_that_is_repeated_keeps_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing is waited for as long as the URL says, not longer."""
    times = iter([0.0, 4.0])  # the clock is asked for the deadline, and once whether it is over
    monkeypatch.setattr(libpq, "time", SimpleNamespace(monotonic=lambda: next(times)))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given = {"host": "127.0.0.1", "port": silent.getsockname()[1], "connect_timeout": "3"}
        assert libpq.login(given) == (None, [])


@pytest.mark.parametrize(
    ("sqlstates", "counts"),
    [
        ([None, "28P01"], "28P01"),
        (["28P01", None], "28P01"),
        (["3D000", "57P03"], "57P03"),
        (["53300", "28P01"], "53300"),
        ([None, None], None),
    ],
)
def test_a_login_at_several_hosts(
    sqlstates: list[str | None], counts: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is asked, also behind a silent one; what may be over later counts first."""
    asked = []
    responses = iter(sqlstates)

    def login_at(given: dict[str, Any]) -> str | None:
        asked.append((given["host"], given["port"], given["user"]))
        return next(responses)

    monkeypatch.setattr(libpq, "login_at", login_at)
    assert libpq.login({"host": "one,other", "port": "1", "user": "me"})[0] == counts
    assert asked == [("one", "1", "me"), ("other", "1", "me")]


@pytest.mark.parametrize(
    ("url", "seconds"),
    [
        ("postgresql://me@one/db", 30),
        ("postgresql://me@one,other:5433/db", 15),
        ("postgresql://me@/db?host=one:1&host=other:2&host=third:3", 10),
        (f"postgresql://me@{','.join('abcdefghijklmnopqrstuvwxyz')}/db", 2),
        ("postgresql://me@one,other/db?connect_timeout=7", 7),
        ("postgresql://me@one,other/db?connect_timeout=1e1", 10),
        ("postgresql://me@one,other/db?connect_timeout=2.5", 2),
        ("postgresql://me@one,other/db?connect_timeout=0.5", 2),
        ("postgresql://me@one,other/db?connect_timeout=99999999999", 2_000_000),
        ("postgresql://me@one,other/db?connect_timeout=0", 15),
        ("postgresql://me@one,other/db?connect_timeout=-1", 15),
        ("postgresql://me@one,other/db?connect_timeout=", 15),
    ],
)
def test_hosts_share_the_time_to_connect(
    url: str, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection takes 30 seconds at most, unless the URL or libpq's variable says so."""
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "")
    assert postgres.connect_arguments(parse_url(url))["connect_timeout"] == seconds
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "9.5")
    expected = seconds if "connect_timeout=" in url and not url.endswith("=") else 9
    assert postgres.connect_arguments(parse_url(url))["connect_timeout"] == expected


def test_a_service_file_counts_as_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hosts share the time and are each tried, and its parameters win over the defaults."""
    file = tmp_path / "service.conf"
    file.write_text(
        "[m]\nhost=one,other\nport=1,2\nuser=me\nkeepalives_idle=7\n"
        "target_session_attrs=prefer-standby\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGHOST", "elsewhere")
    url = parse_url("postgresql://?service=m")
    arguments = postgres.connect_arguments(url)
    hosts = [(one["host"], one["port"]) for one in libpq.each_host(arguments)]
    assert (hosts, arguments["connect_timeout"]) == ([("one", "1"), ("other", "2")], 15)
    assert "keepalives_idle" not in arguments
    assert arguments["target_session_attrs"] == "prefer-standby"
    file.write_text(file.read_text() + "connect_timeout=4\n")
    assert postgres.connect_arguments(url)["connect_timeout"] == 4
    for line in ("port=99999", "port=1,2,3", "hostaddr=127.0.0.1", "connect_timeout=soon"):
        file.write_text(f"[m]\nhost=one,other\nuser=me\n{line}\n")
        assert type(error_of("postgresql://?service=m")) is UsageError, line


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("postgresql://me@/db?host=a,b&hostaddr=127.0.0.1", {}),
        ("postgresql://me@/db", {"PGHOST": "a,b,c", "PGPORT": "1,2"}),
        ("postgresql://me@127.0.0.1:1/db", {"PGHOSTADDR": "127.0.0.1,127.0.0.1"}),
        ("postgresql://me@127.0.0.1:1/db", {"PGCONNECT_TIMEOUT": "nan"}),
        ("postgresql://me@127.0.0.1:1/db?connect_timeout=inf", {}),
    ],
)
def test_hosts_that_do_not_match(
    url: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never heals, and no server has to be asked to see it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert type(error_of(url)) is UsageError


@pytest.mark.parametrize("order", [1, -1])
def test_a_silent_host_does_not_excuse_the_others(
    order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without TLS counts, whatever the order; the silent one is not asked again."""
    from psycopg.errors import ConnectionTimeout

    asked = []

    def login_at(given: dict[str, Any]) -> str | None:
        asked.append((given["host"], given["sslmode"]))
        if given["host"] == "silent":
            return None
        return "" if given["sslmode"] == "require" else "28000"

    monkeypatch.setattr(libpq, "login_at", login_at)
    given = {"host": ",".join(["plain", "silent"][::order]), "sslmode": "require"}
    url = parse_url("postgresql://me@/db")
    assert type(postgres._explain(ConnectionTimeout("late"), url, given)) is DatabaseError
    assert [host for host, mode in asked if mode != "require"] == ["plain"]


def test_limits_of_connections(postgres_server: str) -> None:
    """A database with too many connections may be used later, one that refuses a role may not."""
    with empty_database(postgres_server) as url:
        name = parse_url(url).database
        role = f"{name}_reader"
        execute(postgres_server, f"CREATE ROLE {role} LOGIN PASSWORD 'p' CONNECTION LIMIT 0")
        login = parse_url(url).set(username=role, password="p", drivername="postgresql")
        text = login.render_as_string(hide_password=False)
        try:
            assert type(error_of(text)) is DatabaseUnavailable
            execute(postgres_server, f"ALTER ROLE {role} CONNECTION LIMIT -1 NOLOGIN")
            assert type(error_of(text)) is DatabaseError
        finally:
            execute(postgres_server, f"DROP ROLE {role}")


def test_a_list_of_hosts(postgres_server: str) -> None:
    """The list of hosts and ports of libpq works, the first of which may be down."""
    server = parse_url(postgres_server)
    place = str(server.host or server.query["host"]).replace("/", "%2F")
    port = server.port or server.query.get("port") or 5432
    user = URL.create("x", server.username, server.password).render_as_string(hide_password=False)
    url = f"postgresql{user[1:].rstrip('@')}@127.0.0.1:1,{place}:{port}/{server.database}"
    with read_transaction(create_engine(url)) as connection:
        checks = list(SERVER_CHECKS["postgresql"](connection))
    assert "none needed" in {check.check: check.found for check in checks}["encryption"]


@pytest.mark.parametrize("threshold", ["0", "1", "x"])
def test_nothing_is_prepared(postgres_server: str, threshold: str) -> None:
    """No statement is prepared: behind a pooler the next one may be in another session."""
    url = with_parameters(postgres_server, prepare_threshold=threshold)
    for open_database in (read_transaction, lambda engine: write_transaction(engine, "test")):
        with open_database(create_engine(url)) as connection:
            for _ in range(7):
                connection.exec_driver_sql("SELECT 1")
            prepared = "SELECT count(*) FROM pg_prepared_statements"
            assert connection.exec_driver_sql(prepared).scalar() == 0


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geh@eim@host/db",
        "postgresql://me:geh@eim/x@host/db",
        "postgresql://me:geh/e@im@host:1,host:2/db",
        "postgresql://m/e:geheim@host/db",
        "postgresql://me:geheim@host/d@b",
        "postgresql://host/db?user=me&password=geh@eim",
        "postgresql://me:geheim@host:port/db",
        "postgresql://me:geheim@host:1,host:b/db",
        "host=host user=me password=geheim",
        "postgresql:/me:geheim@host/db",
    ],
)
def test_a_url_that_cannot_be_taken_apart(url: str, sandbox: Sandbox) -> None:
    """Nothing of it is shown."""
    settings = {"TALKOVER_BASE_URL": sandbox.base_url, "TALKOVER_TOKEN": TOKEN}
    for command in ("sync", "status", "doctor", "db url"):
        ran = run_mirror(*command.split(), MIRROR_DATABASE_URL=url, **settings)
        assert (ran.code, "cannot be read" in ran.out + ran.err) == (2, True), ran
        for part in ("geh", "eim"):
            assert part not in ran.out + ran.err


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://u:geh@eim@h/p.db",
        "sqlite://geh:eim@/p.db",
        "sqlite+pysqlcipher://:geheim@/p.db",
        "sqlite://geheim.db",
        "sqlite:///:memory:",
        "sqlite://",
    ],
)
def test_a_url_of_sqlite_that_is_no_path(url: str) -> None:
    """Every command refuses it, and shows nothing of it."""
    for command in ("sync", "status", "doctor", "db url"):
        ran = run_mirror(*command.split(), MIRROR_DATABASE_URL=url, TALKOVER_TOKEN=TOKEN)
        assert (ran.code, "must be of the form sqlite:///PATH" in ran.out + ran.err) == (2, True)
        for part in ("geh", "eim"):
            assert part not in ran.out + ran.err


def test_a_password_in_a_parameter() -> None:
    """It is not shown, whatever it is called."""
    for name in ("password", "pwd", "sslpassword"):
        url = f"postgresql://127.0.0.1:9/d?user=u&{name}=geheim"
        for command in ("status", "doctor", "db url"):
            ran = run_mirror(*command.split(), MIRROR_DATABASE_URL=url)
            assert "geheim" not in ran.out + ran.err


def test_a_question_mark_in_a_path(tmp_path: Path, sandbox: Sandbox) -> None:
    """A ? in a URL of SQLite is refused, %3F means it, and a folder may have one in its name."""
    folder = tmp_path / "a?b"
    settings = {"TALKOVER_BASE_URL": sandbox.base_url, "TALKOVER_TOKEN": TOKEN}
    for url in (f"sqlite:///{folder}/mirror.db", f"sqlite:///{tmp_path}/x.db?mode=ro"):
        ran = run_mirror("sync", MIRROR_DATABASE_URL=url, **settings)
        assert (ran.code, "write a ? in the path as %3F" in ran.err) == (2, True), ran
    assert list(tmp_path.iterdir()) == []
    escaped = f"sqlite:///{tmp_path}/c%3Fd.db"
    assert run_mirror("sync", MIRROR_DATABASE_URL=escaped, **settings).code == 0
    assert run_mirror("sync", XDG_DATA_HOME=str(folder), **settings).code == 0
    assert (tmp_path / "c?d.db").exists()
    assert (folder / "mirror" / "mirror.db").exists()
