"""Cancellation: whatever a sync waits for, it ends at once, and the next sync starts anew."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import stamina

from mirror import cli
from mirror.api.client import Client, FetchedList, NotModified
from mirror.api.rate_limit import Clock
from mirror.cancellation import CancellationToken
from mirror.config.settings import ApiSettings, Secret
from mirror.db.runs import Outcome
from mirror.errors import Stopped
from mirror.progress import Progress
from mirror.sync.run import Result
from tests.support.api_payloads import unknown_entries
from tests.support.http_servers import HttpRequest, ScriptedServer, paged
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream, request, requests

if TYPE_CHECKING:
    from mirror.sandbox.server import Sandbox

LONG = 600.0
"""Seconds that nothing here takes, unless something is wrong."""
AT_ONCE = LONG / 2
"""Seconds; a wait that takes longer was not ended, however busy the machine is."""


class RequestLog(list[str]):
    """The requests that a sandbox received."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def append(self, target: str) -> None:
        """Add a request."""
        with self._changed:
            super().append(target)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until there are `count` requests."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self) >= count, LONG)


class ObservedClock(Clock):
    """A clock by which every wait is long, with an event that is set as soon as one begins."""

    def __init__(self) -> None:
        self.waiting = threading.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait very long."""
        if seconds > 0:
            self.waiting.set()
        await anyio.sleep(LONG if seconds > 0 else 0)


@pytest.fixture
def request_log(sandbox: Sandbox) -> RequestLog:
    """The requests that the sandbox received."""
    sandbox.request_log = log = RequestLog()
    return log


def settings(base_url: str, **fields: Any) -> ApiSettings:
    """Settings whose time-outs no test reaches."""
    return ApiSettings(base_url, Secret(TOKEN), **{"timeout": LONG, "deadline": 9 * LONG} | fields)


@contextmanager
def at_once() -> Iterator[None]:
    """Assert that the body does not take long."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE


@contextmanager
def in_threads(*functions: Callable[[], object]) -> Iterator[None]:
    """Call functions, each in a thread, while the body runs."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def assert_stops(api: ApiSettings, wait: Callable[[], object], clock: Clock | None = None) -> None:
    """Fetch a list; cancel the fetch when `wait` returns."""
    cancellation = CancellationToken()

    def stop() -> None:
        wait()
        cancellation.set()

    with in_threads(stop), at_once(), pytest.raises(Stopped, match="starts from the beginning"):
        Client(api, clock, cancellation=cancellation).fetch_list()


# The token


def test_each_callback_is_called_once() -> None:
    """However many threads set the token, each registered callback is called once."""
    cancellation, calls, barrier = CancellationToken(), [], threading.Barrier(8)

    def cancel() -> None:
        barrier.wait(LONG)
        cancellation.set()

    with cancellation.on_cancel(lambda: calls.append("not registered any more")):
        assert not cancellation.is_set()
    with ExitStack() as stack:
        for name in ("first", "second"):
            stack.enter_context(cancellation.on_cancel(partial(calls.append, name)))
        with in_threads(*[cancel] * 8):
            pass
        cancellation.set()
    assert cancellation.is_set()
    assert sorted(calls) == ["first", "second"]


def test_a_late_callback_is_called_at_once() -> None:
    """A callback that is registered when the token is set is called before the body, and once."""
    cancellation, calls = CancellationToken(), []
    cancellation.set()
    with cancellation.on_cancel(lambda: calls.append("late")):
        assert calls == ["late"]
        cancellation.set()
    assert calls == ["late"]


def test_no_callback_is_missed() -> None:
    """A callback that is registered while another thread sets the token is called."""
    for _ in range(200):
        cancellation, called = CancellationToken(), threading.Event()
        with in_threads(cancellation.set), cancellation.on_cancel(called.set):
            assert called.wait(LONG)


# The fetch


def test_a_stop_before_the_fetch_sends_nothing(sandbox: Sandbox) -> None:
    """A client that is stopped first does not begin."""
    cancellation = CancellationToken()
    client = Client(settings(sandbox.base_url), cancellation=cancellation)
    cancellation.set()
    with pytest.raises(Stopped):
        client.fetch_list()
    assert sandbox.request_log == []


@pytest.mark.parametrize("fault", ["stall", "silent", "drip", "endless"])
def test_a_response_that_does_not_end_is_not_waited_for(
    sandbox: Sandbox, request_log: RequestLog, fault: str
) -> None:
    """Neither silence nor a body without an end delays a stop."""
    sandbox.set_fault(fault)
    assert_stops(settings(sandbox.base_url), lambda: request_log.wait_for(1))
    assert len(request_log) == 1


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_stop_wins_over_an_error_response(status: int) -> None:
    """A stop while the body of an error is read is reported, and not the error."""
    begun, end = threading.Event(), threading.Event()

    def respond(_: HttpRequest) -> Iterable[bytes]:
        yield b"HTTP/1.1 %d No\r\nContent-Length: 500\r\n\r\n{" % status
        begun.set()
        end.wait(LONG)

    with ScriptedServer([respond]).running() as server:
        assert_stops(settings(server.base_url), lambda: begun.wait(LONG))
        end.set()
    assert len(server.requests) == 1


def test_pages_in_flight_are_not_waited_for(sandbox: Sandbox, upstream: FakeUpstream) -> None:
    """However many pages are requested at once, none of them delays a stop."""

    class SlowAfterTheFirst(RequestLog):
        def append(self, target: str) -> None:
            sandbox.config.latency = LONG if self else 0
            super().append(target)

    upstream.records = requests(*range(1000))
    sandbox.config.paging = "meta"
    sandbox.request_log = log = SlowAfterTheFirst()
    assert_stops(settings(sandbox.base_url), lambda: log.wait_for(5))


@pytest.mark.parametrize(("fault", "rate"), [(None, 3), ("rate-limit", 100), ("maintenance", 100)])
def test_a_pause_is_not_waited_for(
    sandbox: Sandbox,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
    fault: str | None,
    rate: int,
) -> None:
    """Neither our rate limit, nor the API's, nor the backoff before a retry delays a stop."""
    upstream.records = requests(*range(1000))
    sandbox.config.paging = "meta"
    sandbox.set_fault(fault)
    clock = ObservedClock()
    monkeypatch.setattr("asyncio.sleep", clock.sleep)  # which stamina uses
    with stamina.set_testing(False):
        assert_stops(settings(sandbox.base_url, rate=rate), lambda: clock.waiting.wait(LONG), clock)
    assert 1 <= len(sandbox.request_log) <= (1 if fault else rate)


