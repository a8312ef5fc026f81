"""Stopping: whatever a sync waits for, it ends at once, and the next one starts anew."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from mirror import cli
from mirror.api.client import CachedList, Client, FetchedList, NotModified
from mirror.api.rate_limit import Clock
from mirror.cancellation import CancellationToken
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import Stopped
from mirror.progress import Progress
from mirror.sync.run import Outcome, Result
from tests.support.http_servers import Answer, Question, Scripted, paged
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream, request

if TYPE_CHECKING:
    from mirror.sandbox.server import Sandbox

LONG = 600.0
"""Seconds that nothing here takes, unless something is wrong; what is waited for takes as long."""
AT_ONCE = LONG / 2
"""Seconds after which a wait was not ended, however much the machine has to do."""


class Heard(list[str]):
    """The questions that a sandbox was asked; one can wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self._news = threading.Condition()

    def append(self, question: str) -> None:
        """Note a question."""
        with self._news:
            super().append(question)
            self._news.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until there were so many."""
        with self._news:
            assert self._news.wait_for(lambda: len(self) >= count, LONG)


class Hourglass(Clock):
    """A clock that tells when somebody begins to wait.

    Attributes:
        waiting: set as soon as somebody does.
    """

    def __init__(self) -> None:
        self.waiting = threading.Event()

    def wait(self, news: threading.Condition, seconds: float) -> None:
        """Wait in earnest."""
        self.waiting.set()
        super().wait(news, seconds)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """The threads that ask have ended with the pull."""
    yield
    assert [one.name for one in threading.enumerate() if one.name == "mirror-page"] == []


@pytest.fixture
def heard(sandbox: Sandbox) -> Heard:
    """What the sandbox was asked."""
    sandbox.asked = heard = Heard()
    return heard


def settings(base_url: str, **fields: Any) -> ApiSettings:
    """How to talk to a server, with more patience than a test has."""
    return ApiSettings(base_url, Secret(TOKEN), **{"timeout": LONG, "deadline": 9 * LONG} | fields)


@contextmanager
def at_once() -> Iterator[None]:
    """Make sure that something does not take long."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE


