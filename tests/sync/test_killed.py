"""Syncs killed at certain moments: the mirror is the old one or the new one.

Real processes get a real signal; `stress/test_kills.py` sends it at random moments of large syncs.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from mirror.sandbox.server import Sandbox
from tests.support.crashes import CrashedMirror
from tests.support.mirrors import Mirror
from tests.support.upstream import FakeUpstream
from tests.support.upstream_generator import ChangingList
from tests.support.workers import AFTER_COMMIT, BEFORE_COMMIT, KILLED, Worker

IN_A_MERGE = (
    "INSERT INTO release_request_past_versions",
    BEFORE_COMMIT,
    AFTER_COMMIT,
)
IN_A_FIRST_SYNC = (
    "mirror_rejected (",  # rows and indexes are complete
    BEFORE_COMMIT,
    AFTER_COMMIT,
)


def crashed_mirror(mirror: Mirror) -> CrashedMirror:
    """A mirror of 200 requests, four of them garbled."""
    chance = random.Random(7)  # noqa: S311 (no cryptography)
    return CrashedMirror(mirror, ChangingList(200, chance, garbled=0.02))


def kill(crashed: CrashedMirror, worker: Worker, moment: str) -> None:
    """Kill a sync: everything that it did is undone, or kept if it was committed."""
    crashed.start_sync(worker, kill_at=moment)
    ended = worker.result()
    assert ended.code == KILLED, ended
    run = crashed.check_after_kill()
    if crashed.relations:  # otherwise the schema was undone with the record of the run
        assert run is not None
        assert run.outcome == ("applied" if moment == AFTER_COMMIT else "running")


def test_a_killed_sync_leaves_the_old_mirror_or_the_new_one(mirror: Mirror, worker: Worker) -> None:
    """Rows, versions, quarantine and the run's own record are all old or all new after a kill."""
    crashed = crashed_mirror(mirror)
    crashed.sync_to_end()
    for moment in IN_A_MERGE:
        crashed.change_list()
        kill(crashed, worker, moment)
        crashed.sync_to_end()


def test_a_killed_first_sync_leaves_nothing_or_everything(
    make_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: FakeUpstream,
    worker: Worker,
) -> None:
    """A kill in the first load leaves no schema or all of it, and no requests or all of them.

    stress/test_kills.py has more of them, on both databases.
    """
    for moments in (IN_A_FIRST_SYNC[:-1], IN_A_FIRST_SYNC[-1:]):
        crashed = crashed_mirror(Mirror(make_database("sqlite"), sandbox, upstream))
        for moment in moments:
            kill(crashed, worker, moment)
        crashed.sync_to_end()
