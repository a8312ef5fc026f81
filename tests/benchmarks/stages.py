"""The stages: each system goes through them in turn, and what it leaves behind is looked at."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, LiteralString, TypeVar

from tests.benchmarks import lists, world
from tests.benchmarks.world import Database, Failure, Kind, Measured

_T = TypeVar("_T")
System = Literal["floor", "mirror", "beside", "hash"]
Programs = dict[System, str]
"""The executable of `mirror`, and that of the other build if there is one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage.

    Attributes:
        name: for the command line.
        title: for people.
        version: of the list that is served.
        outcome: what `mirror` must put on record.
        systems: who goes through it, and the other build if there is one.
        etag: the server has an ETag and is asked by one.
    """

    name: str
    title: str
    version: int
    outcome: Literal["applied", "unchanged"]
    systems: tuple[System, ...] = ("floor", "mirror")
    etag: bool = False


STAGES = (
    Stage("first-load", "first load", 0, "applied"),
    Stage("nothing-new", "nothing new", 0, "unchanged", ("floor", "mirror", "hash")),
    Stage("little-changed", "0.01 % changed", 1, "applied"),
    Stage("changed", "1 % changed", 2, "applied"),
    Stage("etag", "nothing new, ETag", 2, "unchanged", ("mirror",), etag=True),
)

_COUNTED = (
    "SELECT count(*), count(CASE WHEN status = 'pending' THEN 1 END), count(resolved_at),"
    " sum(length(reason)) FROM release_requests WHERE"
)
_SYNCED = "environment = (SELECT environment FROM sync_runs ORDER BY id DESC LIMIT 1)"
_FLOOR_HOLDS: tuple[LiteralString, ...] = (
    f"{_COUNTED} valid_to IS NULL",
    "SELECT count(*) FROM release_requests WHERE valid_to IS NOT NULL",
)
_MIRROR_HOLDS: tuple[LiteralString, ...] = (
    f"{_COUNTED} missing_since IS NULL AND {_SYNCED}",
    f"SELECT count(*) FROM release_request_past_versions WHERE {_SYNCED}",
)
"""Only tables and columns that each build has, also an older one."""

_LAST_RUN = "SELECT outcome, bytes FROM sync_runs ORDER BY id DESC LIMIT 1"


@dataclass(slots=True)
class Timings:
    """What was measured.

    Attributes:
        of: by size, kind of database, name of the stage, and system: a measurement a run.
        size: bytes of version 0, by the number of its requests.
    """

    of: dict[tuple[int, Kind, str, System], list[Measured]] = field(
        default_factory=lambda: defaultdict(list)
    )
    size: dict[int, int] = field(default_factory=dict)


class Servers:
    """Two stand-ins for the API that give the same list, one of them with an ETag."""

    def __init__(self, shown: Path, plain: str, tagged: str) -> None:
        self._facts: lists.Facts | None = None
        self._shown = shown
        self._base_urls = {False: plain, True: tagged}

    def base_url(self, *, etag: bool) -> str:
        """Return where the API is."""
        return self._base_urls[etag]

    def show(self, facts: lists.Facts) -> None:
        """Give another list from now on; the servers have read it when this returns."""
        if facts == self._facts:
            return
        self._facts = facts
        link = self._shown.with_suffix(".new")
        link.symlink_to(facts.path)
        link.replace(self._shown)
        for base_url in self._base_urls.values():
            world.measure(*_floor("hash", base_url, facts.sha256))


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run the servers; the list they give lies in a folder."""
    shown = folder / "list.json"
    shown.write_bytes(b"")
    options = ("--requests", "0", "--file", str(shown))
    with world.sandbox(*options) as plain, world.sandbox(*options, "--etag") as tagged:
        yield Servers(shown, plain, tagged)


def sync(
    database: Database, base_url: str, rate: int = 10_000, program: str = world.MIRROR
) -> Measured:
    """Run `mirror sync`."""
    return world.measure(
        program, "sync", "--database", database.url, "--base-url", base_url,
        "--rate", str(rate),
    )  # fmt: skip


def _move(database: Database, base_url: str, program: str) -> None:
    """Sync from another base URL, which older builds do not have to accept."""
    options = subprocess.run(
        [program, "sync", "--help"], capture_output=True, text=True, check=True
    )
    accept = ["--accept-base-url"] if "--accept-base-url" in options.stdout else []
    world.measure(
        program, "sync", "--database", database.url, "--base-url", base_url, *accept
    )  # fmt: skip


