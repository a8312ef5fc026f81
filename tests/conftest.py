"""Fixtures of all tests: databases, a fake API, mirrors and worker processes."""

from __future__ import annotations

import gc
import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path

import pytest
import stamina
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.pool import Pool

from mirror.db.engine import write_transaction
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support import guardian, moved_clock, postgres, summary
from tests.support.databases import DATABASES, new_database, upgrade
from tests.support.fake_clock import SkippingClock
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream
from tests.support.workers import Worker

_GUARDIAN = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option --long."""
    parser.addoption(
        "--long", action="store_true", help="run the tests marked long in full, for many minutes"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make sure that what tests start can be interrupted, and ends with them.

    A shell in the background ignores SIGINT, and its children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        if moved_clock.is_moved() and not moved_clock.is_usable():
            config.pluginmanager.getplugin("capturemanager").stop_global_capturing()
            moved_clock.start_anew()
        config.stash[_GUARDIAN] = guardian.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what is left, such as the Postgres that the workers of xdist share."""
    if watching := config.stash.get(_GUARDIAN, None):
        watching.communicate()


def pytest_collection_finish() -> None:
    """Run the garbage collector less often: each time it goes through the tests themselves."""
    gc.set_threshold(100_000)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Use one more worker than cores: tests often wait for processes and for Postgres."""
    return 1 + (os.cpu_count() or 1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded, and what could not be tested."""
    summary.write(terminalreporter)


@pytest.fixture(scope="session")
def in_full(request: pytest.FixtureRequest) -> bool:
    """Whether tests marked long run in full."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(autouse=True, scope="session")
def _no_backoff() -> Iterator[None]:
    """Retry without waiting."""
    with stamina.set_testing(True, attempts=5), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("mirror.api.client.Clock", SkippingClock)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_fsync() -> Iterator[None]:
    """Let SQLite in this process wait for no disk; the server of the tests does not either."""

    def configure(connection: object, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Pool, "connect", configure)
    yield
    event.remove(Pool, "connect", configure)


@pytest.fixture(autouse=True)
def _clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Remove settings of the person who runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-configuration"))
    for name in list(os.environ):
        if name.startswith(("MIRROR_", "TALKOVER_")) and not name.startswith("MIRROR_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The Postgres server of MIRROR_TEST_POSTGRES_URL, else one that the tests start."""
    return os.environ.get("MIRROR_TEST_POSTGRES_URL") or postgres.shared_server()


@pytest.fixture(scope="session")
def _pools(request: pytest.FixtureRequest) -> Iterator[Callable[[bool], postgres.Databases]]:
    """Pools of Postgres databases: of empty ones, and of those with the schema."""
    with ExitStack() as stack:

        @cache
        def pool(ready: bool) -> postgres.Databases:
            server = request.getfixturevalue("postgres_server")
            databases = postgres.Databases(server, upgrade if ready else None)
            return stack.enter_context(closing(databases))

        yield pool


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "mirror.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def make_database(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """A function from a kind of database to the URL of a new, empty one."""
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(new_database(kind, request))


@pytest.fixture
def make_ready_database(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """A function from a kind of database to the URL of a new one with the schema."""
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(new_database(kind, request, ready=True))


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> str:
    """An empty database of each kind."""
    return make_database(request.param)


@pytest.fixture(params=DATABASES)
def ready_database_url(
    request: pytest.FixtureRequest, make_ready_database: Callable[[str], str]
) -> str:
    """A database of each kind with the schema."""
    return make_ready_database(request.param)


@pytest.fixture
def upstream() -> FakeUpstream:
    """What the sandbox lists."""
    return FakeUpstream()


@pytest.fixture
def sandbox(upstream: FakeUpstream) -> Iterator[Sandbox]:
    """A mock API on loopback."""
    with Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as running:
        yield running


@pytest.fixture
def mirror(ready_database_url: str, sandbox: Sandbox, upstream: FakeUpstream) -> Mirror:
    """A mirror with the schema that was never synced, in each kind of database."""
    return Mirror(ready_database_url, sandbox, upstream)


@pytest.fixture
def new_mirror(database_url: str, sandbox: Sandbox, upstream: FakeUpstream) -> Mirror:
    """A mirror whose first sync makes the schema, in each kind of database."""
    return Mirror(database_url, sandbox, upstream)


@pytest.fixture
def sqlite_mirror(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> Mirror:
    """A mirror in SQLite, for what does not depend on the database."""
    return Mirror(make_ready_database("sqlite"), sandbox, upstream)


@pytest.fixture
def postgres_mirror(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> Mirror:
    """A mirror in Postgres, for what is of Postgres alone."""
    return Mirror(make_ready_database("postgresql"), sandbox, upstream)


@pytest.fixture
def connection(mirror: Mirror) -> Iterator[Connection]:
    """A transaction on `mirror`."""
    with write_transaction(mirror.engine, "test") as connection:
        yield connection


@pytest.fixture
def chance() -> random.Random:
    """A random generator; the same `--randomly-seed` makes the same one."""
    seed = random.randrange(1_000_000)  # noqa: S311 (no cryptography)
    print(f"seed {seed}")  # pytest shows it if the test fails
    return random.Random(seed)  # noqa: S311 (no cryptography)


@pytest.fixture
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    """Six workers, which begin without delay."""
    workers = [Worker(tmp_path_factory.mktemp("worker")) for _ in range(6)]
    workers[0].start("--version")  # it waits for the imports
    workers[0].result()
    yield workers
    for worker in workers:
        worker.clear()


@pytest.fixture
def worker(workers: list[Worker]) -> Worker:
    """A worker, which begins without delay."""
    return workers[0]
