"""Syncs that are killed at random moments: the mirror is the old one or the new one, never between.

The victims are real processes and the signal is the real one. What the mirror must hold is worked
out by an oracle that knows nothing of SQL. How many kills hit a sync that lived, and at what, is
among the figures at the end of the run.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import Connection

from mirror.db.engine import create_engine, parse_url, read_transaction, write_transaction
from mirror.db.runs import lock
from mirror.sync.run import sync
from tests.support.database_state import (
    ExpectedState,
    Run,
    difference,
    read_runs,
    read_tables,
    version_gaps,
)
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream
from tests.support.upstream_generator import ChangingList
from tests.support.worker_pool import KILLED, PATIENCE, WorkerPool, worker_pools

if TYPE_CHECKING:
    from mirror.sandbox.server import Sandbox

REQUESTS = 30_000
GARBLED = 0.001

MOMENTS = ("work", "commit", "work", "command", "work", "commit")
"""About when the signal comes, again and again; see `Killer.kill`."""


class Watched(FakeUpstream):
    """An upstream that says when its list is asked for.

    Attributes:
        asked: set when it is.
        asked_at: when that was, by the monotonic clock.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.asked_at = 0.0

    def answered(self) -> list[Any]:
        """The entries of the list."""
        self.asked_at = time.monotonic()
        self.asked.set()
        return super().answered()


@pytest.fixture
def upstream() -> Watched:
    """What upstream says."""
    return Watched()


@pytest.fixture(scope="module")
def warm() -> Iterator[WorkerPool]:
    """A nursery that has imported all that a sync needs."""
    with worker_pools(1) as (one,):
        yield one


@pytest.fixture
def nursery(warm: WorkerPool) -> Iterator[WorkerPool]:
    """Where the victims come from."""
    yield warm
    warm.clear()


class Killer:
    """Kills syncs at random moments."""

    def __init__(self, nursery: WorkerPool, upstream: Watched, chance: random.Random) -> None:
        self._nursery = nursery
        self._world = upstream
        self._chance = chance
        self._command = self._work = 0.0

    def spare(self, mirror: Mirror) -> None:
        """Let a sync come to its end, to learn how long one takes."""
        self._start(mirror)
        assert self._has_ended_after(PATIENCE)
        assert self._nursery.result().returncode in {0, 3}

    def kill(self, mirror: Mirror, moment: str) -> bool:
        """Kill a sync; tell whether it was still alive.

        Args:
            mirror: what it works on.
            moment: "command" is any time since it began, "work" any time since upstream answered,
                "commit" the last part of that.
        """
        self._start(mirror)
        if moment == "command":
            self._has_ended_after(self._chance.uniform(0, self._command))
        else:
            assert self._world.asked.wait(PATIENCE), "the sync asks nothing"
            first = 0.7 if moment == "commit" else 0.0
            self._has_ended_after(self._chance.uniform(first, 1.1) * self._work)
        self._nursery.kill()
        done = self._nursery.result()
        assert done.returncode in {KILLED, 0, 3}, done.stderr
        return done.returncode == KILLED

    def _start(self, mirror: Mirror) -> None:
        mirror.sandbox.forget()  # else the list is not asked for again
        self._world.asked.clear()
        self._started_at = time.monotonic()
        self._nursery.start(
            *("sync", "--json", "--database", mirror.url, "--base-url", mirror.sandbox.base_url),
            TALKOVER_TOKEN=TOKEN,
        )

    def _has_ended_after(self, seconds: float) -> bool:
        """Wait for the sync to end, so long at most; if it does, that is how long one takes."""
        if not self._nursery.ended(seconds):
            return False
        now = time.monotonic()
        self._command, self._work = now - self._started_at, now - self._world.asked_at
        return True


