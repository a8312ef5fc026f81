"""Syncs that are killed at certain moments: the mirror is the old one or the new one.

The victims are real processes and the signal is the real one; `stress/test_kills.py` sends it at
random moments of large syncs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from mirror.db import migrate
from mirror.db.engine import create_engine, read_transaction
from mirror.sandbox.server import Sandbox
from mirror.sync.run import sync
from tests.support.database_state import ExpectedState, difference, runs_of, tables_of
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream
from tests.support.upstream_generator import ChangingList
from tests.support.worker_pool import COMMIT, COMMITTED, KILLED, WorkerPool, worker_pools

IN_A_MERGE = (
    "INSERT INTO release_request_past_versions",
    "UPDATE sync_runs",
    COMMIT,
    COMMITTED,
)
IN_A_FIRST_SYNC = (
    "INSERT INTO sync_runs",
    "CREATE TEMPORARY TABLE rejected",  # the rows are there, and their indexes
    COMMIT,
    COMMITTED,
)


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


class Scene:
    """A mirror in which syncs are killed, and the state that it must have."""

    def __init__(self, mirror: Mirror, nursery: WorkerPool) -> None:
        self._mirror = mirror
        self._nursery = nursery
        self._expected = ExpectedState()
        self._list = ChangingList(200, random.Random(7), garbled=0.02)  # noqa: S311
        self._publish()

    def move_on(self) -> None:
        """Let upstream say something else."""
        self._list.move_on()
        self._publish()

    def _publish(self) -> None:
        self._mirror.upstream.records = self._list.entries
        self._mirror.sandbox.forget()

    def kill(self, moment: str) -> None:
        """Kill a sync: all that it did is undone, or there, if it was done."""
        mirror = self._mirror
        self._nursery.start(
            *("sync", "--json", "--database", mirror.url, "--base-url", mirror.sandbox.base_url),
            die_at=moment,
            TALKOVER_TOKEN=TOKEN,
        )
        done = self._nursery.result()
        assert done.returncode == KILLED, done
        with read_transaction(create_engine(mirror.url)) as connection:
            if migrate.current(connection) is None:
                return  # the whole schema and the run's beginning are one transaction
        killed = runs_of(mirror.url)[-1]
        if moment == COMMITTED:
            self._expected.apply(killed, self._list.entries)
        else:
            assert (killed.outcome, killed.completion) == ("running", None)
        self.check()

    def converge(self, expected: str) -> None:
        """Let a sync complete: the mirror equals the list, and no dead run is said to live."""
        result = sync(self._mirror.engine, self._mirror.api, "default")
        assert result.outcome == expected, result
        *before, run = runs_of(self._mirror.url)
        if expected == "applied":
            self._expected.apply(run, self._list.entries)
        self.check()
        assert {one.outcome for one in before} <= {"applied", "unchanged", "abandoned"}

    def check(self) -> None:
        """Compare the mirror with the expected state."""
        assert difference(tables_of(self._mirror.url), self._expected.tables()) == ""


def test_a_killed_sync_leaves_the_old_mirror_or_the_new_one(
    mirror: Mirror, nursery: WorkerPool
) -> None:
    """Rows, versions, quarantine and the run's own record are all old or all new after a kill."""
    scene = Scene(mirror, nursery)
    scene.converge("applied")
    for moment in IN_A_MERGE:
        scene.move_on()
        scene.kill(moment)
        scene.converge("unchanged" if moment == COMMITTED else "applied")


@pytest.mark.parametrize("kind", DATABASES)
def test_a_killed_first_sync_leaves_nothing_or_everything(
    kind: str,
    make_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: FakeUpstream,
    nursery: WorkerPool,
) -> None:
    """A kill in the first load leaves no schema or all of it, and no requests or all of them."""
    for moments in (IN_A_FIRST_SYNC[:-1], IN_A_FIRST_SYNC[-1:]):
        scene = Scene(Mirror(make_database(kind), sandbox, upstream), nursery)
        for moment in moments:
            scene.kill(moment)
        scene.converge("unchanged" if moments[-1] == COMMITTED else "applied")