def test_a_name_lookup_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can end the lookup of a host name, but the fetch ends without it."""
    begun, end = threading.Event(), threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> Any:
        begun.set()
        end.wait(LONG)
        raise socket.gaierror("too late")

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    monkeypatch.setenv("NO_PROXY", "api.example")
    assert_stops(settings("https://api.example/api/v1"), lambda: begun.wait(LONG))
    end.set()
    for thread in threading.enumerate():
        if thread.name == "mirror-lookup":
            thread.join(LONG)


def test_a_changed_list_is_not_fetched_again(caplog: pytest.LogCaptureFixture) -> None:
    """A stop between two attempts to fetch a changing list prevents the second one."""
    caplog.set_level(logging.DEBUG, "mirror")
    logger = logging.getLogger("mirror.api.client")
    pages = paged([[request(1)], [request(1)]])
    cancellation = CancellationToken()
    with ScriptedServer(pages).running() as server:
        client = Client(settings(server.base_url), cancellation=cancellation)

        class StopAfterFirstAttempt(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.getMessage().startswith("reading 1 of 3"):
                    cancellation.set()

        handler = StopAfterFirstAttempt()
        logger.addHandler(handler)
        try:
            with pytest.raises(Stopped):
                client.fetch_list()
        finally:
            logger.removeHandler(handler)
    assert len(server.requests) == 2


def test_a_signal_handler_may_stop_its_own_thread(
    sandbox: Sandbox, request_log: RequestLog
) -> None:
    """A handler that interrupts the fetching thread can stop it without a deadlock."""
    sandbox.set_fault("stall")
    main = threading.main_thread().ident
    assert main is not None

    def send_signal() -> None:
        request_log.wait_for(1)
        signal.pthread_kill(main, signal.SIGUSR1)

    cancellation = CancellationToken()
    previous = signal.signal(signal.SIGUSR1, lambda *_: cancellation.set())
    try:
        with in_threads(send_signal), at_once(), pytest.raises(Stopped):
            Client(settings(sandbox.base_url), cancellation=cancellation).fetch_list()
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_a_stop_after_the_fetch_changes_nothing(sandbox: Sandbox, upstream: FakeUpstream) -> None:
    """A fetched list stays readable."""
    upstream.records = requests(*range(250))
    sandbox.config.paging = "meta"
    cancellation = CancellationToken()
    fetched = Client(settings(sandbox.base_url), cancellation=cancellation).fetch_list()
    cancellation.set()
    assert isinstance(fetched, FetchedList)
    assert len(unknown_entries(fetched.scan)) == 250


# The sync


def assert_stopped(mirror: Mirror, result: Result) -> None:
    """The run failed because it was stopped, on record and by its exit code."""
    assert (result.outcome, type(result.failure)) == (Outcome.FAILED, Stopped)
    assert cli.exit_code(Stopped()) == 1
    assert mirror.runs("id", "outcome", "error")[-1] == (
        result.run_id,
        "failed",
        (
            "the run was stopped before it was done; nothing was applied; "
            "the next run starts from the beginning"
        ),
    )


@pytest.mark.parametrize("paging", [None, "meta"])
def test_a_cancelled_sync_is_on_record_and_changes_nothing(
    mirror: Mirror, request_log: RequestLog, paging: Any
) -> None:
    """The rows stay as they were, and the next run applies the list."""
    mirror.sandbox.config.paging = paging
    mirror.sync(requests(*range(300)))
    before, pages = mirror.state(), len(request_log)
    mirror.sandbox.config.latency = LONG
    cancellation = CancellationToken()

    def cancel() -> None:
        request_log.wait_for(pages + 1)
        cancellation.set()

    with in_threads(cancel), at_once():
        changed = requests(*range(300), status="approved")
        result = mirror.sync(changed, cancellation=cancellation)
    assert_stopped(mirror, result)
    assert mirror.state() == before
    mirror.sandbox.config.latency = 0
    assert mirror.sync().counts.updated == 300


def test_a_sync_that_is_cancelled_before_it_begins(mirror: Mirror) -> None:
    """It sends no request, and is on record."""
    cancellation = CancellationToken()
    cancellation.set()
    assert_stopped(mirror, mirror.sync([request(1)], cancellation=cancellation))
    assert mirror.sandbox.request_log == []
    assert mirror.rows("SELECT * FROM release_requests") == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_no_merge_begins_after_a_cancellation(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    """A list whose fetch was complete is not applied; a dry run does not show it."""
    cancellation = CancellationToken()

    class CancelledAfterFetch(Client):
        def fetch_list(self, *arguments: Any) -> FetchedList | NotModified:
            fetched = super().fetch_list(*arguments)
            cancellation.set()
            return fetched

    monkeypatch.setattr("mirror.sync.run.Client", CancelledAfterFetch)
    result = mirror.sync([request(1)], cancellation=cancellation, dry_run=dry_run)
    if dry_run:
        assert isinstance(result.failure, Stopped)
        assert (result.run_id, mirror.runs("id")) == (None, [])
    else:
        assert_stopped(mirror, result)
    assert mirror.rows("SELECT * FROM release_requests") == []
    monkeypatch.undo()
    assert mirror.sync().counts.inserted == 1


def test_a_merge_that_has_begun_is_finished(mirror: Mirror) -> None:
    """A cancellation during a merge comes too late: the run is applied, and says so."""
    cancellation = CancellationToken()

    class CancelInMerge(Progress):
        def begin_loading(self, entries: int) -> None:
            super().begin_loading(entries)
            cancellation.set()

    result = mirror.sync([request(1)], cancellation=cancellation, progress=CancelInMerge())
    assert cancellation.is_set()
    assert (result.outcome, result.counts.inserted) == (Outcome.APPLIED, 1)
    assert mirror.runs("outcome") == [("applied",)]


def test_a_cancellation_ends_all_running_syncs(
    mirror: Mirror, request_log: RequestLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Syncs of several environments, each in its thread, end together."""
    # They write one after the other, and one that waits for long would leave its run as it is.
    monkeypatch.setattr("mirror.db.lock_waits.POLL_INTERVAL", LONG)
    monkeypatch.setattr("mirror.db.lock_waits.REPORTED_AFTER", (LONG,))
    mirror.sync([request(1)])
    before = len(request_log)
    mirror.sandbox.config.latency = LONG
    cancellation = CancellationToken()
    results: list[Result] = []

    def sync(environment: str) -> Callable[[], None]:
        return lambda: results.append(
            mirror.sync(environment=environment, cancellation=cancellation)
        )

    with at_once(), in_threads(*(sync(f"tenant {number}") for number in range(4))):
        request_log.wait_for(before + 4)
        cancellation.set()
    assert [type(result.failure) for result in results] == [Stopped] * 4
    assert mirror.runs("outcome")[1:] == [("failed",)] * 4
