"""Faults of the API, and how a sync ends: with the exit code of `docs/trust.md`, and no loss."""

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
from tests.support.http_servers import HttpRequest, HttpResponse, ScriptedServer, envelope, http
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
"""Options that make a fault show at once; by default some take half a minute or more."""

HANDFUL = {
    *("hostile", "garbled", "not-found", "empty", "moving", "server-error", "unauthorized"),
    *("error in 200", "many gone", "page 2 fails", "401 without a body", "the token echoed"),
}
"""Faults that are tried on Postgres too, with a sync after each: some of each exit code."""

EXIT_CODES = {
    name: int(code)
    for name, code in re.findall(
        r"^\| `([\w-]+)` \|.*\| (\d+) \|$", (ROOT / "docs/trust.md").read_text(), re.MULTILINE
    )
}
"""The documented exit code of each fault of the sandbox."""


@dataclass(frozen=True)
class SyncOutput:
    """The exit code of a sync, its JSON, and all of its output and logs."""

    code: int
    result: dict[str, Any]
    text: str


class Trial:
    """A mirror with some runs, and an upstream that has changed since.

    Attributes:
        known: the state of the mirror, which no sync that fails may change.
        caplog: captures the log of a sync.
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
        self._change_upstream()

    def _change_upstream(self) -> None:
        """Change a request and add another, which the mirror does not know yet."""
        self._day += 1
        resolved = {"status": "approved", "resolved_at": "2024-01-11T09:00:00Z"}
        self._records[self._day % KNOWN] |= resolved | {"reason": f"Day {self._day}"}
        self._records.append(request(1000 + self._day))
        self.mirror.upstream.records = self._records
        self.mirror.sandbox.invalidate()
        self.known = self.mirror.state()

    def sync(self, *options: str, base_url: str | None = None) -> SyncOutput:
        """Run `mirror sync`."""
        self.caplog.clear()
        with self.caplog.at_level(logging.DEBUG):
            ran = run_mirror(
                *("sync", "--json", "--accept-base-url", *options),
                TALKOVER_TOKEN=TOKEN,
                TALKOVER_BASE_URL=base_url or self.mirror.sandbox.base_url,
                MIRROR_DATABASE_URL=self.mirror.url,
            )
        return SyncOutput(ran.code, json.loads(ran.out), ran.out + ran.err + self.caplog.text)

    def database_content(self) -> bytes:
        """The content of the database, runs included; for SQLite the bytes of its files."""
        if self.mirror.engine.dialect.name == "sqlite":
            path = self.mirror.engine.url.database
            files = (Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
            return b"".join(file.read_bytes() for file in files if file.exists())
        tables = [*self.mirror.state(), "sync_runs", "alembic_version"]
        return "".join(row for name in tables for row in self.mirror.stored(name)).encode()

    def assert_recorded(self, ran: SyncOutput, runs: int) -> bool:
        """Check that the run is recorded with its error, and a failed one changed nothing.

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
            assert error in ran.text
        assert "Traceback" not in ran.text
        assert TOKEN not in ran.text
        assert TOKEN.encode() not in self.database_content()
        return applied

    def assert_converges(self) -> None:
        """Check that the next sync, without a fault, makes the mirror equal to the list."""
        ran = self.sync("--accept-missing")
        assert (ran.code, ran.result["error"]) == (0, None)
        assert self.mirror.state() != self.known
        listed = {record["id"]: record["status"] for record in self.mirror.upstream.records}
        stored = self.mirror.query(helpers.release_requests)
        assert {request.id: request.status for request in stored} == listed
        open_records = "SELECT count(*) FROM quarantined_records WHERE resolved_at IS NULL"
        assert self.mirror.rows(open_records) == [(0,)]
        self._change_upstream()


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Trial]]:
    """Returns the mirror in a kind of database, made at the first call."""
    with mirrors_by_kind(request, Trial) as get:
        yield get


@pytest.fixture
def trial(
    request: pytest.FixtureRequest,
    trials: Callable[[str], Trial],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Trial]:
    """A mirror to try faults on, in SQLite by default."""
    trial = trials(getattr(request, "param", "sqlite"))
    trial.caplog = caplog
    yield trial
    trial.mirror.sandbox.config.paging = None
    trial.mirror.sandbox.set_fault(None)


RecordProperty = Callable[[str, object], None]


def on_databases(faults: Iterable[str]) -> pytest.MarkDecorator:
    """Try these faults in SQLite, and a handful of them in Postgres too."""
    names = sorted(faults)
    cases = [("sqlite", name) for name in names]
    cases += [("postgresql", name) for name in names if name in HANDFUL]
    return pytest.mark.parametrize(("trial", "fault"), cases, indirect=["trial"])


