"""A stand-in for the API on a loopback port, to try everything without a token.

It serves an `Upstream` over HTTP, with the documented endpoints around release requests and the
documented errors, and misbehaves on request.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

from mirror.sandbox.faults import FAULTS, Answer, Fault, Page, ResponseEnding
from mirror.sandbox.simulation import ApiProblem, Request, Simulation, iso

API_PREFIX = "/api/v1"
DEFAULT_TOKEN = "talq_sandbox"  # noqa: S105 (it opens nothing but this stand-in)

_LIST = f"{API_PREFIX}/phone-numbers/release-requests"
_LONGEST_PAGE = 100
_NO_FAULT = Fault("nothing wrong")


@dataclass(slots=True)
class SandboxConfig:
    """How the API behaves.

    Attributes:
        token: the bearer token it accepts.
        paging: the key under which a list says its pages, or None: the list comes whole.
        etag: send an ETag, and 304 to who has it already.
        file: answer the list with the content of this file, as it stands, instead.
        latency: seconds that each answer of the list takes.
        limit: requests for the list that it allows in a minute, or None: any number.
    """

    token: str = DEFAULT_TOKEN
    paging: Literal["meta", "pagination"] | None = None
    etag: bool = False
    file: Path | None = None
    latency: float = 0.0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    target: str
    path: str
    query: dict[str, list[str]]
    headers: Any
    body: bytes


class Sandbox:
    """Serves an upstream over HTTP on a loopback port.

    Args:
        upstream: the world behind it.
        config: how it behaves; may be changed while it runs.
        port: 0 for any free one.

    Attributes:
        request_log: path and query of each question so far.
    """

    def __init__(
        self, upstream: Simulation, config: SandboxConfig | None = None, port: int = 0
    ) -> None:
        self.upstream = upstream
        self.config = config or SandboxConfig()
        self.request_log: list[str] = []
        self._lock = threading.Lock()
        self._list: tuple[datetime, int, list[bytes]] | None = None
        self._file = _File()
        self._tagged = (b"", "")
        self._changes = 0
        self._fault: str | None = None
        self._wrong_answers: int | None = None
        self._window_ends, self._used = 0.0, 0
        self._closed = threading.Event()
        sandbox = self

        class Handler(_Handler):
            answer = staticmethod(sandbox._answer)

        self._server = _Server(("127.0.0.1", port), Handler)

    @property
    def base_url(self) -> str:
        """The base URL to give to `mirror`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{API_PREFIX}"

    def serve(self) -> None:
        """Serve until `stop` is called from another thread, or the process is interrupted."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Give the port back."""
        self._closed.set()
        self._server.server_close()

    @contextmanager
    def running(self) -> Iterator[Sandbox]:
        """Serve in the background, for as long as the context lasts."""
        thread = threading.Thread(target=self.serve, daemon=True)
        try:
            thread.start()
            try:
                yield self
            finally:
                self._server.shutdown()
                thread.join()
        finally:
            self.close()

    def advance(self, days: float) -> None:
        """Let time pass upstream."""
        with self._lock:
            self.upstream.advance(days)
            self._changes += 1

    def invalidate(self) -> None:
        """Make the list anew: the upstream was changed from outside."""
        with self._lock:
            self._changes += 1

    def set_fault(self, fault: str | None, times: int | None = None) -> None:
        """Give wrong answers when asked for the list.

        Args:
            fault: a name of `FAULTS`, or None to behave again.
            times: behave again after so many answers; None: never.

        Raises:
            ValueError: there is no such fault, or it would not show; the message says why.
        """
        with self._lock:
            self._choose(fault, times)

    def _choose(self, fault: str | None, times: int | None) -> None:
        """Choose a fault; the lock is held."""
        if fault is not None:
            if fault not in FAULTS:
                raise ValueError(f"there is no fault {fault!r}")
            if FAULTS[fault].needs_pages and self.config.paging is None:
                raise ValueError(f"the fault {fault!r} shows only in a list that comes in pages")
            if self.config.file is not None and FAULTS[fault].answer is None:
                raise ValueError(f"the fault {fault!r} does not show in a list given by a file")
            if times is not None and times < 1:
                raise ValueError("a fault shows at least once")
        self._fault, self._wrong_answers = fault, times

    def _answer(self, question: _Question) -> Answer:
        """Answer a question; the list takes its time, also for several who ask at once."""
        answer = self._answer_at_once(question)
        if self.config.latency and question.path == _LIST:
            self._closed.wait(self.config.latency)
        return answer

    def _answer_at_once(self, question: _Question) -> Answer:
        self.request_log.append(question.target)
        with self._lock:
            try:
                for method, pattern, handle in _ROUTES:
                    if question.method == method and (found := pattern.fullmatch(question.path)):
                        if not question.path.endswith("/health"):
                            self._check_token(question)
                        return handle(self, question, *found.groups())
                raise ApiProblem(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is nothing here")
            except ApiProblem as problem:
                return Answer(problem.status, msgspec.json.encode(problem.body))

    def _check_token(self, question: _Question) -> None:
        given = question.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.config.token}".encode()):
            raise ApiProblem(
                HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "The token is missing or not valid"
            )

    def _health(self, _question: _Question) -> Answer:
        return Answer(HTTPStatus.OK, b'{"status":"ok"}')

    def _show_list(self, question: _Question) -> Answer:
        headers = self._count() if self.config.limit else {}
        if "Retry-After" in headers:
            said = ApiProblem(HTTPStatus.TOO_MANY_REQUESTS, "RATE_LIMITED", "Too many requests")
            return Answer(said.status, msgspec.json.encode(said.body), headers)
        answer = self._show_list_at_any_rate(question)
        return replace(answer, headers=headers | answer.headers)

    def _count(self) -> dict[str, str]:
        """Count a request against the limit, as Laravel does; return what the headers say of it.

        A minute begins with the first request after the last one, and a request that is refused
        counts for nothing.
        """
        assert self.config.limit is not None, "without a limit nothing is counted"
        now = time.monotonic()
        if now >= self._window_ends:
            self._window_ends, self._used = now + 60, 0
        left = math.ceil(self._window_ends - now)
        refused = self._used >= self.config.limit
        self._used += not refused
        return {
            "X-RateLimit-Limit": str(self.config.limit),
            "X-RateLimit-Remaining": str(max(0, self.config.limit - self._used)),
            "X-RateLimit-Reset": str(math.ceil(time.time()) + left),
        } | ({"Retry-After": str(left)} if refused else {})

    def _show_list_at_any_rate(self, question: _Question) -> Answer:
        fault = FAULTS[self._fault] if self._fault else _NO_FAULT
        answer = self._with_etag(question, self._list_body(question, fault))
        if fault.answer is not None:
            answer = fault.answer(answer, question.headers.get("Authorization", ""))
        if self._wrong_answers is not None:
            self._wrong_answers -= 1
            if not self._wrong_answers:
                self._fault = self._wrong_answers = None
        return answer

    def _with_etag(self, question: _Question, body: bytes) -> Answer:
        if not self.config.etag:
            return Answer(HTTPStatus.OK, body)
        if self._tagged[0] is not body:
            self._tagged = body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        tag = self._tagged[1]
        if question.headers.get("If-None-Match") == tag:
            return Answer(HTTPStatus.NOT_MODIFIED, b"", {"ETag": tag})
        return Answer(HTTPStatus.OK, body, {"ETag": tag})

    def _list_body(self, question: _Question, fault: Fault) -> bytes:
        if self.config.file is not None:
            return self._file.content(self.config.file)
        entries = self._entries()
        if fault.entries is not None:
            entries = fault.entries(entries, len(self.request_log))
        if self.config.paging is None:
            return b'{"success":true,"data":[%s]}' % b",".join(entries)
        page = _whole(question, "page", 1, 1_000_000)
        per_page = _whole(question, "per_page", 15, _LONGEST_PAGE)
        paging = {
            "current_page": page,
            "per_page": per_page,
            "total": len(entries),
            "last_page": max(1, -(-len(entries) // per_page)),
        }
        shown = Page(entries[(page - 1) * per_page : page * per_page], paging)
        if fault.page is not None:
            shown = fault.page(shown)
        return b'{"success":true,"data":[%s],"%s":%s}' % (
            b",".join(shown.entries),
            self.config.paging.encode(),
            msgspec.json.encode(shown.paging),
        )

    def _entries(self) -> list[bytes]:
        """Return the list's entries as JSON, made anew only when something has happened."""
        made = self._list
        if made is None or made[:2] != (self.upstream.now, self._changes):
            entries = [msgspec.json.encode(one) for one in self.upstream.list_payload()]
            made = self._list = (self.upstream.now, self._changes, entries)
        return made[2]

    def _request(self, question: _Question, phone_number_id: str) -> Answer:
        given = _json(question.body)
        request = self.upstream.request_release(phone_number_id, given.get("reason"))
        return self._changed(HTTPStatus.CREATED, request)

    def _cancel(self, _question: _Question, request_id: str) -> Answer:
        return self._changed(HTTPStatus.OK, self.upstream.cancel(request_id))

    def _changed(self, status: HTTPStatus, request: Request) -> Answer:
        self._changes += 1
        shown = {"success": True, "data": request.as_answered(self.upstream.now)}
        return Answer(status, msgspec.json.encode(shown))

    def _advance(self, question: _Question) -> Answer:
        days = _json(question.body).get("days", 1)
        if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= 3650:
            raise _invalid("days must be a number > 0")
        self.upstream.advance(days)
        self._changes += 1
        return self._state(question)

    def _misbehave(self, question: _Question) -> Answer:
        given = _json(question.body)
        name, times = given.get("name"), given.get("times")
        if name is not None and not isinstance(name, str):
            raise _invalid("name must be that of a fault, or null")
        if times is not None and (isinstance(times, bool) or not isinstance(times, int)):
            raise _invalid("times must be a whole number, or null")
        try:
            self._choose(name, times)
        except ValueError as error:
            raise _invalid(str(error)) from error
        return self._state(question)

    def _state(self, _question: _Question) -> Answer:
        statuses = [one.status(self.upstream.now) for one in self.upstream.requests.values()]
        shown = {
            "now": iso(self.upstream.now),
            "requests": len(statuses),
            "by_status": {status: statuses.count(status) for status in sorted(set(statuses))},
            "fault": self._fault and {"name": self._fault, "times": self._wrong_answers},
        }
        return Answer(HTTPStatus.OK, msgspec.json.encode({"success": True, "data": shown}))


_ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = [
    (method, re.compile(API_PREFIX + path), handle)
    for method, path, handle in (
        ("GET", "/health", Sandbox._health),
        ("GET", "/phone-numbers/release-requests", Sandbox._show_list),
        ("POST", "/phone-numbers/([^/]+)/request-release", Sandbox._request),
        ("DELETE", "/phone-numbers/release-requests/([^/]+)", Sandbox._cancel),
        ("GET", "/sandbox", Sandbox._state),
        ("POST", "/sandbox/advance", Sandbox._advance),
        ("POST", "/sandbox/fault", Sandbox._misbehave),
    )
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # many pages are asked for at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hung up: tests and killed syncs do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for a sandbox."""

    protocol_version = "HTTP/1.1"
    server_version = "mirror-sandbox"
    disable_nagle_algorithm = True
    answer: Callable[[_Question], Answer]

    def _handle(self) -> None:
        url = urlsplit(self.path)
        length = self.headers.get("Content-Length", "0")
        body = self.rfile.read(min(int(length), 1 << 20)) if length.isdecimal() else b""
        answer = self.answer(
            _Question(self.command, self.path, url.path, parse_qs(url.query), self.headers, body)
        )
        if answer.ending is ResponseEnding.WHOLE:
            self._send_head(answer, len(answer.body))
            self.wfile.write(answer.body)
        else:
            self.close_connection = True
            self._send_wrongly(answer)

    def _send_head(self, answer: Answer, length: int | None) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send_wrongly(self, answer: Answer) -> None:
        """Send an answer that does not end as it should, for as long as the client has patience."""
        body, ending = answer.body, answer.ending
        if ending not in {ResponseEnding.NO_ANSWER, ResponseEnding.SILENT}:
            self._send_head(answer, None if ending is ResponseEnding.ENDLESS else len(body))
        if ending in {ResponseEnding.CUT, ResponseEnding.STALLED}:
            self.wfile.write(body[: len(body) // 2])
        if ending in {ResponseEnding.SILENT, ResponseEnding.STALLED}:
            self._client_is_gone_after(None)
        if ending is ResponseEnding.DRIPPING:
            for byte in body:
                self.wfile.write(bytes([byte]))
                if self._client_is_gone_after(1):
                    return
        if ending is ResponseEnding.ENDLESS:
            self.wfile.write(body)
            while True:
                self.wfile.write(b" " * 65536)

    def _client_is_gone_after(self, seconds: float | None) -> bool:
        """Wait for so long, or for ever, or until the client hangs up."""
        return bool(select.select([self.connection], [], [], seconds)[0])

    do_GET = do_POST = do_DELETE = _handle

    def log_message(self, *_: Any) -> None:
        """Say nothing: the terminal belongs to the commands."""


def _invalid(message: str) -> ApiProblem:
    return ApiProblem(HTTPStatus.UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", message)


def _whole(question: _Question, name: str, default: int, most: int) -> int:
    """Read a whole number of the query, or refuse it as the API does."""
    text = question.query.get(name, [str(default)])[0]
    if text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most:
        return int(text)
    raise ApiProblem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "VALIDATION_ERROR",
        "The given data was invalid",
        errors={name: [f"The {name} must be between 1 and {most}"]},
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        given = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        given = None
    if isinstance(given, dict):
        return given
    raise ApiProblem(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", "The body is not a JSON object")


class _File:
    """A file that is read again only when it has changed: a large list is sent at once."""

    def __init__(self) -> None:
        self._state: tuple[int, ...] | None = None
        self._content = b""

    def content(self, path: Path) -> bytes:
        """Return what the file says now."""
        try:
            found = path.stat()
            state = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
            if state != self._state:
                self._content = path.read_bytes()
                # Clocks of files are coarse: who changes it again at once leaves no trace.
                self._state = state if time.time() - found.st_mtime > 1 else None
        except OSError as error:
            raise ApiProblem(
                HTTPStatus.INTERNAL_SERVER_ERROR, "SERVER_ERROR", f"{path}: {error.strerror}"
            ) from error
        return self._content
