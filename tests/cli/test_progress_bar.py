"""Progress bars on a terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from mirror.api.entries import EntryScan
from mirror.api.records import InvalidRecord, Record
from mirror.cli.progress_bar import ProgressBars, progress_bars
from mirror.config.settings import ApiSettings, Secret
from mirror.db import runs
from mirror.db.engine import create_engine
from mirror.db.runs import Outcome
from mirror.progress import Phase, Progress
from mirror.sync.merge import merge
from mirror.sync.run import Result, sync, utc_now
from tests.support.commands import run_on_a_terminal
from tests.support.http_servers import (
    HttpRequest,
    HttpResponse,
    ScriptedServer,
    by_page,
    envelope,
    http,
    paged,
)
from tests.support.terminals import TIMEOUT, Terminal
from tests.support.upstream import TOKEN, request

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mirror.sandbox.server import Sandbox

MakeTerminal = Callable[[int], Terminal]


@pytest.fixture
def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeTerminal]:
    """Makes terminals of a given width."""
    with ExitStack() as stack:

        def make(columns: int) -> Terminal:
            monkeypatch.setenv("COLUMNS", str(columns))
            monkeypatch.setenv("TERM", "xterm-256color")
            return stack.enter_context(Terminal(columns).open())

        yield make


@pytest.fixture
def terminal(terminal_of: MakeTerminal) -> Terminal:
    """A terminal of usual width."""
    return terminal_of(80)


@pytest.fixture
def url(make_ready_database: Callable[[str], str]) -> str:
    """A database."""
    return make_ready_database("sqlite")


@pytest.fixture
def resume() -> Iterator[threading.Event]:
    """Lets held responses go on; at the latest when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def held(resume: threading.Event, response: bytes, size: int = 0) -> HttpResponse:
    """A response of which some bytes come at once, and the others when it may go on."""

    def send(_: HttpRequest) -> Iterable[bytes]:
        yield response[:size]
        assert resume.wait(TIMEOUT)
        yield response[size:]

    return send


@contextmanager
def syncing(url: str, answers: list[Any], progress: Progress) -> Iterator[list[Result]]:
    """Sync with a server in another thread; there is a result when the context has ended."""
    results: list[Result] = []

    def run() -> None:
        api = ApiSettings(server.base_url, Secret(TOKEN))
        results.append(sync(create_engine(url, create=True), api, "one", progress=progress))

    with ScriptedServer(answers).running() as server:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield results
        finally:
            thread.join()


# On the terminal


def test_pages_are_counted(url: str, terminal: Terminal, resume: threading.Event) -> None:
    """While a list comes in pages, its line shows their number and how many came."""
    pages = paged([[request(number)] for number in range(100)])
    answers = [*pages[:11], *(held(resume, page) for page in pages[11:])]
    with (
        progress_bars(terminal.out, 0) as bars,
        syncing(url, [by_page(answers)], bars.add("customers")) as results,
    ):
        line = terminal.wait_for("page 11 of 100")
        assert re.fullmatch("customers [━╸╺]{20} page 11 of 100", line)
        resume.set()
    assert results[0].outcome is Outcome.APPLIED
    terminal.assert_restored()


def test_bytes_are_counted(url: str, terminal: Terminal, resume: threading.Event) -> None:
    """While a list comes whole, its line shows how much came; before that, that it waits."""
    response = http(200, envelope([request(1, reason="x" * 3_500_000)]))
    with (
        progress_bars(terminal.out, 0) as bars,
        syncing(url, [held(resume, response)], bars.add("first")),
        syncing(url, [held(resume, response, 1_230_000)], bars.add("second")),
    ):
        terminal.wait_for("waiting for the API")
        line = terminal.wait_for("1.2 MB of 3.5 MB")
        assert re.fullmatch("second [━╸╺]{20} 1.2 MB of 3.5 MB", line)
        resume.set()
    terminal.assert_restored()


PARTS = (range(2000), range(2000, 3000))
"""Two pages, too long to be decoded at once."""


class PausedScan(EntryScan):
    """A scan that waits after the first entries that it decodes."""

    def __init__(self, resume: threading.Event) -> None:
        super().__init__()
        self._resume = resume

    def decode(
        self, *, in_order: bool = False
    ) -> Iterator[list[tuple[Record | InvalidRecord, int]]]:
        """Decode, and wait after the first entries."""
        for number, batch in enumerate(super().decode(in_order=in_order)):
            assert not number or self._resume.wait(TIMEOUT)
            yield batch


def test_loaded_requests_are_counted(
    connection: Connection, terminal: Terminal, resume: threading.Event
) -> None:
    """While the list is loaded into the database, its line shows how many requests are."""
    pages = [[request(number, reason="x" * 60) for number in part] for part in PARTS]
    scan = PausedScan(resume)
    for page in pages:
        scan.add(json.dumps(page).encode())
    lines: list[str] = []

    def watch() -> None:
        lines.append(terminal.wait_for("2,000 of 3,000 requests"))
        resume.set()

    watcher = threading.Thread(target=watch)
    run = runs.begin(connection, "one", "https://api.example/api/v1", utc_now())
    with progress_bars(terminal.out, 0) as bars:
        watcher.start()
        merge(
            connection,
            run,
            scan,
            progress=bars.add("customers"),
        )
        watcher.join()
    assert re.fullmatch("customers [━╸╺]{20} 2,000 of 3,000 requests", lines[0])
    terminal.assert_restored()


