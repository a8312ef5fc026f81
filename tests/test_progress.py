"""The counters of a sync, and its log lines."""

from __future__ import annotations

import gzip
import logging
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from itertools import groupby
from typing import Any

import pytest

from mirror.api.client import Client, FetchedList
from mirror.api.connection import redacted_logs
from mirror.config.settings import ApiSettings, Secret
from mirror.db.engine import create_engine
from mirror.db.runs import Outcome
from mirror.errors import ApiError
from mirror.progress import Phase, Progress, Wait, log_environment
from mirror.sync.run import sync
from tests.support.fake_clock import FakeClock
from tests.support.http_servers import HttpResponse, ScriptedServer, by_page, envelope, http, paged
from tests.support.mirrors import Mirror
from tests.support.terminals import TIMEOUT
from tests.support.upstream import TOKEN, request


def fetch(server: ScriptedServer) -> tuple[Client, Progress]:
    """Fetch the list of a server; return the client and the counters."""
    progress = Progress()
    client = Client(ApiSettings(server.base_url, Secret(TOKEN)), progress=progress)
    assert isinstance(client.fetch_list(), FetchedList)
    return client, progress


ONE, TWO, THREE = (request(number) for number in (1, 2, 3))
CHANGING = paged([[ONE, TWO], [TWO]])
PAGES = paged([[ONE, TWO], [THREE]])


def size(*responses: bytes) -> int:
    """Length of the bodies of responses."""
    return sum(len(response.partition(b"\r\n\r\n")[2]) for response in responses)


def test_the_counters_start_over_with_the_list() -> None:
    """Pages and bytes of an attempt that is repeated do not count towards the list."""
    with ScriptedServer([*CHANGING, PAGES[0], PAGES[1][:-9], PAGES[1]]).running() as server:
        client, progress = fetch(server)
    assert (progress.pages, progress.pages_expected) == (2, 2)
    assert (progress.bytes, progress.bytes_expected) == (size(*PAGES), None)
    assert client.received > progress.bytes


def test_the_expected_size_is_that_of_the_header() -> None:
    """The length of a compressed body is not that of the list, and there may be none."""
    body = envelope([ONE], has_more=False)
    compressed = http(200, gzip.compress(body), "Content-Encoding: gzip")
    unstated = b"HTTP/1.1 200 OK\r\n\r\n" + body
    for response, expected in ((http(200, body), len(body)), (compressed, None), (unstated, None)):
        with ScriptedServer([response]).running() as server:
            _, progress = fetch(server)
        assert (progress.bytes, progress.bytes_expected) == (len(body), expected)
        assert (progress.pages, progress.pages_expected) == (1, 1)