class Scene:
    """A mirror in which syncs are killed, and the state that it must have.

    Args:
        mirror: with an empty database.
        chance: decides what upstream says.

    Attributes:
        relations: the tables, indexes and views that were there last time.
    """

    def __init__(self, mirror: Mirror, chance: random.Random) -> None:
        self.mirror = mirror
        self.relations: set[str] = set()
        self._list = ChangingList(REQUESTS, chance, garbled=GARBLED)
        self._expected = ExpectedState()
        self._applied: object = None
        self._seen = 0
        self._done = 0
        self._publish()

    @property
    def is_loaded(self) -> bool:
        """Whether a run has applied a list."""
        return self._applied is not None

    def move_on(self) -> None:
        """Let upstream say something else."""
        self._list.move_on()
        self._publish()

    def _publish(self) -> None:
        self.mirror.upstream.records = self._list.entries
        self.mirror.sandbox.forget()

    def hit(self, killer: Killer, moment: str) -> str:
        """Kill a sync; tell what it was at."""
        alive = killer.kill(self.mirror, moment)
        new = self._look()
        if _is_postgres(self.mirror):
            self._settle()
        if new is not None and new.outcome != "running":
            return "too late"
        assert alive, new
        return "at work" if new else "before it was on record"

    def _settle(self) -> None:
        """Wait until Postgres knows of the death: a commit may be on its way when we look first."""
        with write_transaction(self.mirror.engine, lock("default")) as connection:
            if _relations(connection):
                found = read_runs(connection)
                self._follow(found)
                self._seen = len(found)

    def converge(self) -> None:
        """Let a sync complete: the mirror equals the list, and no dead run is said to live."""
        is_known = self._applied is self._list.entries
        result = sync(self.mirror.engine, self.mirror.api, "default")
        assert result.outcome == ("unchanged" if is_known else "applied"), result
        self.check()
        with read_transaction(self.mirror.engine) as connection:
            assert version_gaps(connection) == []
            for run in read_runs(connection):
                assert run.outcome in {"applied", "unchanged", "abandoned"}
                assert (run.error is not None) is (run.outcome == "abandoned"), run

    def _look(self) -> Run | None:
        """Check what a kill has left; return its run, if it is on record.

        SQLite clears up when it opens a file. That is left to the next sync: we look at a copy.
        """
        if _is_postgres(self.mirror):
            return self.check(self.mirror.url)
        original = Path(str(parse_url(self.mirror.url).database))
        folder = original.parent / "copy"
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        for end in ("", "-wal", "-journal"):  # and not -shm, which is memory of the processes
            if original.with_name(original.name + end).exists():
                shutil.copy(original.with_name(original.name + end), folder)
        url = f"sqlite:///{folder / original.name}"
        if not (folder / original.name).exists():
            return None
        with read_transaction(create_engine(url)) as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").all() == [("ok",)]
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        return self.check(url)

    def check(self, url: str | None = None) -> Run | None:
        """Compare the mirror, or a copy of it, with what its runs say of themselves.

        Returns:
            The run that was not on record last time, if there is one.
        """
        with read_transaction(create_engine(url or self.mirror.url)) as connection:
            self.relations = _relations(connection)
            if not self.relations:
                return None
            found = read_runs(connection)
            self._follow(found)
            wrong = difference(read_tables(connection), self._expected.tables())
        assert not wrong, f"{wrong}; the last runs: {found[-2:]}"
        new = found[self._seen :]
        assert len(new) <= 1, new
        self._seen = len(found)
        return new[0] if new else None

    def _follow(self, found: list[Run]) -> None:
        """Apply to the expected state what runs have applied since the last time."""
        complete = [run for run in found if run.outcome in {"applied", "unchanged"}]
        assert [run.completion for run in complete] == list(range(1, len(complete) + 1))
        for run in found:
            assert (run.completion is not None) is (run in complete), run
            assert (run.finished_at is None) is (run.outcome == "running"), run
            if run.outcome == "running":  # who completes marks the dead in the same transaction
                assert not complete or run.id > complete[-1].id
            if run.outcome == "applied" and run.id > self._done:
                self._expected.apply(run, self._list.entries)
                self._applied, self._done = self._list.entries, run.id


