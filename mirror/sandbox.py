"""A stand-in for the API on a loopback port, to try everything without a token.

`Upstream` is the world behind the API: requests are made, reviewed and cancelled while its time
passes, all of it decided by a seed. `Sandbox` serves it over HTTP, with the documented endpoints
around release requests and the documented errors.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

API_PREFIX = "/api/v1"
DEFAULT_TOKEN = "talq_sandbox"  # noqa: S105 (it opens nothing but this stand-in)

Verdict = Literal["approved", "rejected", "cancelled"]

_VERDICTS: tuple[Verdict, ...] = ("approved", "rejected", "cancelled")
_LONGEST_PAGE = 100
_REASONS = (
    "Number is no longer in use after migration",
    "Replaced by new toll-free number",
    "The campaign has ended",
    "The customer moved to another carrier",
    "Campanha encerrada, número não é mais necessário",
    "Office closed, calls go to the main line",
    "Too many spam complaints on this number",
)
_REJECTIONS = (
    "The number is linked to an active agent",
    "A porting request is in progress",
    "There are open invoices for this number",
)


@dataclass(slots=True)
class Request:
    """A release request, with what its review will come to.

    Attributes:
        verdict: the status it will get, at `due`.
        cancelled_at: when its owner withdrew it, if that was before `due`.
    """

    id: str
    phone_number_id: str
    phone_number: str
    reason: str
    requested_at: datetime
    due: datetime
    verdict: Verdict
    rejection_reason: str | None = None
    cancelled_at: datetime | None = None

    def status(self, now: datetime) -> str:
        """Return the status at a time."""
        if self.cancelled_at is not None:
            return "cancelled"
        return self.verdict if self.due <= now else "pending"

    def as_answered(self, now: datetime) -> dict[str, str]:
        """Return the request as the API shows it at a time."""
        status = self.status(now)
        shown = {
            "id": self.id,
            "phone_number_id": self.phone_number_id,
            "phone_number": self.phone_number,
            "reason": self.reason,
            "status": status,
            "requested_at": _iso(self.requested_at),
        }
        if status in {"approved", "rejected"}:
            shown["resolved_at"] = _iso(self.due)
        if status == "rejected" and self.rejection_reason:
            shown["rejection_reason"] = self.rejection_reason
        return shown


class Upstream:
    """The world behind the API.

    Args:
        count: requests that exist at the start, made over the year before.
        seed: decides everything that happens.
        now: the time at the start, UTC.
        new_per_day: requests made on each day that passes.
    """

    def __init__(self, count: int, seed: int, now: datetime, new_per_day: int = 0) -> None:
        self.now = now
        self.new_per_day = new_per_day
        self._random = random.Random(seed)  # noqa: S311 (a stand-in's fate, no cryptography)
        self.requests: dict[str, Request] = {}
        self._numbers: dict[str, str] = {}
        self._in_use: set[str] = set()
        while len(self.requests) < count:
            self._make_number(count)

    def advance(self, days: float) -> None:
        """Let time pass: reviews come to an end, and new requests are made."""
        start = self.now
        self.now += timedelta(days=days)
        for _ in range(round(days * self.new_per_day)):
            phone_number_id = self._add_number()
            when = start + (self.now - start) * self._random.random()
            self._add(phone_number_id, self._random.choice(_REASONS), when)

    def request_release(self, phone_number_id: str, reason: object) -> Request:
        """Ask for a number's release.

        Raises:
            ApiProblem: one of the documented errors.
        """
        if phone_number_id not in self._numbers:
            raise ApiProblem(HTTPStatus.NOT_FOUND, "NOT_FOUND", "The phone number does not exist")
        if not isinstance(reason, str) or not 10 <= len(reason) <= 500:
            raise ApiProblem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "VALIDATION_ERROR",
                "The given data was invalid",
                errors={"reason": ["The reason must have 10 to 500 characters"]},
            )
        if phone_number_id in self._in_use:
            raise ApiProblem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "PHONE_NUMBER_IN_USE",
                "The phone number is assigned to an agent",
            )
        mine = (one for one in self.requests.values() if one.phone_number_id == phone_number_id)
        if any(one.status(self.now) == "pending" for one in mine):
            raise ApiProblem(
                HTTPStatus.CONFLICT,
                "RELEASE_ALREADY_PENDING",
                "There is a pending release request for this phone number",
            )
        return self._add(phone_number_id, reason, self.now)

    def cancel(self, request_id: str) -> Request:
        """Withdraw a pending request.

        Raises:
            ApiProblem: one of the documented errors.
        """
        request = self.requests.get(request_id)
        if request is None:
            raise ApiProblem(
                HTTPStatus.NOT_FOUND, "NOT_FOUND", "The release request does not exist"
            )
        if request.status(self.now) != "pending":
            raise ApiProblem(
                HTTPStatus.CONFLICT,
                "RELEASE_ALREADY_RESOLVED",
                "The release request has been resolved already",
            )
        request.cancelled_at = self.now
        return request

    def answered(self) -> Sequence[object]:
        """Return all requests as the API shows them now, in the order they were made."""
        return [request.as_answered(self.now) for request in self.requests.values()]

    def _make_number(self, count: int) -> None:
        """Make a number and its requests of the past: denied, it is often asked for again."""
        phone_number_id = self._add_number()
        # The cube makes recent days fuller than old ones, so that some requests are still open.
        when = self.now - timedelta(days=365) * self._random.random() ** 3
        while len(self.requests) < count:
            request = self._add(phone_number_id, self._random.choice(_REASONS), when)
            again = request.verdict != "approved" and self._random.random() < 0.6
            when = request.due + timedelta(days=self._random.uniform(0.1, 9))
            if not again or when > self.now:
                return

    def _add_number(self) -> str:
        phone_number_id = self._uuid()
        self._numbers[phone_number_id] = f"+1555{self._random.randrange(10**7):07d}"
        if self._random.random() < 0.1:
            self._in_use.add(phone_number_id)
        return phone_number_id

    def _add(self, phone_number_id: str, reason: str, when: datetime) -> Request:
        verdict = self._random.choices(_VERDICTS, (6, 3, 1))[0]
        when = when.replace(microsecond=0)
        request = Request(
            id=self._uuid(),
            phone_number_id=phone_number_id,
            phone_number=self._numbers[phone_number_id],
            reason=reason,
            requested_at=when,
            due=when + timedelta(seconds=round(86400 * self._random.uniform(0.3, 6))),
            verdict=verdict,
            rejection_reason=self._random.choice(_REJECTIONS) if verdict == "rejected" else None,
        )
        self.requests[request.id] = request
        return request

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


class ApiProblem(Exception):
    """An answer that says no, in one of the documented shapes."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        errors: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"success": False, "message": message, "code": code}
        if errors is not None:
            self.body = {"success": False, "message": message, "errors": errors}
        elif status == HTTPStatus.UNAUTHORIZED:
            self.body = {"success": False, "error": {"code": code, "message": message}}


