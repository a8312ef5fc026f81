"""Many environments in one database: what a sync of one of them takes, beside the same alone.

An environment alone has the database to itself: the schema is there, and nothing else.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from tests.benchmarks import lists, stages, world
from tests.benchmarks.stages import STAGES, Programs, System
from tests.benchmarks.world import Database, Failure, Kind, Measured

NAMES = ("first-load", "nothing-new", "changed")
"""The stages that are measured."""

Place = Literal["many", "alone"]
Found = dict[tuple[str, System, Place], list[Measured]]
"""What was measured, by name of the stage, build, and whether the environment is one of many."""


class ManyEnvironments:
    """Databases that hold many environments, and others that hold one.

    Args:
        folder: an empty one, for lists and databases.
        server: URL of Postgres.
        count: environments in a database, at least as many as there are runs.
        requests: of each environment.
        programs: the builds that are measured, each with databases of its own.
    """

    def __init__(
        self, folder: Path, server: str | None, *, count: int, requests: int, programs: Programs
    ) -> None:
        self._folder = folder
        self._server = server
        self._count = count
        self._requests = requests
        self._programs = programs

    def measure(self, kind: Kind, runs: int) -> Found:
        """Fill a database for each build, and let environments go through the stages.

        Each run takes another environment. For its first load it is a new one.

        Args:
            kind: of the databases.
            runs: how often each stage is measured.
        """
        found: Found = defaultdict(list)
        with ExitStack() as stack:
            base_url = stack.enter_context(_file_server(self._folder))
            config = self._configure(base_url, self._count + runs)
            databases: dict[System, Database] = {}
            for number in range(self._count):
                self._publish(number, 0)
            for system, program in self._programs.items():
                databases[system] = stack.enter_context(self._empty(kind, system))
                _sync(program, config, databases[system], *range(self._count))
            for turn in range(runs):
                self._run(config, databases, turn, found)
        return found

    def _run(self, config: Path, many: dict[System, Database], turn: int, found: Found) -> None:
        """Let an environment of each database go through all stages."""
        with ExitStack() as stack:
            databases: dict[tuple[System, Place], Database] = {}
            for system, program in self._programs.items():
                alone = stack.enter_context(self._empty(many[system].kind, f"{system}-alone"))
                world.measure(program, "db", "upgrade", "--database", alone.url)
                databases[system, "alone"] = alone
                databases[system, "many"] = many[system]
            versions = {number: self._publish(number, 0) for number in (turn, self._count + turn)}
            for stage in (stage for stage in STAGES if stage.name in NAMES):
                if stage.version:
                    versions[turn] = self._publish(turn, stage.version)
                for system, place in stages.in_turn(list(databases), turn):
                    is_new = stage.name == "first-load" and place == "many"
                    number = self._count + turn if is_new else turn
                    database = databases[system, place]
                    database.settle()
                    took = _sync(self._programs[system], config, database, number)
                    stages.check(stage, system, database, versions[number])
                    found[stage.name, system, place].append(took)

    def _empty(self, kind: Kind, name: str) -> AbstractContextManager[Database]:
        """Make an empty database."""
        return world.empty_database(kind, self._folder / f"{kind}-{name}", self._server)

    def _publish(self, number: int, version: int) -> lists.Facts:
        """Serve a version of an environment's list from now on."""
        facts = lists.make(self._folder, self._requests, version, number)
        file = self._folder / _name(number) / world.LIST.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        facts.path.replace(file)
        return facts

    def _configure(self, base_url: str, count: int) -> Path:
        """Write the configuration file of all environments."""
        (self._folder / "token").write_text(world.TOKEN)
        lines = ["[defaults]", "rate = 10000"]
        for name in map(_name, range(count)):
            lines += [f"[environments.{name}]", f'base_url = "{base_url}/{name}"']
            lines += ['token_file = "token"']
        file = self._folder / "mirror.toml"
        file.write_text("\n".join(lines))
        return file


def _name(number: int) -> str:
    return f"e{number:03}"


def _sync(program: str, config: Path, database: Database, *numbers: int) -> Measured:
    """Sync environments, one after the other."""
    chosen = [word for number in numbers for word in ("--environment", _name(number))]
    command = (program, "sync", "--config", str(config), "--database", database.url, *chosen)
    return world.measure(*command, settings={})


@contextmanager
def _file_server(folder: Path) -> Iterator[str]:
    """Serve the files of a folder over HTTP; yield the URL."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        with process.stdout as stdout:
            found = re.search(r"http://[\d.:]+", stdout.readline())
        if found is None:
            raise Failure("the server of files does not come up")
        yield found[0]
    finally:
        process.kill()
        process.wait()
