"""Many processes at once, some of them killed or frozen: none makes another one fail."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from mirror.config.settings import ApiSettings, Secret
from mirror.db.engine import create_engine
from mirror.sync.run import Result, sync
from tests.support.database_state import ExpectedState, Run, difference, runs_of, tables_of
from tests.support.databases import DATABASES
from tests.support.http_servers import HttpRequest, ScriptedServer, http, whole
from tests.support.upstream import TOKEN, FakeUpstream, request, requests
from tests.support.upstream_generator import ChangingList
from tests.support.workers import KILLED, TIMEOUT, Worker

if TYPE_CHECKING:
    from mirror.sandbox.server import Sandbox


def sync_here(url: str, base_url: str) -> Result:
    """Sync in the process of the tests."""
    return sync(create_engine(url, create=True), ApiSettings(base_url, Secret(TOKEN)), "default")


@dataclass
class Crowd:
    """Processes that sync at once, the databases they sync into, and what these must hold."""

    kind: str
    make_database: Callable[[str], str]
    sandbox: Sandbox
    upstream: FakeUpstream
    workers: list[Worker]
    chance: random.Random
    in_full: bool
    record: Callable[[str, object], None]
    url: str = ""
    expected: ExpectedState = field(default_factory=ExpectedState)

    def __len__(self) -> int:
        return len(self.workers)

    def renew(self) -> None:
        """Take an empty database."""
        self.url, self.expected = self.make_database(self.kind), ExpectedState()

    def start(self, listing: ChangingList) -> None:
        """Let all processes sync the same list."""
        self.upstream.records = listing.entries
        self.sandbox.invalidate()
        for worker in self.workers:
            worker.start_sync(self.url, self.sandbox.base_url, TOKEN)

    def check(self, applied: list[tuple[Run, ChangingList]]) -> None:
        """Compare the database with what these runs applied; change their lists."""
        for run, listing in applied:
            self.expected.apply(run, listing.entries)
            listing.move_on()
        assert difference(tables_of(self.url), self.expected.tables()) == ""

    def report(self, sentence: str) -> None:
        """Put a sentence into the summary of the test run."""
        self.record("figures", f"{self.kind}: {sentence}")


@pytest.fixture(params=DATABASES)
def crowd(
    *,
    request: pytest.FixtureRequest,
    make_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: FakeUpstream,
    workers: list[Worker],
    chance: random.Random,
    in_full: bool,
    record_property: Callable[[str, object], None],
) -> Crowd:
    """Six processes, on each kind of database."""
    return Crowd(
        *(request.param, make_database, sandbox, upstream, workers),
        *(chance, in_full, record_property),
    )


@pytest.mark.long
def test_six_syncs_at_once_apply_a_list_once(crowd: Crowd) -> None:
    """Processes that begin at once all succeed, also in a database that does not exist yet."""
    outcomes: Counter[str] = Counter()
    for _ in range(20 if crowd.in_full else 2):
        crowd.renew()
        listing = ChangingList(500, crowd.chance)
        for number in (1, 2):
            crowd.start(listing)
            results = [worker.sync_result() for worker in crowd.workers]
            by_id = {result["run_id"]: result["outcome"] for result in results}
            recorded = runs_of(crowd.url)
            new = recorded[-len(crowd) :]
            assert len(recorded) == number * len(crowd)
            assert {run.id: run.outcome for run in new} == by_id
            assert set(by_id.values()) <= {"applied", "unchanged", "superseded"}
            assert {run.error for run in new} == {None}
            (applied,) = (run for run in new if run.outcome == "applied")
            crowd.check([(applied, listing)])
            outcomes.update(by_id.values())
    shares = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    crowd.report(
        f"{outcomes.total()} syncs by {len(crowd)} processes at once all succeeded "
        f"({shares}), each list was applied once",
    )


@pytest.mark.long
def test_kills_among_six_hurt_none_of_the_others(crowd: Crowd) -> None:
    """No lock outlives the process that held it: the others go on, and a list is applied once."""
    codes: Counter[int] = Counter()
    for _ in range(20 if crowd.in_full else 1):
        crowd.renew()
        listing = ChangingList(2000, crowd.chance)
        for number in (1, 2):
            crowd.start(listing)
            for victim in crowd.chance.sample(crowd.workers, len(crowd) // 2):
                victim.has_ended(crowd.chance.uniform(0, 0.3))
                victim.kill()
            ended = [worker.result() for worker in crowd.workers]
            assert {command.code for command in ended} <= {0, KILLED}, ended
            codes.update(command.code for command in ended)
            sync_here(crowd.url, crowd.sandbox.base_url)
            recorded = runs_of(crowd.url)
            applied = [run for run in recorded if run.outcome == "applied"]
            assert len(applied) == number
            crowd.check([(applied[-1], listing)])
            outcomes = {run.outcome for run in recorded}
            assert outcomes <= {"applied", "unchanged", "superseded", "abandoned"}
    crowd.report(
        f"{codes[KILLED]} of {codes.total()} syncs that ran {len(crowd)} at once "
        "were killed, the others all succeeded",
    )


@pytest.mark.long
def test_six_environments_at_once_share_a_database(crowd: Crowd) -> None:
    """Syncs of different environments never refuse, supersede or touch one another."""
    environments = [f"tenant {number}" for number in range(len(crowd))]
    repetitions = 20 if crowd.in_full else 1
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer([b""]).running()) for _ in environments]
        for _ in range(repetitions):
            crowd.renew()
            listings = [
                ChangingList(200, crowd.chance, first=1000 * at) for at in range(len(crowd))
            ]
            for _ in (1, 2):
                each = zip(environments, servers, crowd.workers, listings, strict=True)
                for environment, server, worker, listing in each:
                    server.responses = [whole(listing.entries)]
                    worker.start_sync(
                        crowd.url, server.base_url, TOKEN, "--environment", environment
                    )
                results = [worker.sync_result() for worker in crowd.workers]
                recorded = {run.id: run for run in runs_of(crowd.url)}
                crowd.check(
                    [
                        (recorded[result["run_id"]], listing)
                        for result, listing in zip(results, listings, strict=True)
                    ]
                )
    crowd.report(
        f"{2 * repetitions * len(crowd)} syncs of {len(crowd)} environments at once "
        "in one database were all applied",
    )


@pytest.mark.parametrize(
    ("late", "code", "outcome"),
    [
        pytest.param(
            whole([request(1, status="approved"), *requests(2, 3)]),
            *(0, "superseded"),
            id="it is superseded",
        ),
        pytest.param(http(404, b'{"success": false, "code": "GONE"}'), 1, "failed", id="it fails"),
    ],
)
def test_a_run_given_up_for_dead_may_wake_up(
    database_url: str, worker: Worker, late: bytes, code: int, outcome: str
) -> None:
    """A run that a newer one found dead corrects what is on record if it lives after all."""
    requested, resume = threading.Event(), threading.Event()

    def answer_late(_: HttpRequest) -> bytes:
        requested.set()
        assert resume.wait(TIMEOUT)
        return late

    first = whole(requests(1, 2))
    newer = whole([request(1, status="rejected"), request(4)])
    with ScriptedServer([first, answer_late, newer]).running() as server:
        assert sync_here(database_url, server.base_url).outcome == "applied"
        worker.start_sync(database_url, server.base_url, TOKEN)
        assert requested.wait(TIMEOUT)
        worker.send_signal(signal.SIGSTOP)
        resume.set()
        newest = sync_here(database_url, server.base_url)
        assert newest.outcome == "applied"
        frozen = runs_of(database_url)[1]
        assert frozen.outcome == "abandoned"
        assert frozen.error == f"the run recorded no outcome; found by run {newest.run_id}"
        before = tables_of(database_url)
        worker.send_signal(signal.SIGCONT)
        ended = worker.result()
    assert ended.code == code, ended.err
    woken = runs_of(database_url)[1]
    assert (woken.id, woken.outcome) == (frozen.id, outcome)
    assert woken.error == json.loads(ended.out)["error"]
    assert (woken.error is None) is (outcome == "superseded")
    assert tables_of(database_url) == before
