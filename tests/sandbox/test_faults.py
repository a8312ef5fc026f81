"""A table of faults: whatever the API does wrong, the mirror neither lies nor loses.

The faults of the sandbox are those that `docs/trust.md` lists, with the exit codes that it states;
the others are written here byte for byte.
"""

from __future__ import annotations

import gzip
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from mirror.queries import helpers
from mirror.sandbox.faults import FAULTS
from tests.support import ROOT
from tests.support.commands import run_mirror
from tests.support.http_servers import Answer, Question, Scripted, envelope, http
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.upstream import TOKEN, request

KNOWN = 130
"""Requests at the start: two pages, and enough for the guard."""

OUTCOMES = {0: "applied", 1: "failed", 3: "applied", 4: "refused", 75: "failed", 77: "failed"}

OPTIONS = {
    "stall": ["--timeout", "0.2"],
    "silent": ["--timeout", "0.2"],
    "drip": ["--deadline", "1"],
    "endless": ["--max-bytes", "1000000"],
}
"""What makes a fault show at once that by default takes half a minute or more."""

HANDFUL = {
    *("hostile", "garbled", "not-found", "empty", "moving", "server-error", "unauthorized"),
    *("error in 200", "many gone", "page 2 fails", "401 without a body", "the token said back"),
}
"""Those that are tried on Postgres too, with a sync after each: some of each exit code."""


def documented() -> dict[str, int]:
    """The exit code of each fault of the sandbox, as the documentation has it."""
    text = (ROOT / "docs" / "trust.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d+) \|$", text, re.MULTILINE)
    return {name: int(code) for name, code in rows}


EXIT_CODES = documented()


@dataclass(frozen=True)
class Ran:
    """What a sync came to, and all that it said.

    Attributes:
        code: the exit code.
        result: what `--json` prints.
        said: output, errors and logs.
    """

    code: int
    result: dict[str, Any]
    said: str


class Trial:
    """A mirror with a past, and an upstream that has moved on a little since.

    Attributes:
        mirror: likewise.
        known: what the mirror holds, which no sync that fails may change.
        caplog: hears what a sync says.
    """

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.caplog: pytest.LogCaptureFixture
        self._day = 0
        past = [request(number) for number in range(KNOWN)]
        mirror.sync([*past, request(900), request(901, requested_at="yesterday")])
        past[0] |= {"status": "rejected", "rejection_reason": "It has an agent"}
        mirror.sync(past)
        self._records = past
        self._move_on()

    def _move_on(self) -> None:
        """Let a day pass upstream, which the mirror does not know yet."""
        self._day += 1
        resolved = {"status": "approved", "resolved_at": "2024-01-11T09:00:00Z"}
        self._records[self._day % KNOWN] |= resolved | {"reason": f"Day {self._day}"}
        self._records.append(request(1000 + self._day))
        self.mirror.upstream.records = self._records
        self.mirror.sandbox.forget()
        self.known = self.mirror.state()

    def sync(self, *options: str, base_url: str | None = None) -> Ran:
        """Run `mirror sync`."""
        self.caplog.clear()
        with self.caplog.at_level(logging.DEBUG):
            ran = run_mirror(
                *("sync", "--json", *options),
                TALKOVER_TOKEN=TOKEN,
                TALKOVER_BASE_URL=base_url or self.mirror.sandbox.base_url,
                MIRROR_DATABASE_URL=self.mirror.url,
            )
        return Ran(ran.code, json.loads(ran.out), ran.out + ran.err + self.caplog.text)

    def everything_stored(self) -> bytes:
        """All that the database keeps, runs included; for SQLite the very bytes of its files."""
        if self.mirror.engine.dialect.name == "sqlite":
            path = self.mirror.engine.url.database
            files = (Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
            return b"".join(file.read_bytes() for file in files if file.exists())
        tables = [*self.mirror.state(), "sync_runs", "alembic_version"]
        return "".join(row for name in tables for row in self.mirror.stored(name)).encode()

    def assert_is_named(self, ran: Ran, runs: int) -> bool:
        """The one run more is on record with what it said to the person; what failed left no trace.

        Returns:
            Whether the list was applied.
        """
        outcome, error = OUTCOMES[ran.code], ran.result["error"]
        assert ran.result["outcome"] == outcome
        record = self.mirror.runs("outcome", "error", "finished_at IS NOT NULL")
        assert len(record) == runs + 1
        assert record[-1] == (outcome, error, True)
        if applied := outcome == "applied":
            assert error is None
        else:
            assert self.mirror.state() == self.known
            assert error in ran.said
        assert "Traceback" not in ran.said
        assert TOKEN not in ran.said
        assert TOKEN.encode() not in self.everything_stored()
        return applied

    def assert_converges(self) -> None:
        """The next sync, with an API that behaves, makes the mirror equal to the list."""
        ran = self.sync("--accept-missing")
        assert (ran.code, ran.result["error"]) == (0, None)
        assert self.mirror.state() != self.known
        listed = {record["id"]: record["status"] for record in self.mirror.upstream.records}
        found = self.mirror.query(helpers.release_requests)
        assert {one.id: one.status for one in found} == listed
        open_records = "SELECT count(*) FROM quarantined_records WHERE resolved_at IS NULL"
        assert self.mirror.rows(open_records) == [(0,)]
        self._move_on()


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Trial]]:
    """Gives the mirror of a kind of database, made when it is first asked for."""
    with mirrors_by_kind(request, Trial) as get:
        yield get


