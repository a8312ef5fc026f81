"""What a person sees of a sync that runs: how far it is, on a terminal, and its log."""

from __future__ import annotations

import codecs
import fcntl
import gzip
import logging
import os
import pty
import re
import signal
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import pytest
from msgspec import Raw

from mirror.api import records as payload
from mirror.api.client import Client, FetchedList
from mirror.cli.progress_bar import Board, board
from mirror.config.settings import ApiSettings, Secret
from mirror.db import runs
from mirror.db.engine import create_engine
from mirror.errors import ApiError
from mirror.progress import Phase, Progress
from mirror.sync.merge import merge
from mirror.sync.run import Outcome, Result, log_environment, sync, utc_now
from tests.support.commands import run_on_a_terminal
from tests.support.fake_clock import FakeClock
from tests.support.http_servers import (
    HttpRequest,
    HttpResponse,
    ScriptedServer,
    by_page,
    envelope,
    http,
    paged,
)
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, request

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mirror.sandbox.server import Sandbox

LONG = 60.0
"""Seconds that nothing here takes, unless something is wrong."""

_UNFINISHED = re.compile(r"\x1b(\[[?0-9;]*)?$")
_SIGN = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|(.)", re.DOTALL)

Make = Callable[[int], "Terminal"]


class Terminal:
    """A terminal: what is written to it, as a person sees it. It scrolls nothing away.

    Attributes:
        out: where to write.
        cursor_is_visible: whether the person sees where they would write.
        misunderstood: what it was told that nobody should say to it.
    """

    def __init__(self, columns: int) -> None:
        self.cursor_is_visible = True
        self.misunderstood: list[str] = []
        self._columns = columns
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0
        self._hung_up = False
        self._news = threading.Condition()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.out: TextIO = os.fdopen(theirs, "w", encoding="utf-8")
        self._reader = threading.Thread(target=self._read)

    @contextmanager
    def open(self) -> Iterator[Terminal]:
        """Look at it, for as long as the context lasts."""
        self._reader.start()
        try:
            yield self
        finally:
            with suppress(OSError):
                self.out.close()
            self._reader.join()
        assert self.misunderstood == []

    def hang_up(self) -> None:
        """Go away, as soon as something is written."""
        self._hung_up = True
        self._reader.join(LONG)

    @property
    def lines(self) -> list[str]:
        """What is on it, without empty lines at the end."""
        with self._news:
            lines = ["".join(row).rstrip() for row in self._rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def wait_for(self, text: str) -> str:
        """Wait until a line has this in it; return the line."""
        self.wait_until(lambda lines: any(text in line for line in lines))
        return next(line for line in self.lines if text in line)

    def wait_until(self, so_it_is: Callable[[list[str]], bool]) -> None:
        """Wait until something can be said of the lines."""
        with self._news:
            assert self._news.wait_for(lambda: so_it_is(self.lines), LONG), self.lines

    def _read(self) -> None:
        decode, rest = codecs.getincrementaldecoder("utf-8")().decode, ""
        with suppress(OSError):  # the other end was closed
            while not self._hung_up and (piece := os.read(self._ours, 65536)):
                with self._news:
                    text = rest + decode(piece)
                    whole = _UNFINISHED.sub("", text)
                    rest = text[len(whole) :]
                    self._show(whole)
                    self._news.notify_all()
        os.close(self._ours)

    def _show(self, text: str) -> None:
        for parameters, command, sign in _SIGN.findall(text):
            if command == "A":
                self._row = max(0, self._row - int(parameters or 1))
            elif (parameters, command) == ("2", "K"):
                self._rows[self._row].clear()
            elif parameters == "?25":
                self.cursor_is_visible = command == "h"
            elif sign:
                self._put(sign)
            elif command != "m":
                self.misunderstood.append(f"{parameters}{command}")

    def _put(self, sign: str) -> None:
        if sign == "\r":
            self._column = 0
            return
        if sign == "\n" or self._column == self._columns:
            self._row += 1
            self._rows += [[] for _ in range(self._row + 1 - len(self._rows))]
        if sign != "\n":
            self._column %= self._columns
            row = self._rows[self._row]
            row += " " * (self._column + 1 - len(row))
            row[self._column] = sign
            self._column += 1

    def assert_as_it_was(self) -> None:
        """Nothing is left of what was drawn."""
        self.wait_until(lambda lines: not lines and self.cursor_is_visible)


@pytest.fixture
def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes terminals of so many columns."""
    with ExitStack() as stack:

        def make(columns: int) -> Terminal:
            monkeypatch.setenv("COLUMNS", str(columns))
            monkeypatch.setenv("TERM", "xterm-256color")
            return stack.enter_context(Terminal(columns).open())

        yield make


@pytest.fixture
def terminal(terminal_of: Make) -> Terminal:
    """A terminal of usual width."""
    return terminal_of(80)


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Holds who waits for it until it is set, or the test is over."""
    event = threading.Event()
    yield event
    event.set()


def held_back(held: threading.Event, answer: bytes, size: int = 0) -> HttpResponse:
    """An answer of which so many bytes come at once, and the others when they may."""

    def say(_: HttpRequest) -> Iterable[bytes]:
        yield answer[:size]
        assert held.wait(LONG)
        yield answer[size:]

    return say


@contextmanager
def syncing(url: str, server: ScriptedServer, progress: Progress) -> Iterator[list[Result]]:
    """Sync in another thread; there is a result when the context has ended."""
    results: list[Result] = []

    def run() -> None:
        api = ApiSettings(server.base_url, Secret(TOKEN))
        results.append(sync(create_engine(url, create=True), api, "one", progress=progress))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join()


@pytest.fixture
def url(make_ready_database: Callable[[str], str]) -> str:
    """Some database."""
    return make_ready_database("sqlite")


# The picture


def test_pages_are_counted_on_a_terminal(
    url: str, terminal: Terminal, held: threading.Event
) -> None:
    """While a list comes in pages, the person sees how many came, and of how many."""
    pages = paged([[request(number)] for number in range(100)])
    answers = [*pages[:11], *(held_back(held, page) for page in pages[11:])]
    with (
        ScriptedServer([by_page(answers)]).running() as server,
        board(terminal.out, 0) as running,
        syncing(url, server, running.begin("customers")) as results,
    ):
        line = terminal.wait_for("page 11 of 100")
        assert re.fullmatch("customers [━╸╺]{20} page 11 of 100", line)
        held.set()
    assert results[0].outcome is Outcome.APPLIED
    terminal.assert_as_it_was()


def test_bytes_are_counted_on_a_terminal(
    url: str, terminal: Terminal, held: threading.Event
) -> None:
    """Of a list that comes whole the person sees how much came; an empty one shows a wait."""
    answer = http(200, envelope([request(1, reason="x" * 3_500_000)]))
    answers = [held_back(held, answer), held_back(held, answer, 1_230_000)]
    with (
        ScriptedServer(answers[:1]).running() as silent,
        ScriptedServer(answers[1:]).running() as server,
        board(terminal.out, 0) as running,
        syncing(url, silent, running.begin("first")),
        syncing(url, server, running.begin("second")),
    ):
        terminal.wait_for("waiting for the API")
        line = terminal.wait_for("1.2 MB of 3.5 MB")
        assert re.fullmatch("second [━╸╺]{20} 1.2 MB of 3.5 MB", line)
        held.set()
    terminal.assert_as_it_was()


def test_the_load_is_counted_on_a_terminal(
    connection: Connection, terminal: Terminal, held: threading.Event
) -> None:
    """While the list is loaded, the person sees how many requests are."""
    entry = b'{"id":"%d","phone_number":"1","status":"x","requested_at":"2024-01-10T14:30:00Z"}'
    entries = [Raw(entry % number) for number in range(3000)]
    seen: list[str] = []

    def listed() -> Iterator[Raw]:
        yield from entries[:2000]
        assert held.wait(LONG)
        yield from entries[2000:]

    def watch() -> None:
        seen.append(terminal.wait_for("2,000 of 3,000 requests"))
        held.set()

    watcher = threading.Thread(target=watch)
    run = runs.begin(connection, "one", "https://api.example/api/v1", utc_now())
    with board(terminal.out, 0) as running:
        watcher.start()
        merge(
            connection,
            run,
            payload.decode(listed(), frozenset()),
            len(entries),
            progress=running.begin("customers"),
        )
        watcher.join()
    assert re.fullmatch("customers [━╸╺]{20} 2,000 of 3,000 requests", seen[0])
    terminal.assert_as_it_was()


@pytest.mark.parametrize("columns", [40, 80])
def test_there_is_a_line_for_each_sync_that_runs(terminal_of: Make, columns: int) -> None:
    """Each has its line, whole, also on a narrow terminal; who is done has none.

    A label is a text: no colour, no markup, no emoji, and nothing invisible.
    """
    terminal = terminal_of(columns)
    with board(terminal.out, 0) as running:
        first, second, third = (running.begin(one) for one in ("one", "two " * 25, "界" * 50))
        second.begin_reading()
        second.expect_pages(1_000)
        second.pages = 12
        third.begin_loading(1_000_000)
        third.entries = 45_000
        terminal.wait_until(lambda lines: len(lines) == 3)
        terminal.wait_for("45,000 of 1,000,000 requests")
        one, two, three = terminal.lines
        assert one.endswith(" waiting")
        assert two.startswith("two tw")
        assert two.endswith(" page 12 of 1,000")
        assert three.startswith("界界")
        assert three.endswith(" 45,000 of 1,000,000 requests")
        assert ("━" in one + two + three) is (columns > 40)
        first.phase = Phase.DONE
        terminal.wait_until(lambda lines: len(lines) == 2)
        second.phase = third.phase = Phase.DONE
        terminal.wait_until(lambda lines: not lines)
        running.begin("[red]a[/red] :smile:\x1b[2J\u202e{0}")
        assert terminal.wait_for("waiting").startswith(
            r"[red]a[/red] :smile:\x1b[2J"[: columns // 2]
        )
    terminal.assert_as_it_was()


def test_what_others_say_appears_above(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines on stderr stay whole, however long and however many write at once."""
    monkeypatch.setattr(sys, "stderr", terminal.out)
    said = [
        f"{writer} [b]line[/b] {line} :smile: " + "x" * 90
        for writer in range(4)
        for line in range(25)
    ]

    def say(lines: list[str]) -> None:
        for line in lines:
            sys.stderr.write(f"{line}\n")

    with board(sys.stderr, 0) as running:
        running.begin("customers")
        terminal.wait_for("customers")
        threads = [threading.Thread(target=say, args=(said[at::4],)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        terminal.wait_until(lambda lines: len(lines) == 2 * len(said) + 1)
        *above, last = terminal.lines
        assert last.startswith("customers")
        told = [first + second for first, second in zip(above[::2], above[1::2], strict=True)]
        assert sorted(told) == sorted(said)
    terminal.wait_until(lambda lines: lines == above)
    assert sys.stderr is terminal.out
    assert terminal.cursor_is_visible


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_whatever_ends_it_the_terminal_is_as_it_was(
    terminal: Terminal, error: type[BaseException]
) -> None:
    """An exception takes nothing of the picture with it, and the cursor is there again."""
    main = threading.main_thread().ident
    assert main is not None

    def fail(running: Board) -> None:
        running.begin("customers")
        terminal.wait_for("customers")
        assert not terminal.cursor_is_visible
        if error is KeyboardInterrupt:
            signal.pthread_kill(main, signal.SIGINT)
            threading.Event().wait(LONG)
        raise error

    with pytest.raises(error), board(terminal.out, 0) as running:
        fail(running)
    terminal.assert_as_it_was()


def test_a_terminal_that_goes_away_is_no_failure(terminal: Terminal) -> None:
    """Who closes the window does not end the sync."""
    with board(terminal.out, 0) as running:
        running.begin("customers")
        terminal.wait_for("customers")
        terminal.hang_up()
        with pytest.raises(OSError, match="Input/output"):
            os.write(terminal.out.fileno(), b"x")
        assert running.begin("suppliers").phase is Phase.WAITING


def test_a_short_sync_draws_nothing_and_imports_nothing(sandbox: Sandbox, url: str) -> None:
    """What is over within the delay costs no import of Rich, and the terminal receives nothing."""
    script = (
        "import sys\n"
        "from mirror.cli import progress_bar\n"
        "from mirror.config import settings\n"
        "from mirror.db.engine import create_engine\n"
        "from mirror.sync.run import sync\n"
        "api = settings.ApiSettings(sys.argv[1], settings.Secret(sys.argv[2]))\n"
        "with progress_bar.board(sys.stderr, 60) as board:\n"
        "    engine = create_engine(sys.argv[3], create=True)\n"
        "    done = sync(engine, api, 'one', progress=board.begin('one'))\n"
        "print(done.outcome, 'rich' in sys.modules)\n"
    )
    ran, received = run_on_a_terminal("-c", script, sandbox.base_url, TOKEN, url, merge=True)
    assert (ran.code, received.split()) == (0, ["applied", "False"])


# What is counted


def pulled(server: ScriptedServer) -> tuple[Client, Progress]:
    """Read the list of a server, which must come; return who read it, and what was counted."""
    progress = Progress()
    with Client(ApiSettings(server.base_url, Secret(TOKEN)), progress=progress) as client:
        assert isinstance(client.fetch_list(), FetchedList)
    return client, progress


ONE, TWO, THREE = (request(number) for number in (1, 2, 3))
MOVED = paged([[ONE, TWO], [TWO]])
STILL = paged([[ONE, TWO], [THREE]])


def size(*answers: bytes) -> int:
    """Bytes of the bodies of answers."""
    return sum(len(answer.partition(b"\r\n\r\n")[2]) for answer in answers)


def test_a_list_that_is_read_again_starts_over() -> None:
    """What was read in vain is not counted towards the list."""
    cut = STILL[1][:-9]
    with ScriptedServer([*MOVED, STILL[0], cut, STILL[1]]).running() as server:
        client, progress = pulled(server)
    assert (progress.pages, progress.pages_expected) == (2, 2)
    assert (progress.bytes, progress.bytes_expected) == (size(*STILL), None)
    assert client.received > progress.bytes


def test_the_size_of_an_answer_is_expected_if_it_says_so() -> None:
    """A length of what is compressed is not that of the list, and an answer may state none."""
    body = envelope([ONE])
    packed = http(200, gzip.compress(body), "Content-Encoding: gzip")
    unstated = b"HTTP/1.1 200 OK\r\n\r\n" + body
    for answer, expected in ((http(200, body), len(body)), (packed, None), (unstated, None)):
        with ScriptedServer([answer]).running() as server:
            _, progress = pulled(server)
        assert (progress.bytes, progress.bytes_expected) == (len(body), expected)
        assert (progress.pages, progress.pages_expected) == (1, 1)


def test_a_sync_goes_through_its_phases(sqlite_mirror: Mirror) -> None:
    """A list that changed is loaded as the first one was; in the end all is done."""
    mirror = sqlite_mirror

    class Noting(Progress):
        def __setattr__(self, name: str, value: object) -> None:
            """Note each phase."""
            if name == "phase":
                phases.append(value)
            super().__setattr__(name, value)

    phases: list[object] = []
    records = [request(number) for number in range(1500)]
    for changed in (records, [*records, request(1500), "junk"]):
        phases.clear()
        progress = Noting()
        assert mirror.sync(changed, progress=progress).outcome is Outcome.APPLIED
        assert phases == [Phase.WAITING, Phase.READING, Phase.LOADING, Phase.DONE]
        assert (progress.entries, progress.entries_expected) == (len(changed), len(changed))
    mirror.sync(progress=progress)
    assert phases[-2:] == [Phase.READING, Phase.DONE]
    mirror.sandbox.set_fault("unauthorized")
    mirror.sync(progress=progress)
    assert phases[-2:] == [Phase.READING, Phase.DONE]


# The log


ANSWERED = r"GET /phone-numbers/release-requests\?page=%s&per_page=100: %s in \d+\.\d{3} s"


def test_each_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What was asked, what came and how long it took; and why it is asked again."""
    caplog.set_level(logging.DEBUG, "mirror")
    down = http(503, b'{"success":false,"message":"Not now","code":"BUSY"}')
    packed = http(200, gzip.compress(b"{}"), "Content-Encoding: gzip")
    with ScriptedServer([down, STILL[0], STILL[1][:-9], STILL[1], packed]).running() as server:
        pulled(server)
        with pytest.raises(ApiError), Client(ApiSettings(server.base_url, Secret(TOKEN))) as client:
            client.fetch_list()
    wanted = [
        ANSWERED % (1, f"503, {size(down)} bytes"),
        r"the API at \S+ answered 503: BUSY: Not now; trying again in 0\.0 s",
        ANSWERED % (1, f"200, {size(STILL[0])} bytes"),
        r"the connection to \S+ failed \(.*\); trying again in 0\.0 s",
        ANSWERED % (2, f"200, {size(STILL[1])} bytes"),
        ANSWERED % (1, rf"200, {size(packed)} bytes \(gzip\)"),
    ]
    found = [one.getMessage() for one in caplog.records if one.name == "mirror.api.http"]
    assert len(found) == len(wanted)
    for message, pattern in zip(found, wanted, strict=True):
        assert re.fullmatch(pattern, message), message


def test_waits_for_a_turn_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A person who sees nothing happen for a minute can find out why."""
    caplog.set_level(logging.DEBUG, "mirror")
    pages = paged([[request(number)] for number in range(4)])
    with ScriptedServer([by_page(pages)]).running() as server:
        api = ApiSettings(server.base_url, Secret(TOKEN), rate=3)
        with Client(api, FakeClock()) as client:
            client.fetch_list()
    (waited,) = [message for message in caplog.messages if "waited" in message]
    assert waited.endswith("page=4&per_page=100: waited 60.0 s for its turn")


def test_a_sync_logs_what_it_did(sqlite_mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """A person who wants to know sees where the time went; others are told nothing."""
    mirror = sqlite_mirror
    caplog.set_level(logging.DEBUG, "mirror")
    for _ in range(2):
        mirror.sync([ONE])
    assert {one.levelno for one in caplog.records} == {logging.DEBUG}
    found = [one.getMessage() for one in caplog.records if one.name == "mirror.sync.run"]
    read = rf"1 pages, {len(envelope([ONE]))} bytes in \d\.\d s"
    begun = rf"has begun, with {re.escape(mirror.sandbox.base_url)}"
    committed = r"committed in \d\.\d{3} s"
    wanted = [
        *(f"run 1 {begun}", f"list read: {read}", r"merged in \d\.\d{3} s", committed),
        *(f"run 2 {begun}", f"nothing new: {read}", committed),
    ]
    assert len(found) == len(wanted)
    for message, pattern in zip(found, wanted, strict=True):
        assert re.fullmatch(pattern, message), message


def test_lines_of_the_log_belong_to_an_environment(
    make_ready_database: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever thread writes a line, it can be told whose sync it is about."""

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            """Note whose line it is."""
            noted.append((log_environment.get(), record.getMessage()))

    noted: list[tuple[str | None, str]] = []
    both = threading.Barrier(2)

    def run(url: str, environment: str, pages: int) -> None:
        answers = paged([[request(number)] for number in range(pages)])
        with ScriptedServer([by_page(answers)]).running() as server:
            api = ApiSettings(server.base_url, Secret(TOKEN))
            both.wait(LONG)
            sync(create_engine(url, create=True), api, environment)
        logging.getLogger("mirror").debug("afterwards")

    handler = Noting()
    caplog.set_level(logging.DEBUG, "mirror")
    logging.getLogger("mirror").addHandler(handler)
    try:
        wanted = {"one": 7, "two": 12}
        threads = [
            threading.Thread(target=run, args=(make_ready_database("sqlite"), name, pages))
            for name, pages in wanted.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        logging.getLogger("mirror").removeHandler(handler)
    assert {name for name, message in noted if message != "afterwards"} == set(wanted)
    assert [name for name, message in noted if message == "afterwards"] == [None, None]
    for name, pages in wanted.items():
        asked = [
            message.split("&")[0] for whose, message in noted if whose == name and "GET" in message
        ]
        start = "GET /phone-numbers/release-requests?page="
        assert sorted(asked) == sorted(f"{start}{number}" for number in range(1, pages + 1))


def test_a_pull_that_ends_does_not_open_the_log_to_the_token_of_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While several pulls go on, each token is kept out of what the HTTP libraries log."""
    caplog.set_level(logging.DEBUG)
    theirs = logging.getLogger("httpcore.http11")
    with ExitStack() as first:
        first.enter_context(Client(ApiSettings("http://127.0.0.1/api/v1", Secret("talq_other"))))

        def end_first(_: logging.LogRecord) -> bool:
            first.close()
            return True

        theirs.addFilter(end_first)
        try:
            with Client(ApiSettings("http://127.0.0.1/api/v1", Secret(TOKEN))):
                theirs.debug("a server said %s", TOKEN)
        finally:
            theirs.removeFilter(end_first)
    assert caplog.messages == ["a server said [token]"]
    assert theirs.filters == []
