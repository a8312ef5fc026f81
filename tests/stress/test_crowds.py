"""Many processes at once, some of them killed or frozen: none makes another one fail."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from mirror.config.settings import ApiSettings, Secret
from mirror.db.engine import create_engine
from mirror.sync.run import Result, sync
from tests.support.databases import DATABASES
from tests.support.expected_tables import ChangingList, Ledger, content, difference, on_record
from tests.support.http_servers import Question, Scripted, envelope, http
from tests.support.upstream import TOKEN, FakeUpstream, request
from tests.support.worker_pool import KILLED, PATIENCE, WorkerPool, worker_pools

if TYPE_CHECKING:
    from mirror.sandbox.server import Sandbox

AT_ONCE = 6


@pytest.fixture(scope="module")
def warm() -> Iterator[list[WorkerPool]]:
    """Nurseries that have imported all that a sync needs."""
    with worker_pools(AT_ONCE) as found:
        yield found


@pytest.fixture
def six(warm: list[WorkerPool]) -> Iterator[list[WorkerPool]]:
    """Where processes that run at once come from."""
    yield warm
    for nursery in warm:
        nursery.clear()


@pytest.fixture
def another(six: list[WorkerPool]) -> WorkerPool:
    """Where a process beside that of the tests comes from."""
    return six[0]


@pytest.fixture
def chance() -> random.Random:
    """Decides what upstream says; the same `--randomly-seed` gives the same."""
    seed = random.randrange(1_000_000)  # noqa: S311 (a test's fate, no cryptography)
    print(f"seed {seed}")  # pytest shows it if the test fails
    return random.Random(seed)  # noqa: S311


def begin(nursery: WorkerPool, url: str, base_url: str, *options: str) -> None:
    """Let a process sync."""
    nursery.start(
        *("sync", "--json", "--database", url, "--base-url", base_url, *options),
        TALKOVER_TOKEN=TOKEN,
    )


def end(nursery: WorkerPool) -> dict[str, Any]:
    """Wait for a process, which must succeed; return what it says that it did."""
    done = nursery.result()
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def pull(url: str, base_url: str) -> Result:
    """Sync in the process of the tests."""
    return sync(create_engine(url, create=True), ApiSettings(base_url, Secret(TOKEN)), "default")


@pytest.mark.long
@pytest.mark.parametrize("kind", DATABASES)
def test_six_syncs_at_once_apply_a_list_once(
    *,
    kind: str,
    make_database: Callable[[str], str],
    sandbox: Sandbox,
    world: FakeUpstream,
    six: list[WorkerPool],
    chance: random.Random,
    in_full: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """Processes that begin at once all succeed, also in a database that does not exist yet."""
    outcomes: Counter[str] = Counter()
    for _ in range(20 if in_full else 2):
        url, ledger, upstream = make_database(kind), Ledger(), ChangingList(500, chance)
        for number in range(1, 3):
            world.records = upstream.entries
            sandbox.forget()
            for nursery in six:
                begin(nursery, url, sandbox.base_url)
            said = {one["run_id"]: one["outcome"] for one in map(end, six)}
            found = on_record(url)
            new = found[-AT_ONCE:]
            assert len(found) == number * AT_ONCE
            assert {run.id: run.outcome for run in new} == said
            assert set(said.values()) <= {"applied", "unchanged", "superseded"}
            assert {run.error for run in new} == {None}
            (applied,) = (run for run in new if run.outcome == "applied")
            ledger.follow(applied, upstream.entries)
            assert difference(content(url), ledger.tables()) == ""
            outcomes.update(said.values())
            upstream.move_on()
    shares = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    record_property(
        "figures",
        f"{kind}: {outcomes.total()} syncs by {AT_ONCE} processes at once all succeeded "
        f"({shares}), each list was applied once",
    )


@pytest.mark.long
@pytest.mark.parametrize("kind", DATABASES)
def test_kills_among_six_hurt_none_of_the_others(
    *,
    kind: str,
    make_database: Callable[[str], str],
    sandbox: Sandbox,
    world: FakeUpstream,
    six: list[WorkerPool],
    chance: random.Random,
    in_full: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """No lock outlives the process that held it: the others go on, and a list is applied once."""
    codes: Counter[int] = Counter()
    for _ in range(20 if in_full else 1):
        url, ledger, upstream = make_database(kind), Ledger(), ChangingList(2000, chance)
        for number in range(1, 3):
            world.records = upstream.entries
            sandbox.forget()
            for nursery in six:
                begin(nursery, url, sandbox.base_url)
            for victim in chance.sample(six, AT_ONCE // 2):
                victim.ended(chance.uniform(0, 0.3))
                victim.kill()
            ended = [nursery.result() for nursery in six]
            assert {one.returncode for one in ended} <= {0, KILLED}, [one.stderr for one in ended]
            codes.update(one.returncode for one in ended)
            pull(url, sandbox.base_url)
            found = on_record(url)
            applied = [run for run in found if run.outcome == "applied"]
            assert len(applied) == number
            ledger.follow(applied[-1], upstream.entries)
            assert difference(content(url), ledger.tables()) == ""
            assert {run.outcome for run in found} <= {
                *("applied", "unchanged", "superseded", "abandoned")
            }
            upstream.move_on()
    record_property(
        "figures",
        f"{kind}: {codes[KILLED]} of {codes.total()} syncs that ran {AT_ONCE} at once were killed, "
        "the others all succeeded",
    )


@pytest.mark.long
@pytest.mark.parametrize("kind", DATABASES)
def test_six_environments_at_once_share_a_database(
    *,
    kind: str,
    make_database: Callable[[str], str],
    six: list[WorkerPool],
    chance: random.Random,
    in_full: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """Syncs of different environments never refuse, supersede or touch one another."""
    names = [f"tenant {number}" for number in range(AT_ONCE)]
    rounds = 0
    with ExitStack() as stack:
        servers = [stack.enter_context(Scripted([b""]).running()) for _ in names]
        for _ in range(20 if in_full else 1):
            url, ledger = make_database(kind), Ledger()
            lists = [ChangingList(200, chance, first=1000 * at) for at in range(AT_ONCE)]
            for _ in range(2):
                rounds += 1
                for name, server, nursery, upstream in zip(names, servers, six, lists, strict=True):
                    server.answers = [http(200, envelope(upstream.entries))]
                    begin(nursery, url, server.base_url, "--environment", name)
                ids = {one["environment"]: one["run_id"] for one in map(end, six)}
                found = {run.id: run for run in on_record(url)}
                for name, upstream in zip(names, lists, strict=True):
                    ledger.follow(found[ids[name]], upstream.entries)
                    upstream.move_on()
                assert difference(content(url), ledger.tables()) == ""
    record_property(
        "figures",
        f"{kind}: {rounds * AT_ONCE} syncs of {AT_ONCE} environments at once in one database were "
        "all applied",
    )


class HeldBack:
    """An answer that a server keeps back until it is let go.

    Attributes:
        asked: set when it was asked for.
    """

    def __init__(self, said: bytes) -> None:
        self.asked = threading.Event()
        self._said = said
        self._gone = threading.Event()

    def __call__(self, _: Question) -> bytes:
        """Wait, and answer."""
        self.asked.set()
        assert self._gone.wait(PATIENCE)
        return self._said

    def let_go(self) -> None:
        """Give the answer."""
        self._gone.set()


FIRST = http(200, envelope([request(1), request(2)]))
LATE = http(200, envelope([request(1, status="approved"), request(2), request(3)]))
NEWER = http(200, envelope([request(1, status="rejected"), request(4)]))


@pytest.mark.parametrize(
    ("answer", "code", "outcome"),
    [
        pytest.param(LATE, 0, "superseded", id="it is superseded"),
        pytest.param(http(404, b'{"success": false, "code": "GONE"}'), 1, "failed", id="it fails"),
    ],
)
def test_a_run_given_up_for_dead_may_wake_up(
    database_url: str, another: WorkerPool, answer: bytes, code: int, outcome: str
) -> None:
    """A run that a newer one found dead corrects what is on record if it lives after all."""
    late = HeldBack(answer)
    with Scripted([FIRST, late, NEWER]).running() as server:
        assert pull(database_url, server.base_url).outcome == "applied"
        begin(another, database_url, server.base_url)
        assert late.asked.wait(PATIENCE)
        another.send(signal.SIGSTOP)
        late.let_go()
        newest = pull(database_url, server.base_url)
        assert newest.outcome == "applied"
        asleep = on_record(database_url)[1]
        assert asleep.outcome == "abandoned"
        assert asleep.error == f"the run recorded no outcome; found by run {newest.run_id}"
        before = content(database_url)
        another.send(signal.SIGCONT)
        done = another.result()
    assert done.returncode == code, done.stderr
    awake = on_record(database_url)[1]
    assert (awake.id, awake.outcome) == (asleep.id, outcome)
    assert awake.error == json.loads(done.stdout)["error"]
    assert (awake.error is None) is (outcome == "superseded")
    assert content(database_url) == before