@pytest.fixture
def trial(
    request: pytest.FixtureRequest,
    trials: Callable[[str], Trial],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Trial]:
    """A mirror to try faults on, in SQLite unless a test says otherwise."""
    trial = trials(getattr(request, "param", "sqlite"))
    trial.caplog = caplog
    yield trial
    trial.mirror.sandbox.manner.paging = None
    trial.mirror.sandbox.misbehave(None)


Note = Callable[[str, object], None]


def on_databases(faults: Iterable[str]) -> pytest.MarkDecorator:
    """Try these faults in SQLite, and the handful of them in Postgres too."""
    names = sorted(faults)
    tried = [("sqlite", name) for name in names]
    tried += [("postgresql", name) for name in names if name in HANDFUL]
    return pytest.mark.parametrize(("trial", "fault"), tried, indirect=["trial"])


def test_the_faults_of_the_sandbox_are_documented() -> None:
    """Each fault has its line in `docs/trust.md`, and no line is about a fault that is none."""
    assert set(EXIT_CODES) == set(FAULTS)
    assert set(EXIT_CODES.values()) <= set(OUTCOMES)


def test_there_is_one_of_each_exit_code_in_the_handful() -> None:
    """Each way to end is tried on both databases."""
    codes = EXIT_CODES | {name: one.code for name, one in WRONG.items()}
    assert {codes[name] for name in HANDFUL} == set(OUTCOMES)


@on_databases(EXIT_CODES)
def test_faults_of_the_sandbox(trial: Trial, fault: str, record_property: Note) -> None:
    """A fault ends with the documented exit code, and changes nothing unless the list is whole."""
    sandbox, runs = trial.mirror.sandbox, len(trial.mirror.runs("id"))
    if FAULTS[fault].needs_pages:
        sandbox.manner.paging = "meta"
    sandbox.misbehave(fault)
    ran = trial.sync(*OPTIONS.get(fault, []))
    assert ran.code == EXIT_CODES[fault], ran.said
    applied = trial.assert_is_named(ran, runs)
    if applied or fault in HANDFUL:
        sandbox.misbehave(None)
        trial.assert_converges()
    note(record_property, trial, fault, ran)