def _is_postgres(mirror: Mirror) -> bool:
    return mirror.url.startswith("postgresql")


def _relations(connection: Connection) -> set[str]:
    """The names of all tables, indexes and views that there are."""
    query = "SELECT name FROM sqlite_master"
    if connection.dialect.name == "postgresql":
        query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    return set(connection.exec_driver_sql(query).scalars())


class Hunt:
    """A random series of kills.

    Args:
        kind: of database.
        make_mirror: makes a mirror with an empty one.
        killer: who does it.
        chance: decides what upstream says.

    Attributes:
        killer: who does it.
        hits: what the syncs were at, and how many.
    """

    def __init__(
        self,
        kind: str,
        make_mirror: Callable[[], Mirror],
        killer: Killer,
        chance: random.Random,
    ) -> None:
        self._kind = kind
        self._make_mirror = make_mirror
        self._chance = chance
        self.killer = killer
        self.hits: Counter[str] = Counter()

    def scene(self) -> Scene:
        """Set up another mirror to kill syncs in."""
        return Scene(self._make_mirror(), self._chance)

    def kill(self, scene: Scene, moment: str) -> None:
        """Kill a sync."""
        self.hits[scene.hit(self.killer, moment)] += 1

    def told(self, what: str) -> str:
        """Say in a sentence what came of it; make sure that enough kills hit a sync that lived."""
        kills = self.hits.total()
        assert 3 * self.hits["too late"] <= 2 * kills, self.hits
        shares = ", ".join(f"{count} {when}" for when, count in sorted(self.hits.items()))
        return f"{self._kind}: {kills} kills in {what} ({shares}): each time all old or all new"


@pytest.fixture(params=DATABASES)
def hunt(
    request: pytest.FixtureRequest,
    make_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: Watched,
    nursery: WorkerPool,
) -> Hunt:
    """Kills to come, once in each kind of database; `--randomly-seed` gives the same ones."""
    seed = random.randrange(1_000_000)  # noqa: S311 (a test's fate, no cryptography)
    print(f"seed {seed}")  # pytest shows it if the test fails
    chance = random.Random(seed)  # noqa: S311
    return Hunt(
        request.param,
        lambda: Mirror(make_database(request.param), sandbox, upstream),
        Killer(nursery, upstream, chance),
        chance,
    )


@pytest.mark.long
def test_a_killed_sync_leaves_the_old_mirror_or_the_new_one(
    hunt: Hunt, in_full: bool, record_property: Callable[[str, object], None]
) -> None:
    """Rows, versions, quarantine and the run's own record are all old or all new after a kill."""
    for _ in range(10 if in_full else 1):
        scene = hunt.scene()
        scene.converge()
        scene.move_on()
        hunt.killer.spare(scene.mirror)
        scene.check()
        for number in range(16):
            scene.move_on()
            hunt.kill(scene, MOMENTS[number % len(MOMENTS)])
            if number % 4 == 1:
                continue  # the next one is killed too
            if number % 4 == 3:
                scene.move_on()  # the next complete sync reads another list
            scene.converge()
    record_property("figures", hunt.told("syncs of 30,000 requests"))


@pytest.mark.long
def test_a_killed_first_sync_leaves_nothing_or_everything(
    hunt: Hunt, in_full: bool, record_property: Callable[[str, object], None]
) -> None:
    """A kill in the first load leaves no schema or all of it, and no requests or all of them."""
    pattern = hunt.scene()
    hunt.killer.spare(pattern.mirror)
    pattern.check()
    for number in range(40 if in_full else 4):
        scene = hunt.scene()
        hunt.kill(scene, ("command", "work", "command", "commit")[number % 4])
        if number % 4 < 2 and not scene.is_loaded:
            hunt.kill(scene, "command")
        assert scene.relations in (set(), pattern.relations)
        scene.converge()
    record_property("figures", hunt.told("first loads of 30,000 requests"))
