"""The stages: each system goes through them in turn, and what it leaves behind is looked at."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import lists
import world
from world import Database, Failure, Kind, Measured

System = Literal["floor", "mirror", "hash"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage.

    Attributes:
        name: for the command line.
        title: for people.
        version: of the list that is served.
        outcome: what `mirror` must put on record.
        systems: who goes through it.
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
    Stage("changed", "1 % changed", 1, "applied"),
    Stage("etag", "nothing new, ETag", 1, "unchanged", ("mirror",), etag=True),
)

_COUNTED = (
    "SELECT count(*), count(CASE WHEN status = 'pending' THEN 1 END), count(resolved_at),"
    " sum(length(reason)) FROM release_requests WHERE"
)
_CURRENT = {"floor": f"{_COUNTED} valid_to IS NULL", "mirror": f"{_COUNTED} missing_since IS NULL"}
_SUPERSEDED = {
    "floor": "SELECT count(*) FROM release_requests WHERE valid_to IS NOT NULL",
    "mirror": "SELECT count(*) FROM release_request_past_versions",
}
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


def sync(database: Database, base_url: str, rate: int = 10_000) -> Measured:
    """Run `mirror sync`."""
    return world.measure(
        world.MIRROR, "sync", "--database", database.url, "--base-url", base_url,
        "--rate", str(rate),
    )  # fmt: skip


def _floor(way: str, base_url: str, what: str, script: Path = world.HERE / "floor.py") -> list[str]:
    return [sys.executable, str(script), way, base_url + world.LIST, what]


class Course:
    """The stages, for one size of list and one kind of database.

    Args:
        servers: of lists.
        versions: both versions of the list.
        floor: the script of the floor.
        last: the stage after which it ends.

    Attributes:
        size: bytes of version 0.
    """

    def __init__(
        self,
        servers: Servers,
        versions: tuple[lists.Facts, lists.Facts],
        floor: Path,
        last: Stage,
    ) -> None:
        self.size = versions[0].size
        self._servers = servers
        self._versions = versions
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
            databases = {
                system: stack.enter_context(
                    world.empty_database(kind, folder / f"{kind}-{system}", server)
                )
                for system in ("floor", "mirror")
            }
            found: dict[tuple[str, System], Measured] = {}
            for stage in self._stages:
                self._servers.show(self._versions[stage.version])
                if stage.etag:
                    sync(databases["mirror"], self._servers.base_url(etag=True))
                first = turn % len(stage.systems)
                for system in stage.systems[first:] + stage.systems[:first]:
                    found[stage.name, system] = self._go(stage, system, databases)
            yield databases["mirror"], found

    def _go(self, stage: Stage, system: System, databases: dict[str, Database]) -> Measured:
        """Let a system go through a stage, and look at what it did."""
        base_url = self._servers.base_url(etag=stage.etag)
        if system == "hash":
            return world.measure(*_floor("hash", base_url, self._versions[stage.version].sha256))
        database = databases[system]
        database.settle()
        if system == "mirror":
            took = sync(database, base_url)
        else:
            took = world.measure(*_floor(database.kind, base_url, database.plain, self._floor))
        self._check(stage, system, database)
        return took

    def _check(self, stage: Stage, system: System, database: Database) -> None:
        """Raise Failure unless the database holds what the list says."""
        facts = self._versions[stage.version]
        expected = {
            "requests": facts.requests,
            "pending": facts.pending,
            "resolved": facts.resolved,
            "characters of reasons": facts.reasons,
            "superseded versions": facts.superseded,
        }
        found = [*database.row(_CURRENT[system]), *database.row(_SUPERSEDED[system])]
        wrong = [
            f"{name}: {value} instead of {right}"
            for (name, right), value in zip(expected.items(), found, strict=True)
            if value != right
        ]
        if system == "mirror":
            read = 0 if stage.etag else facts.size
            if (run := database.row(_LAST_RUN)) != (stage.outcome, read):
                wrong.append(f"outcome and bytes: {run} instead of {(stage.outcome, read)}")
        if wrong:
            raise Failure(
                f"{system} on {database.kind}, {stage.title} of {self._versions[0].requests:,} "
                f"requests: {', '.join(wrong)}"
            )