@pytest.mark.parametrize(
    ("fault", "paging"),
    [
        *((fault, None) for fault in ("server-error", "rate-limit", "cut", "hang-up", "cut-json")),
        ("moving", "pagination"),  # in two readings; in the third it holds still
    ],
)
def test_a_fault_that_passes_is_got_over(
    trial: Trial, fault: str, paging: Literal["pagination"] | None
) -> None:
    """Four wrong answers in a row are nothing that anybody needs to hear of."""
    trial.mirror.sandbox.manner.paging = paging
    trial.mirror.sandbox.misbehave(fault, 4)
    asked = len(trial.mirror.sandbox.asked)
    trial.assert_converges()
    assert len(trial.mirror.sandbox.asked) == asked + (6 if paging else 5)


def note(record_property: Note, trial: Trial, fault: str, ran: Ran) -> None:
    """Put a line of the table on record, for the end of the tests' output."""
    outcome = ran.result["outcome"]
    rows = "the whole list" if outcome == "applied" else "unchanged"
    kind = trial.mirror.engine.dialect.name
    record_property("fault", (fault, kind, f"{ran.code:2} {outcome}, rows: {rows}"))


GOOD = envelope([request(number) for number in range(KNOWN)])


def page(number: int, size: int = 1, **paging: object) -> bytes:
    """A page with some requests, whose paging says what a test wants it to say."""
    records = [request(size * number + place) for place in range(size)]
    return http(200, envelope(records, meta={"current_page": number, "last_page": 2, **paging}))


def repeating_the_token(question: Question) -> bytes:
    """An answer that says the token back wherever there is room."""
    said = question.headers["authorization"]
    body = {"success": False, "message": said, "code": said, "errors": {said: [said]}}
    return http(422, json.dumps(body).encode(), f"X-Debug: {said}", f"Location: /{said}")


def tarpit(_: Question) -> Iterator[bytes]:
    """Interim answers without an end."""
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100


@dataclass(frozen=True)
class Wrong:
    """What a server says, and how a sync must end.

    Attributes:
        answers: in turn, the last one again and again.
        code: the exit code.
        said: what the error must name.
        options: of the sync.
    """

    answers: list[Answer]
    code: int
    said: str
    options: tuple[str, ...] = ()


def wrong(answer: Answer, code: int, said: str, *options: str) -> Wrong:
    """A server that always says the same."""
    return Wrong([answer], code, said, options)


def body(content: bytes, code: int, said: str) -> Wrong:
    """A server whose answer is well made, but for its content."""
    return wrong(http(200, content), code, said)


