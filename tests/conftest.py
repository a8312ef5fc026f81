"""What the tests share: both databases, an upstream to sync from, and the command line."""

from __future__ import annotations

import io
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import guardian
import moved_clock
import msgspec
import postgres
import pytest
import sqlalchemy as sa
import stamina
from sqlalchemy.engine import Connection, Engine

from mirror import cli
from mirror.config.settings import ApiSettings, Secret
from mirror.db import migrate
from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.sandbox.server import Sandbox, SandboxConfig
from mirror.sandbox.simulation import Simulation
from mirror.sync.run import Result, sync

ROOT = Path(__file__).parent.parent
TOKEN = "talq_a-secret-of-the-tests"
DATABASES = ("sqlite", "postgresql")
_T = TypeVar("_T")
_GUARDIAN = pytest.StashKey["subprocess.Popen[bytes]"]()
_WRITTEN = ("release_requests", "release_request_past_versions", "quarantined_records")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our own option to those of pytest."""
    parser.addoption(
        "--long", action="store_true", help="run the tests marked long in full, for many minutes"
    )


def pytest_configure(config: pytest.Config) -> None:
    """See to it that what tests start can be interrupted, and ends with them.

    What a shell in the background has ignored stays ignored in all that is started from there.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        if moved_clock.is_moved() and not moved_clock.is_usable():
            config.pluginmanager.getplugin("capturemanager").stop_global_capturing()
            moved_clock.start_anew()
        config.stash[_GUARDIAN] = guardian.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what is left, such as the Postgres that all workers share."""
    if watching := config.stash.get(_GUARDIAN, None):
        watching.communicate()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Part of the time tests wait, for processes and for Postgres: one more worker than cores."""
    return 1 + (os.cpu_count() or 1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests put on record: the table of faults, and how much was survived.

    A test does so with the fixture `record_property`: "fault" with a name, a kind of database and
    what came of it; "plan" with a question, a kind of database and the ways to its rows; "driver"
    with a kind of database, a standard, a column, a time as it is stored and as it was read, and
    how many were compared; or "figures" with a sentence.
    """
    noted = [
        (kind, value)
        for report in terminalreporter.getreports("passed")
        for kind, value in report.user_properties
    ]
    table: dict[str, dict[str, str]] = {}
    for kind, value in noted:
        if kind == "fault":
            name, database_kind, outcome = value
            table.setdefault(name, {})[database_kind] = outcome
    if table:
        terminalreporter.section("faults: exit code, outcome on record, rows and versions")
        for name in sorted(table):
            cells = "  ".join(f"{table[name].get(kind, '-'):32}" for kind in DATABASES)
            terminalreporter.write_line(f"{name:26} {cells}".rstrip())
    if plans := sorted(value for kind, value in noted if kind == "plan"):
        terminalreporter.section("plans: how questions get at their rows in 100,000 requests")
        for question, database_kind, ways in plans:
            terminalreporter.write_line(f"{question}, {database_kind}")
            for way in ways:
                terminalreporter.write_line(f"    {way}")
    _show_drivers(terminalreporter, [value for kind, value in noted if kind == "driver"])
    _show_untested(terminalreporter)
    if figures := sorted(str(value) for kind, value in noted if kind == "figures"):
        terminalreporter.section("survived")
        for sentence in figures:
            terminalreporter.write_line(sentence)


def _show_drivers(terminal: pytest.TerminalReporter, noted: list[Any]) -> None:
    """Print a time of each column as it is stored and read, and how many each driver read right."""
    readers = [(kind, standard) for kind in DATABASES for standard in ("JDBC", "ODBC")]
    table: dict[str, dict[tuple[str, str], tuple[str, str, int]]] = {}
    for kind, standard, column, stored, read, count in noted:
        table.setdefault(column, {})[kind, standard] = (stored, read, count)
    if table:
        terminal.section("times as drivers of BI tools read them; values that were equal")
        terminal.write_line(f"{'':92}  SQLite   Postgres")
        terminal.write_line(f"{'column':44}{'stored':24}{'read':24} JDBC ODBC  JDBC ODBC")
    for column, cells in table.items():
        stored = " / ".join(sorted({stored for stored, _, _ in cells.values()}))
        read = " / ".join(sorted({read for _, read, _ in cells.values()}))
        counts = [f"{cells[one][2] if one in cells else '-':>5}" for one in readers]
        terminal.write_line(
            f"{column:44}{stored:24}{read:24}{''.join(counts[:2])} {''.join(counts[2:])}"
        )


def _show_untested(terminal: pytest.TerminalReporter) -> None:
    """Say what was left out because it is not installed, also without -rs."""
    reasons = {
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in terminal.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    }
    for reason in sorted(one for one in reasons if " is not tested: " in one):
        terminal.write_line(reason, yellow=True)


@pytest.fixture(scope="session")
def in_full(request: pytest.FixtureRequest) -> bool:
    """Whether tests marked long run in full, not in their short form."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(autouse=True, scope="session")
def _no_waiting() -> Iterator[None]:
    """Retries happen as always, but without the waits between them."""
    with stamina.set_testing(True, attempts=5):
        yield


@pytest.fixture(autouse=True)
def _clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No setting of the person who runs the tests reaches them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-configuration"))
    for name in list(os.environ):
        if name.startswith(("MIRROR_", "TALKOVER_")) and not name.startswith("MIRROR_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """A Postgres server: the one of MIRROR_TEST_POSTGRES_URL, else one of the tests' own."""
    return os.environ.get("MIRROR_TEST_POSTGRES_URL") or postgres.shared_server()


@pytest.fixture(scope="session")
def _pools(request: pytest.FixtureRequest) -> Callable[[bool], postgres.Databases]:
    """The databases of this worker on Postgres: empty ones, and those that have the schema."""

    @cache
    def pool(ready: bool) -> postgres.Databases:
        server = request.getfixturevalue("postgres_server")
        return postgres.Databases(server, *([upgrade] if ready else []))

    return pool


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "mirror.db"
    upgrade(f"sqlite:///{path}")
    return path


def upgrade(url: str) -> None:
    """Give an empty database the schema."""
    migrate.upgrade(create_engine(url, create=True))


@contextmanager
def new_database(
    kind: str, request: pytest.FixtureRequest, timezone: str = "UTC", *, ready: bool = False
) -> Iterator[str]:
    """Give a database, "sqlite" or "postgresql", for a fixture of any scope.

    Args:
        kind: of the database.
        request: of the fixture.
        timezone: the zone that Postgres thinks in.
        ready: it has the schema; otherwise there is nothing in it.
    """
    if kind == "sqlite":
        folder = request.getfixturevalue("tmp_path_factory").mktemp("db")
        path = Path(folder) / "mirror.db"
        if ready:
            shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    with request.getfixturevalue("_pools")(ready).one(timezone) as url:
        yield url


@contextmanager
def once_of_each_kind(
    make: Callable[[str], AbstractContextManager[_T]],
) -> Iterator[Callable[[str], _T]]:
    """Give what is costly by the kind of database: made when it is first asked for, and kept.

    A fixture with parameters would be made anew each time that tests come in another order.
    """
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(make(kind)))


@pytest.fixture
def make_database(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Makes empty databases: give it "sqlite" or "postgresql", get a URL."""
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(new_database(kind, request))


@pytest.fixture
def make_ready_database(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Makes databases that have the schema: give it "sqlite" or "postgresql", get a URL."""
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(new_database(kind, request, ready=True))


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> str:
    """An empty database, once of each kind."""
    return make_database(request.param)


@pytest.fixture(params=DATABASES)
def ready_database_url(
    request: pytest.FixtureRequest, make_ready_database: Callable[[str], str]
) -> str:
    """A database that has the schema and nothing else, once of each kind."""
    return make_ready_database(request.param)


class World(Simulation):
    """An upstream that says what a test wants it to say.

    Attributes:
        records: the entries of its list.
    """

    def __init__(self) -> None:
        super().__init__(0, 0, datetime(2024, 1, 11, 12, 0, tzinfo=UTC))
        self.records: list[Any] = []

    def answered(self) -> list[Any]:
        """The entries of the list; bytes are sent as they are."""
        return [msgspec.Raw(one) if isinstance(one, bytes) else one for one in self.records]


class Mirror:
    """A mirror under test: its database, the API it syncs from, and a clock that a test moves."""

    def __init__(self, url: str, sandbox: Sandbox, world: World) -> None:
        self.url = url
        self.sandbox = sandbox
        self.world = world
        self.now = world.now

    @cached_property
    def engine(self) -> Engine:
        """The mirror's database, made if need be."""
        return create_engine(self.url, create=True)

    @property
    def api(self) -> ApiSettings:
        """How to talk to the upstream."""
        return ApiSettings(self.sandbox.base_url, Secret(self.sandbox.manner.token))

    def sync(self, records: list[Any] | None = None, **options: Any) -> Result:
        """Let upstream say `records`, and sync an hour later."""
        if records is not None:
            self.world.records = records
            self.sandbox.forget()
        self.now += timedelta(hours=1)
        environment = options.pop("environment", "default")
        return sync(self.engine, self.api, environment, now=lambda: self.now, **options)

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run a query as it stands."""
        with read_transaction(self.engine) as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def ask(self, helper: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a query helper."""
        with read_transaction(self.engine) as connection:
            return helper(connection, *arguments, **options)

    def state(self) -> dict[str, list[str]]:
        """Everything that syncs write, except the runs, as it stands."""
        with read_transaction(self.engine) as connection:
            return {table: stored(connection, table) for table in _WRITTEN}

    def stored(self, table: str) -> list[str]:
        """The rows of a table, each as one text that has all its bytes."""
        with read_transaction(self.engine) as connection:
            return stored(connection, table)

    def runs(self, *columns: str) -> list[tuple[Any, ...]]:
        """The runs on record, the first one first."""
        return self.rows(f"SELECT {', '.join(columns)} FROM sync_runs ORDER BY id")


def stored(connection: Connection, table: str) -> list[str]:
    """The rows of a table, each as one text that has all its bytes."""
    row = "*" if connection.dialect.name == "sqlite" else f"CAST({table} AS text)"
    rows = connection.exec_driver_sql(f"SELECT {row} FROM {table}")
    return sorted(str(tuple(one)) for one in rows)


@pytest.fixture
def world() -> World:
    """What upstream says."""
    return World()


@pytest.fixture
def sandbox(world: World) -> Iterator[Sandbox]:
    """An API on loopback that gives the list of `world`."""
    with Sandbox(world, SandboxConfig(token=TOKEN)).running() as running:
        yield running


@pytest.fixture
def mirror(ready_database_url: str, sandbox: Sandbox, world: World) -> Mirror:
    """A mirror that has the schema and was never synced, once of each kind."""
    return Mirror(ready_database_url, sandbox, world)


@pytest.fixture
def new_mirror(database_url: str, sandbox: Sandbox, world: World) -> Mirror:
    """A mirror whose first sync makes the schema, once of each kind."""
    return Mirror(database_url, sandbox, world)


@pytest.fixture
def sqlite_mirror(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, world: World
) -> Mirror:
    """A mirror in SQLite, for what has nothing to do with the database."""
    return Mirror(make_ready_database("sqlite"), sandbox, world)


@pytest.fixture
def connection(mirror: Mirror) -> Iterator[Connection]:
    """A connection to a mirror that has the schema and nothing else."""
    with write_transaction(mirror.engine, "test") as connection:
        yield connection


def request(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A release request as the API gives it; a field that is None is left out."""
    record = {
        "id": f"request-{number}",
        "phone_number_id": f"phone-{number}",
        "phone_number": f"+1555000{number:04d}",
        "reason": "Number is no longer in use",
        "status": "pending",
        "requested_at": "2024-01-10T14:30:00Z",
    } | fields
    return {name: value for name, value in record.items() if value is not None}


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str


def run_mirror(*arguments: str, cwd: Path | None = None, **environment: str) -> Ran:
    """Run `mirror` within this process, as if its output went into pipes.

    What is about processes, such as start-up, signals and closed files, takes `run_process`.
    """
    assert threading.current_thread() is threading.main_thread(), "another command would be hit"
    with _pipe() as out, _pipe() as err, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        patch.setattr(sys, "stdin", io.StringIO())
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            code = cli.run(list(arguments))
        except Exception:  # noqa: BLE001 (what a process would print; tests look for it)
            traceback.print_exc()
            code = 1
        return Ran(code, *(_written(stream) for stream in (out, err)))


@contextmanager
def _pipe() -> Iterator[io.TextIOWrapper]:
    """A stream as `mirror.cli.main` makes it where there is no terminal."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    try:
        yield stream
    finally:
        stream.close()


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return cast(io.BytesIO, stream.buffer).getvalue().decode()


def run_module(module: str, *arguments: str, cwd: Path | None = None, **environment: str) -> Ran:
    """Run a command line as a process of its own."""
    return run_python("-m", module, *arguments, cwd=cwd, **environment)


def run_python(*arguments: str, cwd: Path | None = None, **environment: str) -> Ran:
    """Run the interpreter as a process of its own."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def run_process(*arguments: str, cwd: Path | None = None, **environment: str) -> Ran:
    """Run `mirror` as a process of its own."""
    return run_module("mirror", *arguments, cwd=cwd, **environment)


def run_on_a_terminal(*command: str, merge: bool = False, **environment: str) -> tuple[Ran, str]:
    """Run a Python command line on a terminal.

    Args:
        command: arguments of the interpreter.
        merge: its errors go to the terminal too.
        environment: besides what there is.

    Returns:
        What it came to, and all that the terminal received.
    """
    ours, theirs = pty.openpty()
    pieces: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:
            pass  # the other end was closed

    reader = threading.Thread(target=read)
    reader.start()
    try:
        done = subprocess.run(
            [sys.executable, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs if merge else subprocess.PIPE,
            env=os.environ | {"TERM": "xterm-256color"} | environment,
            check=False,
            timeout=120,
        )
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    return Ran(done.returncode, "", (done.stderr or b"").decode()), b"".join(pieces).decode()
