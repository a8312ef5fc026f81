"""Syncs killed at random moments: the mirror is the old one or the new one, never in between.

Real processes get a real signal, and an oracle that knows no SQL works out what the mirror must
hold. The end of the test run says how many kills hit a running sync, and in which state.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.crashes import CrashedMirror
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror
from tests.support.upstream import FakeUpstream
from tests.support.upstream_generator import ChangingList
from tests.support.workers import KILLED, TIMEOUT, Worker

if TYPE_CHECKING:
    from mirror.sandbox.server import Sandbox

REQUESTS = 30_000
GARBLED = 0.001

MOMENTS = ("work", "commit", "work", "command", "work", "commit")
"""Rough moments of the kills, in turns; see `KillTest.kill`."""


class ObservedUpstream(FakeUpstream):
    """An upstream that notes when its list is requested.

    Attributes:
        requested: set when it is.
        requested_at: seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requested = threading.Event()
        self.requested_at = 0.0

    def list_payload(self) -> list[Any]:
        """The entries of the list."""
        if not self.requested.is_set():  # page 2 is requested later
            self.requested_at = time.monotonic()
            self.requested.set()
        return super().list_payload()


@pytest.fixture
def upstream() -> ObservedUpstream:
    """What the sandbox lists."""
    return ObservedUpstream()


_FASTER = 0.75


@dataclass
class KillTest:
    """A random series of kills on one kind of database.

    Attributes:
        kind: of database.
        make_mirror: makes a mirror with an empty one.
        worker: runs the syncs.
        upstream: of the mirrors.
        chance: decides the lists and the moments.
        states: of the killed syncs, with their numbers.
    """

    kind: str
    make_mirror: Callable[[], Mirror]
    worker: Worker
    upstream: ObservedUpstream
    chance: random.Random
    states: Counter[str] = field(default_factory=Counter)
    _started_at: float = 0.0
    _command_seconds: float = 0.0
    _work_seconds: float = 0.0

    def new_mirror(self) -> CrashedMirror:
        """Make another mirror to kill syncs of."""
        listing = ChangingList(REQUESTS, self.chance, garbled=GARBLED)
        return CrashedMirror(self.make_mirror(), listing)

    def measure(self, crashed: CrashedMirror) -> None:
        """Let a sync end, to learn its duration."""
        self._start(crashed)
        assert self._has_ended(TIMEOUT)
        assert self.worker.result().code in {0, 3}
        crashed.check()

    def kill(self, crashed: CrashedMirror, moment: str) -> None:
        """Kill a sync, and check what it left.

        Args:
            crashed: its mirror.
            moment: "command" is any time since the start, "work" any time since the request for
                the list, "commit" the last part of that.
        """
        self._start(crashed)
        if moment == "command":
            self._has_ended(self.chance.uniform(0, self._command_seconds))
        else:
            assert self.upstream.requested.wait(TIMEOUT)
            earliest = 0.7 if moment == "commit" else 0.0
            self._has_ended(self.chance.uniform(earliest, 1.1) * self._work_seconds)
        self.worker.kill()
        ended = self.worker.result()
        assert ended.code in {KILLED, 0, 3}, ended.err
        run = crashed.check_after_kill()
        if run is not None and run.outcome != "running":
            self.states["too late"] += 1
            # This machine is faster than it was: the first sync of all may read from the disk.
            self._command_seconds *= _FASTER
            self._work_seconds *= _FASTER
        else:
            assert ended.code == KILLED, run
            self.states["at work" if run else "before it was on record"] += 1

    def _start(self, crashed: CrashedMirror) -> None:
        self.upstream.requested.clear()
        self._started_at = time.monotonic()
        crashed.start_sync(self.worker)

    def _has_ended(self, timeout: float) -> bool:
        """Wait for the sync to end, `timeout` seconds at most; if it does, note its duration."""
        if not self.worker.has_ended(timeout):
            return False
        now = time.monotonic()
        self._command_seconds = now - self._started_at
        self._work_seconds = now - self.upstream.requested_at
        return True

    def summary(self, what: str) -> str:
        """Describe the kills; make sure that at least a third hit a running sync."""
        kills = self.states.total()
        assert 3 * self.states["too late"] <= 2 * kills, self.states
        shares = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        return f"{self.kind}: {kills} kills in {what} ({shares}): each time all old or all new"


@pytest.fixture(params=DATABASES)
def kill_test(
    *,
    request: pytest.FixtureRequest,
    make_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: ObservedUpstream,
    worker: Worker,
    chance: random.Random,
) -> KillTest:
    """A series of kills, on each kind of database."""

    def make_mirror() -> Mirror:
        return Mirror(make_database(request.param), sandbox, upstream)

    return KillTest(request.param, make_mirror, worker, upstream, chance)


@pytest.mark.long
def test_a_killed_sync_leaves_the_old_mirror_or_the_new_one(
    kill_test: KillTest, in_full: bool, record_property: Callable[[str, object], None]
) -> None:
    """Rows, versions, quarantine and the run's own record are all old or all new after a kill."""
    for _ in range(10 if in_full else 1):
        crashed = kill_test.new_mirror()
        crashed.sync_to_end()
        crashed.change_list()
        kill_test.measure(crashed)
        for number in range(16):
            crashed.change_list()
            kill_test.kill(crashed, MOMENTS[number % len(MOMENTS)])
            if number % 4 == 1:
                continue  # the next sync is killed too
            if number % 4 == 3:
                crashed.change_list()  # the next complete sync reads another list
            crashed.sync_to_end()
    record_property("figures", kill_test.summary("syncs of 30,000 requests"))


@pytest.mark.long
def test_a_killed_first_sync_leaves_nothing_or_everything(
    kill_test: KillTest, in_full: bool, record_property: Callable[[str, object], None]
) -> None:
    """A kill in the first load leaves no schema or all of it, and no requests or all of them."""
    complete = kill_test.new_mirror()
    kill_test.measure(complete)
    for number in range(40 if in_full else 4):
        crashed = kill_test.new_mirror()
        kill_test.kill(crashed, ("command", "work", "command", "commit")[number % 4])
        if number % 4 < 2 and not crashed.is_loaded:
            kill_test.kill(crashed, "command")
        assert crashed.relations in (set(), complete.relations)
        crashed.sync_to_end()
    record_property("figures", kill_test.summary("first loads of 30,000 requests"))