@dataclass(slots=True)
class Manner:
    """How the API behaves.

    Attributes:
        token: the bearer token it accepts.
        paging: the key under which a list says its pages, or None: the list comes whole.
        etag: send an ETag, and 304 to who has it already.
        file: answer the list with the content of this file, as it stands, instead.
    """

    token: str = DEFAULT_TOKEN
    paging: Literal["meta", "pagination"] | None = None
    etag: bool = False
    file: Path | None = None


@dataclass(slots=True)
class _Answer:
    status: HTTPStatus
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


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
        manner: how it behaves; may be changed while it runs.
        port: 0 for any free one.

    Attributes:
        asked: path and query of each question so far.
    """

    def __init__(self, upstream: Upstream, manner: Manner | None = None, port: int = 0) -> None:
        self.upstream = upstream
        self.manner = manner or Manner()
        self.asked: list[str] = []
        self._lock = threading.Lock()
        self._list: tuple[datetime, int, list[bytes]] | None = None
        self._changes = 0
        sandbox = self

        class Handler(_Handler):
            answer = staticmethod(sandbox._answer)

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True

    @property
    def base_url(self) -> str:
        """The base URL to give to `mirror`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{API_PREFIX}"

    def serve(self) -> None:
        """Serve until `stop` is called from another thread, or the process is interrupted."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Give the port back."""
        self._server.server_close()

    @contextmanager
    def running(self) -> Iterator[Sandbox]:
        """Serve in the background, for as long as the context lasts."""
        thread = threading.Thread(target=self.serve, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self.close()

    def advance(self, days: float) -> None:
        """Let time pass upstream."""
        with self._lock:
            self.upstream.advance(days)
            self._changes += 1

    def forget(self) -> None:
        """Make the list anew: the upstream was changed from outside."""
        with self._lock:
            self._changes += 1

    def _answer(self, question: _Question) -> _Answer:
        self.asked.append(question.target)
        with self._lock:
            try:
                for method, pattern, handle in _ROUTES:
                    if question.method == method and (found := pattern.fullmatch(question.path)):
                        if not question.path.endswith("/health"):
                            self._check_token(question)
                        return handle(self, question, *found.groups())
                raise ApiProblem(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is nothing here")
            except ApiProblem as problem:
                return _Answer(problem.status, msgspec.json.encode(problem.body))

    def _check_token(self, question: _Question) -> None:
        given = question.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.manner.token}".encode()):
            raise ApiProblem(
                HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "The token is missing or not valid"
            )

    def _health(self, _question: _Question) -> _Answer:
        return _Answer(HTTPStatus.OK, b'{"status":"ok"}')

    def _show_list(self, question: _Question) -> _Answer:
        body = self._list_body(question)
        if not self.manner.etag:
            return _Answer(HTTPStatus.OK, body)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if question.headers.get("If-None-Match") == tag:
            return _Answer(HTTPStatus.NOT_MODIFIED, b"", {"ETag": tag})
        return _Answer(HTTPStatus.OK, body, {"ETag": tag})

    def _list_body(self, question: _Question) -> bytes:
        if self.manner.file is not None:
            return _content(self.manner.file)
        entries = self._entries()
        if self.manner.paging is None:
            return b'{"success":true,"data":[%s]}' % b",".join(entries)
        page = _whole(question, "page", 1, 1_000_000)
        per_page = _whole(question, "per_page", 15, _LONGEST_PAGE)
        paging = {
            "current_page": page,
            "per_page": per_page,
            "total": len(entries),
            "last_page": max(1, -(-len(entries) // per_page)),
        }
        shown = entries[(page - 1) * per_page : page * per_page]
        return b'{"success":true,"data":[%s],"%s":%s}' % (
            b",".join(shown),
            self.manner.paging.encode(),
            msgspec.json.encode(paging),
        )

    def _entries(self) -> list[bytes]:
        """Return the list's entries as JSON, made anew only when something has happened."""
        made = self._list
        if made is None or made[:2] != (self.upstream.now, self._changes):
            entries = [msgspec.json.encode(one) for one in self.upstream.answered()]
            made = self._list = (self.upstream.now, self._changes, entries)
        return made[2]

    def _request(self, question: _Question, phone_number_id: str) -> _Answer:
        given = _json(question.body)
        request = self.upstream.request_release(phone_number_id, given.get("reason"))
        return self._changed(HTTPStatus.CREATED, request)

    def _cancel(self, _question: _Question, request_id: str) -> _Answer:
        return self._changed(HTTPStatus.OK, self.upstream.cancel(request_id))

    def _changed(self, status: HTTPStatus, request: Request) -> _Answer:
        self._changes += 1
        shown = {"success": True, "data": request.as_answered(self.upstream.now)}
        return _Answer(status, msgspec.json.encode(shown))

    def _advance(self, question: _Question) -> _Answer:
        days = _json(question.body).get("days", 1)
        if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= 3650:
            raise ApiProblem(
                HTTPStatus.UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", "days must be a number > 0"
            )
        self.upstream.advance(days)
        self._changes += 1
        return self._state(question)

    def _state(self, _question: _Question) -> _Answer:
        statuses = [one.status(self.upstream.now) for one in self.upstream.requests.values()]
        shown = {
            "now": _iso(self.upstream.now),
            "requests": len(statuses),
            "by_status": {status: statuses.count(status) for status in sorted(set(statuses))},
        }
        return _Answer(HTTPStatus.OK, msgspec.json.encode({"success": True, "data": shown}))


_ROUTES: list[tuple[str, re.Pattern[str], Callable[..., _Answer]]] = [
    (method, re.compile(API_PREFIX + path), handle)
    for method, path, handle in (
        ("GET", "/health", Sandbox._health),
        ("GET", "/phone-numbers/release-requests", Sandbox._show_list),
        ("POST", "/phone-numbers/([^/]+)/request-release", Sandbox._request),
        ("DELETE", "/phone-numbers/release-requests/([^/]+)", Sandbox._cancel),
        ("GET", "/sandbox", Sandbox._state),
        ("POST", "/sandbox/advance", Sandbox._advance),
    )
]


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for a sandbox."""

    protocol_version = "HTTP/1.1"
    server_version = "mirror-sandbox"
    disable_nagle_algorithm = True
    answer: Callable[[_Question], _Answer]

    def _handle(self) -> None:
        url = urlsplit(self.path)
        length = self.headers.get("Content-Length", "0")
        body = self.rfile.read(min(int(length), 1 << 20)) if length.isdecimal() else b""
        answer = self.answer(
            _Question(self.command, self.path, url.path, parse_qs(url.query), self.headers, body)
        )
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_DELETE = _handle

    def log_message(self, *_: Any) -> None:
        """Say nothing: the terminal belongs to the commands."""


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


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ApiProblem(
            HTTPStatus.INTERNAL_SERVER_ERROR, "SERVER_ERROR", f"{file}: {error.strerror}"
        ) from error


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