@contextmanager
def meanwhile(do: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread."""
    thread = threading.Thread(target=do)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def stopped(client: Client, when: Callable[[], object]) -> None:
    """Read a list, and stop it when something has happened."""

    def stop() -> None:
        when()
        client.stop()

    with client, meanwhile(stop), at_once(), pytest.raises(Stopped, match="starts anew"):
        client.read_list()


# The wish itself


def test_what_is_registered_is_called_once() -> None:
    """However many threads stop, and however often, each is called once while it is registered."""
    stopping, calls = CancellationToken(), []
    barrier = threading.Barrier(8)

    def stop() -> None:
        barrier.wait(LONG)
        stopping.set()

    with stopping.calling(lambda: calls.append("over")):
        assert not stopping.is_set()
    with (
        stopping.calling(lambda: calls.append("first")),
        stopping.calling(lambda: calls.append("second")),
    ):
        threads = [threading.Thread(target=stop) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stopping.set()
    assert stopping.is_set()
    assert sorted(calls) == ["first", "second"]


def test_who_comes_too_late_is_called_at_once() -> None:
    """What is registered after the fact is called before anything else is done, and once."""
    stopping, calls = CancellationToken(), []
    stopping.set()
    with stopping.calling(lambda: calls.append("late")):
        assert calls == ["late"]
        stopping.set()
    assert calls == ["late"]


def test_nobody_is_missed_who_registers_while_others_stop() -> None:
    """Whether the wish or the registration came first, the call comes."""
    for _ in range(200):
        stopping, called = CancellationToken(), threading.Event()
        with meanwhile(stopping.set), stopping.calling(called.set):
            assert called.wait(LONG)


# The pull


def test_a_stop_before_the_pull_sends_nothing(sandbox: Sandbox) -> None:
    """Who is stopped before it begins does not begin."""
    with Client(settings(sandbox.base_url)) as client:
        client.stop()
        with pytest.raises(Stopped):
            client.read_list()
    assert sandbox.asked == []


@pytest.mark.parametrize("fault", ["stall", "silent", "drip", "endless"])
def test_an_answer_that_does_not_end_is_not_waited_for(
    sandbox: Sandbox, heard: Heard, fault: str
) -> None:
    """Neither silence nor a body without an end is in the way."""
    sandbox.misbehave(fault)
    stopped(Client(settings(sandbox.base_url)), lambda: heard.wait_for(1))
    assert len(heard) == 1


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_stop_is_told_and_not_what_else_was_wrong(status: int) -> None:
    """An error whose body was being read is that of a run that nobody wanted any more."""
    begun, gone = threading.Event(), threading.Event()

    def say(_: Question) -> Iterable[bytes]:
        yield b"HTTP/1.1 %d No\r\nContent-Length: 500\r\n\r\n{" % status
        begun.set()
        gone.wait(LONG)

    with Scripted([say]).running() as server:
        stopped(Client(settings(server.base_url)), lambda: begun.wait(LONG))
        gone.set()
    assert len(server.asked) == 1


def test_pages_in_flight_are_not_waited_for(
    sandbox: Sandbox, heard: Heard, upstream: FakeUpstream
) -> None:
    """However many pages are asked for at once, none of them is in the way."""
    upstream.records = [request(number) for number in range(1000)]
    sandbox.manner.paging = "meta"

    def when() -> None:
        heard.wait_for(1)
        sandbox.manner.latency = LONG
        heard.wait_for(5)

    stopped(Client(settings(sandbox.base_url)), when)


def test_a_turn_is_not_waited_for(sandbox: Sandbox, upstream: FakeUpstream) -> None:
    """A minute that the rate has to wait is not waited."""
    upstream.records = [request(number) for number in range(1000)]
    sandbox.manner.paging = "meta"
    clock = Hourglass()
    stopped(Client(settings(sandbox.base_url, rate=3), clock), lambda: clock.waiting.wait(LONG))
    assert len(sandbox.asked) <= 3


@pytest.mark.parametrize("fault", ["rate-limit", "maintenance"])
def test_the_next_attempt_is_not_waited_for(sandbox: Sandbox, fault: str) -> None:
    """Neither what the API asks to wait, nor the pause that is ours, is in the way."""
    sandbox.misbehave(fault)
    clock = Hourglass()
    with stamina.set_testing(False):
        stopped(Client(settings(sandbox.base_url), clock), lambda: clock.waiting.wait(LONG))
    assert len(sandbox.asked) == 1


def test_a_look_up_that_takes_its_time_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can end the look-up of a name, but the pull ends without it."""
    begun, gone = threading.Event(), threading.Event()

    def look_up(*_: Any, **__: Any) -> Any:
        begun.set()
        gone.wait(LONG)
        raise socket.gaierror("too late")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    monkeypatch.setenv("NO_PROXY", "api.example")
    stopped(Client(settings("https://api.example/api/v1")), lambda: begun.wait(LONG))
    gone.set()
    for thread in threading.enumerate():
        if thread.name == "mirror-page":
            thread.join(LONG)


def test_no_other_reading_begins(caplog: pytest.LogCaptureFixture) -> None:
    """A list that moved is not read again after a stop, also if that comes between readings."""
    caplog.set_level(logging.DEBUG, "mirror")
    answers: list[Answer] = [*paged([[request(1)], [request(1)]])]
    with Scripted(answers).running() as server, Client(settings(server.base_url)) as client:

        class Stop(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                """Stop when it is told that a reading was in vain."""
                if record.getMessage().startswith("reading 1 of 3"):
                    client.stop()

        handler = Stop()
        logging.getLogger("mirror.api.client").addHandler(handler)
        try:
            with pytest.raises(Stopped):
                client.read_list()
        finally:
            logging.getLogger("mirror.api.client").removeHandler(handler)
    assert len(server.asked) == 2


def test_a_signal_handler_may_stop_its_own_thread(sandbox: Sandbox, heard: Heard) -> None:
    """A handler runs in the midst of what the reading thread does; nothing locks up."""
    sandbox.misbehave("stall")
    main = threading.main_thread().ident
    assert main is not None

    def when() -> None:
        heard.wait_for(1)
        signal.pthread_kill(main, signal.SIGUSR1)

    with Client(settings(sandbox.base_url)) as client:
        before = signal.signal(signal.SIGUSR1, lambda *_: client.stop())
        try:
            with meanwhile(when), at_once(), pytest.raises(Stopped):
                client.read_list()
        finally:
            signal.signal(signal.SIGUSR1, before)


def test_a_stop_after_the_pull_changes_nothing(sandbox: Sandbox, upstream: FakeUpstream) -> None:
    """What was read stays readable."""
    upstream.records = [request(number) for number in range(250)]
    sandbox.manner.paging = "meta"
    with Client(settings(sandbox.base_url)) as client:
        found = client.read_list()
        client.stop()
        client.stop()
        assert isinstance(found, FetchedList)
        assert len(list(found.items)) == 250
    client.stop()


# The sync


def assert_stopped(mirror: Mirror, result: Result) -> None:
    """The run failed because it was stopped, and says so on record and in its exit code."""
    assert (result.outcome, type(result.failure)) == (Outcome.FAILED, Stopped)
    assert cli.exit_code(Stopped()) == 1
    assert mirror.runs("id", "outcome", "error")[-1] == (
        result.run_id,
        "failed",
        "the run was stopped before it was done; nothing was applied; the next run starts anew",
    )


@pytest.mark.parametrize("paging", [None, "meta"])
def test_a_stopped_sync_is_on_record_and_changes_nothing(mirror: Mirror, paging: Any) -> None:
    """What was there stays, and the next run does what this one did not."""
    known = [request(number) for number in range(300)]
    mirror.sandbox.manner.paging = paging
    mirror.sync(known)
    before = mirror.state()
    changed = [request(number, status="approved") for number in range(300)]
    mirror.sandbox.asked = heard = Heard()
    mirror.sandbox.manner.latency = LONG
    stopping = CancellationToken()

    def stop() -> None:
        heard.wait_for(1)
        stopping.set()

    with meanwhile(stop), at_once():
        result = mirror.sync(changed, stopping=stopping)
    assert_stopped(mirror, result)
    assert mirror.state() == before
    mirror.sandbox.manner.latency = 0
    assert mirror.sync().counts.updated == 300


def test_a_sync_that_is_stopped_before_it_begins(mirror: Mirror) -> None:
    """It asks nothing, and is on record."""
    stopping = CancellationToken()
    stopping.set()
    assert_stopped(mirror, mirror.sync([request(1)], stopping=stopping))
    assert mirror.sandbox.asked == []
    assert mirror.rows("SELECT * FROM release_requests") == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_no_merge_begins_after_a_stop(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    """A list that was read whole when the stop came is not applied."""
    stopping = CancellationToken()

    class Late(Client):
        def read_list(self, known: CachedList | None = None) -> FetchedList | NotModified:
            """Read the list, as it is read; and then it is stopped."""
            found = super().read_list(known)
            stopping.set()
            return found

    monkeypatch.setattr("mirror.sync.run.Client", Late)
    assert_stopped(mirror, mirror.sync([request(1)], stopping=stopping, dry_run=dry_run))
    assert mirror.rows("SELECT * FROM release_requests") == []
    monkeypatch.undo()
    assert mirror.sync().counts.inserted == 1


def test_a_merge_that_has_begun_is_finished(mirror: Mirror) -> None:
    """A stop in the midst of a merge comes too late: the run is applied, and says so."""
    stopping = CancellationToken()

    class Stopper(Progress):
        def begin_loading(self, entries: int) -> None:
            """Stop as soon as the merge has begun."""
            super().begin_loading(entries)
            stopping.set()

    result = mirror.sync([request(1)], stopping=stopping, progress=Stopper())
    assert stopping.is_set()
    assert (result.outcome, result.counts.inserted) == (Outcome.APPLIED, 1)
    assert mirror.runs("outcome") == [("applied",)]


def test_one_stop_ends_all_syncs_that_run(mirror: Mirror, heard: Heard) -> None:
    """Syncs of several environments, each in its thread, end together."""
    mirror.sync([request(1)])
    mirror.sandbox.manner.latency = LONG
    stopping = CancellationToken()
    results: list[Result] = []

    def run(environment: str) -> None:
        results.append(mirror.sync(environment=environment, stopping=stopping))

    threads = [threading.Thread(target=run, args=(f"tenant {one}",)) for one in range(4)]
    for thread in threads:
        thread.start()
    heard.wait_for(5)
    with at_once():
        stopping.set()
        for thread in threads:
            thread.join()
    assert [type(one.failure) for one in results] == [Stopped] * 4
    assert mirror.runs("outcome")[1:] == [("failed",)] * 4