class Waits(Progress):
    """Records why a fetch stood still, with the seconds that were to come."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[tuple[str, float | None]] = []

    def wait(self, key: object, reason: str, **times: float | None) -> None:
        """Record a wait."""
        super().wait(key, reason, **times)
        assert list(self.waits.values())[-1].reason == reason
        self.recorded.append((reason, times.get("seconds")))


def waits(*answers: HttpResponse, fails: bool = False, **fields: Any) -> list[str]:
    """The waits of a fetch, as they are shown at first; none is left at the end."""
    progress = Waits()
    with ScriptedServer([*answers]).running() as server, ExitStack() as stack:
        if fails:
            stack.enter_context(pytest.raises(ApiError))
        api = ApiSettings(server.base_url, Secret(TOKEN), **fields)
        Client(api, FakeClock(), progress).fetch_list()
    assert progress.waits == {}
    return [
        Wait(reason, until=seconds and 7 + seconds).describe(7)
        for reason, seconds in progress.recorded
    ]


def test_why_a_fetch_stands_still() -> None:
    """Another attempt, the rate limit and a list that is read again are told until it goes on."""
    down, cut = http(503, b"", "Retry-After: 40"), PAGES[1][:-9]
    assert waits(down, PAGES[0], cut, PAGES[1]) == [
        "the API answered 503, attempt 2 of 5 in 40 s",
        "the response is incomplete, or not HTTP, attempt 2 of 5 in 1 s",
    ]
    # With a valid length, JSON that ends too early.
    truncated = http(200, envelope([ONE])[:-9])
    assert waits(truncated, *PAGES) == ["the response is cut off, attempt 2 of 5 in 1 s"]
    refused = http(429, b"", "Retry-After: 41")
    assert waits(refused, *PAGES)[0] == "rate limit: goes on in 41 s"
    four = paged([[request(number)] for number in range(4)])
    assert waits(by_page(four), rate=3) == ["rate limit: goes on in 60 s"]
    assert waits(*CHANGING, *PAGES) == ["the list was inconsistent, reading it again (2 of 3)"]
    assert waits(*CHANGING * 3, fails=True) == [
        "the list was inconsistent, reading it again (2 of 3)",
        "the list was inconsistent, reading it again (3 of 3)",
    ]


def test_how_a_wait_is_shown() -> None:
    """The seconds run down to the end that is known, and up since a beginning that matters."""
    to_come = Wait("rate limit: goes on", until=100.0)
    shown = [to_come.describe(now) for now in (59.0, 59.5, 99.9, 100.0, 101.0)]
    assert [line.removeprefix("rate limit: goes on") for line in shown] == [
        *(" in 41 s", " in 41 s", " in 1 s", "", "")
    ]
    assert Wait("another program has been writing", since=88.0).describe(100.4) == (
        "another program has been writing for 12 s"
    )
    assert Wait("connection refused, attempt 3 of 5").describe(1.0).endswith("attempt 3 of 5")


def test_the_phases_of_a_sync(sqlite_mirror: Mirror) -> None:
    """A first list and a changed one are read and loaded; other syncs end after reading."""
    mirror = sqlite_mirror
    phases: list[object] = []

    class RecordingProgress(Progress):
        def __setattr__(self, name: str, value: object) -> None:
            """Record each phase."""
            if name == "phase":
                phases.append(value)
            super().__setattr__(name, value)

    records = [request(number) for number in range(1500)]
    for changed in (records, [*records, request(1500), "junk"]):
        phases.clear()
        progress = RecordingProgress()
        assert mirror.sync(changed, progress=progress).outcome is Outcome.APPLIED
        assert [phase for phase, _ in groupby(phases)] == [
            Phase.WAITING,
            Phase.READING,
            Phase.LOADING,
            Phase.DONE,
        ]
        assert (progress.entries, progress.entries_expected) == (len(changed), len(changed))
    mirror.sync(progress=progress)
    assert phases[-2:] == [Phase.READING, Phase.DONE]
    mirror.sandbox.set_fault("unauthorized")
    mirror.sync(progress=progress)
    assert phases[-2:] == [Phase.READING, Phase.DONE]


# The log


def messages(caplog: pytest.LogCaptureFixture, logger: str) -> list[str]:
    """What a logger logged."""
    return [record.getMessage() for record in caplog.records if record.name == logger]


def assert_matches(lines: list[str], *patterns: str) -> None:
    """Each line matches its pattern."""
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), line


def test_each_response_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A line has the request, the status, the size and the time; a retry has its reason."""
    caplog.set_level(logging.DEBUG, "mirror")
    down = http(503, b'{"success":false,"message":"Not now","code":"BUSY"}')
    compressed = http(200, gzip.compress(b"{}"), "Content-Encoding: gzip")
    with ScriptedServer([down, PAGES[0], PAGES[1][:-9], PAGES[1], compressed]).running() as server:
        fetch(server)
        with pytest.raises(ApiError):
            fetch(server)
    get = r"GET /phone-numbers/release-requests\?page=%s&per_page=100: %s in \d+\.\d{3} s"
    assert_matches(
        messages(caplog, "mirror.api.http"),
        get % (1, f"503, {size(down)} bytes"),
        r"GET \S+: the API at \S+ answered 503: BUSY: Not now; trying again in [0-9.]+ s",
        get % (1, f"200, {size(PAGES[0])} bytes"),
        r"GET \S+: the connection to \S+ failed \(.*\); trying again in [0-9.]+ s",
        get % (2, f"200, {size(PAGES[1])} bytes"),
        get % (1, rf"200, {size(compressed)} bytes \(gzip\)"),
    )