WRONG = {
    "empty body": body(b"", 1, "empty"),
    "spaces": body(b"  \r\n ", 1, "empty"),
    "plain text": body(b"OK", 1, "not JSON"),
    "binary junk": body(bytes(range(256)), 1, "not JSON"),
    "utf-16": body(GOOD.decode().encode("utf-16"), 1, "not JSON"),
    "an array": body(b"[]", 1, "not a list of release requests"),
    "null": body(b"null", 1, "not a list of release requests"),
    "success as text": body(
        b'{"success": "true", "data": []}', 1, "`success` is not true or false"
    ),
    "no success": body(b'{"data": []}', 1, "success"),
    "data null": body(b'{"success": true, "data": null}', 1, "array"),
    "data an object": body(b'{"success": true, "data": {}}', 1, "array"),
    "no data": body(b'{"success": true}', 1, "data"),
    "error in 200": body(
        b'{"success": false, "error": {"code": "E_DOWN", "message": "closed"}}', 1, "E_DOWN: closed"
    ),
    "trailing junk": body(GOOD + b"x", 1, "not valid JSON"),
    "two documents": body(GOOD + GOOD, 1, "not valid JSON"),
    "NaN": body(GOOD.replace(b'"pending"', b"NaN", 1), 1, "not valid JSON"),
    "infinity": body(GOOD.replace(b'"pending"', b"-Infinity", 1), 1, "not valid JSON"),
    "bottomless": body(b'{"success": true, "data": [' + b"[" * 100_000, 1, "nested too deeply"),
    "bare quote": body(GOOD.replace(b'"pending"', b'"pen"ding"', 1), 1, "not valid JSON"),
    "100 Continue alone": wrong(b"HTTP/1.1 100 Continue\r\n\r\n", 75, "connection"),
    "interim for ever": wrong(tarpit, 75, "--deadline", "--deadline", "0.5"),
    "no http": wrong(b"SSH-2.0-OpenSSH_9.2\r\n", 75, "connection"),
    "204": wrong(http(204), 1, "204"),
    "206": wrong(http(206, GOOD), 1, "206"),
    "304 unasked": wrong(http(304), 1, "304"),
    "410": wrong(http(410, b'{"success":false,"message":"gone","code":"GONE"}'), 1, "GONE: gone"),
    "401 without a body": wrong(http(401), 77, "401"),
    "redirect to itself": wrong(http(301, b"", "Location: /api/v1"), 1, "redirects"),
    "redirect to plain http": wrong(
        http(308, b"", "Location: http://example.invalid/"), 1, "http://example.invalid/"
    ),
    "chunks cut off": wrong(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", 75, "connection"
    ),
    # If the client is quick, it asks again over a line that the server is about to close.
    "longer than stated": wrong(
        b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + GOOD, 75, "(tried 5 times)"
    ),
    "two lengths": wrong(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n", 75, "connection"
    ),
    "bad gzip": wrong(http(200, b"\x1f\x8bjunk", "Content-Encoding: gzip"), 75, "connection"),
    "gzip cut off": wrong(
        http(200, gzip.compress(GOOD)[:-100], "Content-Encoding: gzip"),
        75,
        "the middle of its JSON",
    ),
    "gzip bomb": wrong(
        http(200, gzip.compress(b" " * 30_000_000), "Content-Encoding: gzip"),
        1,
        "--max-bytes",
        "--max-bytes",
        "1000000",
    ),
    "gzip in gzip": wrong(http(200, GOOD, "Content-Encoding: gzip, gzip"), 1, "compressed"),
    "header without end": wrong(
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000, 75, "connection", "--timeout", "1"
    ),
    "retry after never": wrong(http(503, b"", "Retry-After: 99999999999999999999"), 75, "503"),
    "retry after junk": wrong(http(429, b"", "Retry-After: soon"), 75, "429"),
    "the token said back": wrong(repeating_the_token, 1, "422"),
    "another page": Wrong([page(2)], 1, "page 2 when asked for page 1"),
    "a cursor": body(GOOD[:-1] + b',"meta":{"next_cursor":"x"}}', 1, "goes on elsewhere"),
    "paging as text": body(GOOD[:-1] + b',"meta":{"last_page":"many"}}', 1, "paging"),
    "page 2 of another list": Wrong(
        [page(1, total=2), page(2, total=3)] * 3, 75, "kept changing while it was read"
    ),
    "page 2 without paging": Wrong(
        [page(1), http(200, envelope([request(9)]))] * 3, 75, "kept changing while it was read"
    ),
    "page 2 fails": Wrong([page(1, total=2), http(500)], 75, "500"),
    "page 2 refused": Wrong([page(1, total=2), http(401)], 77, "401"),
    "page 2 shorter, no total": Wrong([page(1, 3), page(2, 0)] * 3, 75, "kept changing"),
    "a page of 100, and more": Wrong(
        [
            http(200, envelope([request(number) for number in range(first, first + 100)]))
            for first in (0, 100) * 3
        ],
        75,
        "kept changing",
    ),
    "many gone": body(envelope([request(number) for number in range(KNOWN // 2)]), 4, "no longer"),
}


@on_databases(WRONG)
def test_wrong_answers(trial: Trial, fault: str, record_property: Note) -> None:
    """A wrong answer is named, changes nothing, is on record, and is forgotten the next time."""
    expected, runs = WRONG[fault], len(trial.mirror.runs("id"))
    with Scripted(expected.answers).running() as server:
        ran = trial.sync(*expected.options, base_url=server.base_url)
    assert ran.code == expected.code, ran.said
    assert expected.said in ran.result["error"]
    assert not trial.assert_is_named(ran, runs)
    if fault in HANDFUL:
        trial.assert_converges()
    note(record_property, trial, fault, ran)
