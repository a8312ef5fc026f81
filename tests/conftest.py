"""What the tests share: both databases, an upstream to sync from, and the command line."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import stamina
from sqlalchemy.engine import Connection

from mirror.db.engine import write_transaction
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support import guardian, moved_clock, postgres
from tests.support.databases import DATABASES, new_database, upgrade
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream

_GUARDIAN = pytest.StashKey["subprocess.Popen[bytes]"]()


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


@pytest.fixture
def upstream() -> FakeUpstream:
    """What upstream says."""
    return FakeUpstream()


@pytest.fixture
def sandbox(upstream: FakeUpstream) -> Iterator[Sandbox]:
    """An API on loopback that gives the list of `upstream`."""
    with Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as running:
        yield running


@pytest.fixture
def mirror(ready_database_url: str, sandbox: Sandbox, upstream: FakeUpstream) -> Mirror:
    """A mirror that has the schema and was never synced, once of each kind."""
    return Mirror(ready_database_url, sandbox, upstream)


@pytest.fixture
def new_mirror(database_url: str, sandbox: Sandbox, upstream: FakeUpstream) -> Mirror:
    """A mirror whose first sync makes the schema, once of each kind."""
    return Mirror(database_url, sandbox, upstream)


@pytest.fixture
def sqlite_mirror(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> Mirror:
    """A mirror in SQLite, for what has nothing to do with the database."""
    return Mirror(make_ready_database("sqlite"), sandbox, upstream)


@pytest.fixture
def connection(mirror: Mirror) -> Iterator[Connection]:
    """A connection to a mirror that has the schema and nothing else."""
    with write_transaction(mirror.engine, "test") as connection:
        yield connection
