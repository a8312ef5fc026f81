"""Runs pytest on copies of the checkout, each run in a fork that has the libraries loaded."""

from __future__ import annotations

import compileall
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import psycopg
import pytest

ROOT = Path(__file__).parents[2]

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
        folder: that of all of it.
        root: folder of the copy.
        log: the output of the last run.
        server: URL of a database on the server, which has the schema.
        sqlite: the SQLite file.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self.root = folder / "checkout"
        self.log = folder / "log"
        self.server = server
        self.sqlite = folder / "schema.db"

    def run(self, plugin: object, arguments: Iterable[str]) -> int:
        """Start a run of pytest in a fork; return its process id."""
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            os.chdir(self.root)
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(output, stream)
            os.environ |= {"MIRROR_TEST_POSTGRES_URL": self.server, "PYTHONPATH": str(self.root)}
            sys.path[0] = str(self.root)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            signal.alarm(_START_S)
            options = ["-q", "--tb=line", "-p", "no:randomly", "-p", "no:cacheprovider"]
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of those loaded before
            temporary = f"--basetemp={self.folder / 'tmp'}"
            code = pytest.main([*options, temporary, *arguments], plugins=[plugin])
        except BaseException as error:  # noqa: BLE001 (it must not return to the parent's code)
            print(repr(error))
            code = 3
        sys.stdout.flush()
        os._exit(code)

    def compiles_to(self, file: str, sql: str) -> str | None:
        """Return what the database makes of a view, or None if it refuses it.

        SQL of the same meaning to it has the same result.
        """
        view = Path(file).stem
        try:
            if Path(file).parent.name == "sqlite":
                with _rolled_back_sqlite(self.sqlite) as database:
                    database.execute(f"DROP VIEW {view}")
                    database.execute(sql)
                    return str(database.execute(f"EXPLAIN SELECT * FROM {view}").fetchall())
            with psycopg.connect(self.server) as connection:
                connection.execute(f"DROP VIEW {view} CASCADE".encode())
                connection.execute(sql.encode())
                made = connection.execute("SELECT pg_get_viewdef(%s::regclass)", [view]).fetchone()
                connection.rollback()
                return str(made)
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


class Selection:
    """A pytest plugin that runs some tests in some order, and ends the process if one hangs.

    Args:
        seconds: of each test in the survey, in the order in which they run.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that were selected, in their order."""
        order = {test: place for place, test in enumerate(self._seconds)}
        items[:] = sorted(
            (item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid]
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Give it time: SIGALRM ends the process."""
        signal.alarm(int(_START_S / 2 + 20 * self._seconds[item.nodeid]))
        result = yield
        signal.alarm(_START_S)
        return result


class Survey:
    """A pytest plugin that writes how long each test takes, and which lines it reaches.

    Args:
        modules: glob of the modules whose lines are meant, if any are.
        found: the file that it writes.
    """

    def __init__(self, modules: str | None, found: Path) -> None:
        self._modules = modules
        self._found = found
        self._seconds: dict[str, float] = {}

    def pytest_sessionstart(self) -> None:
        """Begin to measure, before the modules are imported."""
        import coverage

        signal.alarm(0)
        self._coverage = coverage.Coverage(data_file=None, include=[str(self._modules)])
        if self._modules is not None:
            self._coverage.start()
            for path in sorted(Path("/").glob(self._modules.lstrip("/"))):
                name = ".".join(path.relative_to(Path.cwd()).with_suffix("").parts)
                importlib.import_module(name)  # else its top level is that of the first test

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Measure a test."""
        if self._modules is not None:
            self._coverage.switch_context(item.nodeid)
        began = sum(os.times()[:4])
        result = yield
        self._seconds[item.nodeid] = round(sum(os.times()[:4]) - began, 3)
        return result

    def pytest_sessionfinish(self) -> None:
        """Write what was measured."""
        reached = {}
        if self._modules is not None:
            self._coverage.stop()
            data = self._coverage.get_data()
            for path in data.measured_files():
                lines = data.contexts_by_lineno(path)
                tests = {line: [test for test in of if test] for line, of in lines.items()}
                reached[str(Path(path).relative_to(Path.cwd()))] = tests
        self._found.write_text(json.dumps([self._seconds, reached]))