def test_the_faults_of_the_sandbox_are_documented() -> None:
    """Each fault has its line in `docs/trust.md`, and each line its fault."""
    assert set(EXIT_CODES) == set(FAULTS)
    assert set(EXIT_CODES.values()) <= set(OUTCOMES)


def test_the_handful_has_each_exit_code() -> None:
    """Each exit code is tried on both databases."""
    codes = EXIT_CODES | {name: case.code for name, case in BAD_RESPONSES.items()}
    assert {codes[name] for name in HANDFUL} == set(OUTCOMES)


@on_databases(EXIT_CODES)
def test_faults_of_the_sandbox(trial: Trial, fault: str, record_property: RecordProperty) -> None:
    """A fault ends with the documented exit code, and without a complete list nothing changes."""
    sandbox, runs = trial.mirror.sandbox, len(trial.mirror.runs("id"))
    if FAULTS[fault].needs_pages:
        sandbox.config.paging = "meta"
    sandbox.set_fault(fault)
    ran = trial.sync(*OPTIONS.get(fault, []))
    assert ran.code == EXIT_CODES[fault], ran.text
    applied = trial.assert_recorded(ran, runs)
    if applied or fault in HANDFUL:
        sandbox.set_fault(None)
        trial.assert_converges()
    record_row(record_property, trial, fault, ran)


@pytest.mark.parametrize("fault", ["duplicate", "contradiction"])
def test_entries_with_the_same_id_on_a_page(trial: Trial, fault: str) -> None:
    """They are handled with paging as they are without."""
    trial.mirror.sandbox.config.paging = "meta"
    trial.mirror.sandbox.set_fault(fault)
    ran = trial.sync()
    assert (ran.code, ran.result["error"]) == (EXIT_CODES[fault], None)
    assert ran.result["duplicates"] == (fault == "duplicate")
    trial.mirror.sandbox.set_fault(None)
    trial.assert_converges()


@pytest.mark.parametrize(
    ("fault", "paging"),
    [
        *((fault, None) for fault in ("server-error", "rate-limit", "cut", "hang-up", "cut-json")),
        ("moving", "pagination"),  # in two attempts; in the third the list holds still
    ],
)
def test_temporary_faults_are_retried(
    trial: Trial, fault: str, paging: Literal["pagination"] | None
) -> None:
    """After four faulty responses in a row the sync succeeds without an error."""
    trial.mirror.sandbox.config.paging = paging
    trial.mirror.sandbox.set_fault(fault, 4)
    before = len(trial.mirror.sandbox.request_log)
    trial.assert_converges()
    assert len(trial.mirror.sandbox.request_log) == before + 6


def record_row(record_property: RecordProperty, trial: Trial, fault: str, ran: SyncOutput) -> None:
    """Record a row of the table at the end of the tests' output."""
    outcome = ran.result["outcome"]
    rows = "the whole list" if outcome == "applied" else "unchanged"
    kind = trial.mirror.engine.dialect.name
    record_property("fault", (fault, kind, f"{ran.code:2} {outcome}, rows: {rows}"))


GOOD = envelope([request(number) for number in range(KNOWN)])


def page(number: int, size: int = 1, **paging: object) -> bytes:
    """A page of two with some requests, and more or other paging information."""
    records = [request(size * number + place) for place in range(size)]
    return http(200, envelope(records, meta={"current_page": number, "last_page": 2, **paging}))


def echo_token(request: HttpRequest) -> bytes:
    """A response with the token in its headers and each field."""
    token = request.headers["authorization"]
    body = {"success": False, "message": token, "code": token, "errors": {token: [token]}}
    return http(422, json.dumps(body).encode(), f"X-Debug: {token}", f"Location: /{token}")


def tarpit(_: HttpRequest) -> Iterator[bytes]:
    """Interim responses without an end."""
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100


@dataclass(frozen=True)
class Case:
    """Responses of a server, and how a sync must end.

    Attributes:
        responses: in turn, the last one again and again.
        code: the exit code.
        error: a part of the error.
        options: of the sync.
    """

    responses: list[HttpResponse]
    code: int
    error: str
    options: tuple[str, ...] = ()


def always(response: HttpResponse, code: int, error: str, *options: str) -> Case:
    """A server that always sends the same response."""
    return Case([response], code, error, options)


def body(content: bytes, code: int, error: str) -> Case:
    """A server that sends a well-formed response with this content."""
    return always(http(200, content), code, error)