@pytest.mark.parametrize("columns", [40, 80])
def test_there_is_a_line_for_each_sync_that_runs(terminal_of: MakeTerminal, columns: int) -> None:
    """Each sync has its status in full on one line, on narrow terminals without a bar.

    A label is plain text: no colour, no markup, no emoji, and nothing invisible.
    """
    terminal = terminal_of(columns)
    with progress_bars(terminal.out, 0) as bars:
        first, second, third = (bars.add(label) for label in ("one", "two " * 25, "界" * 50))
        second.begin_reading()
        second.expect_pages(1_000)
        second.pages = 12
        third.begin_loading(1_000_000)
        third.entries = 45_000
        third.wait("a", "behind")
        third.wait("b", "connection refused, attempt 3 of 5")
        terminal.wait_for("connection refused, attempt 3 of 5")
        third.wait("a", "rate limit: \x1b[2Jgoes on", seconds=90)
        terminal.wait_for(r"rate limit: \x1b[2Jgoes on in ")
        second.wait("a", "rate limit: goes on", seconds=90)
        together = "page 12 of 1,000; " if columns > 40 else " "
        assert re.search(rf"{together}rate limit: goes on in \d\d s", terminal.wait_for("limit: g"))
        for counters, key in ((second, "a"), (third, "b"), (third, "a"), (third, "a")):
            counters.resume(key)
        terminal.wait_until(lambda lines: len(lines) == 3)
        terminal.wait_for("45,000 of 1,000,000 requests")
        one, two, three = terminal.lines
        assert re.fullmatch("one .* waiting for the database", one)
        assert re.fullmatch("two tw.* page 12 of 1,000", two)
        assert re.fullmatch("界界.* 45,000 of 1,000,000 requests", three)
        assert ("━" in one + two + three) is (columns > 40)
        first.phase = Phase.DONE
        terminal.wait_until(lambda lines: len(lines) == 2)
        second.phase = third.phase = Phase.DONE
        terminal.wait_until(lambda lines: not lines)
        bars.add("[red]a[/red] :smile:\x1b[2J\u202e{0}")
        label = r"[red]a[/red] :smile:\x1b[2J"[: columns - 26]
        assert terminal.wait_for("waiting").startswith(label)
    terminal.assert_restored()


def test_log_lines_appear_above(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines on stderr stay whole, however long, and however many threads write."""
    monkeypatch.setattr(sys, "stderr", terminal.out)
    written = [
        f"{writer} [b]line[/b] {line} :smile: " + "x" * 90
        for writer in range(4)
        for line in range(25)
    ]

    def write(lines: list[str]) -> None:
        for line in lines:
            sys.stderr.write(f"{line}\n")

    with progress_bars(sys.stderr, 0) as bars:
        bars.add("customers")
        terminal.wait_for("customers")
        threads = [threading.Thread(target=write, args=(written[at::4],)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        terminal.wait_until(lambda lines: len(lines) == 2 * len(written) + 1)
        *above, last = terminal.lines
        assert last.startswith("customers")
        shown = [first + second for first, second in zip(above[::2], above[1::2], strict=True)]
        assert sorted(shown) == sorted(written)
    terminal.wait_until(lambda lines: lines == above)
    assert sys.stderr is terminal.out
    assert terminal.cursor_is_visible


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_exception_leaves_the_terminal_restored(
    terminal: Terminal, error: type[BaseException]
) -> None:
    """Whatever ends a sync, the bars are erased and the cursor is shown."""
    main = threading.main_thread().ident
    assert main is not None

    def fail(bars: ProgressBars) -> None:
        bars.add("customers")
        terminal.wait_for("customers")
        assert not terminal.cursor_is_visible
        if error is KeyboardInterrupt:
            signal.pthread_kill(main, signal.SIGINT)
            threading.Event().wait(TIMEOUT)
        raise error

    with pytest.raises(error), progress_bars(terminal.out, 0) as bars:
        fail(bars)
    terminal.assert_restored()


def test_a_closed_terminal_is_no_failure(terminal: Terminal) -> None:
    """A sync goes on when its window is closed."""
    with progress_bars(terminal.out, 0) as bars:
        bars.add("customers")
        terminal.wait_for("customers")
        terminal.hang_up()
        with pytest.raises(OSError, match="Input/output"):
            os.write(terminal.out.fileno(), b"x")
        assert bars.add("suppliers").phase is Phase.WAITING


def test_a_short_sync_shows_nothing_and_does_not_import_rich(sandbox: Sandbox, url: str) -> None:
    """Nothing is written, and Rich is not imported, before the delay has passed."""
    script = (
        "import sys\n"
        "from mirror.cli import progress_bar\n"
        "from mirror.config import settings\n"
        "from mirror.db.engine import create_engine\n"
        "from mirror.sync.run import sync\n"
        "api = settings.ApiSettings(sys.argv[1], settings.Secret(sys.argv[2]))\n"
        "with progress_bar.progress_bars(sys.stderr, 60) as bars:\n"
        "    engine = create_engine(sys.argv[3], create=True)\n"
        "    result = sync(engine, api, 'one', progress=bars.add('one'))\n"
        "print(result.outcome, 'rich' in sys.modules)\n"
    )
    ran, received = run_on_a_terminal("-c", script, sandbox.base_url, TOKEN, url, merge=True)
    assert (ran.code, received.split()) == (0, ["applied", "False"])