def _floor(way: str, base_url: str, what: str, script: Path = world.HERE / "floor.py") -> list[str]:
    return [sys.executable, str(script), way, base_url + world.LIST, what]


class Course:
    """The stages, for one size of list and one kind of database.

    Args:
        servers: of lists.
        versions: of the list.
        programs: what is measured beside the floor.
        floor: the script of the floor.
        last: the stage after which it ends.

    Attributes:
        size: bytes of version 0.
    """

    def __init__(
        self,
        servers: Servers,
        versions: Sequence[lists.Facts],
        programs: Programs,
        floor: Path,
        last: Stage,
    ) -> None:
        self.size = versions[0].size
        self._servers = servers
        self._versions = versions
        self._programs = programs
        self._floor = floor
        self._stages = STAGES[: STAGES.index(last) + 1]

    @contextmanager
    def run(
        self, kind: Kind, folder: Path, server: str | None, turn: int
    ) -> Iterator[tuple[Database, dict[tuple[str, System], Measured]]]:
        """Go through all stages once, from empty databases.

        Args:
            kind: of database.
            folder: for the files of SQLite.
            server: URL of Postgres.
            turn: decides who is first.

        Yields:
            The database of `mirror` in the end, and what was measured by stage and system.
        """
        with ExitStack() as stack:
            databases: dict[System, Database] = {
                system: stack.enter_context(
                    world.empty_database(kind, folder / f"{kind}-{system}", server)
                )
                for system in ("floor", *self._programs)
            }
            found: dict[tuple[str, System], Measured] = {}
            for stage in self._stages:
                self._servers.show(self._versions[stage.version])
                if stage.etag:
                    for system, program in self._programs.items():
                        _move(databases[system], self._servers.base_url(etag=True), program)
                systems = [*stage.systems, *self._programs.keys() - {"mirror"}]
                for system in in_turn(systems, turn):
                    found[stage.name, system] = self._go(stage, system, databases)
            yield databases["mirror"], found

    def _go(self, stage: Stage, system: System, databases: dict[System, Database]) -> Measured:
        """Let a system go through a stage, and look at what it did."""
        base_url = self._servers.base_url(etag=stage.etag)
        if system == "hash":
            return world.measure(*_floor("hash", base_url, self._versions[stage.version].sha256))
        database = databases[system]
        database.settle()
        if system == "floor":
            took = world.measure(*_floor(database.kind, base_url, database.plain, self._floor))
        else:
            took = sync(database, base_url, program=self._programs[system])
        check(stage, system, database, self._versions[stage.version])
        return took


def in_turn(systems: list[_T], turn: int) -> list[_T]:
    """Return the systems in the order of a turn: each turn begins with another one."""
    first = turn % len(systems)
    return systems[first:] + systems[:first]


def check(stage: Stage, system: System, database: Database, facts: lists.Facts) -> None:
    """Raise Failure unless the database holds what the list says.

    Args:
        stage: what the system went through last.
        system: who did.
        database: that of the system; of its environments the one that was synced last counts.
        facts: of the list.
    """
    expected = {
        "requests": facts.requests,
        "pending": facts.pending,
        "resolved": facts.resolved,
        "characters of reasons": facts.reasons,
        "superseded versions": facts.superseded,
    }
    holds = _FLOOR_HOLDS if system == "floor" else _MIRROR_HOLDS
    found = [value for query in holds for value in database.row(query)]
    wrong = [
        f"{name}: {value} instead of {right}"
        for (name, right), value in zip(expected.items(), found, strict=True)
        if value != right
    ]
    if system != "floor":
        outcome, read = database.row(_LAST_RUN)
        # A list that changed without growing is confirmed by the beginning of page 2.
        sizes = {0} if stage.etag else {facts.size, facts.size + min(facts.size, 2**18)}
        if outcome != stage.outcome or read not in sizes:
            wrong.append(
                f"outcome and bytes: {outcome}, {read} instead of {stage.outcome}, {sizes}"
            )
    if wrong:
        raise Failure(
            f"{system} on {database.kind}, {stage.title} of {facts.requests:,} requests: "
            f"{', '.join(wrong)}"
        )