BAD_RESPONSES = {
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
    "100 Continue alone": always(b"HTTP/1.1 100 Continue\r\n\r\n", 75, "connection"),
    "interim for ever": always(tarpit, 75, "--deadline", "--deadline", "0.5"),
    "no http": always(b"SSH-2.0-OpenSSH_9.2\r\n", 75, "connection"),
    "204": always(http(204), 1, "204"),
    "206": always(http(206, GOOD), 1, "206"),
    "304 unasked": always(http(304), 1, "304"),
    "410": always(http(410, b'{"success":false,"message":"gone","code":"GONE"}'), 1, "GONE: gone"),
    "401 without a body": always(http(401), 77, "401"),
    "redirect to itself": always(http(301, b"", "Location: /api/v1"), 1, "redirects"),
    "redirect to plain http": always(
        http(308, b"", "Location: http://example.invalid/"), 1, "http://example.invalid/"
    ),
    "chunks cut off": always(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", 75, "connection"
    ),
    # A fast client sends its next request over a connection that the server is about to close.
    "longer than stated": always(
        b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + GOOD, 75, "(tried 5 times)"
    ),
    "two lengths": always(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n", 75, "connection"
    ),
    "bad gzip": always(http(200, b"\x1f\x8bjunk", "Content-Encoding: gzip"), 75, "connection"),
    "gzip cut off": always(
        http(200, gzip.compress(GOOD)[:-100], "Content-Encoding: gzip"),
        75,
        "the middle of its JSON",
    ),
    "gzip bomb": always(
        http(200, gzip.compress(b" " * 30_000_000), "Content-Encoding: gzip"),
        1,
        "--max-bytes",
        "--max-bytes",
        "1000000",
    ),
    "gzip in gzip": always(http(200, GOOD, "Content-Encoding: gzip, gzip"), 1, "compressed"),
    "header without end": always(
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000, 75, "connection", "--timeout", "1"
    ),
    "retry after never": always(http(503, b"", "Retry-After: 99999999999999999999"), 75, "503"),
    "retry after junk": always(http(429, b"", "Retry-After: soon"), 75, "429"),
    "the token echoed": always(echo_token, 1, "422"),
    "another page": Case([page(2)], 1, "page 2 when asked for page 1"),
    "a cursor": body(GOOD[:-1] + b',"meta":{"next_cursor":"x"}}', 1, "has more pages"),
    "paging as text": body(GOOD[:-1] + b',"meta":{"last_page":"many"}}', 1, "paging"),
    "page 2 of another list": Case(
        [page(1, total=2), page(2, total=3)] * 3, 1, "page 2 states another length"
    ),
    "page 2 without paging": Case(
        [page(1), http(200, envelope([request(9)]))] * 3, 1, "page 2 states another length"
    ),
    "page 2 fails": Case([page(1, total=2), http(500)], 75, "500"),
    "page 2 refused": Case([page(1, total=2), http(401)], 77, "401"),
    "page 2 shorter, no total": Case([page(1, 3), page(2, 0)] * 3, 1, "0 entries, not 3"),
    "page 2 of a list that changes": Case(
        [page(1, total=2), page(2, total=3), page(1, total=2), page(2, total=4)] * 2,
        75,
        "kept changing while it was read",
    ),
    "a page of 100, and more": Case(
        [
            http(200, envelope([request(number) for number in range(first, first + 100)]))
            for first in (0, 100) * 3
        ],
        1,
        "page 2 has others",
    ),
    "a page of 15, and more": Case(
        [
            http(200, envelope([request(number) for number in range(first, first + 15)]))
            for first in (0, 15) * 3
        ],
        1,
        "page 2 has others",
    ),
    **{
        f"more is said by {name}": body(GOOD[:-1] + b"," + member + b"}", 1, "has more pages")
        for name, member in {
            "has_more": b'"has_more":true',
            "nextPageToken": b'"nextPageToken":"abc"',
            "next_page": b'"next_page":2',
        }.items()
    },
    "a larger total in a header": always(
        http(200, GOOD, f"X-Total-Count: {KNOWN + 1}"), 1, f"{KNOWN + 1} were announced"
    ),
    "a link to the next page elsewhere": always(
        http(200, GOOD, 'Link: <http://elsewhere.invalid/?page=2>; rel="next"'), 1, "Link"
    ),
    "many gone": body(envelope([request(number) for number in range(KNOWN // 2)]), 4, "no longer"),
}


@on_databases(BAD_RESPONSES)
def test_wrong_answers(trial: Trial, fault: str, record_property: RecordProperty) -> None:
    """A bad response is an error that is shown and recorded, and changes nothing."""
    case, runs = BAD_RESPONSES[fault], len(trial.mirror.runs("id"))
    with ScriptedServer(case.responses).running() as server:
        ran = trial.sync(*case.options, base_url=server.base_url)
    assert ran.code == case.code, ran.text
    assert case.error in ran.result["error"]
    assert not trial.assert_recorded(ran, runs)
    if fault in HANDFUL:
        trial.assert_converges()
    record_row(record_property, trial, fault, ran)