def test_waits_for_the_rate_limit_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A person who sees nothing happen for a minute can find out why."""
    caplog.set_level(logging.DEBUG, "mirror")
    pages = paged([[request(number)] for number in range(4)])
    with ScriptedServer([by_page(pages)]).running() as server:
        api = ApiSettings(server.base_url, Secret(TOKEN), rate=3)
        Client(api, FakeClock()).fetch_list()
    (wait,) = [message for message in caplog.messages if "waited" in message]
    assert wait.endswith("page=4&per_page=100: waited 60.0 s for its turn")


def test_a_sync_logs_its_steps(sqlite_mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """The debug log has the duration of each step; nothing is logged above that level."""
    mirror = sqlite_mirror
    caplog.set_level(logging.DEBUG, "mirror")
    for _ in range(2):
        mirror.sync([ONE])
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    size = len(envelope([ONE]))
    begun = rf"has begun, with {re.escape(mirror.sandbox.base_url)}"
    committed = r"committed in \d\.\d{3} s"
    assert_matches(
        messages(caplog, "mirror.sync.run"),
        f"run 1 {begun}",
        rf"list read: 2 pages, {2 * size} bytes in \d\.\d s",
        r"merged in \d\.\d{3} s",
        committed,
        f"run 2 {begun}",
        rf"nothing new: 1 page, {size} bytes in \d\.\d s",
        committed,
    )


def test_log_lines_belong_to_an_environment(
    make_ready_database: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    """Lines of all threads of a sync know its environment."""
    lines: list[tuple[str | None, str]] = []
    both = threading.Barrier(2)

    class RecordingHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            """Record the environment of a line."""
            lines.append((log_environment.get(), record.getMessage()))

    def run(url: str, environment: str, pages: int) -> None:
        answers = paged([[request(number)] for number in range(pages)])
        with ScriptedServer([by_page(answers)]).running() as server:
            api = ApiSettings(server.base_url, Secret(TOKEN))
            both.wait(TIMEOUT)
            sync(create_engine(url, create=True), api, environment)
        logging.getLogger("mirror").debug("afterwards")

    pages_of = {"one": 7, "two": 12}
    threads = [
        threading.Thread(target=run, args=(make_ready_database("sqlite"), *item))
        for item in pages_of.items()
    ]
    handler = RecordingHandler()
    caplog.set_level(logging.DEBUG, "mirror")
    logging.getLogger("mirror").addHandler(handler)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        logging.getLogger("mirror").removeHandler(handler)
    assert {name for name, message in lines if message != "afterwards"} == set(pages_of)
    assert [name for name, message in lines if message == "afterwards"] == [None, None]
    for environment, pages in pages_of.items():
        requested = sorted(
            int(match[1])
            for name, message in lines
            if name == environment
            and (match := re.match(r"GET /phone-numbers/release-requests\?page=(\d+)&", message))
        )
        assert requested == list(range(1, pages + 1))


def test_the_end_of_a_fetch_does_not_open_the_log_to_the_token_of_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """During several fetches, each token is kept out of what HTTP libraries log."""
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("httpcore.http11")
    with ExitStack() as first:
        first.enter_context(redacted_logs(Secret("talq_other")))

        def close_first(_: logging.LogRecord) -> bool:
            first.close()
            return True

        logger.addFilter(close_first)
        try:
            with redacted_logs(Secret(TOKEN)):
                logger.debug("a server said %s", TOKEN)
        finally:
            logger.removeFilter(close_first)
    assert caplog.messages == ["a server said [token]"]
    assert logger.filters == []
