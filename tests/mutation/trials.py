"""Runs pytest on copies of the checkout, each run in a fork that has the libraries loaded."""

from __future__ import annotations

import compileall
import gc
import importlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any, Literal

import psycopg
import pytest

ROOT = Path(__file__).parents[2]

Verdict = Literal["killed", "survived", "timed out"]

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__", "node_modules"
)
_LIBRARIES = (
    *("alembic.command", "anyio", "click", "httpx", "hypothesis", "msgspec", "phonenumbers"),
    *("prometheus_client", "psutil", "psycopg", "rich.console", "rich.progress", "rich.table"),
    *("sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite", "stamina", "xxhash"),
)
_MEMORY = 8 * 1024**3
"""Bytes of address space that a run may use."""
_START_S = 120
"""Seconds for the start of a run, until its first test."""
_SERVER = """
import sys
from tests.support import postgres
from tests.support.databases import upgrade
with postgres.server() as url:
    upgrade(url)
    print(url, flush=True)
    sys.stdin.read()
"""


def load_libraries() -> None:
    """Import what all runs need, which takes longer than most of them."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


class Copy:
    """A copy of the checkout, a Postgres server and a SQLite file with the schema.

    Attributes:
        root: folder of the copy.
        server: URL of a database on the server, which has the schema.
        sqlite: the SQLite file.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self.root = folder / "checkout"
        self.server = server
        self.sqlite = folder / "schema.db"

    def run(self, log: Path, plugin: object, arguments: Iterable[str]) -> int:
        """Start a run of pytest in a fork; return its process id."""
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            os.chdir(self.root)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(output, stream)
            os.environ |= {"MIRROR_TEST_POSTGRES_URL": self.server, "PYTHONPATH": str(self.root)}
            sys.path[0] = str(self.root)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            signal.alarm(_START_S)
            options = ["-q", "--tb=line", "-p", "no:randomly", "-p", "no:cacheprovider"]
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of those loaded before
            temporary = f"--basetemp={self.root.parent / 'tmp'}"
            code = pytest.main([*options, temporary, *arguments], plugins=[plugin])
        except BaseException as error:  # noqa: BLE001 (it must not return to the parent's code)
            print(repr(error))
            code = 3
        sys.stdout.flush()
        os._exit(code)

    def compiles_to(self, file: str, sql: str) -> object:
        """Return what the database makes of a view, or None if it refuses it.

        SQL of the same meaning to it has the same result.
        """
        view = Path(file).stem
        try:
            if Path(file).parent.name == "sqlite":
                with _rolled_back_sqlite(self.sqlite) as database:
                    database.execute(f"DROP VIEW {view}")
                    database.execute(sql)
                    return database.execute(f"EXPLAIN SELECT * FROM {view}").fetchall()
            with psycopg.connect(self.server) as connection:
                connection.execute(f"DROP VIEW {view} CASCADE".encode())
                connection.execute(sql.encode())
                made = connection.execute("SELECT pg_get_viewdef(%s::regclass)", [view]).fetchone()
                connection.rollback()
                return made
        except (sqlite3.Error, psycopg.Error):
            return None

    def drop_databases(self) -> None:
        """Drop the databases that a run has left on the server."""
        with psycopg.connect(self.server, autocommit=True) as connection:
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
            ).fetchall()
            for (name,) in names:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@contextmanager
def copied(folder: Path) -> Iterator[Copy]:
    """Copy the checkout to an empty folder, with a server of its own."""
    root = folder / "checkout"
    shutil.copytree(ROOT, root, ignore=_LEFT_OUT)
    # A mutant may have the time and the size of the original.
    mode = PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(root / "mirror", quiet=1, invalidation_mode=mode)
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        cwd=root,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the parent, which ends it
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        copy = Copy(folder, server.stdout.readline().strip())
        upgrade = "import sys; from tests.support.databases import upgrade; upgrade(sys.argv[1])"
        subprocess.run(
            [sys.executable, "-c", upgrade, f"sqlite:///{copy.sqlite}"],
            cwd=root,
            env=environment,
            check=True,
        )
        yield copy
        server.stdin.close()


@contextmanager
def _rolled_back_sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("BEGIN")
        yield database
    finally:
        database.close()


@dataclass
class Selection:
    """A pytest plugin that runs some tests in some order, and ends the process if one hangs.

    Attributes:
        seconds: of each test in the run of the original, in the order in which they run.
    """

    seconds: dict[str, float]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that were selected, in their order."""
        order = {test: place for place, test in enumerate(self.seconds)}
        items[:] = sorted(
            (item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid]
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Give it time: SIGALRM ends the process."""
        signal.alarm(int(30 + 10 * self.seconds[item.nodeid]))
        result = yield
        signal.alarm(_START_S)
        return result


@dataclass
class Survey:
    """A pytest plugin that writes how long each test takes, and which lines it runs.

    Attributes:
        measured: modules whose lines are measured, in the checkout.
        save: called at the end with the seconds of each test, and the tests of each line by file.
    """

    measured: list[str]
    save: Callable[[dict[str, float], dict[str, dict[int, list[str]]]], None]

    def __post_init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def pytest_sessionstart(self) -> None:
        """Begin to measure, before the modules are imported."""
        signal.alarm(0)
        import coverage

        self.coverage = coverage.Coverage(data_file=None, include=self.measured or ["nothing"])
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Measure a test."""
        self.coverage.switch_context(item.nodeid)
        began = time.monotonic()
        result = yield
        self.seconds[item.nodeid] = round(time.monotonic() - began, 3)
        self.coverage.switch_context("")
        return result

    def pytest_sessionfinish(self) -> None:
        """Hand over what was measured."""
        self.coverage.stop()
        data = self.coverage.get_data()
        here = Path.cwd()
        self.save(
            self.seconds,
            {
                str(Path(path).relative_to(here)): {
                    line: [test for test in tests if test]
                    for line, tests in data.contexts_by_lineno(path).items()
                }
                for path in data.measured_files()
            },
        )
